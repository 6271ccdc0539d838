//! A terminal for an example that draws with ratatui: [`Terminal::take`] takes it over, [`Terminal::draw`] draws,
//! [`Terminal::wait`] waits for a [`Key`] or for the [`End`]. The user (`q`, Esc, Ctrl-C, Ctrl-D, Ctrl-\), a signal, or a
//! terminal that hangs up can request the end; [`End`] is an error, so that `?` passes it on, and contains the program's
//! exit code. The terminal is restored however the program ends, even by a panic, and a program that does not end in time is
//! ended by force. Keys are read as bytes and not as crossterm's events, because crossterm's reader hangs when a terminal
//! hangs up.

#![forbid(unsafe_code)]

mod keys;

pub use keys::Key;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{cursor, execute},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal, Write},
    mem, process,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// How long the program may take to end after a request: it may be in a plugin call that hangs, or be writing to a terminal
/// that does not read.
pub const TO_END: Duration = Duration::from_secs(3);
/// How long restoring the terminal may then take.
const TO_GIVE_BACK: Duration = Duration::from_millis(500);
/// The longest wait for the rest of a key's escape sequence.
const OF_ONE_KEY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Whether both standard input and standard output are a terminal.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// A request to end the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The exit code: 0 if the user requested the end, otherwise 128 plus the signal's number.
    pub code: u8,
}

impl End {
    /// The terminal has hung up.
    pub const HUNG_UP: Self = Self::by(SIGHUP);

    const fn by(signal: i32) -> Self {
        Self {
            code: 128 + signal as u8,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            0 => f.write_str("whoever looked has had enough"),
            _ if *self == Self::HUNG_UP => f.write_str("the terminal is gone"),
            code => write!(f, "ended by signal {}", code.saturating_sub(128)),
        }
    }
}

impl Error for End {}

type Came = Result<Key, End>;

/// The terminal, taken over until this is dropped. A program has at most one.
pub struct Terminal {
    /// None once the terminal is restored.
    screen: Option<DefaultTerminal>,
    came: Receiver<Came>,
}

impl Terminal {
    /// Takes over the terminal. If the program does not end within [`TO_END`] after a request, even after this was dropped,
    /// `at_last` is called, to end what must not outlive the program, and the process ends.
    ///
    /// # Errors
    /// If the system refuses the terminal, the signals or the threads.
    pub fn take(at_last: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, came) = mpsc::channel();
        let (tell_end, end) = mpsc::channel();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let screen = ratatui::try_init().inspect_err(|_| give_back())?;
        let taken = Self {
            screen: Some(screen),
            came,
        };
        let (tell_keys, tell_signals) = (Tell(sender.clone(), tell_end.clone()), Tell(sender, tell_end));
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        spawn("deadline").spawn(move || end_at_last(&end, at_last))?;
        spawn("signals").spawn(move || {
            for signal in &mut signals {
                tell_signals.tell(Err(End::by(signal)));
            }
        })?;
        spawn("keys").spawn(move || read(&tell_keys))?;
        Ok(taken)
    }

    /// Draws.
    ///
    /// # Errors
    /// [`End::HUNG_UP`] if the terminal refuses it.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), End> {
        match &mut self.screen {
            Some(screen) => screen.draw(draw).map(drop).map_err(|_| End::HUNG_UP),
            None => Ok(()),
        }
    }

    /// Waits for the next key, at most this long.
    ///
    /// # Errors
    /// If the program must end.
    pub fn wait(&self, longest: Duration) -> Result<Option<Key>, End> {
        self.came.recv_timeout(longest).ok().transpose()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut screen) = self.screen.take()
            && screen.show_cursor().is_err()
        {
            // The terminal is gone. Dropping the screen would print an error to it, and panic.
            mem::forget(screen);
        }
        give_back();
    }
}

/// Errors are ignored, because a terminal that is gone needs no restoring.
fn give_back() {
    let _ = ratatui::try_restore();
    let _ = execute!(io::stdout(), cursor::Show);
}

/// The receivers of keys and ends: the thread in `wait`, and, for an end, the thread that enforces it.
struct Tell(Sender<Came>, Sender<End>);

impl Tell {
    fn tell(&self, came: Came) {
        // A receiver that is gone is ending already.
        if let Err(end) = came {
            let _ = self.1.send(end);
        }
        let _ = self.0.send(came);
    }
}

/// The thread that reads keys.
fn read(to: &Tell) {
    let stdin = rustix::stdio::stdin();
    let (mut bytes, mut typed) = ([0; 64], Vec::new());
    loop {
        // The terminal may be in non-blocking mode.
        let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
        match rustix::io::read(stdin, &mut bytes) {
            Ok(read @ 1..) => typed.extend_from_slice(&bytes[..read]),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Ok(_) | Err(_) => return to.tell(Err(End::HUNG_UP)),
        }
        let mut rest = [PollFd::new(&stdin, PollFlags::IN)];
        if keys::is_unfinished(&typed) && poll(&mut rest, Some(&OF_ONE_KEY)) == Ok(1) {
            continue;
        }
        for key in keys::of(&typed) {
            to.tell(match key {
                // Ctrl-C, Ctrl-D and Ctrl-\ are ordinary keys in a raw terminal.
                Key::Escape | Key::Char('q' | '\x03' | '\x04' | '\x1c') => Err(End { code: 0 }),
                key => Ok(key),
            });
        }
        typed.clear();
    }
}

/// The thread that enforces the end.
fn end_at_last(told: &Receiver<End>, at_last: impl FnOnce() + Send + 'static) {
    let Ok(end) = told.recv() else { return };
    thread::sleep(TO_END);
    // A thread that writes to a terminal that does not read holds the lock of the output.
    let (doing, done) = mpsc::channel::<()>();
    thread::spawn(move || {
        at_last();
        give_back();
        let words = "It did not come to an end by itself (a plugin may not have come back), and was ended.";
        let _ = writeln!(io::stderr(), "{words}");
        drop(doing);
    });
    let _ = done.recv_timeout(TO_GIVE_BACK);
    process::exit(i32::from(end.code.max(1)));
}
