//! What follows the refusal of a candidate: what the history forgets, what is tried again and when, and which bytes are not tried again by
//! themselves. The reload thread does this for what it refuses itself, and an owner's `sync` for a candidate that waited for it.

use super::inputs;
use crate::{
    instances::LoadRequest,
    runtime::{Retries, Runtime},
    slot::{Candidate, Slots},
};
use reslot_artifact::ContentHash;
use reslot_report::Refusal;
use std::sync::Arc;

/// What must be known of a candidate once it is refused: the candidate itself is gone by then.
pub(super) struct CandidateFacts {
    hash: ContentHash,
    retry: Retry,
    /// The slots that its plugin uses and that were empty.
    empty_uses: Vec<String>,
}

/// When the same artifact may be loaded again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// At once, or when what it lacked is there.
    NowOrLater,
    /// Only at once: it starts from a saved state, which a later try would not have.
    OnlyNow,
    /// Not any more: the saved state is used up, or the artifact came from the history and another build may be at its path by now.
    Never,
}

/// What happens next.
pub(super) enum Next {
    /// Load it again at once, with the inputs of the current generation.
    LoadAgain,
    /// The refusal stands.
    Refused,
}

impl CandidateFacts {
    /// Of an artifact of which no candidate has been made yet.
    pub(super) fn of_artifact(hash: ContentHash, starts_from_saved: bool) -> Self {
        Self {
            hash,
            retry: match starts_from_saved {
                true => Retry::OnlyNow,
                false => Retry::NowOrLater,
            },
            empty_uses: Vec::new(),
        }
    }

    /// Of a candidate that was staged, and that its owner adopts now.
    pub(super) fn of_staged(slots: &Slots, candidate: &Candidate) -> Self {
        let mut facts = Self::of_artifact(candidate.hash, candidate.starts_from_saved());
        if candidate.is_rollback() || candidate.starts_from_saved() {
            facts.retry = Retry::Never;
        }
        facts.note_empty_uses(slots, candidate);
        facts
    }

    /// To be called before the candidate is started.
    pub(super) fn note_empty_uses(&mut self, slots: &Slots, candidate: &Candidate) {
        self.empty_uses = slots.empty_among(&candidate.generation.instance().manifest().uses);
    }

    pub(super) fn after_refusal(self, host: &Runtime, slot: &Arc<str>, refusal: &Refusal) -> Next {
        host.storage.history.forget(slot, &self.hash);
        if self.retry != Retry::Never && inputs::falls_back(&host.inputs, &host.log, slot, &self.hash, refusal) {
            return Next::LoadAgain;
        }
        if self.retry == Retry::NowOrLater {
            inputs::retry_when_inputs_change(&host.inputs, slot, refusal);
            self.wait_for_uses(&host.slots, &host.retries, slot, refusal);
        }
        remember(&host.slots, self.hash, refusal);
        Next::Refused
    }

    fn wait_for_uses(&self, slots: &Slots, retries: &Retries, slot: &Arc<str>, refusal: &Refusal) {
        for name in &self.empty_uses {
            retries.wait_for_slot(name, LoadRequest::of_slot(&refusal.path, slot));
        }
        // A slot may have been filled since the candidate saw it empty, and nobody will say so again.
        let still_empty = slots.empty_among(&self.empty_uses);
        for name in self.empty_uses.iter().filter(|name| !still_empty.contains(name)) {
            retries.slot_filled(name);
        }
    }
}

/// Notes that these bytes are not to be tried again by themselves, if the cause cannot pass.
pub(super) fn remember(slots: &Slots, hash: ContentHash, refusal: &Refusal) {
    if refusal.cause.scope().is_remembered() {
        slots.refusals.remember(hash, refusal.clone());
    }
}
