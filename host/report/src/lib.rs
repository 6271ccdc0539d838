//! What a host reports: events, refusals, errors and reports. All of it is plain data with text for a person: each error
//! says what happened to which file or slot, and what to do.
//!
//! Nothing here acts, and nothing here knows the code that makes these values or reads them. That is why a host, the program
//! `reslot`, and tools on other machines can share them. Users of Reslot find all of it in the crate `reslot`.

#![forbid(unsafe_code)]

mod engine;
mod event;
mod history;
mod holders;
mod hook;
mod image_end;
mod integrity;
mod lifecycle;
mod open;
mod preflight;
mod preflight_report;
mod refusal;
pub mod remedies;
mod rollback;
mod shutdown;
mod slot;
mod stage;
mod step;
mod unload;

pub use engine::EngineKind;
pub use event::{Event, Outcome, Record, ReloadReport, RetireReport, weight};
pub use history::HistoryError;
pub use holders::{GenerationHolders, GenerationStatus, Holder};
pub use hook::{Hook, HookError};
pub use image_end::{QuarantineReason, UnloadReport};
pub use integrity::{ComparedParts, Comparison, ImageReport};
pub use lifecycle::{IllegalMove, Lifecycle};
pub use open::{OpenError, remedy_of_loader};
pub use preflight::PreflightError;
pub use preflight_report::{PreflightReport, PreflightStep};
pub use refusal::{Cause, Refusal, SavedStateError, SchemaGap, Scope};
pub use rollback::{RestoredState, RollbackReason, RollbackReport};
pub use shutdown::{ShutdownReport, StillMapped, Unfinished, UnmappedImage};
pub use slot::{SlotError, WatchedFolder};
pub use stage::StageError;
pub use step::Step;
pub use unload::{UnloadError, UnloadReason};

/// What to do in a forked child that needs a host.
pub const FORK_REMEDY: &str =
    "fork before the host is built (`HostBuilder::build`), or build a host of its own in this process";
