//! Going back to an artifact that was kept: further than to what stands by, or after that is gone. It is a reload like any other,
//! from the history instead of the folder, whose candidate starts from the state of what it replaces or, if that cannot be
//! had, from the one that was handed over to that.

use super::{Clock, LoadOutcome, PendingArchive, pipeline, pipeline::CandidateSpec, place};
use crate::{
    content::ContentHash,
    error::{Cause, Refusal},
    event::{Event, Step},
    history::{Artifact, HistoryError},
    host::Inner,
    image::stage::{Bytes, Source},
    instances::LoadRequest,
    slot::{Candidate, RollbackPlan, RollbackReason, SlotRecord},
};
use std::{path::Path, sync::Arc, time::Instant};

/// Has a slot go back to the artifact with this hash, or to the newest good one before what serves.
pub(super) fn go_back(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    to: Option<ContentHash>,
    reason: RollbackReason,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Result<LoadOutcome, Refusal> {
    let since = Instant::now();
    let (serving, snapshot) = {
        let state = record.lock_settled();
        let current = state.current.as_ref();
        let serving = current.map(|current| (current.generation.number(), current.hash));
        (serving, current.and_then(|current| current.inherited.clone()))
    };
    // Kept, but the system refuses to have it read: that is another matter than that nothing is kept.
    let mut unreadable = None;
    let found = match to {
        Some(hash) => host.history.read(&record.name, &hash).map(|artifact| Some((hash, artifact))),
        None => {
            let before = serving.map(|(_, hash)| hash);
            let (found, passed_over) = host.history.good_before(&record.name, before.as_ref(), true);
            for error in passed_over {
                if matches!(error, HistoryError::Io { .. }) {
                    unreadable.get_or_insert_with(|| error.clone());
                }
                host.report_history_error(&record.name, Err(error));
            }
            Ok(found)
        }
    };
    let (hash, Artifact { bytes, copy, file, .. }) = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            let generation = serving.map_or(0, |(number, _)| number);
            host.log.push(Event::NoFallback {
                slot: record.name.clone(),
                generation,
                reason: reason.clone(),
            });
            let cause = unreadable.map_or(Cause::NothingToGoBackTo(reason), Cause::History);
            return Err(refuse(record, cause));
        }
        Err(error) => return Err(refuse(record, error.into())),
    };
    let coming = CandidateSpec {
        path: &file,
        by_name: true,
        state: None,
        back: Some(RollbackPlan { reason, snapshot, since }),
        kept_as: Some(copy),
        together: false,
        reinstance_of: None,
    };
    let source = Source {
        path: file.clone(),
        len: bytes.len() as u64,
        bytes: Bytes::of(bytes),
        hash,
    };
    let outcome = made(host, record, coming, source, Clock::begin()).and_then(|(candidate, pending_archive)| {
        let placed = place::place(host, candidate)?;
        archive_later(pending_archive);
        Ok(placed)
    });
    if let Err(refusal) = &outcome {
        host.history.forget(&record.name, &hash);
        host.log.push(Event::Refused(refusal.clone()));
    }
    outcome
}

/// A candidate for this slot, of bytes that were an artifact before.
pub(super) fn made(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    coming: CandidateSpec<'_>,
    source: Source,
    clock: Clock,
) -> Result<(Candidate, PendingArchive), Refusal> {
    let request = LoadRequest::of_slot(coming.path, &record.name);
    match pipeline::examine(source) {
        Ok(examined) => pipeline::candidate(host, record, coming, examined, clock),
        Err(unfit) => Err(pipeline::refusals_of(host, &request, *unfit).remove(0)),
    }
}

fn refuse(record: &SlotRecord, cause: Cause) -> Refusal {
    // What is asked for names no file.
    pipeline::refusal(Some(record), None, Path::new(""), Step::Read, cause)
}
