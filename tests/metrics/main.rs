//! A host's metrics: through the `metrics` facade, at its endpoint for Prometheus, and in `Host::slots`. It is a separate
//! test binary, because a recorder applies to the whole process.
#![forbid(unsafe_code)]

mod calls;
mod endpoint;
mod facade;
mod gauges;
