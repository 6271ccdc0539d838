//! The terminal and its signals. However the program ends, the terminal is restored. A closed terminal is noticed at once.

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{
        execute,
        terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH},
    iterator::Signals,
};
use std::{
    io::{self, IsTerminal, Read, Write},
    os::unix::net::UnixStream,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

/// How long the screen may take to end after a signal. It may be blocked in a write to the terminal.
const TO_END: Duration = Duration::from_secs(2);

/// The terminal in raw mode, until this is dropped.
pub(super) struct Terminal(Option<DefaultTerminal>);

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If there is no terminal.
    pub(super) fn take() -> Result<Self, String> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err("reslot top draws a screen, and needs a terminal to read from and write to; \
                        `reslot list` writes the same as text"
                .to_owned());
        }
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(Some(terminal))),
            Err(error) => {
                give_back();
                Err(format!("the terminal cannot be used: {error}"))
            }
        }
    }

    /// Draws, after reading the terminal's size.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let Some(terminal) = &mut self.0 else { return Ok(()) };
        terminal.draw(draw).map(|_| ())
    }

    /// Takes the terminal over again after a shell has used it.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        // First the saved modes are restored, because the shell has set other ones.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let Some(terminal) = &mut self.0 else { return Ok(()) };
        // `resize` makes ratatui draw everything again. `clear` would ask the terminal for the cursor's position and wait
        // for the answer.
        terminal.resize(terminal.size()?.into())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut terminal) = self.0.take()
            && terminal.show_cursor().is_err()
        {
            // Dropping it would print an error to the closed terminal, and panic.
            std::mem::forget(terminal);
        }
        give_back();
    }
}

/// Restores the terminal. Errors are ignored, because a closed terminal needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
}

/// Why waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The screen must be drawn: there is a message, a new size, or the time is over.
    Something,
    /// These bytes were typed.
    Typed(Vec<u8>),
    /// The program was stopped and continues.
    Continued,
    /// The terminal was closed.
    Gone,
    /// A signal asks the program to end.
    Told(i32),
}

/// Wakes the screen, on signals and from other threads.
pub(super) struct Waker {
    signal_received: Arc<AtomicI32>,
    continued: Arc<AtomicBool>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Waker {
    /// Begins to catch signals.
    pub(super) fn start() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGWINCH, SIGCONT])?;
        let waker = Self {
            signal_received: Arc::default(),
            continued: Arc::default(),
            wake,
            woken,
        };
        let (signal_received, continued, wake) = (
            Arc::clone(&waker.signal_received),
            Arc::clone(&waker.continued),
            waker.waker()?,
        );
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                match signal {
                    SIGWINCH => wake(),
                    SIGCONT => {
                        continued.store(true, Ordering::Release);
                        wake();
                    }
                    _ => {
                        signal_received.store(signal, Ordering::Release);
                        wake();
                        thread::sleep(TO_END);
                        // The screen is blocked by the terminal. At least the terminal's modes can be restored.
                        let _ = disable_raw_mode();
                        process::exit(if signal == SIGHUP { super::run::GONE } else { 128 + signal });
                    }
                }
            }
        })?;
        Ok(waker)
    }

    /// A function that wakes the screen from another thread.
    pub(super) fn waker(&self) -> io::Result<impl Fn() + Send + Sync + 'static> {
        let wake = self.wake.try_clone()?;
        // If the pipe is full, the screen will wake up anyway.
        Ok(move || drop((&wake).write(&[0])))
    }

    /// Waits for at most this time.
    pub(super) fn wait(&self, longest: Duration) -> Waited {
        let stdin = rustix::stdio::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let longest = Timespec {
            tv_sec: longest.as_secs().cast_signed(),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // An interrupted `poll` is not an error: the signal's handler wrote to `wake`.
        let _ = poll(&mut ready, Some(&longest));
        let (typed, woken) = (ready[0].revents(), ready[1].revents());
        if !woken.is_empty() {
            let mut some = [0; 64];
            while (&self.woken).read(&mut some).is_ok_and(|read| read > 0) {}
        }
        match self.signal_received.load(Ordering::Acquire) {
            0 => {}
            // The kernel sends this when the terminal is closed.
            SIGHUP => return Waited::Gone,
            signal => return Waited::Told(signal),
        }
        if self.continued.swap(false, Ordering::AcqRel) {
            return Waited::Continued;
        }
        if typed.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Waited::Gone;
        }
        if !typed.contains(PollFlags::IN) {
            return Waited::Something;
        }
        let mut bytes = vec![0; 1024];
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => Waited::Gone,
            Ok(read) => {
                bytes.truncate(read);
                Waited::Typed(bytes)
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Waited::Something,
            Err(_) => Waited::Gone,
        }
    }
}
