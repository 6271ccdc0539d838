//! The runtime of Reslot: slots, views and claims, and the path of a reload (`reload/steps.rs`). `ARCHITECTURE.md` beside this crate's
//! `Cargo.toml` is its map.
//!
//! Programs depend on the crate `reslot`, which re-exports this one; its documentation says where to begin.

mod deadline;
mod deferred_notifications;
mod deferred_work;
mod engines;
mod event;
mod history;
mod host;
mod inputs;
mod instances;
mod logs;
mod outcome_words;
mod policy;
mod reload;
mod runtime;
mod safe_points;
mod scrub;
mod shadow_name;
mod slot;
pub mod surface;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(not(feature = "testing"))]
mod testing;
mod watch;

#[cfg(feature = "stream")]
pub use event::EventStream;
pub use event::{Events, PollableEvents};
pub use history::{HistoryEntry, VersionStatus};
pub use host::{
    AnyClaim, BuildError, Claim, Host, HostBuilder, RollbackError, RollbackTarget, Shadow, SlotInfo, SyncOutcome,
};
pub use instances::InstancesError;
pub use policy::{DamagedImage, DeletedFile, Policy, PolicyError, RollbackState};
pub use reload::{Counts, LoadOutcome, SavedState, UnloadOutcome, Unloaded};
pub use reslot_artifact::{ContentHash, HashPrefix, ImageDifference, ImagePart, ParseHashError};
pub use reslot_engine::{Engine, LogLevel, NoLogLevel, Preflight};
pub use reslot_native::{NativeEngine as Native, foreign, loaded::mapped_copies, preflight::preflight};
pub use reslot_plugin_api::{Backtrace, CallError, EndCause, Fault, Frame, Health, InstanceEnd, MAX_STATE_LEVELS, Origin};
pub use reslot_report::{
    Cause, ComparedParts, Comparison, EngineKind, Event, GenerationHolders, GenerationStatus, HistoryError, Holder, Hook,
    HookError, IllegalMove, ImageReport, Lifecycle, OpenError, Outcome, PreflightError, PreflightReport, PreflightStep,
    QuarantineReason, Record, Refusal, ReloadReport, RestoredState, RetireReport, RollbackReason, RollbackReport,
    SavedStateError, SchemaGap, ShutdownReport, SlotError, Step, StillMapped, Unfinished, UnloadError, UnloadReason,
    UnloadReport, UnmappedImage, WatchedFolder,
};
pub use reslot_stage::PrivateCopies;
pub use reslot_system::safe_point;
pub use slot::{Reader, Slot, SlotGuard, View};
pub use watch::WatchError;

/// The manifest of an artifact, and the difference of two interfaces: for tools that read artifacts.
pub mod artifact {
    pub use reslot_artifact::{
        compat::{Difference, compare},
        inspect,
        lint::{Inspection, LintError},
        manifest::{
            Argument, Field, Interface, Kind, Manifest, ManifestError, Method, Receiver, Shape, StateSchema, Type, Variant,
        },
    };
    pub use reslot_report::StageError;
}

/// Only for tests of what lies in a history's folder.
#[doc(hidden)]
pub mod __history {
    pub use crate::history::{FoundVersion, read_folder};
}

/// Only for the program `reslot-preflight` and the tests.
#[doc(hidden)]
pub mod __preflight {
    pub use reslot_native::preflight::{child_main, preflight_as_hosts_do};
}
