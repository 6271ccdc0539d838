//! What keeps a host from starting. Every other error is plain data of the crate `reslot-report`, which this module passes on.

use reslot_report::remedies::{self, Purpose};
use reslot_report::{HistoryError, StageError};
use std::net::SocketAddr;

/// Why a host could not be built.
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
    /// The control socket cannot be opened.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Control(#[from] crate::control::ControlError),
    /// What was said of instances is not good.
    #[error(transparent)]
    Instances(#[from] crate::instances::InstancesError),
    /// The settings are not good.
    #[cfg(feature = "config")]
    #[error("the settings cannot be used: {0}")]
    Config(#[from] crate::config::ConfigError),
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
    /// The endpoint for Prometheus could not be had. Only with the feature `prometheus`.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Prometheus(#[from] EndpointError),
}

/// Why the endpoint for Prometheus could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Others than this machine could ask there, and that was not asked for.
    #[error("metrics are not served at {at}: it is no loopback address, so others than this machine could read them")]
    NotLoopback {
        /// The address.
        at: SocketAddr,
    },
    /// The address cannot be had.
    #[error("metrics cannot be served at {at}: {source}")]
    Bind {
        /// The address.
        at: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl EndpointError {
    /// What the person who runs the host can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotLoopback { .. } => {
                "name an address of loopback, as 127.0.0.1; or use `prometheus_beyond_loopback`, if everybody who reaches it may know \
                 these numbers"
            }
            Self::Bind { source, .. } => remedies::of(source, Purpose::Endpoint),
        }
    }
}
