//! The verbs that know sources: `new-project`, `new-plugin` and `build-plugin`. `reslot` and `cargo xtask` have them on their command lines, and
//! say by a [`Caller`] who they are.

pub mod build_plugin;
mod caller;
pub mod new_plugin;
pub mod new_project;
pub mod paint;
mod settings;
mod sources;
mod watch;

pub use caller::{Caller, Crates};
