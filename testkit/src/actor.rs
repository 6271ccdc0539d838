//! The callers of the plugin during a run. The script uses this trait for the claimed and the shared form.

use crate::{
    failure::{Broken, Problem},
    look::Sight,
};
use reslot::{CallError, Fault, Host};
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Whether the load continues during a move. A check of the state may require a paused load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Running,
    Paused,
}

/// Makes the host move, and waits for the result. The error says why it did not move.
pub(crate) type Move<'a> = &'a (dyn Fn() -> Result<(), String> + Sync);

/// The caller or callers of the plugin.
pub(crate) trait Actor {
    /// The paces in which each move is made.
    fn paces(&self) -> &'static [Pace];
    /// Whether a check would detect a lost state.
    fn looks(&self) -> bool;
    /// Whether a check would also detect an intended loss.
    fn sums(&self) -> bool;
    /// Whether a panicking call was given.
    fn panics(&self) -> bool;
    /// Becomes the slot's caller, and brings the plugin into the caller's state.
    fn enter(&mut self, host: &Host, slot: &str) -> Result<(), Broken>;
    /// Calls all along while the move is made, and looks before and after it.
    fn play(&mut self, host: &Host, pace: Pace, make: Move<'_>) -> Played;
    /// Makes the call that panics.
    fn panic(&mut self, host: &Host) -> Result<(), Broken>;
    /// Releases the slot.
    fn leave(&mut self);
}

/// What happened during a move.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) load: Load,
    /// The host's result.
    pub(crate) answer: Option<Result<(), String>>,
    /// How long callers waited because of the move.
    pub(crate) pause: Duration,
    pub(crate) before: Sight,
    pub(crate) after: Sight,
    /// Another check that failed.
    pub(crate) broken: Option<Broken>,
}

impl Played {
    /// Records a failed check, if it is the first one.
    pub(crate) fn broke(&mut self, broken: impl Into<Broken>) {
        self.broken.get_or_insert(broken.into());
    }
}

/// Statistics of the load.
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

/// Checks that the panicking call has panicked.
pub(crate) fn must_have_panicked<T: Debug>(answer: Result<T, CallError>) -> Result<(), Broken> {
    match answer {
        Err(error) if matches!(error.fault(), Fault::Panicked { .. }) => Ok(()),
        other => Err(Broken::Usage(format!(
            "the call given to `panics` must panic inside the plugin, and it returned {other:?}"
        ))),
    }
}
