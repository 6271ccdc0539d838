//! What is known of an ending generation before its image is closed, and the report that comes of it.

use crate::{
    event::{Outcome, RetireReport},
    host::Holder,
    instance::HookError,
};
use std::{sync::Arc, time::Duration};

/// What is known of an ending generation before its image is closed.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) slot: Arc<str>,
    pub(super) number: u64,
    pub(super) served: bool,
    pub(super) held: Duration,
    pub(super) late_holders: Vec<Holder>,
    pub(super) stop_error: Option<HookError>,
    pub(super) destroy_error: Option<HookError>,
    pub(super) took: Duration,
}

impl Ending {
    pub(super) fn of_image(slot: Arc<str>, number: u64) -> Self {
        Self {
            slot,
            number,
            served: false,
            held: Duration::ZERO,
            late_holders: Vec::new(),
            stop_error: None,
            destroy_error: None,
            took: Duration::ZERO,
        }
    }

    pub(super) fn report(self, outcome: Outcome) -> RetireReport {
        RetireReport {
            slot: self.slot,
            generation: self.number,
            served: self.served,
            outcome,
            held: self.held,
            late_holders: self.late_holders,
            stop_error: self.stop_error,
            destroy_error: self.destroy_error,
            ending: self.took,
        }
    }
}
