//! The words that stand in labels: short, few, and the same from release to release, for dashboards and alerts are written with
//! them. What a person is told in full is in the events.

use metrics::{Label, SharedString};
use reslot_runtime::{Health, RollbackReason};

/// In place of a slot's name, for what has not come to be one of the host's slots: nothing has served in it.
const NO_SLOT: &str = "none";

/// The label that names a slot.
pub(crate) fn slot(name: impl Into<SharedString>) -> Label {
    Label::new("slot", name)
}

/// The label of what has no slot (yet).
pub(crate) fn no_slot() -> Label {
    Label::from_static_parts("slot", NO_SLOT)
}

/// What becomes of an artifact that is taken up, and of a version that was: it went back because something was wrong with it, or
/// because somebody asked for that, here or of a slot that came to serve together with this one.
pub(crate) const OUTCOMES: [&str; 6] = [SWAPPED, UNCHANGED, SUPERSEDED, REFUSED, ROLLED_BACK, ROLLED_BACK_ON_REQUEST];
pub(crate) const SWAPPED: &str = "swapped";
pub(crate) const UNCHANGED: &str = "unchanged";
pub(crate) const SUPERSEDED: &str = "superseded";
pub(crate) const REFUSED: &str = "refused";
pub(crate) const ROLLED_BACK: &str = "rolled_back";
pub(crate) const ROLLED_BACK_ON_REQUEST: &str = "rolled_back_on_request";

/// Where a plugin panics.
pub(crate) const PLACES: [&str; 3] = [CALL, THREAD, HOOK];
pub(crate) const CALL: &str = "call";
pub(crate) const THREAD: &str = "thread";
pub(crate) const HOOK: &str = "hook";

/// A cause of a refusal with a rule of its own.
pub(crate) const QUARANTINE_FULL: &str = "quarantine_full";

/// What a rollback is among the [`OUTCOMES`]. If it is another slot's that this one goes with, that one's reason says whether somebody
/// asked for it.
pub(crate) fn rollback_outcome(reason: &RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Manual | RollbackReason::GroupMember { .. } => ROLLED_BACK_ON_REQUEST,
        _ => ROLLED_BACK,
    }
}

/// The better, the higher.
pub(crate) fn health(health: Option<&Health>) -> f64 {
    match health {
        Some(Health::Ok) => 3.0,
        Some(Health::Warn(_)) => 2.0,
        Some(Health::TemporarilyUnavailable(_)) => 1.0,
        Some(Health::Critical(_) | Health::CheckFailed(_)) => 0.0,
        None => -1.0,
    }
}
