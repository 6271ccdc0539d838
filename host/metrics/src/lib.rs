//! Metrics of a Reslot host: counters and times from its events, and gauges that are updated when they change and when they
//! are read.
//!
//! There are two [surfaces](reslot_runtime::surface). [`Metrics`] reports to the `metrics` recorder that the program has
//! installed. `PrometheusEndpoint` (feature `prometheus`) has its own recorder and serves it to Prometheus.
//!
//! ```
//! use reslot::{Host, metrics::{Metrics, MetricsRecorder}};
//!
//! let host = Host::builder().attach(Metrics::new()).build()?;
//! // Memory and calls change without an event: update them before you read them.
//! host.surface::<MetricsRecorder>().expect("it is attached").record();
//! # Ok::<(), reslot::BuildError>(())
//! ```
//!
//! # Where to change what
//! `names` has every metric with its unit and description, and `words` the values of all labels: dashboards and alerts use
//! them, so they must stay. `counters` maps events to counters, `sample` updates gauges, and `meter` makes sure that a slow
//! thread does not set an old value last. `endpoint` is the server for Prometheus.
//!
//! Labels are slots and fixed words, never a path, a hash or a message, so the number of series depends only on the number
//! of slots. A recorder runs on the thread that reports an event, without any lock, and its panics are caught.

#![forbid(unsafe_code)]

mod counters;
#[cfg(feature = "prometheus")]
mod endpoint;
mod meter;
mod names;
mod sample;
mod words;

#[cfg(feature = "prometheus")]
pub use endpoint::{EndpointError, PrometheusEndpoint, PrometheusServer};

use meter::{Meter, Target};
use reslot_runtime::surface::{HostHandle, Setup, Surface, SurfaceError};
use std::{fmt, sync::Arc};

/// Reports to the `metrics` recorder that the program has installed, for
/// [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach).
///
/// ```
/// use reslot::{Host, metrics::Metrics};
///
/// // Before or after this the program installs a recorder: `metrics::set_global_recorder(…)`.
/// let host = Host::builder().attach(Metrics::new()).build()?;
/// # Ok::<(), reslot::BuildError>(())
/// ```
pub struct Metrics(Arc<Meter>);

impl Metrics {
    /// Uses the recorder that is installed at the time of each event.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Meter::new(Target::Installed)))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Surface for Metrics {
    type Running = MetricsRecorder;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let meter = self.0.clone();
        setup.on_event(move |event| meter.record(event));
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<MetricsRecorder, SurfaceError> {
        self.0.attach(host);
        Ok(MetricsRecorder(self.0))
    }
}

/// The metrics of a running host, from [`Host::surface`](reslot_runtime::Host::surface).
///
/// ```
/// use reslot::{Host, metrics::{Metrics, MetricsRecorder}};
///
/// let host = Host::builder().attach(Metrics::new()).build()?;
/// let recorder = host.surface::<MetricsRecorder>().expect("it is attached");
/// recorder.record(); // before the program reads what its recorder has
/// # Ok::<(), reslot::BuildError>(())
/// ```
pub struct MetricsRecorder(Arc<Meter>);

impl MetricsRecorder {
    /// Updates all gauges in the installed recorder. Call it before you read them, because a plugin's memory and calls
    /// change without an event. All other metrics are updated when they change. An endpoint for Prometheus does this by
    /// itself.
    pub fn record(&self) {
        self.0.sample();
    }
}

impl fmt::Debug for MetricsRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsRecorder")
    }
}
