//! What every floor of a host needs of its process: a way to tell a forked child from its parent, threads and their priorities, threads
//! for hooks that may hang, and safe points, at which a thread runs what unloaded plugins have left on it.
//!
//! Nothing here knows what a plugin is. A change here is felt in every floor above.

pub mod background;
mod fork;
pub mod hooks;
mod safe_point;

pub use fork::{PerProcess, Process, never_dropped};
pub use safe_point::{ended_epoch, one_more_ended, run_at_safe_points, safe_point};
