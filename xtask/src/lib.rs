//! What the verbs share with the demos, beside what every user has in [`reslot_project`]: builds of plugins as they would be after an edit, what
//! is known of Go's plugin, and programs from Debian's packages that tests need.

pub mod debian;
mod error;
pub mod go;
#[cfg(feature = "variants")]
mod profiles;
#[cfg(feature = "variants")]
mod variants;

pub use error::Error;
#[cfg(feature = "variants")]
pub use profiles::keep_profiles_of;
pub use reslot_project::{Building, Built, Package, PluginBuild, Profile, Program, Published, Workspace, cargo, publish};
#[cfg(feature = "variants")]
pub use variants::{Variant, build_variants};

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
