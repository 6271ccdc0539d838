//! Why a slot went back, and what the version before started from.

use reslot_plugin_api::{CallError, Health};
use std::{fmt, sync::Arc, time::Duration};

/// Why a slot went back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RollbackReason {
    /// Its calls panicked more often than the policy allows.
    Panicked {
        /// How often, on probation.
        panics: u32,
        /// How often it may.
        limit: u32,
        /// The last one.
        last: CallError,
    },
    /// Its checks failed, one after the other.
    Unhealthy {
        /// How many.
        failures: u32,
        /// The last one.
        last: Health,
    },
    /// Its live memory grew too fast, from each measurement to the next.
    Growing {
        /// Bytes a second, at the last measurement.
        bytes_a_second: u64,
        /// How many it may.
        limit: u64,
    },
    /// A call took too long, or is still inside.
    CallTimeout {
        /// The method.
        method: &'static str,
        /// For how long it has run when that was noticed.
        running: Duration,
        /// How long it may.
        limit: Duration,
    },
    /// `Host::rollback` asked for it.
    Manual,
    /// Another slot went back, with which it had come to serve together.
    GroupMember {
        /// The other one.
        slot: Arc<str>,
    },
    /// The host was started anew, and what is published was refused or had not proved itself.
    Restarted,
}

impl RollbackReason {
    /// A short word for this kind of reason, such as `call_timeout`, as it stands in the labels of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Panicked { .. } => "panicked",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Growing { .. } => "growing",
            Self::CallTimeout { .. } => "call_timeout",
            Self::Manual => "manual",
            Self::GroupMember { .. } => "group_member",
            Self::Restarted => "restarted",
        }
    }
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { panics, limit, last } => {
                write!(
                    f,
                    "{panics} panic(s) on probation, where {limit} are allowed; the last: {last}"
                )
            }
            Self::Unhealthy { failures, last } => {
                write!(f, "{failures} failed check(s) one after the other; the last: {last}")
            }
            Self::Growing { bytes_a_second, limit } => write!(
                f,
                "its live memory grew by {:.1} MB/s, where {:.1} are allowed",
                *bytes_a_second as f64 / 1e6,
                *limit as f64 / 1e6
            ),
            Self::CallTimeout { method, running, limit } => {
                write!(f, "a call of `{method}` took {running:.1?}, where {limit:.1?} are allowed")
            }
            Self::Manual => write!(f, "somebody asked for it"),
            Self::GroupMember { slot } => write!(f, "it came to serve together with {slot}, which went back"),
            Self::Restarted => write!(f, "what is published cannot be taken since the host was started"),
        }
    }
}

/// A slot went back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RollbackReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation that it went back from.
    pub from: u64,
    /// The generation that serves from now on.
    pub to: u64,
    /// Why.
    pub reason: RollbackReason,
    /// What it started from.
    pub state: RestoredState,
    /// From the decision to the swap.
    pub total: Duration,
}

impl RollbackReport {
    /// A report of a rollback in a slot, from one generation to another, for a reason.
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

/// What a generation that a slot went back to has for a state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoredState {
    /// There is none to be handed over.
    None,
    /// The newer one's, migrated if need be: nothing was lost.
    Carried {
        /// How large it was, encoded.
        bytes: usize,
    },
    /// What it was when the newer one took over: what was done since is lost.
    Snapshot {
        /// How large it was, encoded.
        bytes: usize,
        /// Why the newer one's could not be had, if the policy wanted that.
        why: Option<String>,
    },
}

impl RestoredState {
    /// How large the state was, encoded; none if there was none.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Carried { bytes } | Self::Snapshot { bytes, .. } => Some(*bytes),
        }
    }
}
