//! Errors between a source file and a published plugin, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why a plugin was not built or published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo metadata` could not be run, failed, or gave unexpected output.
    #[error("cannot read the workspace at {}: {why}", .at.display())]
    Workspace {
        /// The folder.
        at: PathBuf,
        /// Cargo's message.
        why: String,
    },

    /// No workspace package under `plugins/` with a cdylib target has this name.
    #[error("no plugin is named `{name}`; {}", known_plugins(.known))]
    UnknownPlugin {
        /// The requested name.
        name: String,
        /// The names of all plugins.
        known: Vec<String>,
    },

    /// The compiler or cargo failed. Their messages are on standard error.
    #[error("plugin `{plugin}` was not built ({status}): {}", build_remedy(*.status, *.by_compiler))]
    Compile {
        /// The plugin's package.
        plugin: String,
        /// How cargo ended.
        status: ExitStatus,
        /// Whether the compiler found an error in a source.
        by_compiler: bool,
    },

    /// A program of the workspace was not built. Cargo's messages are on standard error.
    #[error("the program `{program}` was not built ({status}): {}", build_remedy(*.status, false))]
    Program {
        /// The program.
        program: String,
        /// How cargo ended.
        status: ExitStatus,
    },

    /// Cargo succeeded, but named no dynamic library for the plugin.
    #[error(
        "plugin `{plugin}` was built, but cargo named no dynamic library: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`"
    )]
    NoLibrary {
        /// The plugin's package.
        plugin: String,
    },

    /// The installed compiler has no standard library for WebAssembly.
    #[error(
        "the compiler in {} has no standard library for {target}: run `rustup target add {target}`",
        .sysroot.display(),
        target = crate::WASM_TARGET
    )]
    NoWasm {
        /// Where the compiler has its libraries.
        sysroot: PathBuf,
    },

    /// The compiler could not be asked for its folder.
    #[error("cannot ask {} for its folder: {why}", .at.display())]
    Compiler {
        /// The compiler.
        at: PathBuf,
        /// The reason.
        why: String,
    },

    /// The file system or the start of a process failed.
    #[error("cannot {doing} {}: {source}", .at.display())]
    Io {
        /// The failed operation, as a verb phrase.
        doing: &'static str,
        /// The file, folder or program.
        at: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Makes a function for `map_err`, which adds the operation and the path to the system's error.
    pub fn io(doing: &'static str, at: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            doing,
            at: at.to_owned(),
            source,
        }
    }
}

fn known_plugins(known: &[String]) -> String {
    if known.is_empty() {
        "there is none yet: a plugin is a package under plugins/ with `[lib] crate-type = [\"cdylib\"]`".to_owned()
    } else {
        format!("the plugins are: {}", known.join(", "))
    }
}

/// The remedy depends on who failed: a signal may have ended cargo, and cargo itself fails for reasons that are not in a
/// source file, such as a folder without write permission.
fn build_remedy(status: ExitStatus, by_compiler: bool) -> &'static str {
    match (status.code(), by_compiler) {
        (Some(_), true) => "correct what the compiler names above and build again",
        (Some(_), false) => "cargo names the reason above",
        (None, _) => "the build was interrupted",
    }
}
