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
mod uses;

pub(crate) use place::hand_over_to_claim;
pub(crate) use prepare::Snapshot;
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
pub(crate) use uses::{Uses, sort as sort_by_uses};

use pipeline::{Coming, ToKeep};

use crate::{
    content::ContentHash,
    error::{Cause, Refusal},
    event::{Event, ReloadReport, Step},
    host::Inner,
    image::{safe_point, stage::Source},
    slot::SlotRecord,
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
        path: PathBuf,
        /// Whether it is asked for by its name, and not only found when the host starts.
        by_name: bool,
        answer: Sender<Result<LoadOutcome, Refusal>>,
    },
    /// The embedder asks for several files at once.
    Together {
        paths: Vec<PathBuf>,
        answer: Sender<Result<Vec<LoadOutcome>, Refusal>>,
    },
    /// A slot that others call has something for the first time: this file waited for that.
    Again(PathBuf),
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
    /// A claim was dropped while a candidate waited for it.
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
    /// It waits for the owner's `sync`.
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
}

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
    let mut again: BTreeMap<PathBuf, Again> = BTreeMap::new();
    // Of the last candidate. When the next message comes, it is put away.
    let mut to_keep: Option<(Instant, ToKeep)> = None;
    let mut unread = given::Unread::default();
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
                again.remove(&path);
                survive(|| take(host, &mut again, &path, at, FIRST_WAIT, &mut keep_later));
            }
            Ok(ReloadMessage::Noticed(Notice::FolderGone { folder, .. })) => {
                host.log.push(Event::FolderMissing { path: folder });
            }
            Ok(ReloadMessage::Noticed(Notice::FolderBack { folder, .. })) => {
                host.log.push(Event::FolderBack { path: folder });
            }
            Ok(ReloadMessage::Load { path, by_name, answer }) => {
                again.remove(&path);
                // If nobody waits any more, the file was loaded all the same, and the events say so. If the load panics, the
                // sender is dropped, and `Host::load` says that.
                survive(|| drop(answer.send(load(host, &path, by_name, &mut keep_later))));
            }
            Ok(ReloadMessage::Together { paths, answer }) => {
                survive(|| drop(answer.send(together::load(host, paths))));
            }
            Ok(ReloadMessage::Again(path)) => {
                host.forget_refused_from(&path);
                survive(|| take(host, &mut again, &path, Instant::now(), FIRST_WAIT, &mut keep_later));
            }
            Ok(ReloadMessage::Flush(done)) => drop(done.send(())),
            Ok(ReloadMessage::Deferred(slot)) => {
                if let Some(path) = host.take_deferred(&slot) {
                    survive(|| take(host, &mut again, &path, Instant::now(), FIRST_WAIT, &mut keep_later));
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
            Ok(ReloadMessage::Settle(slot)) => survive(|| place::settle(host, &slot)),
            Ok(ReloadMessage::Given) => survive(|| given::settle(host)),
            Ok(ReloadMessage::Resource(name)) => survive(|| unread.read(host, name, FIRST_WAIT)),
            // `create`, `migrate` and `start` run here.
            Ok(ReloadMessage::Attention) => safe_point(),
            Ok(ReloadMessage::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                survive(|| unread.read_due(host));
                survive(|| given::settle_due(host));
                let now = Instant::now();
                let due: Vec<PathBuf> = again
                    .iter()
                    .filter(|(_, again)| again.at <= now)
                    .map(|(path, _)| path.clone())
                    .collect();
                for path in due {
                    if let Some(Again { wait, noticed, .. }) = again.remove(&path) {
                        let wait = (wait * 2).min(LONGEST_WAIT);
                        survive(|| take(host, &mut again, &path, noticed, wait, &mut keep_later));
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
    again: &mut BTreeMap<PathBuf, Again>,
    path: &Path,
    noticed: Instant,
    wait: Duration,
    keep_later: &mut dyn FnMut(ToKeep),
) {
    match reload(host, path, noticed, false, keep_later) {
        Err(refusal) if is_transient(&refusal) => {
            if wait == FIRST_WAIT {
                host.log.push(Event::Waiting {
                    path: path.to_owned(),
                    why: refusal.cause.to_string(),
                });
            }
            let at = Instant::now() + wait;
            again.insert(path.to_owned(), Again { at, wait, noticed });
        }
        Err(refusal) => host.log.push(Event::Refused(refusal)),
        Ok(_) => {}
    }
}

/// Loads a file that the embedder named. A content that was refused before is tried again: it was asked for by name.
fn load(host: &Arc<Inner>, path: &Path, by_name: bool, keep_later: &mut dyn FnMut(ToKeep)) -> Result<LoadOutcome, Refusal> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match reload(host, path, begun, by_name, keep_later) {
            Err(refusal) if is_transient(&refusal) && begun.elapsed() < LOAD_PATIENCE => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(refusal) => {
                host.log.push(Event::Refused(refusal.clone()));
                return Err(refusal);
            }
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => return Err(Refusal::of_a_bug(path.to_owned())),
        }
    }
}

/// Reads a file, and waits for whoever is writing it.
fn read_patiently(host: &Inner, path: &Path, clock: &mut Clock) -> Result<Source, Refusal> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match pipeline::read(host, path, clock) {
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

/// One reload, from the file to the swap (or to the owner, who swaps). `None` if the content was refused before.
fn reload(
    host: &Arc<Inner>,
    path: &Path,
    noticed: Instant,
    by_name: bool,
    keep_later: &mut dyn FnMut(ToKeep),
) -> Result<Option<LoadOutcome>, Refusal> {
    let mut clock = Clock::new(noticed);
    clock.lap(Step::Notice);
    let source = pipeline::read(host, path, &mut clock)?;
    if let Some((slot, generation)) = host.serving(&source.hash) {
        host.log.push(Event::Unchanged {
            slot: slot.clone(),
            path: path.to_owned(),
            generation,
        });
        return Ok(Some(LoadOutcome::Unchanged { slot, generation }));
    }
    let hash = source.hash;
    if let Some(refusal) = host.was_refused(&hash).filter(|_| !by_name) {
        let path = path.to_owned();
        host.log.push(Event::StillRefused { path, refusal });
        return Ok(None);
    }
    let coming = Coming {
        path,
        by_name,
        back: None,
        together: false,
        again: None,
    };
    let mut missing = Vec::new();
    let outcome = pipeline::candidate(host, coming, source, clock).and_then(|(candidate, to_keep)| {
        missing = host.missing(candidate.uses());
        let placed = place::place(host, candidate)?;
        keep_later(to_keep);
        Ok(placed)
    });
    if let Err(refusal) = &outcome {
        if let Some(slot) = &refusal.slot {
            host.history.forget(slot, &hash);
            if given::falls_back(host, slot, &hash, refusal) {
                return reload(host, path, noticed, by_name, keep_later);
            }
            given::veto(host, slot, refusal);
        }
        for name in &missing {
            host.wait_for_slot(name, path);
        }
        if refusal.cause.is_of_the_bytes() {
            host.remember_refused(hash, refusal.clone());
        }
    }
    outcome.map(Some)
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

    fn lap(&mut self, step: Step) {
        let now = Instant::now();
        self.steps.push((step, now.saturating_duration_since(self.last)));
        self.last = now;
    }
}
