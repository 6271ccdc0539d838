//! The rest of the path of a staged candidate: on the owner's thread, in his `sync`; or, if the claim was dropped meanwhile, on the reload
//! thread.

use super::{
    after_refusal::{CandidateFacts, Next},
    inputs,
    messages::ReloadMessage,
    place::{discard_outdated, is_outdated, no_longer_fits, still_fits},
    steps::{swap_one, swap_open_slot},
    swap::Member,
    together,
};
use crate::{
    deadline::after,
    deferred_notifications::defer_notifications,
    instances::LoadRequest,
    runtime::Runtime,
    slot::{Access, Candidate, Generation, OwnersTurn, Renewal, SlotRecord, SlotState},
};
use reslot_report::{Event, Refusal, RollbackReason};
use std::sync::Arc;

/// Hands a claimed slot over, on its owner's thread. `None` if the candidate was refused.
pub(crate) fn adopt(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    turn: OwnersTurn<'_>,
    candidate: Candidate,
) -> Option<Arc<Generation>> {
    let waited = Waited::of(host, &candidate);
    let (outdated, fits) = {
        let state = record.lock();
        // It may have been staged for an earlier owner, who called it by another interface.
        (is_outdated(&state, &candidate), still_fits(&host.slots, &state, &candidate))
    };
    if outdated {
        discard_outdated(host, record, candidate);
        return None;
    }
    let member = Member {
        record: record.clone(),
        old,
        access: Access::of_owner(turn, after(host.options.drain_deadline)),
        candidate,
    };
    let outcome = match fits {
        Ok(()) => swap_one(host, member),
        Err(cause) => Err(no_longer_fits(record, &member.candidate, cause)),
    };
    match outcome {
        Ok(moved) => Some(moved.generation),
        Err(refusal) => {
            waited.report_refused(host, refusal);
            None
        }
    }
}

/// The owner of a claim adopts a candidate, until this is dropped: also if it panics. A rollback that was requested meanwhile, by a thread for
/// which the adoption waited, is done after that.
pub(crate) struct Adoption {
    host: Arc<Runtime>,
    record: Arc<SlotRecord>,
    begun: bool,
}

impl Adoption {
    /// Begins it, and takes what is to be adopted under the same lock. None if a requested rollback comes first.
    pub(crate) fn begin<T>(
        host: &Arc<Runtime>,
        record: &Arc<SlotRecord>,
        take: impl FnOnce(&mut SlotState) -> T,
    ) -> Option<(Self, T)> {
        let mut adoption = Self {
            host: host.clone(),
            record: record.clone(),
            begun: false,
        };
        let taken = {
            let mut state = record.lock();
            adoption.begun = record.begin_adopting(&mut state);
            adoption.begun.then(|| take(&mut state))
        };
        taken.map(|taken| (adoption, taken))
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        if let Some(to) = self.record.end_adopting() {
            self.host.threads.send_to_reload_later(ReloadMessage::GoBack {
                record: self.record.clone(),
                from: None,
                to: Some(to),
                reason: RollbackReason::Manual,
                answer: None,
            });
        }
    }
}

/// Adopts, on the reload thread, the candidate that was staged for a claim which was dropped.
pub(super) fn adopt_unclaimed(host: &Arc<Runtime>, record: &Arc<SlotRecord>) {
    let _deferred = defer_notifications();
    let mut state = record.lock_replaceable();
    if state.is_claimed() {
        return;
    }
    record.signal_staged(false);
    if let Some(set) = state.staged_set.clone() {
        drop(state);
        together::adopt_unclaimed(host, &set);
        return;
    }
    let Some(candidate) = state.staged.take() else { return };
    if is_outdated(&state, &candidate) {
        drop(state);
        discard_outdated(host, record, candidate);
        return;
    }
    let fits = still_fits(&host.slots, &state, &candidate);
    let moving = record.begin_moving(&mut state);
    let old = state.serving().cloned();
    drop(state);
    let waited = Waited::of(host, &candidate);
    let outcome = match fits {
        Ok(()) => swap_open_slot(host, record, old.as_ref(), candidate).map(drop),
        Err(cause) => Err(no_longer_fits(record, &candidate, cause)),
    };
    drop(moving);
    if let Err(refusal) = outcome {
        waited.report_refused(host, refusal);
    }
}

/// What must be known of a staged candidate in case it is refused.
pub(super) struct Waited {
    renewal: Option<Renewal>,
    facts: CandidateFacts,
}

impl Waited {
    pub(super) fn of(host: &Runtime, candidate: &Candidate) -> Self {
        Self {
            renewal: candidate.kind.renewal(),
            facts: CandidateFacts::of_staged(&host.slots, candidate),
        }
    }

    pub(super) fn report_refused(self, host: &Runtime, refusal: Refusal) {
        match self.renewal {
            Some(Renewal::Inputs) => return inputs::report_refused(host, refusal),
            // A later comparison finds the damage again and asks for another image (`scrub/answers.rs`). Without `Policy::scrub_every` that
            // is only when somebody calls `verify_images`.
            // The supervisor asks again for the replacement of an ended instance (`slot/restarts.rs`).
            Some(Renewal::Damage | Renewal::Ended) => return host.log.push(Event::Refused(refusal)),
            None => {}
        }
        if let Some(slot) = &refusal.slot
            && let Next::LoadAgain = self.facts.after_refusal(host, slot, &refusal)
        {
            let request = LoadRequest::of_slot(&refusal.path, slot);
            host.threads.send_to_reload(ReloadMessage::Retry(request));
            return;
        }
        host.threads.recheck_inputs(&host.inputs);
        host.log.push(Event::Refused(refusal));
    }
}
