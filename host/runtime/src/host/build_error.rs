//! What keeps a host from starting.

use super::SurfaceError;
use reslot_report::{
    HistoryError, StageError,
    remedies::{self, Purpose},
};

/// Why a host could not be built.
///
/// ```
/// use reslot::{BuildError, Host, Policy};
/// use std::time::Duration;
///
/// let policy = Policy::development().hook_deadline(Duration::ZERO); // no hook could run
/// let error = Host::builder().policy(policy).build().unwrap_err();
/// assert!(matches!(error, BuildError::Policy(_)));
/// assert!(error.to_string().contains("what to do: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Its private folder could not be made.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Private(#[from] StageError),
    /// The folder of kept artifacts cannot be used.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    History(#[from] HistoryError),
    /// The folder cannot be watched.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Watch(#[from] crate::watch::WatchError),
    /// The policy has a value with which nothing could work.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// What was said of instances is not good.
    #[error(transparent)]
    Instances(#[from] crate::instances::InstancesError),
    /// A thread could not be started.
    #[error(
        "the host's thread {name:?} could not be started: {source}\n  what to do: {remedy}",
        remedy = remedies::of(source, Purpose::Thread)
    )]
    Thread {
        /// Its name.
        name: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A [surface](crate::surface) could not be had: a control socket, say, or an endpoint for metrics.
    #[error("{0}")]
    Surface(SurfaceError),
}
