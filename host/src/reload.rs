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
mod probation;
mod reaper;
mod rollback;
mod shadow;
mod supervisor;
mod tally;
mod together;
mod try_out;
mod unload;
mod uses;

pub(crate) use place::hand_over_to_claim;
pub(crate) use prepare::{Snapshot, check_plugin};
pub use probation::RollbackReason;
pub(crate) use probation::{Checkup, Probation, Standby, Verdict};
pub(crate) use reaper::{Deadlines, Reaper, ReaperMessage};
pub(crate) use rollback::{GoingBack, of_claim as roll_back_claim, of_open_slot as roll_back_open};
pub use rollback::{RollbackReport, StateBack};
pub(crate) use shadow::{ShadowOf, end_shadow, shadow, state_for_owner};
pub(crate) use supervisor::{SupervisorMessage, check_of_claim, confirm, run as supervise};
pub use tally::Counts;
pub(crate) use tally::{Phase, Tally};
pub(crate) use together::{Together, adopt as adopt_together};
pub(crate) use try_out::{Serving, answer_for_claim, state_of_open};
pub(crate) use unload::{LeftEmpty, UnloadRequest, of_claim as unload_claim, of_claim_if_asked as unload_claim_if_asked};
pub use unload::{SavedState, UnloadError, UnloadOutcome, UnloadReason, Unloaded};
pub(crate) use uses::{Uses, sort as sort_by_uses};

use pipeline::{Coming, Examined, ToKeep};

use crate::{
    content::ContentHash,
    error::{Cause, Refusal, SavedStateError},
    event::{Event, ReloadReport, Step},
    host::Inner,
    image::{safe_point, stage::Source},
    instances::Wanted,
    slot::{Has, SlotRecord},
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
        wanted: Wanted,
        /// Whether it is asked for by its name, and not only found when the host starts.
        by_name: bool,
        /// What it is to start from.
        state: Option<SavedState>,
        answer: Sender<Result<Outcomes, Refusal>>,
    },
    /// The embedder asks for several files at once.
    Together {
        wanted: Vec<Wanted>,
        answer: Sender<Result<Vec<LoadOutcome>, Refusal>>,
    },
    /// What a file was refused for is another now: it is tried again.
    Again(Wanted),
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
    Given,
    /// Something has happened to the file of a resource.
    Resource(String),
    /// An image waits for thread-locals that its code has left on this thread.
    Attention,
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
    /// [`Host::look_again`](crate::Host::look_again) answers this.
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
struct Again {
    at: Instant,
    wait: Duration,
    noticed: Instant,
}

/// How long what was staged is left alone before its bytes are put away: its owner mostly comes at once, and what he needs is to find a
/// processor that has nothing else to do.
const LEFT_ALONE: Duration = Duration::from_millis(10);

/// The reload thread.
pub(crate) fn run(host: &Arc<Inner>, messages: &Receiver<ReloadMessage>) {
    let mut again: BTreeMap<Wanted, Again> = BTreeMap::new();
    // Of the last candidate. When the next message comes, it is put away.
    let mut to_keep: Option<(Instant, ToKeep)> = None;
    let mut unread = given::Unread::default();
    let mut deleted = unload::Deleted::default();
    loop {
        let next = again
            .values()
            .map(|again| again.at)
            .chain(unread.next())
            .chain(host.given.next())
            .chain(to_keep.as_ref().map(|(at, _)| *at))
            .min();
        let message = match next {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        survive(|| drop(to_keep.take()));
        let mut keep_later = |kept: ToKeep| to_keep = Some((Instant::now() + LEFT_ALONE, kept));
        match message {
            Ok(ReloadMessage::Noticed(Notice::Artifact { path, at, .. })) => {
                host.log.push(Event::Noticed { path: path.clone() });
                again.retain(|waiting, _| waiting.path != path);
                let wanted = Wanted::file(path);
                survive(|| take(host, &mut again, wanted, at, FIRST_WAIT, &mut keep_later));
            }
            Ok(ReloadMessage::Noticed(Notice::Deleted { path, .. })) => {
                again.retain(|waiting, _| waiting.path != path);
                survive(|| deleted.file(host, &path));
            }
            Ok(ReloadMessage::Noticed(Notice::FolderGone { folder, .. })) => {
                host.log.push(Event::FolderMissing { path: folder });
            }
            Ok(ReloadMessage::Noticed(Notice::FolderBack { folder, .. })) => {
                host.log.push(Event::FolderBack { path: folder });
            }
            Ok(ReloadMessage::Load {
                wanted,
                by_name,
                state,
                answer,
            }) => {
                again.retain(|waiting, _| {
                    waiting.path != wanted.path || (wanted.slot.is_some() && waiting.slot != wanted.slot)
                });
                let state = state.as_ref();
                let how = How { by_name, state };
                // If nobody waits any more, the file was loaded all the same, and the events say so. If the load panics, the
                // sender is dropped, and `Host::load` says that.
                survive(|| drop(answer.send(Ok(load(host, &wanted, how, &mut keep_later)))));
            }
            Ok(ReloadMessage::Together { wanted, answer }) => {
                survive(|| drop(answer.send(together::load(host, wanted))));
            }
            Ok(ReloadMessage::Again(wanted)) => {
                host.forget_refused_from(&wanted);
                survive(|| take(host, &mut again, wanted, Instant::now(), FIRST_WAIT, &mut keep_later));
            }
            Ok(ReloadMessage::Flush(done)) => drop(done.send(())),
            Ok(ReloadMessage::Deferred(slot)) => {
                if let Some(path) = host.take_deferred(&slot) {
                    let wanted = Wanted::of_slot(path, &slot);
                    survive(|| take(host, &mut again, wanted, Instant::now(), FIRST_WAIT, &mut keep_later));
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
                let outcome = go_back::go_back(host, &record, to, reason, &mut keep_later);
                if let Some(answer) = answer {
                    drop(answer.send(outcome));
                }
            }),
            Ok(ReloadMessage::Unload { record, request, answer }) => survive(|| {
                drop(answer.send(unload::unload(host, &record, request)));
                deleted.look_again(host);
            }),
            Ok(ReloadMessage::Settle(slot)) => survive(|| {
                unload::settle(host, &slot);
                place::settle(host, &slot);
            }),
            Ok(ReloadMessage::Given) => survive(|| given::settle(host)),
            Ok(ReloadMessage::Resource(name)) => survive(|| unread.read(host, name, FIRST_WAIT)),
            // `create`, `migrate` and `start` run here.
            Ok(ReloadMessage::Attention) => safe_point(),
            Ok(ReloadMessage::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                survive(|| unread.read_due(host));
                survive(|| given::settle_due(host));
                let now = Instant::now();
                let due: Vec<Wanted> = again
                    .iter()
                    .filter(|(_, again)| again.at <= now)
                    .map(|(wanted, _)| wanted.clone())
                    .collect();
                for wanted in due {
                    if let Some(Again { wait, noticed, .. }) = again.remove(&wanted) {
                        let wait = (wait * 2).min(LONGEST_WAIT);
                        survive(|| take(host, &mut again, wanted, noticed, wait, &mut keep_later));
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
    again: &mut BTreeMap<Wanted, Again>,
    wanted: Wanted,
    noticed: Instant,
    wait: Duration,
    keep_later: &mut dyn FnMut(ToKeep),
) {
    for tried in reload(host, &wanted, noticed, How::default(), keep_later) {
        match tried {
            Tried::Refused(refusal) if is_transient(&refusal) => {
                if wait == FIRST_WAIT {
                    host.log.push(Event::Waiting {
                        path: wanted.path.clone(),
                        why: refusal.cause.to_string(),
                    });
                }
                let at = Instant::now() + wait;
                again.insert(wanted.clone(), Again { at, wait, noticed });
            }
            Tried::Refused(refusal) => host.log.push(Event::Refused(refusal)),
            Tried::Known(_) | Tried::Done(_) => {}
        }
    }
}

/// Loads a file that the embedder named. A content that was refused before is tried again: it was asked for by name.
fn load(host: &Arc<Inner>, wanted: &Wanted, how: How<'_>, keep_later: &mut dyn FnMut(ToKeep)) -> Outcomes {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let all = reload(host, wanted, begun, how, keep_later);
        let waits = |tried: &Tried| matches!(tried, Tried::Refused(refusal) if is_transient(refusal));
        if all.iter().any(waits) && begun.elapsed() < LOAD_PATIENCE {
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            continue;
        }
        let outcome = |tried| match tried {
            Tried::Refused(refusal) => {
                host.log.push(Event::Refused(refusal.clone()));
                Err(refusal)
            }
            Tried::Known(refusal) => Err(refusal),
            Tried::Done(outcome) => Ok(outcome),
        };
        return all.into_iter().map(outcome).collect();
    }
}

/// Reads a file, and waits for whoever is writing it.
fn read_patiently(host: &Inner, wanted: &Wanted, clock: &mut Clock) -> Result<Source, Refusal> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match pipeline::read(host, wanted, clock) {
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
struct How<'a> {
    /// Somebody asked for it by its name.
    by_name: bool,
    /// What it is to start from, in a slot in which nothing serves.
    state: Option<&'a SavedState>,
}

/// What became of a file in one slot.
enum Tried {
    Done(LoadOutcome),
    Refused(Refusal),
    /// It was refused before, which was told, and is not tried again.
    Known(Refusal),
}

/// One reload, from the file to the swap (or to the owner, who swaps), of each slot that the file is for.
fn reload(
    host: &Arc<Inner>,
    wanted: &Wanted,
    noticed: Instant,
    how: How<'_>,
    keep_later: &mut dyn FnMut(ToKeep),
) -> Vec<Tried> {
    let mut clock = Clock::new(noticed);
    clock.lap(Step::Notice);
    let source = match pipeline::read(host, wanted, &mut clock) {
        Ok(source) => source,
        Err(refusal) => return vec![Tried::Refused(refusal)],
    };
    let mut all = Vec::new();
    // Where it is not known for which slots it is, its bytes have to say it.
    let mut slots = match &wanted.slot {
        Some(slot) => Some(vec![slot.clone()]),
        None => host.plugin_with(&source.hash).map(|plugin| host.slots_for(wanted, &plugin)),
    };
    if let Some(slots) = &mut slots {
        slots.retain(|slot| is_new(host, wanted, slot, &source.hash, how, &mut all));
        if slots.is_empty() {
            return all;
        }
    }
    if let Some(refusal) = host.was_refused(&source.hash, None).filter(|_| !how.by_name) {
        all.push(still_refused(host, wanted, refusal));
        return all;
    }
    let hash = source.hash;
    let examined = match pipeline::examine(source) {
        Ok(examined) => examined,
        Err(unfit) => {
            for refusal in pipeline::refusals_of(host, wanted, *unfit) {
                if refusal.cause.is_of_the_bytes() {
                    host.remember_refused(hash, refusal.clone());
                }
                all.push(Tried::Refused(refusal));
            }
            return all;
        }
    };
    let slots = slots.unwrap_or_else(|| {
        let mut slots = host.slots_for(wanted, examined.plugin());
        slots.retain(|slot| is_new(host, wanted, slot, &hash, how, &mut all));
        slots
    });
    // The steps up to here are common to all of them; for what happens to the others, none has to answer.
    let steps = clock.steps.clone();
    for (at, slot) in slots.iter().enumerate() {
        let clock = match at {
            0 => std::mem::replace(&mut clock, Clock::begin()),
            _ => Clock::resume(noticed, steps.clone()),
        };
        let tried = one_slot(host, wanted, slot, examined.again(), clock, how, keep_later);
        all.push(tried);
    }
    all
}

/// Whether a slot does not know this content yet. If it does, what that comes to is added.
fn is_new(host: &Inner, wanted: &Wanted, slot: &Arc<str>, hash: &ContentHash, how: How<'_>, all: &mut Vec<Tried>) -> bool {
    let before = as_before(host, wanted, slot, hash, how);
    let is_new = before.is_none();
    all.extend(before);
    is_new
}

/// What is known of a content in one slot, so that nothing has to be done: it serves or waits there already, or was refused there.
fn as_before(host: &Inner, wanted: &Wanted, slot: &Arc<str>, hash: &ContentHash, how: How<'_>) -> Option<Tried> {
    let (path, by_name) = (wanted.path.clone(), how.by_name);
    if how.state.is_some() {
        let record = host.slot_named(slot)?;
        let serving = record.lock().current.as_ref().map(|current| current.generation.number())?;
        let cause = SavedStateError::Serves { generation: serving };
        let refusal = pipeline::refusal(Some(&record), None, &path, Step::Stage, cause);
        return Some(Tried::Refused(refusal));
    }
    match host.has(slot, hash) {
        Some(Has::Serves(generation)) => {
            let slot = slot.clone();
            host.log.push(Event::Unchanged {
                slot: slot.clone(),
                path,
                generation,
            });
            return Some(Tried::Done(LoadOutcome::Unchanged { slot, generation }));
        }
        Some(Has::Waits(generation)) => {
            let slot = slot.clone();
            host.log.push(Event::AlreadyStaged {
                slot: slot.clone(),
                path,
                generation,
            });
            return Some(Tried::Done(LoadOutcome::Staged { slot, generation }));
        }
        None => {}
    }
    if !by_name && host.still_unloaded(slot, &wanted.path) {
        let slot = slot.clone();
        host.log.push(Event::StillUnloaded {
            slot: slot.clone(),
            path,
        });
        return Some(Tried::Done(LoadOutcome::StillUnloaded { slot }));
    }
    let refused = host.was_refused(hash, Some(slot)).filter(|_| !by_name);
    refused.map(|refusal| still_refused(host, wanted, refusal))
}

fn still_refused(host: &Inner, wanted: &Wanted, refusal: Refusal) -> Tried {
    host.log.push(Event::StillRefused {
        path: wanted.path.clone(),
        refusal: refusal.clone(),
    });
    Tried::Known(refusal)
}

/// One slot's part of a reload.
fn one_slot(
    host: &Arc<Inner>,
    wanted: &Wanted,
    slot: &Arc<str>,
    examined: Examined,
    clock: Clock,
    how: How<'_>,
    keep_later: &mut dyn FnMut(ToKeep),
) -> Tried {
    let path = &wanted.path;
    let (hash, noticed) = (examined.source.hash, clock.noticed);
    let record = host.slot_record(slot);
    let from_before = record.lock().current.as_ref().map(|current| current.path.clone());
    let coming = Coming {
        path,
        by_name: how.by_name,
        state: how.state,
        back: None,
        kept_as: None,
        together: false,
        again: None,
    };
    let mut missing = Vec::new();
    let outcome = pipeline::candidate(host, &record, coming, examined, clock).and_then(|(candidate, to_keep)| {
        missing = host.missing(candidate.uses());
        let placed = place::place(host, candidate)?;
        keep_later(to_keep);
        Ok(placed)
    });
    match outcome {
        Ok(outcome) => {
            if let Some(other) = from_before.filter(|_| !how.by_name) {
                tell_of_other_file(host, slot, path, other);
            }
            Tried::Done(outcome)
        }
        Err(refusal) => {
            host.history.forget(slot, &hash);
            if given::falls_back(host, slot, &hash, &refusal) {
                let only = Wanted::of_slot(path, slot);
                let again = reload(host, &only, noticed, how, keep_later).pop();
                return again.unwrap_or(Tried::Refused(refusal));
            }
            // By itself it would be tried again without the state.
            if how.state.is_none() {
                given::veto(host, slot, &refusal);
                for name in &missing {
                    host.wait_for_slot(name, Wanted::of_slot(path, slot));
                }
            }
            if refusal.cause.is_of_the_bytes() {
                host.remember_refused(hash, refusal.clone());
            }
            Tried::Refused(refusal)
        }
    }
}

/// Two files of one folder with the same plugin are for the same slot, and each that is published takes the place of the other's.
fn tell_of_other_file(host: &Inner, slot: &Arc<str>, path: &Path, other: PathBuf) {
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
