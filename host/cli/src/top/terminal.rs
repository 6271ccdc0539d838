//! The terminal, and the signals that are about it. Whatever ends the program, the terminal gets back what it had; and a terminal that
//! is gone is noticed, not waited for.

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

/// So long may a screen take to end after it was told to: it may be writing to a terminal that does not read.
const TO_END: Duration = Duration::from_secs(2);

/// The terminal, taken over until this is dropped.
pub(super) struct Terminal(Option<DefaultTerminal>);

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// If there is none, in a sentence.
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

    /// Draws, after looking how large the terminal is now.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let Some(terminal) = &mut self.0 else { return Ok(()) };
        terminal.draw(draw).map(|_| ())
    }

    /// A shell has had the terminal in between.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        // Only what was given back can be taken: the modes that the shell has set are none of ours.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let Some(terminal) = &mut self.0 else { return Ok(()) };
        // It forgets what it has drawn. Its `clear` would ask the terminal where the cursor is, and wait for the answer.
        terminal.resize(terminal.size()?.into())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut terminal) = self.0.take()
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

/// What happened while nothing was drawn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Something is to be drawn again: there are news, another size, or it is time.
    Something,
    /// These bytes were typed.
    Typed(Vec<u8>),
    /// The program was stopped, and goes on.
    Continued,
    /// The terminal is gone.
    Gone,
    /// A signal says to end.
    Told(i32),
}

/// Signals, and whoever else wakes the screen.
pub(super) struct Waker {
    told: Arc<AtomicI32>,
    continued: Arc<AtomicBool>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Waker {
    /// From now on signals are caught.
    pub(super) fn start() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGWINCH, SIGCONT])?;
        let waker = Self {
            told: Arc::default(),
            continued: Arc::default(),
            wake,
            woken,
        };
        let (told, continued, wake) = (Arc::clone(&waker.told), Arc::clone(&waker.continued), waker.waker()?);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                match signal {
                    SIGWINCH => wake(),
                    SIGCONT => {
                        continued.store(true, Ordering::Release);
                        wake();
                    }
                    _ => {
                        told.store(signal, Ordering::Release);
                        wake();
                        thread::sleep(TO_END);
                        // The screen is busy with a terminal that does not read: its modes at least can be given back.
                        let _ = disable_raw_mode();
                        process::exit(if signal == SIGHUP { super::run::GONE } else { 128 + signal });
                    }
                }
            }
        })?;
        Ok(waker)
    }

    /// What wakes the screen from another thread.
    pub(super) fn waker(&self) -> io::Result<impl Fn() + Send + Sync + 'static> {
        let wake = self.wake.try_clone()?;
        // If it is full, the screen is about to wake up.
        Ok(move || drop((&wake).write(&[0])))
    }

    /// Waits, at most so long.
    pub(super) fn wait(&self, longest: Duration) -> Waited {
        let stdin = rustix::stdio::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let longest = Timespec {
            tv_sec: longest.as_secs().cast_signed(),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // Interrupted: somebody wrote to `wake`.
        let _ = poll(&mut ready, Some(&longest));
        let (typed, woken) = (ready[0].revents(), ready[1].revents());
        if !woken.is_empty() {
            let mut some = [0; 64];
            while (&self.woken).read(&mut some).is_ok_and(|read| read > 0) {}
        }
        match self.told.load(Ordering::Acquire) {
            0 => {}
            // It is a terminal that sends this, when it goes.
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
