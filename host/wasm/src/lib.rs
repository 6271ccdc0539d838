//! The engine for plugins that are compiled to WebAssembly. A plugin's code runs in a sandbox in the host's process: it has a memory of its own with
//! a limit, each call has a deadline, and it reaches nothing but what the host lends it.
//!
//! ```no_run
//! use reslot_wasm::Wasm;
//! use std::time::Duration;
//!
//! let engine = Wasm::new().memory(64 << 20).call_deadline(Duration::from_millis(5));
//! // Host::builder().engine("risk", engine)
//! # drop(engine);
//! ```
//!
//! An instance that exceeds a limit, or traps, has ended. The host replaces it as its policy says, with the state that was saved last.

mod cache;
mod code;
mod engine;
mod image;
mod imports;
mod limits;
mod lint;
mod object;
mod owner;
mod sandbox;
mod ticker;

pub use engine::Wasm;
pub use reslot_engine::Checkpoint;
