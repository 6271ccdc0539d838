//! What a host synchronises with: locks, atomics, channels, threads, thread-locals and the clock.
//!
//! In an ordinary build these are the types of `parking_lot`, `arc-swap` and `std`, re-exported under their own names. A build with
//! `--cfg reslot_explore` replaces them by types with the same methods, whose threads run one at a time: a seed decides at each operation
//! which thread is next, and the clock advances only when every thread waits. So `cargo xtask explore` can try many schedules of the code
//! that ships, and repeat each of them.
//!
//! The runtime, and the crates below it that it explores, take these types from here and from nowhere else. `std::sync::Arc`, `Weak` and
//! `OnceLock` are the exception: no thread waits for them, and their operations are not points of a schedule.

#[cfg(reslot_explore)]
pub mod explored;
#[cfg(reslot_explore)]
pub use explored::*;

#[cfg(not(reslot_explore))]
mod real;
#[cfg(not(reslot_explore))]
pub use real::*;
