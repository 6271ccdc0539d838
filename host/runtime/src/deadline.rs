//! Moments that lie ahead.

use reslot_sync::Instant;
use std::time::Duration;

/// The moment so long after now. What is longer than a century is a century: "for ever" is a usual thing to ask for, and no
/// moment.
pub(crate) fn after(duration: Duration) -> Instant {
    Instant::now() + duration.min(LONGEST)
}

/// See [`after`].
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
