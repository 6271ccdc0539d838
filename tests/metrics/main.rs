//! What a host tells of itself in numbers: through the `metrics` facade, at its endpoint for Prometheus, and in `Host::slots`. A test
//! binary of its own, because a recorder is the whole process's.
#![forbid(unsafe_code)]

mod calls;
mod endpoint;
mod facade;
mod gauges;
