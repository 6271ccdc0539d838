//! What the verbs share with the demos: reading the workspace, building and publishing plugins, what is known of Go's plugin,
//! and programs from Debian's packages that tests need.
//!
//! The binary beside this library only dispatches; a program that builds a plugin while it runs (the demo does) needs
//! [`Workspace::read`], [`PluginBuild`] and nothing else:
//!
//! ```no_run
//! use xtask::{PluginBuild, Profile, Workspace};
//!
//! let workspace = Workspace::read("/path/to/the/repository".as_ref())?;
//! let momentum = workspace.plugin("momentum")?;
//! let build = PluginBuild::new(&workspace, momentum, Profile::Release).quiet();
//! let published = build.publish_to(&workspace.plugin_folder())?;
//! println!("{} in {:?}", published.file.display(), published.built_in);
//! # Ok::<(), xtask::Error>(())
//! ```

mod building;
mod cargo_output;
pub mod debian;
mod error;
pub mod go;
mod plugins;
#[cfg(feature = "variants")]
mod profiles;
#[cfg(feature = "variants")]
mod variants;
mod workspace;

pub use building::Building;
pub use cargo_output::Program;
pub use error::Error;
pub use plugins::{Built, PluginBuild, Profile, Published, publish};
#[cfg(feature = "variants")]
pub use profiles::keep_profiles_of;
#[cfg(feature = "variants")]
pub use variants::{Variant, build_variants};
pub use workspace::{Package, Workspace, cargo};

/// The groups of `cargo xtask bench`, each a bench target, in the order in which a reader asks.
pub const BENCH_GROUPS: [&str; 11] = [
    "call",
    "reload",
    "save",
    "storm",
    "growth",
    "memory",
    "state",
    "rollback",
    "allocators",
    "logs",
    "desk",
];
