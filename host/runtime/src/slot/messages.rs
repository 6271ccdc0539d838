//! The messages to the supervisor and to the reaper. Plain data: a sender need not know how they act on it.

use super::ending::{EndedGeneration, Ending};
use reslot_artifact::ContentHash;
use reslot_engine::{Image, Instance, SharedImage};
use reslot_plugin_api::Health;
use reslot_sync::{
    Instant,
    atomic::{AtomicU64, Ordering},
};
use std::sync::Arc;

/// A message to the supervisor.
pub(crate) enum SupervisorMessage {
    /// A generation was published, or a request came: check all slots.
    Look,
    /// A call panicked, or took too long, in this generation.
    Fault { slot: Arc<str>, number: u64 },
    /// A health check has ended.
    Checked {
        slot: Arc<str>,
        /// The checked instance; another instance may have the same generation number.
        instance: InstanceId,
        result: CheckResult,
    },
    /// This content has passed its probation.
    Good { slot: Arc<str>, hash: ContentHash },
    /// This content is bad and must not be loaded again.
    Bad { slot: Arc<str>, hash: ContentHash, why: String },
    /// The host ends.
    End,
}

/// The result of a check.
pub(crate) struct CheckResult {
    pub(crate) health: Health,
    /// When the check began, and when it ended.
    pub(crate) ran: (Instant, Instant),
    /// The bytes that the plugin has allocated after the check.
    pub(crate) bytes: Option<u64>,
}

/// Identifies a current instance uniquely in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceId(u64);

impl InstanceId {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A message to the reaper.
pub(crate) enum ReaperMessage {
    /// The last holder has released a generation.
    Reap(Box<EndedGeneration>),
    /// Its `stop` has returned.
    Stopped {
        ending: Box<Ending>,
        instance: Box<Instance>,
        begun: Instant,
    },
    /// Its instance was dropped.
    Destroyed {
        ending: Box<Ending>,
        image: SharedImage,
        begun: Instant,
    },
    /// An image whose instance was never created.
    Unload {
        slot: Arc<str>,
        number: u64,
        image: Box<dyn Image>,
    },
    /// A generation was replaced; if it is still held after the deadline, its holders are named.
    Retired { slot: Arc<str>, number: u64 },
    /// An obstacle to an image's unload is gone.
    Recheck,
    /// End as soon as no generation is held any more.
    End,
}
