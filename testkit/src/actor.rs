//! Who calls the plugin while it is moved: the claimed form and the shared one, seen from the script that both play.

use crate::{
    failure::{Broken, Problem},
    look::Sight,
};
use reslot::{CallError, Fault, Host};
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Whether the load goes on during a move, where that and a look at the state exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Running,
    Paused,
}

/// Has the host make a move, and waits for what becomes of it; answers why it did not, in words.
pub(crate) type Move<'a> = &'a (dyn Fn() -> Result<(), String> + Sync);

/// Whoever calls.
pub(crate) trait Actor {
    /// In which paces the moves are to be made.
    fn paces(&self) -> &'static [Pace];
    /// Whether there is anything by which a lost state would be noticed.
    fn looks(&self) -> bool;
    /// Whether a loss that was asked for would be noticed as well.
    fn sums(&self) -> bool;
    /// Whether a call that panics is known.
    fn panics(&self) -> bool;
    /// Becomes the slot's caller, and brings the plugin into the caller's state.
    fn enter(&mut self, host: &Host, slot: &str) -> Result<(), Broken>;
    /// Calls all along while the move is made, and looks before and after it.
    fn play(&mut self, host: &Host, pace: Pace, make: Move<'_>) -> Played;
    /// Makes the call that panics.
    fn panic(&mut self, host: &Host) -> Result<(), Broken>;
    /// Lets go of the slot.
    fn leave(&mut self);
}

/// What happened during a move.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) load: Load,
    /// What the host answered.
    pub(crate) answer: Option<Result<(), String>>,
    /// For how long callers waited because of the move.
    pub(crate) pause: Duration,
    pub(crate) before: Sight,
    pub(crate) after: Sight,
    /// What else did not hold.
    pub(crate) broken: Option<Broken>,
}

impl Played {
    /// Keeps the first of what did not hold.
    pub(crate) fn broke(&mut self, broken: impl Into<Broken>) {
        self.broken.get_or_insert(broken.into());
    }
}

/// Load that was made.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) units: u64,
    pub(crate) failed: u64,
    pub(crate) first: Option<String>,
    pub(crate) longest: Duration,
}

impl Load {
    pub(crate) fn unit(&mut self, unit: impl FnOnce() -> Result<(), Problem>) {
        let begun = Instant::now();
        let done = unit();
        self.longest = self.longest.max(begun.elapsed());
        self.units += 1;
        if let Err(problem) = done {
            self.failed += 1;
            self.first.get_or_insert_with(|| format!("{problem:#}"));
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.units += other.units;
        self.failed += other.failed;
        self.longest = self.longest.max(other.longest);
        self.first = self.first.take().or(other.first);
    }
}

/// What the call that is to panic must have come to.
pub(crate) fn must_have_panicked<T: Debug>(answer: Result<T, CallError>) -> Result<(), Broken> {
    match answer {
        Err(error) if matches!(error.fault(), Fault::Panicked { .. }) => Ok(()),
        other => Err(Broken::Usage(format!(
            "the call given to `panics` is to panic inside the plugin, and came back with {other:?}"
        ))),
    }
}
