//! The words that stand in labels: short, few, and the same from release to release, for dashboards and alerts are written with
//! them. What a person is told in full is in the events.

use crate::{
    error::{Cause, Hook},
    event::Step,
    image::QuarantineReason,
    reload::RollbackReason,
};
use reslot_plugin_api::Health;

/// What becomes of an artifact that is taken up, and of a version that was: it went back because something was wrong with it, or
/// because somebody asked for that, here or of a slot that came to serve together with this one.
pub(super) const OUTCOMES: [&str; 6] = [SWAPPED, UNCHANGED, SUPERSEDED, REFUSED, ROLLED_BACK, WENT_BACK];
pub(super) const SWAPPED: &str = "swapped";
pub(super) const UNCHANGED: &str = "unchanged";
pub(super) const SUPERSEDED: &str = "superseded";
pub(super) const REFUSED: &str = "refused";
pub(super) const ROLLED_BACK: &str = "rolled_back";
pub(super) const WENT_BACK: &str = "went_back";

/// Where a plugin panics.
pub(super) const PLACES: [&str; 3] = [CALL, THREAD, HOOK];
pub(super) const CALL: &str = "call";
pub(super) const THREAD: &str = "thread";
pub(super) const HOOK: &str = "hook";

/// A cause of a refusal with a rule of its own.
pub(super) const QUARANTINE_FULL: &str = "quarantine_full";

pub(super) const QUARANTINE: [&str; 6] = [
    "threads_running",
    "signal_handlers",
    "static_constructors",
    "not_verified",
    "hook_running",
    "loader_keeps_it",
];

pub(super) fn quarantine(reason: &QuarantineReason) -> &'static str {
    let at = match reason {
        QuarantineReason::ThreadsRunning(_) => 0,
        QuarantineReason::SignalHandlers(_) => 1,
        QuarantineReason::StaticConstructors(_) => 2,
        QuarantineReason::NotVerified => 3,
        QuarantineReason::HookRunning(_) => 4,
        QuarantineReason::LoaderKeepsIt(_) => 5,
    };
    QUARANTINE[at]
}

/// What a rollback is among the [`OUTCOMES`]. If it is another slot's that this one goes with, that one's reason says whether somebody
/// asked for it.
pub(super) fn went_back(reason: &RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Manual | RollbackReason::GroupMember { .. } => WENT_BACK,
        _ => ROLLED_BACK,
    }
}

pub(super) fn rollback(reason: &RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Panicked { .. } => "panicked",
        RollbackReason::Unhealthy { .. } => "unhealthy",
        RollbackReason::Growing { .. } => "growing",
        RollbackReason::CallTimeout { .. } => "overdue",
        RollbackReason::Manual => "asked",
        RollbackReason::GroupMember { .. } => "together",
        RollbackReason::Restarted => "restarted",
    }
}

pub(super) fn cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Stage(_) => "stage",
        Cause::Lint(_) => "lint",
        Cause::Open(_) => "open",
        Cause::Hook(hook, _) => self::hook(*hook),
        Cause::Bug | Cause::IllegalMove(_) => "bug",
        Cause::QuarantineFull { .. } => QUARANTINE_FULL,
        Cause::Schema(_) => "schema",
        Cause::Unhealthy(_) => "unhealthy",
        Cause::RolledBack(_) => "rolled_back",
        Cause::KnownBad(_) => "known_bad",
        Cause::NothingToGoBackTo(_) => "nothing_to_go_back_to",
        Cause::Preflight(_) => "preflight",
        Cause::DependencyCycle(_) => "circle",
        Cause::GroupMember(_) => "together",
        Cause::DuplicateSlot(_) => "twice",
        Cause::History(_) => "history",
        Cause::Busy(_) => "busy",
        Cause::OtherPlugin { .. } => "other_plugin",
        Cause::SavedState(_) => "saved_state",
        Cause::SlotName(_) => "slot_name",
        Cause::Reentrant => "from_within",
        Cause::HostEnded => "host_ended",
        Cause::ForkedProcess => "forked_process",
    }
}

fn hook(hook: Hook) -> &'static str {
    match hook {
        Hook::Create => "hook_create",
        Hook::Snapshot => "hook_snapshot",
        Hook::Restore => "hook_restore",
        Hook::Migrate => "hook_migrate",
        Hook::Init => "hook_init",
        Hook::Start => "hook_start",
        Hook::Health => "hook_health",
        Hook::Stop => "hook_stop",
        Hook::OnConfig => "hook_on_config",
        Hook::OnResource => "hook_on_resource",
    }
}

pub(super) fn step(step: Step) -> &'static str {
    match step {
        Step::Notice => "notice",
        Step::Read => "stage",
        Step::Lint => "lint",
        Step::Preflight => "preflight",
        Step::Open => "open",
        Step::Verify => "verify",
        Step::Create => "create",
        Step::Snapshot => "snapshot",
        Step::Migrate => "migrate",
        Step::Init => "init",
        Step::Start => "start",
        Step::Health => "health",
        Step::Swap => "swap",
        Step::Probation => "probation",
    }
}

/// The better, the higher.
pub(super) fn health(health: Option<&Health>) -> f64 {
    match health {
        Some(Health::Ok) => 3.0,
        Some(Health::Warn(_)) => 2.0,
        Some(Health::TemporarilyUnavailable(_)) => 1.0,
        Some(Health::Critical(_) | Health::CheckFailed(_)) => 0.0,
        None => -1.0,
    }
}
