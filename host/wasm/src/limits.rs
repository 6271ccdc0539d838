//! The limits of an instance.

use reslot_engine::Checkpoint;
use std::time::Duration;

/// What an instance may use, and when its state is saved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory: usize,
    pub(crate) call: Duration,
    pub(crate) hook: Duration,
    pub(crate) checkpoint: Checkpoint,
}
