//! Staged candidates that will not be adopted any more.

use crate::{
    event::Log,
    history::History,
    slot::{Candidate, CandidateSet, SlotCandidate, SlotRecord},
};
use reslot_report::Event;
use std::sync::Arc;

/// Reports and drops a candidate that will not be adopted.
pub(super) fn report_superseded(history: &History, log: &Log, record: &SlotRecord, superseded: Option<Candidate>) {
    let Some(superseded) = superseded else { return };
    if !superseded.is_reinstance() {
        history.forget(&record.name, &superseded.hash);
    }
    report_replaced(log, record, &superseded);
}

/// Reports a candidate in whose place another one of the same artifact waits, so the history keeps the artifact.
pub(super) fn report_replaced(log: &Log, record: &SlotRecord, replaced: &Candidate) {
    log.push(Event::Superseded {
        slot: record.name.clone(),
        generation: replaced.generation.number(),
    });
}

/// Reports and drops a set that will not be adopted.
pub(super) fn supersede_set(history: &History, log: &Log, set: Option<Arc<CandidateSet>>) {
    let Some(set) = set else { return };
    for SlotCandidate { record, candidate } in set.take() {
        let mut state = record.lock();
        // Another set may have replaced it in this slot.
        state.staged_set.take_if(|waiting| Arc::ptr_eq(waiting, &set));
        record.note_staged(&state);
        drop(state);
        report_superseded(history, log, &record, Some(candidate));
    }
}

/// Discards what waits for the slot's owner, because an earlier version was asked for.
pub(crate) fn discard_staged(history: &History, log: &Log, record: &SlotRecord) {
    let mut state = record.lock();
    let (staged, set) = (state.staged.take(), state.staged_set.take());
    record.note_staged(&state);
    drop(state);
    report_superseded(history, log, record, staged);
    supersede_set(history, log, set);
}
