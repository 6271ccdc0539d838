//! What a Reslot host does, as metrics: counters and times from its events, gauges looked up when they change and when somebody reads them.
//!
//! There are two [surfaces](reslot_runtime::surface). [`Metrics`] tells the `metrics` recorder that the program has installed.
//! `PrometheusEndpoint` (feature `prometheus`) has a recorder of its own and serves it to a Prometheus.
//!
//! ```
//! use reslot::{Host, metrics::{Metrics, MetricsRecorder}};
//!
//! let host = Host::builder().attach(Metrics::new()).build()?;
//! // Memory and calls change without an event: before you read them, have them looked up.
//! host.surface::<MetricsRecorder>().expect("it is attached").record();
//! # Ok::<(), reslot::BuildError>(())
//! ```
//!
//! # Where to change what
//! `names` has every metric with its unit and description, `words` every label's words: dashboards and alerts are written with them, so they stay.
//! `tell` says which event counts where, `sample` which gauge is looked up when, `meter` keeps a slow thread from having the last word.
//! `endpoint` is the server for Prometheus.
//!
//! Labels are slots and words of ours, never a path, a hash or a message: as many series as the host has slots, and no more. A recorder
//! runs on whichever thread tells of an event, no lock is held while it does, and its panic ends nothing.

#![forbid(unsafe_code)]

#[cfg(feature = "prometheus")]
mod endpoint;
mod meter;
mod names;
mod sample;
mod tell;
mod words;

#[cfg(feature = "prometheus")]
pub use endpoint::{EndpointError, PrometheusEndpoint, PrometheusServer};

use meter::{Meter, Target};
use reslot_runtime::surface::{HostHandle, Setup, Surface, SurfaceError};
use std::{fmt, sync::Arc};

/// Tells the `metrics` recorder that the program has installed, for [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach).
pub struct Metrics(Arc<Meter>);

impl Metrics {
    /// For the recorder that is installed when something happens.
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
        setup.on_event(move |event| meter.tell(event));
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<MetricsRecorder, SurfaceError> {
        self.0.attach(host);
        Ok(MetricsRecorder(self.0))
    }
}

/// The metrics of a running host, from [`Host::surface`](reslot_runtime::Host::surface).
pub struct MetricsRecorder(Arc<Meter>);

impl MetricsRecorder {
    /// Looks up all gauges, for the recorder that is installed: how much memory a plugin has allocated and how often it was called
    /// changes without an event. For a program that is about to read them; the rest is told when it changes. An endpoint for Prometheus does
    /// the like by itself.
    pub fn record(&self) {
        self.0.sample();
    }
}

impl fmt::Debug for MetricsRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsRecorder")
    }
}
