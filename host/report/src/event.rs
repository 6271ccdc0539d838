//! What happens in a host, as one stream of typed events. Traces, metrics, the control socket and the tests are derived from it.

mod kind;
mod panics;
mod weight;
mod words;

use crate::{
    EngineKind, HistoryError, Holder, HookError, Lifecycle, QuarantineReason, Refusal, RollbackReason, RollbackReport,
    SavedStateError, Step, UnloadError, UnloadReason, UnloadReport,
};
use reslot_artifact::{ContentHash, ImageDifference};
use reslot_plugin_api::{Backtrace, CallError, Health, InstanceEnd};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
pub use weight::weight;

/// A reload ended with a swap: the slot has a new current generation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The new current generation.
    pub generation: u64,
    /// The generation that it replaced; none if the slot was empty.
    pub replaced: Option<u64>,
    /// The artifact's file.
    pub path: PathBuf,
    /// The hash of the artifact's content.
    pub hash: ContentHash,
    /// The size of the encoded state that was handed over, in bytes. None if the plugin has no state or the slot was empty.
    pub state_bytes: Option<usize>,
    /// How long each step took. The time during which a claimed slot waited for its owner's `sync` is part of no step.
    pub steps: Vec<(Step, Duration)>,
    /// The time from the notice to the swap, including all waiting.
    pub total: Duration,
    /// How long the slot could not be called because of this reload. For a claimed slot the time begins when `Claim::sync` takes up the
    /// candidate; otherwise it begins when the gate starts to close. It ends with the swap. Other work of `sync` (a health check that is due,
    /// the state for a preflight, your subscribers) is not included. Zero if no caller had to wait.
    pub pause: Duration,
}

/// A generation ended: its image is unmapped, or kept for a reason.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetireReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation.
    pub generation: u64,
    /// Whether it was ever current. False for a candidate that was refused.
    pub served: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The time from the swap until its last holder released it.
    pub held: Duration,
    /// The holders that kept it longer than the drain deadline.
    pub late_holders: Vec<Holder>,
    /// The error of its `stop`, if it failed.
    pub stop_error: Option<HookError>,
    /// The error of its destructor, if it failed.
    pub destroy_error: Option<HookError>,
    /// How long it took to stop and drop the instance.
    pub ending: Duration,
}

impl ReloadReport {
    /// A report with what is always known. The other fields are empty, and are set by the code that did the work.
    pub fn new(slot: Arc<str>, generation: u64, path: PathBuf, hash: ContentHash) -> Self {
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
    /// Proven gone: its image is in neither the loader's list nor the kernel's map.
    Unmapped(UnloadReport),
    /// Kept mapped, because unmapping it would not be safe.
    Quarantined(QuarantineReason),
    /// Its plugin is linked into the program: its instance is dropped, and its code stays, as any other code of the program.
    Linked,
    /// It ran in a process of its own, which has ended and was reaped.
    ProcessEnded {
        /// The number of the process.
        pid: u32,
    },
    /// It ran in a sandbox, whose memory and code are freed: its code is not in the kernel's map any more.
    SandboxFreed,
}

/// Something that happened in the host.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::Event;
///
/// let event = Event::Staged { slot: "momentum".into(), generation: 3 };
/// assert_eq!((event.kind(), event.slot(), event.generation()), ("staged", Some("momentum"), Some(3)));
/// println!("{event}"); // a sentence for a person
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The watch noticed a file.
    Noticed {
        /// The file.
        path: PathBuf,
    },
    /// A file is not loaded yet, because a process has it open for writing. The host tries again by itself.
    Waiting {
        /// The file.
        path: PathBuf,
        /// Why the host waits.
        why: String,
    },
    /// The current generation already has the file's content. Nothing is done.
    Unchanged {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The current generation.
        generation: u64,
    },
    /// The staged candidate already has the file's content. Nothing is done; the owner's next `sync` adopts it.
    AlreadyStaged {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The staged candidate.
        generation: u64,
    },
    /// A slot was loaded from another file than before, and both files are in the watched folder. Both contain the same plugin, so both
    /// are for one slot, and the one that was published last is loaded. `HostBuilder::instances` can give each of them a slot of its own.
    SameSlot {
        /// The slot.
        slot: Arc<str>,
        /// The file that was loaded.
        path: PathBuf,
        /// The file from which the slot was loaded before.
        other: PathBuf,
    },
    /// A file has the same content as one that was refused before. It is not tried again.
    StillRefused {
        /// The file.
        path: PathBuf,
        /// The earlier refusal.
        refusal: Refusal,
    },
    /// The file was read and its bytes passed the lint.
    Linted {
        /// The slot that it is for.
        slot: Arc<str>,
        /// What the lint found unusual, if anything.
        warnings: Vec<String>,
    },
    /// A generation changed its lifecycle state. Event streams receive this; the `tracing` subscriber does not.
    Lifecycle {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The state before.
        from: Lifecycle,
        /// The state now.
        to: Lifecycle,
    },
    /// The candidate waits for the owner's `sync`.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The candidate.
        generation: u64,
    },
    /// A shadow runs beside the current generation.
    Shadowed {
        /// The slot whose state it received.
        slot: Arc<str>,
        /// Its number among the slot's shadows. All other events about it name the slot `NAME~shadow`.
        shadow: u64,
    },
    /// A staged candidate was discarded: a newer one took its place, or the slot is rolled back or unloaded.
    Superseded {
        /// The slot.
        slot: Arc<str>,
        /// The discarded candidate.
        generation: u64,
    },
    /// The slot has a new current generation.
    Swapped(ReloadReport),
    /// A generation passed its probation: its standby is retired, and its artifact is kept in the history as good.
    Confirmed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
    },
    /// The slot was rolled back to an earlier generation or artifact.
    RolledBack(RollbackReport),
    /// A rollback was due or asked for, and there is no good version to roll back to. The current generation goes on. Reported once for each
    /// fault, and each time that a rollback is asked for.
    NoFallback {
        /// The slot.
        slot: Arc<str>,
        /// The current generation; none if the slot is empty.
        generation: Option<u64>,
        /// Why the rollback was due.
        reason: RollbackReason,
    },
    /// A plugin's health check has another result than before.
    Health {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The result.
        health: Health,
    },
    /// An exclusive plugin had to be stopped before its successor could start, and its `stop` failed. The reload goes on.
    StopFailed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// How.
        error: HookError,
    },
    /// An exclusive plugin was stopped for a successor that then failed, and it could not be started again. It goes on without what its
    /// `start` acquires.
    RestartFailed {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// Why.
        error: HookError,
    },
    /// The slot is empty: its generation could not be stopped in time for its successor, and the successor failed, too.
    SlotEmptied {
        /// The slot.
        slot: Arc<str>,
        /// The generation that cannot be called any more.
        generation: u64,
    },
    /// A slot was unloaded and is empty. [`Event::Retired`] reports later that the image is gone.
    Unloaded {
        /// The slot.
        slot: Arc<str>,
        /// The generation that was unloaded.
        generation: u64,
        /// The size of its encoded state in bytes. None if it has no state, or if the state could not be encoded and is lost.
        state_bytes: Option<usize>,
        /// Why.
        reason: UnloadReason,
    },
    /// A claimed slot will be unloaded by its owner's next `sync`.
    UnloadStaged {
        /// The slot.
        slot: Arc<str>,
        /// The generation that goes on until then.
        generation: u64,
    },
    /// An unload failed that a deleted file or the owner had asked for. The slot goes on. (`Host::unload` returns its error
    /// instead.)
    UnloadRefused {
        /// The slot.
        slot: Arc<str>,
        /// The generation that goes on.
        generation: u64,
        /// Why, and what to do.
        error: UnloadError,
    },
    /// A slot was unloaded, and its file is unchanged since. It is loaded only if it is published again or named.
    StillUnloaded {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
    },
    /// The file from which a slot was loaded was deleted from the watched folder. The slot goes on, because the policy says so
    /// (`Policy::on_deleted_file`).
    FileDeleted {
        /// The slot.
        slot: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The generation that goes on.
        generation: u64,
    },
    /// The version that was on probation when the last host ended is not loaded again. The last good version is loaded instead.
    Reverted {
        /// The slot.
        slot: Arc<str>,
        /// The hash of the version that is not loaded.
        from: ContentHash,
        /// The hash of the version that is loaded; none if the history has no good one.
        to: Option<ContentHash>,
    },
    /// The history could not be read or written, or an artifact in it was changed.
    HistoryFailed {
        /// The slot, if it is about one.
        slot: Option<Arc<str>>,
        /// What happened.
        error: HistoryError,
    },
    /// A valid configuration was read. Each plugin whose table changed gets its new one, which [`Event::ConfigApplied`] reports.
    Configured {
        /// The files that it was read from.
        files: Vec<PathBuf>,
        /// The changed keys of the table `host` that take effect only when the host is started again.
        requires_restart: Vec<String>,
    },
    /// A plugin has the current configuration and resources, in a new generation of the same artifact.
    ConfigApplied {
        /// The slot.
        slot: Arc<str>,
        /// The new generation.
        generation: u64,
    },
    /// A configuration or a resource was refused. The last good one stays in use.
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
    /// The image of a generation differs from its artifact: a bit has flipped in memory, or something has written there. What follows
    /// is the policy's decision (`Policy::on_damaged_image`). Each difference is reported once.
    ImageDamaged {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The first new difference.
        difference: ImageDifference,
        /// How many more there are.
        more: usize,
    },
    /// The image of a generation could not be compared with its artifact. Each reason is reported once for an image.
    ImageNotCompared {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// The image of a generation differs from its artifact and stays, because fresh images of the slot differed in the same places, so
    /// another image does not help. It is reported once.
    RepairGivenUp {
        /// The slot.
        slot: Arc<str>,
        /// The generation that stays.
        generation: u64,
        /// Its first difference.
        difference: ImageDifference,
        /// How many fresh images the slot has got before that.
        fresh_images: usize,
    },
    /// The snapshot of a swap has changed in memory since it was taken, so a rollback did not use it. The current state was carried over.
    SnapshotDamaged {
        /// The slot.
        slot: Arc<str>,
        /// What was found.
        error: SavedStateError,
    },
    /// A damaged image was replaced: the slot has a new generation of the same artifact, with the state.
    ImageRenewed {
        /// The slot.
        slot: Arc<str>,
        /// The new generation.
        generation: u64,
        /// The generation whose image is damaged.
        damaged: u64,
    },
    /// An instance has ended that ran in a sandbox or in a process of its own. It is rolled back or replaced next.
    InstanceEnded {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// How it has ended.
        end: InstanceEnd,
    },
    /// An instance that had ended was replaced: the slot has a new generation of the same artifact, with the state that was saved last.
    InstanceReplaced {
        /// The slot.
        slot: Arc<str>,
        /// The new generation.
        generation: u64,
        /// The generation whose instance had ended.
        ended: u64,
        /// How it had ended.
        end: InstanceEnd,
    },
    /// A retired generation still has holders after the drain deadline. The host goes on and forces nothing.
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
    /// The reason for a quarantine ended, and the image was unmapped.
    Released {
        /// The slot.
        slot: Arc<str>,
        /// The generation.
        generation: u64,
        /// The engine that ran its code. Of a linked plugin nothing was mapped, and so nothing is unmapped.
        engine: EngineKind,
        /// What the image left behind.
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
        /// The error. It shares its message with the one that the caller got.
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
        /// The panic's message. A message longer than 16 KiB is cut there, and ends with the number of missing bytes.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from.
        backtrace: Backtrace,
    },
    /// The watched folder does not exist. The host watches it again when it is created.
    FolderMissing {
        /// The folder.
        path: PathBuf,
    },
    /// The watched folder exists again.
    FolderBack {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of the host's private copies, or its lock, was removed or replaced. The host has made it again; running generations are
    /// not affected. Backtraces of generations that were loaded before have no function names from now on. Versions that the
    /// history kept in that folder are lost, and [`Event::HistoryFailed`] reports each of them.
    PrivateFolderRestored {
        /// The path of the folder before.
        was: PathBuf,
        /// The path of the folder now. The same if only its lock was gone.
        now: PathBuf,
    },
    /// The host is shutting down. The only events after this are the ends of generations and of calls.
    ShutDown,
    /// This stream was read too slowly, so it lost the oldest events.
    Lagged {
        /// The number of lost events.
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
