//! What all crates of a host need from the process: detection of forked children, threads and their priorities, time in which the process ran, threads for
//! hooks that may hang, and safe points, at which a thread runs the destructors that unloaded plugins left on it.
//!
//! This crate does not know plugins. All crates of the host depend on it.

pub mod awake;
pub mod background;
mod fork;
pub mod hooks;
mod safe_point;

pub use fork::{PerProcess, Process, never_dropped};
pub use safe_point::{ended_epoch, one_more_ended, run_at_safe_points, safe_point};
