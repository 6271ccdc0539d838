//! One attempt to make a candidate for one slot: the data that all of its steps need, and its refusals.

use super::clock::Clock;
use crate::{runtime::Runtime, slot::SlotRecord};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Refusal, Step};
use std::{path::Path, sync::Arc};

/// The slot that a candidate is for, and the record that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// The slot whose callers and whose state the candidate must fit.
    pub(super) slot: &'a Arc<SlotRecord>,
    /// The record that the candidate belongs to: the slot's, or for a shadow one that no list of the host contains.
    pub(super) record: &'a Arc<SlotRecord>,
}

impl<'a> Target<'a> {
    /// A candidate that may be published.
    pub(super) fn of(slot: &'a Arc<SlotRecord>) -> Self {
        let record = slot;
        Self { slot, record }
    }

    /// The name that events and refusals use.
    pub(super) fn name(&self) -> &'a Arc<str> {
        &self.record.name
    }

    pub(super) fn refusal(&self, path: &Path, candidate: Option<u64>, step: Step, cause: impl Into<Cause>) -> Refusal {
        let mut refusal = refusal(Some(self.slot), candidate, path, step, cause);
        refusal.slot = Some(self.name().clone());
        refusal
    }
}

/// One attempt to make a candidate for one slot.
pub(super) struct Attempt<'a> {
    pub(super) host: &'a Arc<Runtime>,
    pub(super) target: Target<'a>,
    /// The path that events and refusals use.
    pub(super) path: &'a Path,
    /// The hash of the published file, see [`LintedArtifact`](super::artifact::LintedArtifact).
    pub(super) hash: ContentHash,
    /// The candidate's number; none before its private copy is written.
    pub(super) number: Option<u64>,
    pub(super) clock: Clock,
}

impl<'a> Attempt<'a> {
    /// Runs a step: measures it if it succeeds, and names it in the refusal if not.
    pub(super) fn step<T, E: Into<Cause>>(
        &mut self,
        step: Step,
        body: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, Refusal> {
        let done = body(self).map_err(|cause| self.refusal(step, cause))?;
        self.clock.lap(step);
        Ok(done)
    }

    /// Runs a step that may be left out: `body` answers whether it did anything.
    pub(super) fn step_if<E: Into<Cause>>(
        &mut self,
        step: Step,
        body: impl FnOnce(&Self) -> Result<bool, E>,
    ) -> Result<(), Refusal> {
        match body(self) {
            Ok(true) => self.clock.lap(step),
            Ok(false) => {}
            Err(cause) => return Err(self.refusal(step, cause)),
        }
        Ok(())
    }

    pub(super) fn refusal(&self, step: Step, cause: impl Into<Cause>) -> Refusal {
        self.target.refusal(self.path, self.number, step, cause)
    }

    /// The number of the candidate that is being made.
    pub(super) fn number(&self) -> u64 {
        self.number.unwrap_or_default()
    }
}

/// A refusal, with the current generation of the slot.
pub(super) fn refusal(
    record: Option<&SlotRecord>,
    candidate: Option<u64>,
    path: &Path,
    step: Step,
    cause: impl Into<Cause>,
) -> Refusal {
    let serving = record.and_then(|record| record.lock().serving_number());
    let mut refusal = Refusal::new(path.to_owned(), step, Arc::new(cause.into()));
    refusal.slot = record.map(|record| record.name.clone());
    (refusal.candidate, refusal.serving) = (candidate, serving);
    refusal
}
