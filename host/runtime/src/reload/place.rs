//! Where a candidate goes: before its owner, or straight into its slot. Three ways, by who calls the slot:
//!
//! - *claimed*: the candidate is staged, and the owner's `sync` hands over, on the owner's thread;
//! - *open, with state or something exclusive*: the gate of what serves is closed for the length of it; callers wait, none fails;
//! - *open otherwise*: nobody waits for anything.

use super::{
    admission::{check_contracts, check_state},
    attempt::refusal,
    supersede::{report_superseded, supersede_set},
};
use crate::{
    runtime::Runtime,
    slot::{Candidate, Generation, Moving, SlotRecord, SlotState},
};
use reslot_report::{Cause, Event, Refusal, Step};
use std::sync::Arc;

/// Where a candidate has gone.
pub(super) enum Place {
    /// It waits for its owner.
    Staged {
        /// Its number.
        generation: u64,
    },
    /// Nowhere: it is another instance of what served, and something else serves by now.
    Outdated {
        /// What serves.
        serving: u64,
    },
    /// Into an open slot, which nobody claims as long as `moving` lives.
    Open {
        candidate: Candidate,
        old: Option<Arc<Generation>>,
        moving: Moving,
    },
}

/// Finds a candidate's place. What waited there is superseded.
pub(super) fn place(host: &Arc<Runtime>, record: &Arc<SlotRecord>, candidate: Candidate) -> Result<Place, Refusal> {
    let mut state = record.lock_settled();
    if is_outdated(&state, &candidate) {
        let serving = state.current().map_or(0, |current| current.generation.number());
        drop(state);
        discard_outdated(host, record, candidate);
        return Ok(Place::Outdated { serving });
    }
    if let Err(cause) = still_fits(&state, &candidate) {
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
        }
        let superseded = state.staged.replace(candidate);
        let set = state.staged_set.take();
        record.signal_staged(true);
        let event = Event::Staged {
            slot: record.name.clone(),
            generation,
        };
        // Under the lock, which the owner needs for adopting: nobody hears of the adoption before the staging.
        host.log.append(event.clone());
        drop(state);
        host.log.trace(&event);
        report_superseded(&host.storage.history, &host.log, record, superseded);
        supersede_set(&host.storage.history, &host.log, set);
        // The owner usually comes at once.
        host.hooks.wake_all();
        return Ok(Place::Staged { generation });
    }
    let moving = record.begin_moving(&mut state);
    // Left by a claim that was dropped, and older than what comes now.
    let superseded = state.staged.take();
    let set = state.staged_set.take();
    record.signal_staged(false);
    let old = state.serving().cloned();
    drop(state);
    report_superseded(&host.storage.history, &host.log, record, superseded);
    supersede_set(&host.storage.history, &host.log, set);
    Ok(Place::Open { candidate, old, moving })
}

/// A re-instantiation is of use only while the generation serves whose artifact it is: the slot may have gone back from it.
pub(super) fn is_outdated(state: &SlotState, candidate: &Candidate) -> bool {
    let serving = state.serving_number();
    candidate.reinstance_of().is_some_and(|of| serving != Some(of))
}

/// Discards an outdated re-instantiation. Whether the generation that serves by now needs another instance is asked separately.
pub(super) fn discard_outdated(host: &Runtime, record: &SlotRecord, candidate: Candidate) {
    report_superseded(&host.storage.history, &host.log, record, Some(candidate));
    host.threads.recheck_inputs(&host.inputs);
}

/// A caller may have asked for another interface since the candidate was admitted, and another version may have come to serve.
pub(super) fn still_fits(state: &SlotState, candidate: &Candidate) -> Result<(), Cause> {
    let manifest = candidate.generation.instance().manifest();
    // To compare all of it takes longer than the rest of an adoption.
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
