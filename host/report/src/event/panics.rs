//! Which events report a panic of a plugin, and where their backtrace is.

use super::{Event, RetireReport};
use crate::HookError;
use reslot_plugin_api::Backtrace;

impl Event {
    /// Where the plugin panicked, if the event reports a panic: in a call, on a thread of the plugin, in a hook of a
    /// candidate, or in the `stop` or `drop` of a generation. `Display` does not print it.
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
    /// Where `stop` panicked, or else where the destructor panicked.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        let mut errors = [&self.stop_error, &self.destroy_error].into_iter().flatten();
        errors.find_map(HookError::backtrace)
    }
}
