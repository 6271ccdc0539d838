//! Code that the verbs share with the demos: variants of plugins, figures about Go's plugin package, and programs from
//! Debian's packages for tests. Code for users is in [`reslot_project`].

pub mod debian;
mod error;
pub mod go;
#[cfg(feature = "variants")]
mod profiles;
#[cfg(feature = "variants")]
mod variants;
pub mod wasm;

pub use error::Error;
#[cfg(feature = "variants")]
pub use profiles::keep_profiles_of;
pub use reslot_project::{Building, Built, Package, PluginBuild, Profile, Program, Published, Workspace, cargo, publish};
#[cfg(feature = "variants")]
pub use variants::{Variant, build_variants};

/// The groups of `cargo xtask bench` in the order of the report. Each is a bench target.
pub const BENCH_GROUPS: [&str; 13] = [
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
    "scrub",
    "engines",
];
