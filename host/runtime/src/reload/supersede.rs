//! What waited for an owner, and will not be adopted any more.

use crate::{
    event::Log,
    history::History,
    slot::{Candidate, CandidateSet, SlotCandidate, SlotRecord},
};
use reslot_report::Event;
use std::sync::Arc;

/// Tells of a candidate that will not come to serve, and lets it go.
pub(super) fn report_superseded(history: &History, log: &Log, record: &SlotRecord, superseded: Option<Candidate>) {
    let Some(superseded) = superseded else { return };
    if !superseded.is_reinstance() {
        history.forget(&record.name, &superseded.hash);
    }
    log.push(Event::Superseded {
        slot: record.name.clone(),
        generation: superseded.generation.number(),
    });
}

/// A set that will not be adopted any more.
pub(super) fn supersede_set(history: &History, log: &Log, set: Option<Arc<CandidateSet>>) {
    let Some(set) = set else { return };
    for SlotCandidate { record, candidate } in set.take() {
        let mut state = record.lock();
        // What has taken its place in this slot may be a set as well.
        state.staged_set.take_if(|waiting| Arc::ptr_eq(waiting, &set));
        record.note_staged(&state);
        drop(state);
        report_superseded(history, log, &record, Some(candidate));
    }
}
