//! Reads a workspace with Reslot plugins, builds the plugins, and publishes them for a running host.
//!
//! The feature `verbs` has the command lines of the programs `reslot` and `cargo xtask`. A program that builds a plugin
//! while it runs needs [`Workspace::read`] and [`PluginBuild`]:
//!
//! ```no_run
//! use reslot_project::{PluginBuild, Profile, Workspace};
//!
//! let workspace = Workspace::read("/path/to/the/workspace".as_ref())?;
//! let momentum = workspace.plugin("momentum")?;
//! let build = PluginBuild::new(&workspace, momentum, Profile::Release).quiet();
//! let published = build.publish_to(&workspace.plugin_folder())?;
//! println!("{} in {:?}", published.file.display(), published.built_in);
//! # Ok::<(), reslot_project::Error>(())
//! ```
//!
//! A program with a screen of its own can run `build-plugin --watch` with [`Building`].

mod building;
mod cargo_output;
mod error;
mod plugins;
#[cfg(feature = "verbs")]
pub mod verbs;
mod wasm;
mod workspace;

pub use building::Building;
pub use cargo_output::Program;
pub use error::Error;
pub use plugins::{Built, PluginBuild, Profile, Published, publish};
pub use wasm::{WASM_TARGET, WASM_UNWIND_FLAGS, WasmToolchain};
pub use workspace::{Package, Workspace, cargo};
