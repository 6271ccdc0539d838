//! What the scenario tests, the stress runs and the benchmarks share: fixture plugins built by cargo, stamped so that each
//! copy is another build, published as a user would, and the process looked at before and after.

mod fixture;
pub mod matrix;
mod process;
mod storm;
mod subscriber;

pub use fixture::{Fixture, Folder, Profile, preflight_program, reslot_program};
pub use process::Footprint;
pub use storm::{StormReport, storm};
pub use subscriber::at_each_event;

/// The README's pages of code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/lifecycle.md")]
pub struct Readme;
