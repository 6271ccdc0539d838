//! The errors of a host's start.

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
    /// Its private folder could not be created.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Private(#[from] StageError),
    /// The history's folder cannot be used.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    History(#[from] HistoryError),
    /// The folder cannot be watched.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Watch(#[from] crate::watch::WatchError),
    /// The policy has a value that cannot work.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// The lists of instances are invalid.
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
    /// A [surface](crate::surface) could not be started: for example a control socket, or an endpoint for metrics.
    #[error("{0}")]
    Surface(SurfaceError),
}
