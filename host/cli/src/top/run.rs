//! The main loop: it processes messages, draws, and waits for a key or a message.

use super::{
    draw::{self, Paint},
    keys::Keys,
    model::{Deed, Message, Model, News},
    source::Source,
    terminal::{Terminal, Waited, Waker},
    watcher::Watcher,
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

/// The exit code if there is no terminal.
pub(super) const GONE: i32 = 6;
/// The longest time between two drawings, because the screen shows times.
const LONGEST: Duration = Duration::from_secs(1);
/// An escape without a following byte within this time is the Escape key.
const ESCAPE: Duration = Duration::from_millis(50);

/// How the program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A key ended it.
    Quit,
    /// There is no terminal; with a message, unless nobody can read it.
    NoTerminal(Option<String>),
    /// This signal ended it.
    Signal(i32),
    /// An unexpected error, with a message.
    Broken(String),
}

impl Ended {
    /// The exit code: 0, 6 without a terminal, 128 plus the signal's number, and 1 for the rest.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Quit => 0,
            Self::NoTerminal(_) => GONE,
            Self::Signal(signal) => 128 + signal,
            Self::Broken(_) => 1,
        }
    }

    /// The message for standard error.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Self::NoTerminal(why) => why.as_deref(),
            Self::Broken(why) => Some(why),
            _ => None,
        }
    }
}

/// Shows the host at `source`, with a new status after each `interval`, until a key, a signal or the terminal ends it.
/// Afterwards the terminal is restored.
pub(crate) fn run(source: Arc<dyn Source>, interval: Duration) -> Ended {
    let colours = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let mut terminal = match Terminal::take() {
        Ok(terminal) => terminal,
        Err(why) => return Ended::NoTerminal(Some(why)),
    };
    let broken = |error: std::io::Error| Ended::Broken(format!("reslot top cannot start: {error}"));
    let waker = match Waker::start() {
        Ok(waker) => waker,
        Err(error) => return broken(error),
    };
    let mut model = Model::new(source.name());
    let watcher = waker
        .waker()
        .and_then(|wake| Watcher::start(source, interval, Arc::new(wake)));
    let (watcher, news) = match watcher {
        Ok(both) => both,
        Err(error) => return broken(error),
    };
    let mut keys = Keys::default();
    loop {
        if let Err(ended) = take_in(&news, &mut model) {
            return ended;
        }
        if terminal
            .draw(|frame| draw::screen(frame, &mut model, Paint { colours }, Instant::now()))
            .is_err()
        {
            return Ended::NoTerminal(None);
        }
        let pressed = match waker.wait(if keys.waits() { ESCAPE } else { LONGEST }) {
            Waited::Typed(bytes) => keys.read(&bytes),
            Waited::Something => keys.nothing_follows().into_iter().collect(),
            Waited::Continued if terminal.take_again().is_ok() => Vec::new(),
            Waited::Gone | Waited::Continued => return Ended::NoTerminal(None),
            Waited::Told(signal) => return Ended::Signal(signal),
        };
        for key in pressed {
            match model.press(key) {
                Some(Deed::Quit) => return Ended::Quit,
                Some(Deed::Inspect(slot)) => watcher.inspect(slot),
                Some(Deed::Ask(request)) => {
                    let asked = watcher.ask(request);
                    model.message = asked.err().map_or(model.message.take(), |_| Some(too_much()));
                }
                None => {}
            }
        }
    }
}

fn too_much() -> Message {
    let text = "Too many requests are waiting already: this one was not sent.".to_owned();
    Message { text, bad: true }
}

fn take_in(news: &Receiver<News>, model: &mut Model) -> Result<(), Ended> {
    loop {
        match news.try_recv() {
            Ok(news) => model.learn(news, Instant::now()),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => return Err(Ended::Broken("the watcher thread has ended".to_owned())),
        }
    }
}
