//! The values of labels. They are short, few, and stable from release to release, because dashboards and alerts use them.
//! Events have the full text for people.

use metrics::{Label, SharedString};
use reslot_runtime::{Health, RollbackReason};

/// The label for files whose slot does not exist.
const NO_SLOT: &str = "none";

/// The label that names a slot.
pub(crate) fn slot(name: impl Into<SharedString>) -> Label {
    Label::new("slot", name)
}

/// The label for files whose slot does not exist.
pub(crate) fn no_slot() -> Label {
    Label::from_static_parts("slot", NO_SLOT)
}

/// The outcomes of reloads and rollbacks. A rollback is on request if it was requested for this slot or for another slot of
/// the set.
pub(crate) const OUTCOMES: [&str; 6] = [SWAPPED, UNCHANGED, SUPERSEDED, REFUSED, ROLLED_BACK, ROLLED_BACK_ON_REQUEST];
pub(crate) const SWAPPED: &str = "swapped";
pub(crate) const UNCHANGED: &str = "unchanged";
pub(crate) const SUPERSEDED: &str = "superseded";
pub(crate) const REFUSED: &str = "refused";
pub(crate) const ROLLED_BACK: &str = "rolled_back";
pub(crate) const ROLLED_BACK_ON_REQUEST: &str = "rolled_back_on_request";

/// The places where a plugin can panic.
pub(crate) const PLACES: [&str; 3] = [CALL, THREAD, HOOK];
pub(crate) const CALL: &str = "call";
pub(crate) const THREAD: &str = "thread";
pub(crate) const HOOK: &str = "hook";

/// A cause of refusals that has its own alert rule.
pub(crate) const QUARANTINE_FULL: &str = "quarantine_full";

/// The outcome of a rollback in [`OUTCOMES`]. For a rollback with another slot of the set, the reason does not say whether
/// that one was requested.
pub(crate) fn rollback_outcome(reason: &RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Manual | RollbackReason::GroupMember { .. } => ROLLED_BACK_ON_REQUEST,
        _ => ROLLED_BACK,
    }
}

/// The health as a number; higher is better.
pub(crate) fn health(health: Option<&Health>) -> f64 {
    match health {
        Some(Health::Ok) => 3.0,
        Some(Health::Warn(_)) => 2.0,
        Some(Health::TemporarilyUnavailable(_)) => 1.0,
        Some(Health::Critical(_) | Health::CheckFailed(_)) => 0.0,
        None => -1.0,
    }
}
