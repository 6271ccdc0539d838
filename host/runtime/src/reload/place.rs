//! Either stages a candidate for its owner, or starts the hand-over of an open slot. There are three ways, by who calls the slot:
//!
//! - *claimed*: the candidate is staged, and the owner's `sync` hands over, on the owner's thread;
//! - *open, with state or exclusive*: the gate of the current generation is closed for the hand-over; callers wait, and none fails;
//! - *open otherwise*: no caller waits.

use super::{
    admission::{check_contracts, check_state},
    attempt::refusal,
    supersede::{report_superseded, supersede_set},
};
use crate::{
    runtime::Runtime,
    slot::{Candidate, CandidateKind, Generation, Moving, SlotRecord, SlotState, Slots},
};
use reslot_report::{Cause, Event, Refusal, Step};
use std::sync::Arc;

/// Where a candidate is now.
pub(super) enum Place {
    /// It is staged.
    Staged {
        /// Its number.
        generation: u64,
    },
    /// Discarded: it is a re-instantiation of a generation that is not current any more.
    Outdated {
        /// The current generation.
        serving: u64,
    },
    /// On its way into an open slot, which nobody can claim as long as `moving` lives.
    Open {
        candidate: Candidate,
        old: Option<Arc<Generation>>,
        moving: Moving,
    },
}

/// Stages a candidate, or takes the open slot for its hand-over. A candidate that was staged earlier is superseded.
pub(super) fn place(host: &Arc<Runtime>, record: &Arc<SlotRecord>, candidate: Candidate) -> Result<Place, Refusal> {
    let mut state = record.lock_replaceable();
    if is_outdated(&state, &candidate) {
        let serving = state.current().map_or(0, |current| current.generation.number());
        drop(state);
        discard_outdated(host, record, candidate);
        return Ok(Place::Outdated { serving });
    }
    if let Err(cause) = still_fits(&host.slots, &state, &candidate) {
        drop(state);
        return Err(no_longer_fits(record, &candidate, cause));
    }
    if state.is_claimed() {
        let generation = candidate.generation.number();
        let candidate = Candidate {
            fits_contracts: Some(state.contracts_version()),
            ..candidate
        };
        if !candidate.is_reinstance() {
            host.inputs.forget_vetoed(&record.name);
            host.retries.superseded(&record.name);
        }
        if candidate.is_requested_rollback() {
            // The last request counts, so an earlier one that waits for the owner is withdrawn.
            state.withdraw_rollback();
        }
        let superseded = state.staged.replace(candidate);
        let set = state.staged_set.take();
        record.signal_staged(true);
        let event = Event::Staged {
            slot: record.name.clone(),
            generation,
        };
        // Under the lock, which the owner needs to adopt: nobody hears of the adoption before the staging.
        host.log.append(event.clone());
        drop(state);
        host.log.trace(&event);
        report_superseded(&host.storage.history, &host.log, record, superseded);
        supersede_set(&host.storage.history, &host.log, set);
        // The owner usually comes at once.
        host.hooks.wake_one();
        return Ok(Place::Staged { generation });
    }
    let moving = record.begin_moving(&mut state);
    // The staged candidate of a claim that was dropped. It is older than this one.
    let superseded = state.staged.take();
    let set = state.staged_set.take();
    record.signal_staged(false);
    let old = state.serving().cloned();
    drop(state);
    report_superseded(&host.storage.history, &host.log, record, superseded);
    supersede_set(&host.storage.history, &host.log, set);
    Ok(Place::Open { candidate, old, moving })
}

/// A re-instantiation is outdated if its source generation is not current any more, for instance after a rollback.
pub(super) fn is_outdated(state: &SlotState, candidate: &Candidate) -> bool {
    let serving = state.serving_number();
    candidate.reinstance_of().is_some_and(|of| serving != Some(of))
}

/// Discards an outdated re-instantiation. The new current generation is checked separately.
pub(super) fn discard_outdated(host: &Runtime, record: &SlotRecord, candidate: Candidate) {
    report_superseded(&host.storage.history, &host.log, record, Some(candidate));
    host.threads.recheck_inputs(&host.inputs);
}

/// Checks again what may have changed since admission: the version may have been rolled back, a caller may have asked for another interface,
/// and another version may be current.
pub(super) fn still_fits(slots: &Slots, state: &SlotState, candidate: &Candidate) -> Result<(), Cause> {
    let manifest = candidate.generation.instance().manifest();
    if let CandidateKind::Fresh { by_name: false, .. } = candidate.kind
        && let Some(refused) = slots.refusals.of(&candidate.hash, Some(candidate.generation.slot()))
        && let Cause::RolledBack(reason) = &*refused.cause
    {
        return Err(Cause::KnownBad(reason.to_string()));
    }
    // A plugin that calls this one has no way to name the interface as a type, and the program may be built without stubs.
    if state.has_contracts() && !slots.interfaces.bind(&candidate.generation) {
        return Err(Cause::NoStubs {
            interface: manifest.interface.name.clone(),
        });
    }
    // Skip the comparison if no interface was added since: it takes longer than the rest of an adoption.
    if candidate.fits_contracts != Some(state.contracts_version()) {
        check_contracts(state, manifest)?;
    }
    match candidate.is_started || candidate.is_rollback() {
        true => Ok(()),
        false => check_state(state, manifest),
    }
}

pub(super) fn no_longer_fits(record: &SlotRecord, candidate: &Candidate, cause: Cause) -> Refusal {
    let number = candidate.generation.number();
    refusal(Some(record), Some(number), &candidate.path, Step::Swap, cause)
}
