//! The verbs `new-project`, `new-plugin` and `build-plugin`. `reslot` and `cargo xtask` have them on their command lines; a
//! [`Caller`] describes which of the two runs them.

pub mod build_plugin;
mod caller;
pub mod new_plugin;
pub mod new_project;
pub mod paint;
mod settings;
mod sources;
mod watch;

pub use caller::{Caller, Crates};
