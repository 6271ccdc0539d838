//! What follows when an image differs in memory from its artifact: the policy's decision, on the reload thread.

use super::{
    adopt::Waited,
    archive::PendingArchive,
    artifact::refusal_of,
    attempt::{Target, refusal},
    clock::Clock,
    go_back::go_back,
    messages::ReloadMessage,
    reinstance::{NotRenewed, OutdatedGeneration, lint_again, renew},
    steps::{bring_into_service, make_candidate},
    supersede::{report_replaced, report_superseded},
};
use crate::{
    deferred_work::defer,
    instances::LoadRequest,
    policy::DamagedImage,
    runtime::Runtime,
    slot::{Candidate, CandidateKind, Renewal, SlotRecord, Standby, SupervisorMessage},
};
use reslot_artifact::ImageDifference;
use reslot_report::{Event, RollbackReason, Step};
use std::sync::Arc;

/// Replaces a generation whose image is damaged, if it still has a role in the slot. One that is only held by callers goes with them.
pub(super) fn repair(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    number: u64,
    difference: &ImageDifference,
    archive_later: &mut dyn FnMut(PendingArchive),
) {
    let what = host.options.policy.on_damaged_image;
    if what == DamagedImage::Report {
        return;
    }
    give_up_standby(host, record, number);
    replace_staged(host, record, number, archive_later);
    let reason = RollbackReason::Damaged {
        slot: record.name.clone(),
        difference: Box::new(difference.clone()),
    };
    let mut state = record.lock_replaceable();
    let Some(current) = state.current().filter(|current| current.generation.number() == number) else {
        return;
    };
    let serving = OutdatedGeneration::of(current);
    // Another image waits for the owner already, or he adopts it now: a fresh one, or a newer build, which must not be superseded.
    let is_replaced = state.staged.is_some() || state.staged_set.is_some() || state.adopting().is_some();
    if state.is_gone() || is_replaced {
        return;
    }
    if what == DamagedImage::Rollback {
        if let Some(probation) = state.probation.as_mut().filter(|probation| probation.standby.is_some()) {
            probation.forced.get_or_insert(reason);
            record.signals.request_safe_point();
            drop(state);
            return host.threads.send_to_supervisor(SupervisorMessage::Look);
        }
        drop(state);
        if go_back(host, record, None, reason.clone(), archive_later).is_ok() {
            return;
        }
    } else {
        drop(state);
    }
    match renew(host, record, &serving, Renewal::Damage) {
        Ok(_) => {}
        Err(NotRenewed::Refused(refusal)) => host.log.push(Event::Refused(refusal)),
        Err(NotRenewed::Unreadable(error)) => {
            host.storage.report_history_error(&record.name, Err(error));
            // The artifact is intact nowhere, so an older one is better.
            if what == DamagedImage::Renew {
                let _ = go_back(host, record, None, reason, archive_later);
            }
        }
    }
}

/// No rollback may go to a damaged standby. Without it, a rollback goes to a version of the history.
fn give_up_standby(host: &Runtime, record: &SlotRecord, number: u64) {
    let mut state = record.lock_replaceable();
    let Some(probation) = state.probation.as_mut() else { return };
    let is_it = |standby: &mut Standby| standby.current.generation.number() == number;
    let Some(standby) = probation.standby.take_if(is_it) else {
        return;
    };
    drop(state);
    host.images.retire(&standby.current.generation);
    // The reaper must hear first that it is retired.
    defer(move || drop(standby));
}

/// A damaged candidate that waits for its owner is discarded. Another one of the same artifact takes its place, for the same purpose: a rollback
/// stays one, and a saved state is not lost.
fn replace_staged(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    number: u64,
    archive_later: &mut dyn FnMut(PendingArchive),
) {
    let mut state = record.lock_replaceable();
    let is_it = |staged: &mut Candidate| staged.generation.number() == number;
    let Some(staged) = state.staged.take_if(is_it) else { return };
    record.note_staged(&state);
    drop(state);
    let waited = Waited::of(host, &staged);
    let is_unsaved_build = matches!(staged.kind, CandidateKind::Fresh { saved: None, .. });
    let (hash, path) = (staged.hash, staged.path.clone());
    let artifact = lint_again(host, record, &staged.generation, hash, &path);
    let kind = staged.kind.clone();
    let request = LoadRequest::of_slot(&path, &record.name);
    let artifact = match artifact {
        Ok(artifact) => artifact,
        // There may be a newer build at its path.
        Err(_) if is_unsaved_build => {
            report_superseded(&host.storage.history, &host.log, record, Some(staged));
            return host.threads.send_to_reload(ReloadMessage::Retry(request));
        }
        Err(error) => {
            put_back(host, record, staged);
            return waited.report_refused(host, refusal(Some(record), None, &path, Step::Read, error));
        }
    };
    let made = artifact
        .map_err(|unfit| refusal_of(host, &request, *unfit))
        .and_then(|artifact| make_candidate(host, Target::of(record), kind, &path, artifact, Clock::begin()))
        .and_then(|(candidate, archive)| {
            bring_into_service(host, record, candidate)?;
            if let Some(archive) = archive {
                archive_later(archive);
            }
            Ok(())
        });
    match made {
        Ok(()) => report_replaced(&host.log, record, &staged),
        Err(refusal) => {
            put_back(host, record, staged);
            waited.report_refused(host, refusal);
        }
    }
}

/// A damaged candidate whose replacement could not be made waits again, so that a requested rollback or a saved state is not lost. A later
/// comparison asks for another replacement.
fn put_back(host: &Arc<Runtime>, record: &Arc<SlotRecord>, staged: Candidate) {
    let mut state = record.lock_replaceable();
    let is_superseded = state.is_gone() || state.staged.is_some() || state.staged_set.is_some();
    if is_superseded || !state.is_claimed() {
        drop(state);
        return report_superseded(&host.storage.history, &host.log, record, Some(staged));
    }
    state.staged = Some(staged);
    record.note_staged(&state);
}
