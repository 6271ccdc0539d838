//! Code that the scenario tests, the stress runs and the benchmarks share: it builds fixture plugins with cargo, stamps them
//! so that each copy is another build, publishes them like a user, and measures the process before and after.

mod chaos;
mod fixture;
pub mod http;
pub mod matrix;
mod process;
pub mod pty;
mod storm;
mod subscriber;

pub use chaos::{ChaosReport, chaos};
pub use fixture::{Fixture, Folder, Profile, child_program, preflight_program, reslot_program};
pub use process::{Footprint, allocated_bytes};
pub use storm::{StormReport, WARM_UP, storm};
pub use subscriber::at_each_event;

/// The README's and the guide's pages of code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/changing-state.md")]
#[doc = include_str!("../../docs/command-line.md")]
#[doc = include_str!("../../docs/configuration.md")]
#[doc = include_str!("../../docs/cookbook.md")]
#[doc = include_str!("../../docs/first-plugin.md")]
#[doc = include_str!("../../docs/game-loop.md")]
#[doc = include_str!("../../docs/interfaces.md")]
#[doc = include_str!("../../docs/leaks.md")]
#[doc = include_str!("../../docs/lifecycle.md")]
#[doc = include_str!("../../docs/linked.md")]
#[doc = include_str!("../../docs/production.md")]
#[doc = include_str!("../../docs/telling.md")]
#[doc = include_str!("../../docs/testing.md")]
#[doc = include_str!("../../docs/trading-loop.md")]
#[doc = include_str!("../../docs/your-repository.md")]
pub struct Readme;
