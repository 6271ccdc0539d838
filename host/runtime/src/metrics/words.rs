//! The words that stand in labels: short, few, and the same from release to release, for dashboards and alerts are written with
//! them. What a person is told in full is in the events.

use reslot_plugin_api::Health;
use reslot_report::RollbackReason;

/// What becomes of an artifact that is taken up, and of a version that was: it went back because something was wrong with it, or
/// because somebody asked for that, here or of a slot that came to serve together with this one.
pub(super) const OUTCOMES: [&str; 6] = [SWAPPED, UNCHANGED, SUPERSEDED, REFUSED, ROLLED_BACK, WENT_BACK];
pub(super) const SWAPPED: &str = "swapped";
pub(super) const UNCHANGED: &str = "unchanged";
pub(super) const SUPERSEDED: &str = "superseded";
pub(super) const REFUSED: &str = "refused";
pub(super) const ROLLED_BACK: &str = "rolled_back";
pub(super) const WENT_BACK: &str = "rolled_back_on_request";

/// Where a plugin panics.
pub(super) const PLACES: [&str; 3] = [CALL, THREAD, HOOK];
pub(super) const CALL: &str = "call";
pub(super) const THREAD: &str = "thread";
pub(super) const HOOK: &str = "hook";

/// A cause of a refusal with a rule of its own.
pub(super) const QUARANTINE_FULL: &str = "quarantine_full";

/// What a rollback is among the [`OUTCOMES`]. If it is another slot's that this one goes with, that one's reason says whether somebody
/// asked for it.
pub(super) fn went_back(reason: &RollbackReason) -> &'static str {
    match reason {
        RollbackReason::Manual | RollbackReason::GroupMember { .. } => WENT_BACK,
        _ => ROLLED_BACK,
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
