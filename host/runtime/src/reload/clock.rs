//! How long each step of a reload took.

use reslot_report::Step;
use reslot_sync::Instant;
use std::time::Duration;

/// Measures the steps.
pub(crate) struct Clock {
    pub(crate) noticed: Instant,
    last: Instant,
    pub(crate) steps: Vec<(Step, Duration)>,
}

impl Clock {
    pub(super) fn new(noticed: Instant) -> Self {
        Self {
            noticed,
            last: noticed,
            steps: Vec::with_capacity(12),
        }
    }

    /// Continues the steps of a candidate that was staged.
    pub(super) fn resume(noticed: Instant, steps: Vec<(Step, Duration)>) -> Self {
        Self {
            noticed,
            last: Instant::now(),
            steps,
        }
    }

    /// For steps that are measured on another thread.
    pub(super) fn begin() -> Self {
        Self::new(Instant::now())
    }

    /// Adds steps that another thread has measured. The thread switches themselves are not measured.
    pub(super) fn took(&mut self, steps: Vec<(Step, Duration)>) {
        self.steps.extend(steps);
        self.last = Instant::now();
    }

    /// Ends a step. Called twice for the same step, it adds the times.
    pub(super) fn lap(&mut self, step: Step) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.last);
        match self.steps.last_mut() {
            Some((last, before)) if *last == step => *before += took,
            _ => self.steps.push((step, took)),
        }
        self.last = now;
    }
}
