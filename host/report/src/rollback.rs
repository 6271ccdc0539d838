//! Why a slot was rolled back, and which state the earlier version got.

use reslot_artifact::ImageDifference;
use reslot_plugin_api::{CallError, Health, InstanceEnd};
use std::{fmt, sync::Arc, time::Duration};

/// Why a slot was rolled back.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::RollbackReason;
///
/// assert_eq!(RollbackReason::Manual.kind(), "manual"); // as in the labels of metrics
/// println!("{}", RollbackReason::Manual); // as in messages
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RollbackReason {
    /// Its calls panicked more often than the policy allows.
    Panicked {
        /// The number of panics on probation.
        panics: u32,
        /// The number that the policy allows.
        limit: u32,
        /// The last one.
        last: CallError,
    },
    /// Consecutive health checks failed.
    Unhealthy {
        /// The number of failed checks.
        failures: u32,
        /// The last one.
        last: Health,
    },
    /// Its live memory grew too fast in several consecutive measurements.
    Growing {
        /// The growth in bytes per second at the last measurement.
        bytes_a_second: u64,
        /// The growth that the policy allows.
        limit: u64,
    },
    /// A call took too long, or is still inside.
    CallTimeout {
        /// The method.
        method: &'static str,
        /// How long the call had run when the host noticed it.
        running: Duration,
        /// The time that the policy allows.
        limit: Duration,
    },
    /// `Host::rollback` requested it.
    Manual,
    /// Another slot of the same set was rolled back.
    GroupMember {
        /// The other slot.
        slot: Arc<str>,
    },
    /// The image in memory differs from its artifact (`Policy::on_damaged_image`). The version itself is not at fault.
    Damaged {
        /// The slot of the image.
        slot: Arc<str>,
        /// Where it differs.
        difference: Box<ImageDifference>,
    },
    /// Its instance, which ran in a sandbox or in a process of its own, has ended.
    InstanceEnded(InstanceEnd),
    /// The host was restarted, and the published version was refused or had not passed its probation.
    Restarted,
}

impl RollbackReason {
    /// A short word for this kind of reason, such as `call_timeout`. Labels of metrics use it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Panicked { .. } => "panicked",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Growing { .. } => "growing",
            Self::CallTimeout { .. } => "call_timeout",
            Self::Manual => "manual",
            Self::GroupMember { .. } => "group_member",
            Self::Damaged { .. } => "damaged",
            Self::InstanceEnded(_) => "instance_ended",
            Self::Restarted => "restarted",
        }
    }
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { panics, limit, last } => {
                write!(f, "{panics} panic(s) on probation, the limit is {limit}; the last: {last}")
            }
            Self::Unhealthy { failures, last } => {
                write!(f, "{failures} consecutive failed check(s); the last: {last}")
            }
            Self::Growing { bytes_a_second, limit } => write!(
                f,
                "its live memory grew by {:.1} MB/s, the limit is {:.1}",
                *bytes_a_second as f64 / 1e6,
                *limit as f64 / 1e6
            ),
            Self::CallTimeout { method, running, limit } => {
                write!(f, "a call of `{method}` took {running:.1?}, the limit is {limit:.1?}")
            }
            Self::Manual => write!(f, "it was requested"),
            Self::GroupMember { slot } => write!(f, "it was loaded together with {slot}, which was rolled back"),
            Self::Damaged { slot, difference } => write!(f, "the image of {slot} differs from its artifact at {difference}"),
            Self::InstanceEnded(end) => write!(f, "its instance has ended: {end}"),
            Self::Restarted => write!(f, "the published version cannot be loaded since the host was started"),
        }
    }
}

/// A rollback of a slot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RollbackReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The faulty or discarded generation.
    pub from: u64,
    /// The generation that is current now.
    pub to: u64,
    /// Why.
    pub reason: RollbackReason,
    /// The state that it got.
    pub state: RestoredState,
    /// The time from the decision to the swap.
    pub total: Duration,
}

impl RollbackReport {
    /// A report of a rollback of a slot.
    pub fn new(slot: Arc<str>, from: u64, to: u64, reason: RollbackReason, state: RestoredState, total: Duration) -> Self {
        Self {
            slot,
            from,
            to,
            reason,
            state,
            total,
        }
    }
}

/// The state of the generation that a slot was rolled back to.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::RestoredState;
///
/// assert_eq!(RestoredState::Carried { bytes: 120 }.bytes(), Some(120));
/// assert_eq!(RestoredState::None.bytes(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoredState {
    /// The plugin has no state.
    None,
    /// The newer generation's state, migrated if necessary. Nothing is lost.
    Carried {
        /// The size of the encoded state in bytes.
        bytes: usize,
    },
    /// The snapshot of the swap. Changes since the swap are lost.
    Snapshot {
        /// The size of the encoded state in bytes.
        bytes: usize,
        /// Why the newer generation's state could not be carried over, if the policy asks for that.
        why: Option<String>,
    },
}

impl RestoredState {
    /// The size of the encoded state in bytes; none without a state.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Carried { bytes } | Self::Snapshot { bytes, .. } => Some(*bytes),
        }
    }
}
