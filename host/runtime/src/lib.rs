//! Reslot swaps native code under a running program, and proves that the old code is gone.
//!
//! A program embeds a [`Host`]. A plugin is an ordinary Rust library behind a Rust trait; when a new build of it appears in the
//! watched folder, the running code is replaced, with its state, without a lost call. Whoever calls a plugin does so in one of
//! three ways:
//!
//! - a [`Claim`]: one owner, `&mut self` methods, and a new generation is adopted in [`Claim::sync`] and nowhere else;
//! - a [`View`] from a [`Reader`]: many threads, `&self` methods, one consistent set of generations;
//! - [`Slot::load`]: the convenient form, without a reader.
//!
//! Every reload ends in an [`Event::Retired`] that says whether the old image was proven unmapped, or what keeps it.
//!
//! Linux with glibc. What is proven there and how is written in the repository's README and ARCHITECTURE.md.

mod deadline;
mod deferred_notifications;
mod deferred_work;
mod event;
mod given;
mod history;
mod host;
mod instances;
mod logs;
mod outcome_words;
mod policy;
mod reload;
mod runtime;
mod safe_points;
mod shadow_name;
mod slot;
pub mod surface;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(not(feature = "testing"))]
mod testing;
mod watch;

pub use event::Events;
pub use history::{HistoryEntry, VersionStatus};
pub use host::{
    AnyClaim, BuildError, Claim, Host, HostBuilder, RollbackError, RollbackTarget, Shadow, SlotInfo, SyncOutcome,
};
pub use instances::InstancesError;
pub use policy::{DeletedFile, Policy, PolicyError, RollbackState};
pub use reload::{Counts, LoadOutcome, SavedState, UnloadOutcome, Unloaded};
pub use reslot_artifact::{ContentHash, HashPrefix, ParseHashError};
pub use reslot_native::{
    foreign,
    level::{LogLevel, NoLogLevel},
    loaded::mapped_copies,
    preflight::{Preflight, preflight},
};
pub use reslot_plugin_api::{Backtrace, CallError, Fault, Frame, Health, MAX_STATE_LEVELS, Origin};
pub use reslot_process::safe_point;
pub use reslot_report::{
    Cause, Event, GenerationHolders, GenerationStatus, HistoryError, Holder, Hook, HookError, IllegalMove, Lifecycle,
    OpenError, Outcome, PreflightError, PreflightReport, PreflightStep, QuarantineReason, Record, Refusal, ReloadReport,
    RestoredState, RetireReport, RollbackReason, RollbackReport, SavedStateError, SchemaGap, SlotError, Step, UnloadError,
    UnloadReason, UnloadReport, WatchedFolder,
};
pub use reslot_stage::PrivateCopies;
pub use slot::{Reader, Slot, SlotGuard, View};
pub use watch::WatchError;

/// What an artifact says about itself, and how two interfaces differ: for tools that look into files.
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

/// For the program `reslot-preflight` and the tests, and for nobody else.
#[doc(hidden)]
pub mod __preflight {
    pub use reslot_native::preflight::{child_main, preflight_as_hosts_do};
}
