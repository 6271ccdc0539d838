//! The end of a generation as data: what its last holder hands over, and what is known before its image is closed.

use reslot_engine::Instance;
use reslot_report::{Holder, HookError, Outcome, QuarantineReason, RetireReport};
use reslot_sync::Instant;
use std::{sync::Arc, time::Duration};

/// What the last holder of a generation hands over to the reaper.
pub(crate) struct EndedGeneration {
    pub(crate) slot: Arc<str>,
    pub(crate) number: u64,
    pub(crate) instance: Instance,
    pub(crate) retired: Option<Instant>,
}

/// What is known of an ending generation before its image is closed.
#[derive(Clone)]
pub(crate) struct Ending {
    pub(crate) slot: Arc<str>,
    pub(crate) number: u64,
    /// It is the last instance of its image, whose end is reported.
    pub(crate) is_last: bool,
    /// When it ceased to be of use, if it ever served.
    pub(crate) retired: Option<Instant>,
    pub(crate) held: Duration,
    pub(crate) late_holders: Vec<Holder>,
    pub(crate) stop_error: Option<HookError>,
    pub(crate) destroy_error: Option<HookError>,
    pub(crate) took: Duration,
    /// Why it was kept mapped until now, if that was reported.
    pub(crate) quarantined: Option<QuarantineReason>,
}

impl Ending {
    pub(crate) fn of_image(slot: Arc<str>, number: u64) -> Self {
        Self {
            slot,
            number,
            is_last: true,
            retired: None,
            held: Duration::ZERO,
            late_holders: Vec::new(),
            stop_error: None,
            destroy_error: None,
            took: Duration::ZERO,
            quarantined: None,
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.number == other.number && self.slot == other.slot
    }

    pub(crate) fn report(self, outcome: Outcome) -> RetireReport {
        let mut report = RetireReport::new(self.slot, self.number, outcome);
        report.served = self.retired.is_some();
        report.held = self.held;
        report.late_holders = self.late_holders;
        report.stop_error = self.stop_error;
        report.destroy_error = self.destroy_error;
        report.ending = self.took;
        report
    }
}
