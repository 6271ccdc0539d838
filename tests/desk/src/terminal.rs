//! The terminal, what is typed there, and the signals that are about it. Keys are read as bytes and not as crossterm's events, whose reader
//! never comes back from a terminal that hung up. Whatever ends the program, the terminal gets back what it had.

use ratatui::{DefaultTerminal, Frame};
use rustix::io::Errno;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use std::{
    fmt, io, process,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// So long may the desk take to end: a strategy may not come back, or the terminal not read.
const TO_END: Duration = Duration::from_secs(2);

/// What whoever looks wants. As an error it ends what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// An end, with this exit code.
    End(i32),
    /// No terminal is there any more.
    Gone,
    /// The story was enough; the live part.
    Live,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End(_) => "whoever looked has had enough",
            Self::Gone => "the terminal is gone",
            Self::Live => "whoever looked knows the story",
        })
    }
}

impl std::error::Error for Left {}

/// The terminal, taken over until this is dropped.
pub struct Terminal {
    terminal: Option<DefaultTerminal>,
    wanted: Receiver<Left>,
}

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn take() -> io::Result<Self> {
        let (sender, wanted) = mpsc::channel();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let of_signals = sender.clone();
        let terminal = match ratatui::try_init() {
            Ok(terminal) => Some(terminal),
            Err(error) => {
                give_back();
                return Err(error);
            }
        };
        let taken = Self { terminal, wanted };
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                match signal {
                    SIGHUP => end(&of_signals, Left::Gone),
                    _ => end(&of_signals, Left::End(128 + signal)),
                }
            }
        })?;
        thread::Builder::new().name("keys".to_owned()).spawn(move || read(&sender))?;
        Ok(taken)
    }

    /// Draws.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Left> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        terminal.draw(draw).map(drop).map_err(|_| Left::Gone)
    }

    /// Waits, at most so long.
    ///
    /// # Errors
    /// With what whoever looks wants, if it is anything.
    pub fn wait(&self, longest: Duration) -> Result<(), Left> {
        self.wanted.recv_timeout(longest).map_or(Ok(()), Err)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut terminal) = self.terminal.take()
            && terminal.show_cursor().is_err()
        {
            // It would complain on standard error, which is the same terminal, and panic over that.
            std::mem::forget(terminal);
        }
        give_back();
    }
}

/// A terminal that is gone needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
}

/// The thread of the keys.
fn read(to: &Sender<Left>) {
    let mut bytes = [0; 64];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(0) => return end(to, Left::Gone),
            Ok(read) => match bytes[..read] {
                // Ctrl-C, Ctrl-D and Ctrl-\ are keys in a terminal that is raw.
                [.., b'q' | 3 | 4 | 28] => return end(to, Left::End(0)),
                [.., b'l'] => drop(to.send(Left::Live)),
                _ => {}
            },
            Err(Errno::INTR) => {}
            Err(_) => return end(to, Left::Gone),
        }
    }
}

/// Says so, and ends the process if nobody does.
fn end(to: &Sender<Left>, how: Left) {
    // Who does not listen is ending already.
    let _ = to.send(how);
    thread::sleep(TO_END);
    give_back();
    process::exit(code(how));
}

/// What the process ends with.
pub fn code(how: Left) -> i32 {
    match how {
        Left::End(code) => code,
        Left::Gone => 128 + SIGHUP,
        Left::Live => 0,
    }
}
