//! The engine that runs plugins in processes of their own: a crash, an endless loop or a memory leak of a plugin ends its process, and never the
//! host. Calls, hooks and states cross as bytes through shared memory; callers see the same typed interface.
//!
//! The host's side is `engine`, `object`, `link` and `process`; the child's is `child` and `sandbox`. `channel` is what both share.
//!
//! It knows nothing of slots or callers.

mod channel;
mod child;
mod engine;
mod link;
mod logs;
mod object;
mod process;
mod sandbox;
mod settings;
mod task;

pub use child::child_main;
pub use reslot_engine::Checkpoint;
pub use settings::{Process, Sandbox};
