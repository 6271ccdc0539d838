//! relib's side of the reload benchmark, made as its manual says, with its feature `unloading`. It is a package of its own because
//! relib's glue comes from a build script.
#![cfg(feature = "host")]
#![allow(
    dead_code,
    unused_imports,
    unused_variables,
    clippy::undocumented_unsafe_blocks,
    reason = "what relib generates"
)]

#[path = "../../reload-relib/src/exports.rs"]
mod exports;
#[path = "../../reload-relib/src/imports.rs"]
mod imports;

relib_interface::include_exports!();
relib_interface::include_imports!();

use std::path::Path;

/// A loaded module; if it is not unloaded it stays for ever.
pub struct Loaded(relib_host::Module<gen_exports::ModuleExports>);

impl Loaded {
    /// Loads `peer-reload-relib`.
    ///
    /// # Panics
    /// If relib refuses it.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        // SAFETY: on Linux it asks for nothing.
        let module = unsafe { relib_host::load_module(path, gen_imports::init_imports) };
        Self(module.unwrap_or_else(|error| panic!("relib loads {}: {error:#}", path.display())))
    }

    /// The number of the build that answers.
    #[must_use]
    pub fn stamp(&self) -> Option<u64> {
        // SAFETY: the module is built from the same trait, and a number is plain data.
        unsafe { self.0.exports().stamp() }
    }

    /// Unloads it, with relib's own look whether it is gone.
    ///
    /// # Panics
    /// If it is not.
    pub fn unload(self) {
        self.0.unload().unwrap_or_else(|error| panic!("relib unloads: {error:#}"));
    }
}
