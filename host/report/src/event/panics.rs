//! Which events tell of a plugin's panic, and where to find its backtrace in them.

use super::{Event, RetireReport};
use crate::HookError;
use reslot_plugin_api::Backtrace;

impl Event {
    /// Where the plugin panicked, if the event tells of a panic: in a call, on a thread of its own, in a hook that refused the
    /// candidate, in the last hooks of a generation. The event's sentence leaves it out.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        let backtrace = match self {
            Self::CallFailed { backtrace, .. } | Self::ThreadPanicked { backtrace, .. } => Some(backtrace),
            Self::Refused(refusal) => refusal.backtrace(),
            Self::Retired(report) => report.backtrace(),
            _ => None,
        };
        backtrace.filter(|backtrace| !backtrace.is_empty())
    }
}

impl RetireReport {
    /// Where its `stop` panicked, or else its destructor.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        let mut errors = [&self.stop_error, &self.destroy_error].into_iter().flatten();
        errors.find_map(HookError::backtrace)
    }
}
