//! Floor 4: moving a slot on. A reload walks through these rooms from top to bottom: `pipeline` makes a candidate of a file
//! (stage, lint, open, verify, create), `place` decides on whose thread it comes to serve, `prepare` gives it the state and starts
//! it (migrate, init, start, health), `hand_over` moves the pointer (swap), `probation` judges it and `rollback` goes back, on the
//! thread of `supervisor`; `reaper` ends what was replaced (retire, unload, prove). The thread here does everything up to the swap,
//! one file at a time, in order.

mod exclusive;
mod given;
mod go_back;
mod hand_over;
mod pipeline;
mod place;
mod prepare;
mod reaper;
mod rollback;
mod shadow;
mod supervisor;
mod together;
mod try_out;
mod unload;
mod uses;

pub use crate::slot::{Counts, RollbackReason, SavedState};
pub(crate) use place::hand_over_to_claim;
pub(crate) use prepare::check_plugin;
pub(crate) use reaper::{Deadlines, Reaper};
pub use rollback::{RestoredState, RollbackReport};
pub(crate) use rollback::{of_claim as roll_back_claim, of_open_slot as roll_back_open};
pub(crate) use shadow::{ShadowOf, end_shadow, shadow, state_for_owner};
pub(crate) use supervisor::{check_of_claim, confirm, run as supervise};
pub(crate) use together::adopt as adopt_together;
pub(crate) use try_out::{Serving, answer_for_claim, state_of_open};
pub use unload::{UnloadError, UnloadOutcome, UnloadReason, Unloaded};
pub(crate) use unload::{of_claim as unload_claim, of_claim_if_asked as unload_claim_if_asked};
pub(crate) use uses::sort as sort_by_uses;

use pipeline::{CandidateSpec, LintedArtifact, PendingArchive};

use crate::{
    content::ContentHash,
    error::{Cause, Refusal, SavedStateError},
    event::{Event, ReloadReport, Step},
    host::Inner,
    image::{safe_point, stage::Source},
    instances::LoadRequest,
    slot::{ContentPlace, SlotRecord, UnloadRequest},
    watch::Notice,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

/// What the reload thread is asked to do.
pub(crate) enum ReloadMessage {
    /// The watch noticed something.
    Noticed(Notice),
    /// The embedder asks for a file.
    Load {
        request: LoadRequest,
        /// Whether it is asked for by its name, and not only found when the host starts.
        by_name: bool,
        /// What it is to start from.
        state: Option<SavedState>,
        answer: Sender<Result<Outcomes, Refusal>>,
    },
    /// The embedder asks for several files at once.
    LoadTogether {
        request: Vec<LoadRequest>,
        answer: Sender<Result<Vec<LoadOutcome>, Refusal>>,
    },
    /// What a file was refused for is another now: it is tried again.
    Retry(LoadRequest),
    /// Everything that was asked for before has been done.
    Flush(Sender<()>),
    /// What was refused last for want of room in this slot may be tried again, if nothing has come since.
    Deferred(Arc<str>),
    /// A slot's generation is faulty, and nothing stands by; or somebody asks for a version that was kept.
    GoBack {
        record: Arc<SlotRecord>,
        /// The faulty one: if something else serves by now, there is nothing to do.
        from: Option<u64>,
        to: Option<ContentHash>,
        reason: RollbackReason,
        answer: Option<Sender<Result<LoadOutcome, Refusal>>>,
    },
    /// A slot is to be unloaded.
    Unload {
        record: Arc<SlotRecord>,
        request: UnloadRequest,
        answer: Sender<Result<UnloadOutcome, UnloadError>>,
    },
    /// A claim was dropped while something waited for it.
    Settle(Arc<SlotRecord>),
    /// What plugins are given may be something else than what those that serve were given.
    InputsChanged,
    /// Something has happened to the file of a resource.
    Resource(String),
    /// An image waits for thread-locals that its code has left on this thread.
    SafePoint,
    /// The host goes.
    End,
}

/// What became of a file that was loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadOutcome {
    /// Its code serves.
    Swapped(ReloadReport),
    /// It waits for the owner's `sync`; also if the same content was waiting already.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The candidate.
        generation: u64,
    },
    /// The slot went back to the generation that stood by.
    RolledBack(RollbackReport),
    /// Its content serves already.
    Unchanged {
        /// The slot.
        slot: Arc<str>,
        /// The generation that serves.
        generation: u64,
    },
    /// The slot was unloaded, and the file is as it was then: it is loaded when it is published anew, or by name. Only
    /// [`Host::rescan`](crate::Host::rescan) answers this.
    StillUnloaded {
        /// The slot.
        slot: Arc<str>,
    },
    /// The file is for several slots ([`HostBuilder::instances`](crate::HostBuilder::instances)), and each of them took it: what became
    /// of it in each, in their order.
    Instances(Vec<LoadOutcome>),
}

/// What became of a file in each of the slots that it is for.
pub(crate) type Outcomes = Vec<Result<LoadOutcome, Refusal>>;

/// How long a file that somebody is writing is left alone before it is looked at again: doubled each time, up to the most.
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// How long [`Host::load`](crate::Host::load) waits for a file that somebody is writing.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);

/// A file that is looked at again.
struct Retry {
    at: Instant,
    wait: Duration,
    noticed: Instant,
}

/// How long what was staged is left alone before its bytes are put away: its owner mostly comes at once, and what he needs is to find a
/// processor that has nothing else to do.
const ARCHIVE_DELAY: Duration = Duration::from_millis(10);

/// The reload thread.
pub(crate) fn run(host: &Arc<Inner>, messages: &Receiver<ReloadMessage>) {
    let mut retries: BTreeMap<LoadRequest, Retry> = BTreeMap::new();
    // Of the last candidate. When the next message comes, it is put away.
    let mut pending_archive: Option<(Instant, PendingArchive)> = None;
    let mut unread = given::UnreadResources::default();
    let mut deleted = unload::Deleted::default();
    loop {
        let next = retries
            .values()
            .map(|retries| retries.at)
            .chain(unread.next())
            .chain(host.given.next())
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
                let state = state.as_ref();
                let how = LoadOptions { by_name, state };
                // If nobody waits any more, the file was loaded all the same, and the events say so. If the load panics, the
                // sender is dropped, and `Host::load` says that.
                survive(|| drop(answer.send(Ok(load(host, &request, how, &mut archive_later)))));
            }
            Ok(ReloadMessage::LoadTogether { request, answer }) => {
                survive(|| drop(answer.send(together::load(host, request))));
            }
            Ok(ReloadMessage::Retry(request)) => {
                host.slots.refusals.forget_file(&request);
                survive(|| take(host, &mut retries, request, Instant::now(), FIRST_WAIT, &mut archive_later));
            }
            Ok(ReloadMessage::Flush(done)) => drop(done.send(())),
            Ok(ReloadMessage::Deferred(slot)) => {
                if let Some(path) = host.take_deferred(&slot) {
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
                if from.is_some() && from != record.serving_and_nothing_newer() {
                    return;
                }
                let outcome = go_back::go_back(host, &record, to, reason, &mut archive_later);
                if let Some(answer) = answer {
                    drop(answer.send(outcome));
                }
            }),
            Ok(ReloadMessage::Unload { record, request, answer }) => survive(|| {
                drop(answer.send(unload::unload(host, &record, request)));
                deleted.recheck(host);
            }),
            Ok(ReloadMessage::Settle(slot)) => survive(|| {
                unload::settle(host, &slot);
                place::settle(host, &slot);
            }),
            Ok(ReloadMessage::InputsChanged) => survive(|| given::settle(host)),
            Ok(ReloadMessage::Resource(name)) => survive(|| unread.read(host, name, FIRST_WAIT)),
            // `create`, `migrate` and `start` run here.
            Ok(ReloadMessage::SafePoint) => safe_point(),
            Ok(ReloadMessage::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                survive(|| unread.read_due(host));
                survive(|| given::settle_due(host));
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

/// A panic here is a bug of ours. It must cost the one reload or the one unloading, not all that are to come.
fn survive(body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        tracing::error!(
            "a reload or an unloading panicked; this is a bug in Reslot, please report it with the panic's message"
        );
    }
}

/// Reloads from a file that was noticed; one that somebody is writing is put back.
fn take(
    host: &Arc<Inner>,
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

/// Loads a file that the embedder named. A content that was refused before is tried again: it was asked for by name.
fn load(
    host: &Arc<Inner>,
    request: &LoadRequest,
    how: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Outcomes {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let all = reload(host, request, begun, how, archive_later);
        let waits = |tried: &SlotLoad| matches!(tried, SlotLoad::Refused(refusal) if is_transient(refusal));
        if all.iter().any(waits) && begun.elapsed() < LOAD_PATIENCE {
            std::thread::sleep(wait);
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

/// Reads a file, and waits for whoever is writing it.
fn read_patiently(host: &Inner, request: &LoadRequest, clock: &mut Clock) -> Result<Source, Refusal> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match pipeline::read(host, request, clock) {
            Err(refusal) if is_transient(&refusal) && begun.elapsed() < LOAD_PATIENCE => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            outcome => return outcome,
        }
    }
}

fn is_transient(refusal: &Refusal) -> bool {
    matches!(&*refusal.cause, Cause::Stage(error) if error.is_transient())
}

/// How a file is to be loaded.
#[derive(Clone, Copy, Default)]
struct LoadOptions<'a> {
    /// Somebody asked for it by its name.
    by_name: bool,
    /// What it is to start from, in a slot in which nothing serves.
    state: Option<&'a SavedState>,
}

/// What became of a file in one slot.
enum SlotLoad {
    Done(LoadOutcome),
    Refused(Refusal),
    /// It was refused before, which was told, and is not tried again.
    Known(Refusal),
}

/// One reload, from the file to the swap (or to the owner, who swaps), of each slot that the file is for.
fn reload(
    host: &Arc<Inner>,
    request: &LoadRequest,
    noticed: Instant,
    how: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Vec<SlotLoad> {
    let mut clock = Clock::new(noticed);
    clock.lap(Step::Notice);
    let source = match pipeline::read(host, request, &mut clock) {
        Ok(source) => source,
        Err(refusal) => return vec![SlotLoad::Refused(refusal)],
    };
    let mut all = Vec::new();
    // Where it is not known for which slots it is, its bytes have to say it.
    let mut slots = match &request.slot {
        Some(slot) => Some(vec![slot.clone()]),
        None => host
            .slots
            .plugin_with(&source.hash)
            .map(|plugin| host.slots.meant_by(request, &plugin, &host.instances)),
    };
    if let Some(slots) = &mut slots {
        slots.retain(|slot| is_new(host, request, slot, &source.hash, how, &mut all));
        if slots.is_empty() {
            return all;
        }
    }
    if let Some(refusal) = host.slots.refusals.of(&source.hash, None).filter(|_| !how.by_name) {
        all.push(still_refused(host, request, refusal));
        return all;
    }
    let hash = source.hash;
    let examined = match pipeline::examine(source) {
        Ok(examined) => examined,
        Err(unfit) => {
            for refusal in pipeline::refusals_of(host, request, *unfit) {
                if refusal.cause.scope().is_remembered() {
                    host.slots.refusals.remember(hash, refusal.clone());
                }
                all.push(SlotLoad::Refused(refusal));
            }
            return all;
        }
    };
    let slots = slots.unwrap_or_else(|| {
        let mut slots = host.slots.meant_by(request, examined.plugin(), &host.instances);
        slots.retain(|slot| is_new(host, request, slot, &hash, how, &mut all));
        slots
    });
    // The steps up to here are common to all of them; for what happens to the others, none has to answer.
    let steps = clock.steps.clone();
    for (at, slot) in slots.iter().enumerate() {
        let clock = match at {
            0 => std::mem::replace(&mut clock, Clock::begin()),
            _ => Clock::resume(noticed, steps.clone()),
        };
        let tried = one_slot(host, request, slot, examined.duplicate(), clock, how, archive_later);
        all.push(tried);
    }
    all
}

/// Whether a slot does not know this content yet. If it does, what that comes to is added.
fn is_new(
    host: &Inner,
    request: &LoadRequest,
    slot: &Arc<str>,
    hash: &ContentHash,
    how: LoadOptions<'_>,
    all: &mut Vec<SlotLoad>,
) -> bool {
    let before = as_before(host, request, slot, hash, how);
    let is_new = before.is_none();
    all.extend(before);
    is_new
}

/// What is known of a content in one slot, so that nothing has to be done: it serves or waits there already, or was refused there.
fn as_before(
    host: &Inner,
    request: &LoadRequest,
    slot: &Arc<str>,
    hash: &ContentHash,
    how: LoadOptions<'_>,
) -> Option<SlotLoad> {
    let (path, by_name) = (request.path.clone(), how.by_name);
    if how.state.is_some() {
        let record = host.slots.named(slot)?;
        let serving = record.lock().current.as_ref().map(|current| current.generation.number())?;
        let cause = SavedStateError::Serves { generation: serving };
        let refusal = pipeline::refusal(Some(&record), None, &path, Step::Read, cause);
        return Some(SlotLoad::Refused(refusal));
    }
    match host.slots.content_place(slot, hash) {
        Some(ContentPlace::Serves(generation)) => {
            let slot = slot.clone();
            host.log.push(Event::Unchanged {
                slot: slot.clone(),
                path,
                generation,
            });
            return Some(SlotLoad::Done(LoadOutcome::Unchanged { slot, generation }));
        }
        Some(ContentPlace::Waits(generation)) => {
            let slot = slot.clone();
            host.log.push(Event::AlreadyStaged {
                slot: slot.clone(),
                path,
                generation,
            });
            return Some(SlotLoad::Done(LoadOutcome::Staged { slot, generation }));
        }
        None => {}
    }
    if !by_name && host.slots.is_still_unloaded(slot, &request.path) {
        let slot = slot.clone();
        host.log.push(Event::StillUnloaded {
            slot: slot.clone(),
            path,
        });
        return Some(SlotLoad::Done(LoadOutcome::StillUnloaded { slot }));
    }
    let refused = host.slots.refusals.of(hash, Some(slot)).filter(|_| !by_name);
    refused.map(|refusal| still_refused(host, request, refusal))
}

fn still_refused(host: &Inner, request: &LoadRequest, refusal: Refusal) -> SlotLoad {
    host.log.push(Event::StillRefused {
        path: request.path.clone(),
        refusal: refusal.clone(),
    });
    SlotLoad::Known(refusal)
}

/// One slot's part of a reload.
fn one_slot(
    host: &Arc<Inner>,
    request: &LoadRequest,
    slot: &Arc<str>,
    examined: LintedArtifact,
    clock: Clock,
    how: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> SlotLoad {
    let path = &request.path;
    let (hash, noticed) = (examined.source.hash, clock.noticed);
    let record = host.slots.named_or_new(slot);
    let from_before = record.lock().current.as_ref().map(|current| current.path.clone());
    let coming = CandidateSpec {
        path,
        by_name: how.by_name,
        state: how.state,
        back: None,
        kept_as: None,
        together: false,
        reinstance_of: None,
    };
    let mut missing = Vec::new();
    let outcome = pipeline::candidate(host, &record, coming, examined, clock).and_then(|(candidate, pending_archive)| {
        missing = host.slots.empty_among(candidate.uses());
        let placed = place::place(host, candidate)?;
        archive_later(pending_archive);
        Ok(placed)
    });
    match outcome {
        Ok(outcome) => {
            if let Some(other) = from_before.filter(|_| !how.by_name) {
                report_other_file(host, slot, path, other);
            }
            SlotLoad::Done(outcome)
        }
        Err(refusal) => {
            host.history.forget(slot, &hash);
            if given::falls_back(host, slot, &hash, &refusal) {
                let only = LoadRequest::of_slot(path, slot);
                let retries = reload(host, &only, noticed, how, archive_later).pop();
                return retries.unwrap_or(SlotLoad::Refused(refusal));
            }
            // By itself it would be tried again without the state.
            if how.state.is_none() {
                given::refuse_inputs(host, slot, &refusal);
                for name in &missing {
                    host.wait_for_slot(name, LoadRequest::of_slot(path, slot));
                }
            }
            if refusal.cause.scope().is_remembered() {
                host.slots.refusals.remember(hash, refusal.clone());
            }
            SlotLoad::Refused(refusal)
        }
    }
}

/// Two files of one folder with the same plugin are for the same slot, and each that is published takes the place of the other's.
fn report_other_file(host: &Inner, slot: &Arc<str>, path: &Path, other: PathBuf) {
    if other != path && other.parent() == path.parent() && other.is_file() {
        host.log.push(Event::SameSlot {
            slot: slot.clone(),
            path: path.to_owned(),
            other,
        });
    }
}

/// Measures the steps.
pub(crate) struct Clock {
    pub(crate) noticed: Instant,
    last: Instant,
    pub(crate) steps: Vec<(Step, Duration)>,
}

impl Clock {
    fn new(noticed: Instant) -> Self {
        Self {
            noticed,
            last: noticed,
            steps: Vec::with_capacity(12),
        }
    }

    /// Goes on with the steps of a candidate that waited.
    fn resume(noticed: Instant, steps: Vec<(Step, Duration)>) -> Self {
        Self {
            noticed,
            last: Instant::now(),
            steps,
        }
    }

    /// For what is measured on another thread.
    fn begin() -> Self {
        Self::new(Instant::now())
    }

    /// Adds what was measured on another thread. What it took to get there and back is in none of them.
    fn took(&mut self, steps: Vec<(Step, Duration)>) {
        self.steps.extend(steps);
        self.last = Instant::now();
    }

    /// A step has ended, or another part of the one that was measured last.
    fn lap(&mut self, step: Step) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.last);
        match self.steps.last_mut() {
            Some((last, before)) if *last == step => *before += took,
            _ => self.steps.push((step, took)),
        }
        self.last = now;
    }
}
