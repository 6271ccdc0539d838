//! A rollback to a version of the history: further back than the standby, or after the standby is gone. It is a reload like any other, from
//! the history instead of the folder. Its candidate starts from the state of the current generation or, if that is not available, from the
//! state that the current generation itself had taken over.

use super::{
    archive::PendingArchive,
    artifact::{lint, lint_archived, refusal_of},
    attempt::{Target, refusal},
    clock::Clock,
    messages::LoadOutcome,
    steps::{bring_into_service, make_candidate},
};
use crate::{
    engines::Linked,
    instances::LoadRequest,
    runtime::Runtime,
    slot::{CandidateKind, RollbackPlan, SlotRecord},
};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Event, HistoryError, Refusal, RollbackReason, Step};
use reslot_sync::Instant;
use std::{path::Path, sync::Arc};

/// Rolls a slot back to the version with this hash, or to the newest good one before the current one.
pub(super) fn go_back(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    to: Option<ContentHash>,
    reason: RollbackReason,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Result<LoadOutcome, Refusal> {
    let since = Instant::now();
    let (serving, earlier) = {
        let state = record.lock_replaceable();
        let current = state.current();
        let serving = current.map(|current| (current.generation.number(), current.hash));
        (serving, current.and_then(|current| current.inherited.clone()))
    };
    if let Some((generation, hash)) = serving
        && to == Some(hash)
    {
        // Another rollback was faster.
        let slot = record.name.clone();
        return Ok(LoadOutcome::Unchanged { slot, generation });
    }
    // An I/O error is reported as such, and not as "nothing to go back to".
    let mut unreadable = None;
    // What is linked into the program is kept by the program.
    let linked = linked_for(host, record).filter(|linked| serving.is_none_or(|(_, serving)| serving != linked.hash));
    let found = match to {
        Some(hash) if linked.is_some_and(|linked| linked.hash == hash) => Ok(None),
        Some(hash) => host
            .storage
            .history
            .read(&record.name, &hash)
            .map(|artifact| Some((hash, artifact))),
        None => {
            let before = serving.map(|(_, hash)| hash);
            let (found, passed_over) = host.storage.history.good_before(&record.name, before.as_ref(), true);
            for error in passed_over {
                if matches!(error, HistoryError::Io { .. }) {
                    unreadable.get_or_insert_with(|| error.clone());
                }
                host.storage.report_history_error(&record.name, Err(error));
            }
            Ok(found)
        }
    };
    let (hash, file, artifact) = match (found, linked) {
        (Ok(Some((hash, archived))), _) => {
            let file = archived.file.clone();
            (hash, file, lint_archived(host, hash, archived))
        }
        (Ok(None), Some(linked)) => (linked.hash, linked.path.clone(), lint(host, linked.source())),
        (Ok(None), None) => {
            let generation = serving.map(|(number, _)| number);
            host.log.push(Event::NoFallback {
                slot: record.name.clone(),
                generation,
                reason: reason.clone(),
            });
            let cause = unreadable.map_or(Cause::NothingToGoBackTo(reason), Cause::History);
            return Err(refuse(record, cause));
        }
        (Err(error), _) => return Err(refuse(record, error.into())),
    };
    let kind = CandidateKind::Rollback(RollbackPlan { reason, earlier, since });
    let outcome = artifact
        .map_err(|unfit| refusal_of(host, &LoadRequest::of_slot(&file, &record.name), *unfit))
        .and_then(|artifact| make_candidate(host, Target::of(record), kind, &file, artifact, Clock::begin()))
        .and_then(|(candidate, archive)| {
            let outcome = bring_into_service(host, record, candidate)?;
            if let Some(archive) = archive {
                archive_later(archive);
            }
            Ok(outcome)
        });
    if let Err(refusal) = &outcome {
        host.storage.history.forget(&record.name, &hash);
        host.log.push(Event::Refused(refusal.clone()));
    }
    outcome
}

/// The plugin that is linked into the program for this slot, unless the slot was rolled back from it.
pub(crate) fn linked_for<'a>(host: &'a Runtime, record: &SlotRecord) -> Option<&'a Linked> {
    let is_for = |linked: &&Linked| host.slots.instances().of(linked.name(), &linked.path).contains(&record.name);
    let linked = host.engines.linked().find(is_for)?;
    host.storage
        .history
        .known_bad(&record.name, &linked.hash)
        .is_none()
        .then_some(linked)
}

fn refuse(record: &SlotRecord, cause: Cause) -> Refusal {
    // The request names no file.
    refusal(Some(record), None, Path::new(""), Step::Read, cause)
}
