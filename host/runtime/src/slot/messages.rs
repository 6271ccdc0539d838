//! The messages to the supervisor and to the reaper. Plain data: a sender need not know how they act on it.

use super::ending::{EndedGeneration, Ending};
use reslot_artifact::ContentHash;
use reslot_engine::{Image, Instance, SharedImage};
use reslot_plugin_api::Health;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What the supervisor is told.
pub(crate) enum SupervisorMessage {
    /// Something has come to serve, or somebody asks for something: look at all slots.
    Look,
    /// A call panicked, or took too long, in this generation.
    Fault { slot: Arc<str>, number: u64 },
    /// A check came back.
    Checked {
        slot: Arc<str>,
        /// The instance that was asked: another one may have the same number as a generation.
        instance: InstanceId,
        result: CheckResult,
    },
    /// This content has proved itself.
    Good { slot: Arc<str>, hash: ContentHash },
    /// This content is not to be taken again.
    Bad { slot: Arc<str>, hash: ContentHash, why: String },
    /// The host goes.
    End,
}

/// What came of a check.
pub(crate) struct CheckResult {
    pub(crate) health: Health,
    /// How long the plugin took to say it.
    pub(crate) took: Duration,
    /// What it has allocated after it.
    pub(crate) bytes: Option<u64>,
}

/// Tells an instance that serves from all others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceId(u64);

impl InstanceId {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the reaper is told.
pub(crate) enum ReaperMessage {
    /// The last holder of a generation let go.
    Reap(Box<EndedGeneration>),
    /// Its `stop` has come back.
    Stopped {
        ending: Box<Ending>,
        instance: Box<Instance>,
        begun: Instant,
    },
    /// Its instance is dropped.
    Destroyed {
        ending: Box<Ending>,
        image: SharedImage,
        begun: Instant,
    },
    /// An image whose instance was never made.
    Unload {
        slot: Arc<str>,
        number: u64,
        image: Box<dyn Image>,
    },
    /// A generation was replaced; if it is still held after the deadline, its holders are named.
    Retired { slot: Arc<str>, number: u64 },
    /// Something that kept an ending image is gone.
    Recheck,
    /// Come to an end as soon as nothing is held any more.
    End,
}
