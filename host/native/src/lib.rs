//! The native engine: it maps an artifact into this process, makes instances of it and calls their hooks, and in the end unmaps it and
//! proves that it is gone. It also tries artifacts out in a child process, and opens libraries that are no plugins (`foreign`).
//!
//! It knows nothing of slots or callers: an image does not know whether it is current.

mod engine;
pub mod foreign;
mod integrity;
pub mod loaded;
mod logs;
mod open;
mod panics;
pub mod preflight;
mod remains;
mod resources;
#[cfg(reslot_explore)]
#[doc(hidden)]
pub use resources::{Ledger, exploration};
mod services;
mod symbols;
mod threads;
mod unload;

pub use engine::NativeEngine;
#[doc(hidden)]
pub use symbols::names_in;
pub use symbols::{backtrace_in_program, prepare_backtraces};
