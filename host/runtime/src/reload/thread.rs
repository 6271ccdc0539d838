//! The reload thread: it does everything up to the swap, one request at a time, in order.

use super::{
    adopt,
    archive::PendingArchive,
    artifact::{FIRST_WAIT, LOAD_PATIENCE, LONGEST_WAIT, is_transient},
    damaged,
    go_back::go_back,
    messages::{LoadOptions, LoadOutcome, Outcomes, ReloadMessage, SlotLoad},
    reinstance::{self, UnreadResources},
    steps::reload,
    survive::survive,
    together,
    unload::{self, DeletedFiles},
};
use crate::{
    instances::LoadRequest,
    runtime::Runtime,
    slot::{Candidate, SlotRecord},
    watch::Notice,
};
use reslot_report::{Cause, Event, RollbackReason};
use reslot_sync::{
    Instant,
    mpsc::{Receiver, RecvTimeoutError},
    thread,
};
use reslot_system::safe_point;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A file that is tried again later.
struct Retry {
    at: Instant,
    wait: Duration,
    noticed: Instant,
}

/// How long a staged candidate's bytes wait before the history writes them. The owner usually adopts within that time, and should not
/// compete with the copying for a core.
const ARCHIVE_DELAY: Duration = Duration::from_millis(10);

/// The reload thread.
pub(crate) fn run(host: &Arc<Runtime>, messages: &Receiver<ReloadMessage>) {
    let mut retries: BTreeMap<LoadRequest, Retry> = BTreeMap::new();
    // The bytes of the last candidate. They are written when the next message comes, if not before.
    let mut pending_archive: Option<(Instant, PendingArchive)> = None;
    let mut unread = UnreadResources::default();
    let mut deleted = DeletedFiles::default();
    loop {
        let next = retries
            .values()
            .map(|retries| retries.at)
            .chain(unread.next())
            .chain(host.inputs.next())
            .chain(pending_archive.as_ref().map(|(at, _)| *at))
            .min();
        let message = match next {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        survive(|| drop(pending_archive.take()));
        let mut archive_later = |kept: PendingArchive| pending_archive = Some((Instant::now() + ARCHIVE_DELAY, kept));
        match message {
            Ok(ReloadMessage::Noticed(Notice::Artifact { path, at, .. })) => {
                host.log.push(Event::Noticed { path: path.clone() });
                retries.retain(|waiting, _| waiting.path != path);
                let request = LoadRequest::file(path);
                survive(|| take(host, &mut retries, request, at, FIRST_WAIT, &mut archive_later));
            }
            Ok(ReloadMessage::Noticed(Notice::Deleted { path, .. })) => {
                retries.retain(|waiting, _| waiting.path != path);
                survive(|| deleted.file(host, &path));
            }
            Ok(ReloadMessage::Noticed(Notice::FolderGone { folder, .. })) => {
                host.log.push(Event::FolderMissing { path: folder });
            }
            Ok(ReloadMessage::Noticed(Notice::FolderBack { folder, .. })) => {
                host.log.push(Event::FolderBack { path: folder });
            }
            Ok(ReloadMessage::Load {
                request,
                by_name,
                state,
                answer,
            }) => {
                retries.retain(|waiting, _| {
                    waiting.path != request.path || (request.slot.is_some() && waiting.slot != request.slot)
                });
                let saved = state.as_ref();
                let options = LoadOptions { by_name, saved };
                // If nobody waits for the answer any more, the file was loaded all the same, and the events say so. If the load panics, the
                // sender is dropped, and `Host::load` reports that.
                survive(|| drop(answer.send(Ok(load(host, &request, options, &mut archive_later)))));
            }
            Ok(ReloadMessage::LoadTogether { request, answer }) => {
                survive(|| drop(answer.send(together::load(host, request))));
            }
            Ok(ReloadMessage::Retry(request)) => {
                host.slots.refusals.forget_file(&request);
                survive(|| take(host, &mut retries, request, Instant::now(), FIRST_WAIT, &mut archive_later));
            }
            Ok(ReloadMessage::Flush(done)) => drop(done.send(())),
            Ok(ReloadMessage::RoomAvailable(slot)) => {
                if let Some(path) = host.retries.take_waiting_for_quarantine(&slot) {
                    let request = LoadRequest::of_slot(path, &slot);
                    survive(|| take(host, &mut retries, request, Instant::now(), FIRST_WAIT, &mut archive_later));
                }
            }
            Ok(ReloadMessage::GoBack {
                record,
                from,
                to,
                reason,
                answer,
            }) => survive(|| {
                // Who asks for an earlier version does not want a newer one that waits, either; another requested rollback may wait already.
                let serving = |from| match reason {
                    RollbackReason::Manual => {
                        let state = record.lock_replaceable();
                        let waits = state.staged.as_ref().is_some_and(Candidate::is_requested_rollback);
                        !waits && state.serving_number() == Some(from)
                    }
                    _ => record.serving_and_nothing_newer() == Some(from),
                };
                if let Some(from) = from
                    && !serving(from)
                {
                    // The generation is not current any more.
                    if let Some(answer) = answer {
                        drop(answer.send(Ok(left_already(&record, from))));
                    }
                    return;
                }
                let outcome = go_back(host, &record, to, reason.clone(), &mut archive_later);
                if outcome.is_err() && reason == RollbackReason::Manual {
                    end_manual(&record);
                }
                match (answer, outcome) {
                    (Some(answer), outcome) => drop(answer.send(outcome)),
                    // Nobody waits for the answer of a request that waited for an adoption.
                    (None, Err(refusal)) if to.is_some() => {
                        if let Cause::History(error) = &*refusal.cause {
                            host.storage.report_history_error(&record.name, Err(error.clone()));
                        }
                    }
                    (None, _) => {}
                }
            }),
            Ok(ReloadMessage::Unload { record, request, answer }) => survive(|| {
                drop(answer.send(unload::unload(host, &record, request)));
                deleted.recheck(host);
            }),
            Ok(ReloadMessage::Settle(slot)) => survive(|| {
                unload::unload_unclaimed(host, &slot);
                adopt::adopt_unclaimed(host, &slot);
            }),
            Ok(ReloadMessage::Damaged {
                record,
                number,
                difference,
            }) => survive(|| damaged::repair(host, &record, number, &difference, &mut archive_later)),
            Ok(ReloadMessage::InstanceEnded { record, number }) => {
                survive(|| reinstance::replace_ended(host, &record, number))
            }
            Ok(ReloadMessage::InputsChanged) => survive(|| reinstance::update_outdated(host)),
            Ok(ReloadMessage::Resource(name)) => survive(|| unread.read(host, name, FIRST_WAIT)),
            // Static constructors and the snapshots of unshared plugins run on this thread, so it may hold thread-locals of an image.
            Ok(ReloadMessage::SafePoint) => safe_point(),
            Ok(ReloadMessage::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                survive(|| unread.read_due(host));
                survive(|| reinstance::update_due(host));
                let now = Instant::now();
                let due: Vec<LoadRequest> = retries
                    .iter()
                    .filter(|(_, retries)| retries.at <= now)
                    .map(|(request, _)| request.clone())
                    .collect();
                for request in due {
                    if let Some(Retry { wait, noticed, .. }) = retries.remove(&request) {
                        let wait = (wait * 2).min(LONGEST_WAIT);
                        survive(|| take(host, &mut retries, request, noticed, wait, &mut archive_later));
                    }
                }
            }
        }
    }
}

/// Reloads from a file that the watch has noticed. A file that somebody is still writing is tried again later.
fn take(
    host: &Arc<Runtime>,
    retries: &mut BTreeMap<LoadRequest, Retry>,
    request: LoadRequest,
    noticed: Instant,
    wait: Duration,
    archive_later: &mut dyn FnMut(PendingArchive),
) {
    for tried in reload(host, &request, noticed, LoadOptions::default(), archive_later) {
        match tried {
            SlotLoad::Refused(refusal) if is_transient(&refusal) => {
                if wait == FIRST_WAIT {
                    host.log.push(Event::Waiting {
                        path: request.path.clone(),
                        why: refusal.cause.to_string(),
                    });
                }
                let at = Instant::now() + wait;
                retries.insert(request.clone(), Retry { at, wait, noticed });
            }
            SlotLoad::Refused(refusal) => host.log.push(Event::Refused(refusal)),
            SlotLoad::Known(_) | SlotLoad::Done(_) => {}
        }
    }
}

/// Loads a file that the embedder named. Content that was refused before is tried again, because it was asked for by name.
fn load(
    host: &Arc<Runtime>,
    request: &LoadRequest,
    options: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Outcomes {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let all = reload(host, request, begun, options, archive_later);
        let waits = |tried: &SlotLoad| matches!(tried, SlotLoad::Refused(refusal) if is_transient(refusal));
        if all.iter().any(waits) && begun.elapsed() < LOAD_PATIENCE {
            thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            continue;
        }
        let outcome = |tried| match tried {
            SlotLoad::Refused(refusal) => {
                host.log.push(Event::Refused(refusal.clone()));
                Err(refusal)
            }
            SlotLoad::Known(refusal) => Err(refusal),
            SlotLoad::Done(outcome) => Ok(outcome),
        };
        return all.into_iter().map(outcome).collect();
    }
}

/// A requested rollback found nothing that it could load. If there is no standby either, the owner may adopt something newer again.
fn end_manual(record: &SlotRecord) {
    let mut state = record.lock();
    if state.standby().is_none() {
        state.withdraw_rollback();
    }
    drop(state);
    record.signals.request_again_if_staged();
}

/// The answer to a rollback from a generation that is not current any more.
fn left_already(record: &SlotRecord, from: u64) -> LoadOutcome {
    let state = record.lock();
    let generation = state.current().map_or(from, |current| current.generation.number());
    LoadOutcome::Unchanged {
        slot: record.name.clone(),
        generation,
    }
}
