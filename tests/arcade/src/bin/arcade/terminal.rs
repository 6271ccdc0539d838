//! The terminal, and the signals that end the game. Whatever does, the terminal gets back what it had.

use anyhow::ensure;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, IsTerminal},
    mem,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

/// So long the screen may take to end after a signal told it to: it may be writing to a terminal that does not read.
const TO_END: Duration = Duration::from_secs(3);

/// There is one.
///
/// # Errors
/// If not, in words.
pub fn there() -> anyhow::Result<()> {
    ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "the game draws in a terminal and reads keys from it, and there is none; --headless plays without one"
    );
    Ok(())
}

/// The terminal, taken over until this is dropped.
pub struct Terminal {
    screen: Option<DefaultTerminal>,
    told: Arc<AtomicI32>,
}

/// What came from outside.
pub enum Came {
    /// Nothing, in the time that was given.
    Nothing,
    /// A key was pressed.
    Key(KeyCode),
    /// The game is to end, and the program with this code.
    End(u8),
}

impl Terminal {
    /// Takes it over. If a signal says to end and nobody does, `at_last` is called, and the process ends.
    ///
    /// # Errors
    /// If the terminal or the signals are refused.
    pub fn take(at_last: impl FnOnce() + Send + 'static) -> anyhow::Result<Self> {
        let told = Arc::new(AtomicI32::new(0));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
        let tells = told.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                tells.store(signal, Ordering::Release);
                thread::sleep(TO_END);
                at_last();
                give_back();
                std::process::exit(128 + signal);
            }
        })?;
        let screen = ratatui::try_init().inspect_err(|_| give_back())?;
        Ok(Self {
            screen: Some(screen),
            told,
        })
    }

    /// Draws.
    ///
    /// # Errors
    /// If the terminal refuses it: it is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        match &mut self.screen {
            Some(screen) => screen.draw(draw).map(|_| ()),
            None => Ok(()),
        }
    }

    /// What came, waiting for it at most so long.
    ///
    /// # Errors
    /// If the terminal cannot be read.
    pub fn wait(&self, longest: Duration) -> io::Result<Came> {
        // Asked before crossterm, which would read the end of a terminal that is gone again and again.
        let stdin = rustix::stdio::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        let longest = Timespec {
            tv_sec: longest.as_secs().cast_signed(),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // Interrupted: by a signal, which is looked at next.
        let _ = poll(&mut ready, Some(&longest));
        let signal = self.told.load(Ordering::Acquire);
        if let Ok(code @ 1..) = u8::try_from(signal) {
            return Ok(Came::End(128 + code));
        }
        if ready[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        {
            return Ok(Came::End(128 + SIGHUP as u8));
        }
        if !event::poll(Duration::ZERO)? {
            return Ok(Came::Nothing);
        }
        Ok(match event::read()? {
            Event::Key(key) if is_end(key) => Came::End(0),
            Event::Key(key) if key.kind == KeyEventKind::Press => Came::Key(key.code),
            _ => Came::Nothing,
        })
    }
}

/// In raw mode Ctrl-C is a key like others.
fn is_end(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut screen) = self.screen.take()
            && screen.show_cursor().is_err()
        {
            // It is gone. Dropped, it would complain of that to the same terminal, and panic.
            mem::forget(screen);
        }
        give_back();
    }
}

/// A terminal that is gone needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
}
