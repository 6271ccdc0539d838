//! The runtime of a Reslot host under schedules that a seed chooses: `models` has one small program for each promise, `simulation` a random
//! one for each seed, with a simple model of what must be true. Both use the code that ships. Only what it synchronises with is exchanged
//! (`reslot-sync`), and the engine that runs artifacts: `engine` has one whose images notice a call that comes too late.
//!
//! The package is empty unless it is built with `--cfg reslot_explore`, as `cargo xtask explore` does.
#![cfg(reslot_explore)]
#![forbid(clippy::undocumented_unsafe_blocks)]

pub mod artifacts;
pub mod commands;
pub mod engine;
pub mod models;
pub mod plugins;
pub mod simulation;
pub mod world;

/// An execution with more points than this fails: it would never end.
pub const MOST_STEPS: usize = 2_000_000;
