//! What the host tells: one stream of typed events, in order, each once. Everything else that reports (traces, the command
//! line, tests) is derived from it.

mod deferred_notifications;
mod panics;
mod weight;
mod words;

use crate::process::{Process, never_dropped};
use crate::{
    deferred_work::defer,
    error::Refusal,
    history::HistoryError,
    host::Holder,
    image::{QuarantineReason, UnloadReport, ended_epoch, safe_point},
    instance::HookError,
    lifecycle::Lifecycle,
    metrics::MetricsRecorder,
    reload::{RollbackReason, RollbackReport, UnloadError, UnloadReason},
};
pub(crate) use deferred_notifications::{DeferredNotifications, defer_notifications};
use parking_lot::{Condvar, Mutex};
use reslot_plugin_api::{Backtrace, CallError, Health};
use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};
use weight::weight;

/// A step of a reload, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// From the file system's event to the reload thread's taking it up.
    Notice,
    /// The file is read and hashed.
    Read,
    /// The bytes are checked; nothing is executed.
    Lint,
    /// It is tried out in a child process, if the policy asks for that.
    Preflight,
    /// The private copy is written and mapped.
    Open,
    /// The mapped image is checked.
    Verify,
    /// The instance is made.
    Create,
    /// What serves encodes its state; whoever calls it waits from here on.
    Snapshot,
    /// The new instance gets the state: it is migrated if need be, and decoded.
    Migrate,
    /// The instance builds what is derived from its state.
    Init,
    /// The instance acquires what it needs.
    Start,
    /// It is asked for its health.
    Health,
    /// The pointer moves.
    Swap,
    /// It serves, and has yet to prove itself.
    Probation,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Notice => "notice",
            Self::Read => "stage",
            Self::Lint => "lint",
            Self::Preflight => "preflight",
            Self::Open => "open",
            Self::Verify => "verify",
            Self::Create => "create",
            Self::Snapshot => "snapshot",
            Self::Migrate => "migrate",
            Self::Init => "init",
            Self::Start => "start",
            Self::Health => "health",
            Self::Swap => "swap",
            Self::Probation => "probation",
        })
    }
}

/// A slot moved on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation that serves from now on.
    pub generation: u64,
    /// The one that served before.
    pub replaced: Option<u64>,
    /// The artifact's file.
    pub path: PathBuf,
    /// The artifact's content, 32 hexadecimal digits.
    pub hash: String,
    /// How large the state was that was handed over, encoded; none if the plugin has none or nobody served before.
    pub state_bytes: Option<usize>,
    /// How long each step took. A claimed slot waits for its owner's `sync` between two of them; that wait is in none.
    pub steps: Vec<(Step, Duration)>,
    /// From the notice to the swap, waiting included.
    pub total: Duration,
    /// How long calls could not be made because of it: from when the owner took it up in [`Claim::sync`](crate::Claim::sync), or the gate
    /// began to close, with whatever that waited for, to the swap. What else a `sync` does (a health check that is due, the state for a
    /// preflight, your own subscribers afterwards) is not in it. Zero if nobody had to wait.
    pub pause: Duration,
}

/// A generation is gone, or kept for a reason.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetireReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation.
    pub generation: u64,
    /// Whether it ever served; false for a candidate that was refused.
    pub served: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// From the swap until its last holder let go.
    pub held: Duration,
    /// Who held it longer than the drain deadline.
    pub late_holders: Vec<Holder>,
    /// How its `stop` ended, if badly.
    pub stop_error: Option<HookError>,
    /// How its destructor ended, if badly.
    pub destroy_error: Option<HookError>,
    /// Stopping and dropping the instance.
    pub ending: Duration,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Proven gone: neither the loader's list nor the kernel's knows its image any more.
    Unmapped(UnloadReport),
    /// Kept mapped, because unmapping it would not be safe.
    Quarantined(QuarantineReason),
}

/// Something that happened in the host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A file was noticed.
    Noticed {
        /// The file.
        path: PathBuf,
    },
    /// A file is not taken yet: somebody is still writing it. It is looked at again by itself.
    Waiting {
        /// The file.
        path: PathBuf,
        /// What it waits for.
        why: String,
    },
    /// The file's content is what serves already: nothing to do.
    Unchanged {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The generation that serves.
        generation: u64,
    },
    /// The file's content is what waits for the owner's `sync` already: nothing to do. It serves when he comes.
    AlreadyStaged {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The generation that waits.
        generation: u64,
    },
    /// A slot was loaded from another file than before, which still lies beside it: two files with the same plugin are for one slot, and
    /// the one that is published last is taken. [`HostBuilder::instances`](crate::HostBuilder::instances) gives each its own.
    SameSlot {
        /// The slot.
        slot: Arc<str>,
        /// The file that was taken.
        path: PathBuf,
        /// The one from which the slot was loaded before.
        other: PathBuf,
    },
    /// A content that was refused before stands there again: not tried again.
    StillRefused {
        /// The file.
        path: PathBuf,
        /// What was found wrong with it then.
        refusal: Refusal,
    },
    /// The file was read and its bytes passed the lint.
    Linted {
        /// The slot that it is for.
        slot: Arc<str>,
        /// What is unusual about it, if anything.
        warnings: Vec<String>,
    },
    /// A generation moved on in its life. Told to streams, and not to the `tracing` subscriber.
    Lifecycle {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// Where it stood.
        from: Lifecycle,
        /// Where it stands now.
        to: Lifecycle,
    },
    /// The candidate waits for the owner's `sync`.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The candidate.
        generation: u64,
    },
    /// A [shadow](crate::Shadow) is run beside what serves.
    Shadowed {
        /// The slot whose state it has.
        slot: Arc<str>,
        /// Its number among the slot's shadows. Everything else that is told of it is told of a slot `NAME~shadow`.
        shadow: u64,
    },
    /// A candidate that still waited will not serve: a newer one took its place, or the slot goes back or is unloaded.
    Superseded {
        /// The slot.
        slot: Arc<str>,
        /// The candidate that will never serve.
        generation: u64,
    },
    /// The slot moved on.
    Swapped(ReloadReport),
    /// A generation has proved itself: what stood by for it goes, and its artifact is kept as a good one.
    Confirmed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
    },
    /// The slot went back to an earlier generation or artifact.
    RolledBack(RollbackReport),
    /// A slot was to go back, because a generation is faulty or because somebody asked for it, and there is no good version to go back to:
    /// what serves goes on. Told once for each fault, and each time that somebody asks.
    NoFallback {
        /// The slot.
        slot: Arc<str>,
        /// The generation that serves; 0 if nothing does.
        generation: u64,
        /// Why the slot was to go back.
        reason: RollbackReason,
    },
    /// What a plugin answers when it is asked for its health is another thing than before.
    Health {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The result.
        health: Health,
    },
    /// What served had to be stopped for the sake of its successor, and its `stop` ended badly. The update goes on.
    StopFailed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// How.
        error: HookError,
    },
    /// What was stopped for the sake of a successor that did not come to serve could not be started again. It serves on without
    /// what its `start` acquires.
    RestartFailed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// Why.
        error: HookError,
    },
    /// Nothing serves in the slot any more: what did could not be stopped in time for its successor, which then failed as well.
    SlotEmptied {
        /// The slot.
        slot: Arc<str>,
        /// The generation that cannot be called any more.
        generation: u64,
    },
    /// A slot was unloaded: nothing serves in it any more. That the image is gone is told by [`Event::Retired`].
    Unloaded {
        /// The slot.
        slot: Arc<str>,
        /// The generation that served.
        generation: u64,
        /// How large its state was, encoded; none if it has none, or the state could not be had and is lost.
        state_bytes: Option<usize>,
        /// Why.
        reason: UnloadReason,
    },
    /// A claimed slot is to be unloaded, which waits for its owner's `sync`.
    UnloadStaged {
        /// The slot.
        slot: Arc<str>,
        /// The generation that serves until then.
        generation: u64,
    },
    /// A slot was to be unloaded because its file was deleted, or by its owner, and was not. It serves on. (Whoever asks for it by
    /// [`Host::unload`](crate::Host::unload) and waits is answered instead.)
    UnloadRefused {
        /// The slot.
        slot: Arc<str>,
        /// The generation that serves on.
        generation: u64,
        /// Why, and what to do.
        error: UnloadError,
    },
    /// A slot was unloaded, and a file for it was looked at that lay there already: it is loaded when it is published anew, or by name.
    StillUnloaded {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
    },
    /// The file from which a slot was loaded is gone from the watched folder. What serves, serves on: the policy says so
    /// ([`Policy::on_deleted_file`](crate::Policy::on_deleted_file)).
    FileDeleted {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The generation that serves on.
        generation: u64,
    },
    /// A version that had not proved itself when the host ended last is not taken again; the last good one is loaded instead.
    Reverted {
        /// The slot.
        slot: Arc<str>,
        /// The content that is not taken, 32 hexadecimal digits.
        from: String,
        /// The content that is; none if no good one is kept.
        to: Option<String>,
    },
    /// What is kept for going back is not what it should be, or could not be written.
    HistoryFailed {
        /// The slot, if it is one's.
        slot: Option<Arc<str>>,
        /// What happened.
        error: HistoryError,
    },
    /// A configuration was read and is good: plugins whose tables have changed are given theirs, each of which is told as
    /// [`Event::ConfigApplied`].
    Configured {
        /// The files that it was read from.
        files: Vec<PathBuf>,
        /// The keys of the table `host` that are other than when the host started, and that only the next start takes.
        requires_restart: Vec<String>,
    },
    /// A plugin serves with the configuration and the resources of now, in a new generation of the same artifact.
    ConfigApplied {
        /// The slot.
        slot: Arc<str>,
        /// The new generation.
        generation: u64,
    },
    /// A configuration or a resource is not taken: what was good before goes on.
    ConfigRefused {
        /// The file, if it is about one.
        file: Option<PathBuf>,
        /// The slot, if it is about one.
        slot: Option<Arc<str>>,
        /// Why.
        reason: String,
    },
    /// An artifact was refused; the slot keeps what it has.
    Refused(Refusal),
    /// A retired generation is still held after the drain deadline. The host serves on; nothing is forced.
    DrainTimeout {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// Who holds it, as far as is known.
        holders: Vec<Holder>,
    },
    /// A generation ended.
    Retired(RetireReport),
    /// The reason of a quarantine went away, and the image with it.
    Released {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// What it left.
        report: UnloadReport,
    },
    /// A call ended with an error.
    CallFailed {
        /// The slot.
        slot: Arc<str>,
        /// The generation that was called.
        generation: u64,
        /// The method.
        method: &'static str,
        /// The error, which shares its message with what the caller got.
        error: CallError,
        /// Where the plugin panicked.
        backtrace: Backtrace,
    },
    /// A thread that a plugin started panicked; no caller saw it.
    ThreadPanicked {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The panic, in words. Longer ones than 16 KiB are cut there, and end with how many bytes are missing.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from.
        backtrace: Backtrace,
    },
    /// The watched folder is not there (any more); it is taken up again when it comes back.
    FolderMissing {
        /// The folder.
        path: PathBuf,
    },
    /// The watched folder is there (again).
    FolderBack {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody has removed or replaced the folder of the host's private copies, or its lock. The host has made it again, and nothing that
    /// serves was touched. Names in the backtraces of what was loaded before are missing from now on, and versions that were kept in that
    /// folder for going back are gone, each told as [`Event::HistoryFailed`].
    PrivateFolderRestored {
        /// Where the folder was.
        was: PathBuf,
        /// Where it is; the same if only its lock was gone.
        now: PathBuf,
    },
    /// The host lets go of everything; what still comes are the ends of generations, and of calls into those that outlive it.
    ShutDown,
    /// This stream was read too slowly, and the oldest events were dropped from it.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// An event with its place in the host's history.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record {
    /// From 0, without gaps.
    pub sequence: u64,
    /// When it was recorded.
    pub at: SystemTime,
    /// What happened.
    pub event: Event,
}

/// The host's history, written from any thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    process: Process,
    history: Mutex<History>,
    grown: Condvar,
    metrics_recorder: MetricsRecorder,
    /// Called for each record, in order. Not set in a host that nobody can ask from outside.
    listener: OnceLock<Listener>,
}

type Listener = Box<dyn Fn(&Record) + Send + Sync>;

struct History {
    /// The sequence number of the oldest record kept.
    first: u64,
    /// Each with its weight.
    records: VecDeque<(Arc<Record>, usize)>,
    /// The sum of all weights.
    bytes: usize,
    closed: bool,
}

impl Log {
    pub(crate) fn new(metrics_recorder: MetricsRecorder) -> Self {
        Self(Arc::new(Shared {
            process: Process::this(),
            history: Mutex::new(History {
                first: 0,
                records: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            grown: Condvar::new(),
            metrics_recorder,
            listener: OnceLock::new(),
        }))
    }

    pub(crate) fn push(&self, event: Event) {
        if self.0.process.is_another() {
            return;
        }
        self.trace(&event);
        self.append(event);
    }

    /// Tells the embedder's subscriber, and his recorder of metrics. They run here, on the host's own threads: their panics are not
    /// to end them, and they may call the host, so no lock is held: see `deferred_notifications`.
    pub(crate) fn trace(&self, event: &Event) {
        if !deferred_notifications::keep(self, event) {
            self.trace_now(event);
        }
    }

    fn trace_now(&self, event: &Event) {
        let _ = catch_unwind(AssertUnwindSafe(|| trace(event)));
        self.metrics_recorder().tell(event);
    }

    pub(crate) fn metrics_recorder(&self) -> &MetricsRecorder {
        &self.0.metrics_recorder
    }

    /// Tells the streams. May be called with a slot's lock held, so that what follows from the event is told after it.
    pub(crate) fn append(&self, event: Event) {
        let weight = weight(&event);
        let mut history = self.0.history.lock();
        history.make_room(weight);
        let sequence = history.next();
        let record = Arc::new(Record {
            sequence,
            at: SystemTime::now(),
            event,
        });
        if let Some(listener) = self.0.listener.get() {
            listener(&record);
        }
        history.records.push_back((record, weight));
        history.bytes += weight;
        drop(history);
        let log = self.clone();
        defer(move || {
            log.0.grown.notify_all();
        });
    }

    /// Has those who wait look again whether there is something for them to do.
    pub(crate) fn wake(&self) {
        drop(self.0.history.lock());
        self.0.grown.notify_all();
    }

    /// Streams end when they have read what is there.
    pub(crate) fn close(&self) {
        self.0.history.lock().closed = true;
        self.0.grown.notify_all();
    }

    /// Has this called for each record from now on, under the log's lock: it must not call the host. Once a log.
    pub(crate) fn listen(&self, listener: impl Fn(&Record) + Send + Sync + 'static) {
        let _ = self.0.listener.set(Box::new(listener));
    }

    /// The number that the next record will have.
    pub(crate) fn next(&self) -> u64 {
        self.0.history.lock().next()
    }

    pub(crate) fn stream(&self) -> Events {
        self.stream_from(0)
    }

    /// A stream that begins with the record of this number.
    pub(crate) fn stream_from(&self, next: u64) -> Events {
        Events { log: self.clone(), next }
    }
}

/// A stream of the host's events, from the oldest that is still kept. Made by [`Host::events`](crate::Host::events).
///
/// Each stream sees every event once, in order. The host keeps the last [`MOST_KEPT`](Self::MOST_KEPT), or fewer if they hold more than
/// [`MOST_BYTES_KEPT`](Self::MOST_BYTES_KEPT); the oldest go first. A stream that falls further behind gets one [`Event::Lagged`] in place of
/// those it missed.
pub struct Events {
    log: Log,
    next: u64,
}

impl Events {
    /// How many events a host keeps at most for those who read late.
    pub const MOST_KEPT: usize = 4096;

    /// How many bytes of memory they hold at most, about: with their texts and the stacks of panics, without the names in backtraces that
    /// somebody looked up. The newest event is kept whatever it holds; no text of a plugin's in it is longer than 16 KiB.
    pub const MOST_BYTES_KEPT: usize = 8 << 20;

    /// Waits for the next event. `None` when everything was read and nothing can come any more: the host was dropped and the
    /// last claim or view that outlived it, too. `None` at once in a forked child: events are told in the process of the host.
    pub fn recv(&mut self) -> Option<Arc<Record>> {
        self.wait(None)
    }

    /// Waits for the next event, at most so long. `None` also when the time is over.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Arc<Record>> {
        self.wait(Instant::now().checked_add(timeout))
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<Arc<Record>> {
        self.wait(Some(Instant::now()))
    }

    /// Everything was read, and nothing can come any more.
    pub(crate) fn is_over(&self) -> bool {
        let history = self.log.0.history.lock();
        history.closed && self.next >= history.next()
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Arc<Record>> {
        if self.log.0.process.is_another() {
            return None;
        }
        loop {
            // Thread-locals of the calling thread may be what keeps the image whose end it waits to hear of.
            let epoch = ended_epoch();
            safe_point();
            let mut history = self.log.0.history.lock();
            if let Some(next) = history.after(&mut self.next) {
                return Some(next);
            }
            if history.closed {
                return None;
            }
            if ended_epoch() != epoch {
                continue;
            }
            match deadline {
                None => self.log.0.grown.wait(&mut history),
                Some(deadline) => {
                    if self.log.0.grown.wait_until(&mut history, deadline).timed_out() {
                        return history.after(&mut self.next);
                    }
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.log.0.process.is_another() {
            never_dropped(&self.log.0);
        }
    }
}

impl History {
    /// The sequence number that the next record will have.
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Drops the oldest records until one more of this weight may be kept.
    fn make_room(&mut self, weight: usize) {
        while self.records.len() >= Events::MOST_KEPT || self.bytes + weight > Events::MOST_BYTES_KEPT {
            let Some((_, oldest)) = self.records.pop_front() else { break };
            self.bytes -= oldest;
            self.first += 1;
        }
    }

    /// The record with this number, or what stands for those that are gone.
    fn after(&self, next: &mut u64) -> Option<Arc<Record>> {
        if *next < self.first {
            let missed = self.first - *next;
            *next = self.first;
            return Some(Arc::new(Record {
                sequence: self.first - 1,
                at: SystemTime::now(),
                event: Event::Lagged { missed },
            }));
        }
        let (record, _) = self.records.get((*next - self.first) as usize)?;
        *next += 1;
        Some(record.clone())
    }
}

impl Iterator for Events {
    type Item = Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

/// The same as `tracing` events, for hosts that have a subscriber.
fn trace(event: &Event) {
    match event {
        Event::Swapped(report) => tracing::info!(
            slot = &*report.slot,
            generation = report.generation,
            replaced = report.replaced,
            micros = report.total.as_micros() as u64,
            "swapped"
        ),
        Event::Refused(refusal) => tracing::error!("{refusal}"),
        Event::RolledBack(report) => tracing::warn!("{report}"),
        Event::SameSlot { .. } | Event::FileDeleted { .. } => tracing::warn!("{event}"),
        Event::Unloaded { .. } | Event::UnloadStaged { .. } | Event::StillUnloaded { .. } => tracing::info!("{event}"),
        Event::NoFallback { .. }
        | Event::StopFailed { .. }
        | Event::RestartFailed { .. }
        | Event::SlotEmptied { .. }
        | Event::UnloadRefused { .. }
        | Event::HistoryFailed { .. }
        | Event::Reverted { .. }
        | Event::ConfigRefused { .. } => tracing::error!("{event}"),
        Event::PrivateFolderRestored { .. } => tracing::warn!("{event}"),
        Event::Retired(report) => match &report.outcome {
            Outcome::Unmapped(_) => {
                tracing::info!(
                    slot = &*report.slot,
                    generation = report.generation,
                    "retired; image proven unmapped"
                );
            }
            Outcome::Quarantined(reason) => {
                tracing::warn!(slot = &*report.slot, generation = report.generation, %reason, "retired; image quarantined");
            }
        },
        Event::DrainTimeout {
            slot,
            generation,
            holders,
        } => tracing::warn!(slot = &**slot, generation, ?holders, "retired generation is still held"),
        Event::CallFailed { error, .. } => tracing::error!("{error}"),
        Event::ThreadPanicked {
            slot,
            generation,
            message,
            ..
        } => tracing::error!(
            slot = &**slot,
            generation,
            message = &**message,
            "a thread of the plugin panicked"
        ),
        other => tracing::debug!(event = ?other),
    }
}
