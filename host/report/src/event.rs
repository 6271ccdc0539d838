//! What happens in a host, as one stream of typed events. Traces, metrics, the control socket and the tests are derived from it.

mod kind;
mod panics;
mod weight;
mod words;

use crate::{
    HistoryError, Holder, HookError, Lifecycle, QuarantineReason, Refusal, RollbackReason, RollbackReport, Step,
    UnloadError, UnloadReason, UnloadReport,
};
use reslot_plugin_api::{Backtrace, CallError, Health};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
pub use weight::weight;

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
    /// How long calls could not be made because of it: from when the owner took it up in `Claim::sync`, or the gate
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

impl ReloadReport {
    /// A report with what is always known. The other fields are empty, and are set by the code that did the work.
    pub fn new(slot: Arc<str>, generation: u64, path: PathBuf, hash: String) -> Self {
        Self {
            slot,
            generation,
            replaced: None,
            path,
            hash,
            state_bytes: None,
            steps: Vec::new(),
            total: Duration::ZERO,
            pause: Duration::ZERO,
        }
    }
}

impl RetireReport {
    /// A report with what is always known. The other fields are empty, and are set by the code that did the work.
    pub fn new(slot: Arc<str>, generation: u64, outcome: Outcome) -> Self {
        Self {
            slot,
            generation,
            served: false,
            outcome,
            held: Duration::ZERO,
            late_holders: Vec::new(),
            stop_error: None,
            destroy_error: None,
            ending: Duration::ZERO,
        }
    }
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
    /// the one that is published last is taken. `HostBuilder::instances` gives each its own.
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
    /// A shadow is run beside what serves.
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
    /// `Host::unload` and waits is answered instead.)
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
    /// (`Policy::on_deleted_file`).
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

impl Record {
    /// An event that has just happened, with its place in the history.
    pub fn now(sequence: u64, event: Event) -> Self {
        Self {
            sequence,
            at: SystemTime::now(),
            event,
        }
    }
}
