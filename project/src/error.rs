//! What can go wrong between a source file and a published plugin, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A build or a publication that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `cargo metadata` could not be run, refused, or answered with something unexpected.
    #[error("cannot read the workspace at {}: {why}", .at.display())]
    Workspace {
        /// The folder that was asked about.
        at: PathBuf,
        /// What cargo said.
        why: String,
    },

    /// No workspace package under `plugins/` with a cdylib target has this name.
    #[error("no plugin is named `{name}`; {}", known_plugins(.known))]
    UnknownPlugin {
        /// The name that was asked for.
        name: String,
        /// The names that would have been understood.
        known: Vec<String>,
    },

    /// The compiler refused the plugin, or cargo failed before or after it; what they said went to standard error.
    #[error("plugin `{plugin}` was not built ({status}): {}", build_remedy(*.status, *.by_compiler))]
    Compile {
        /// The plugin's package.
        plugin: String,
        /// How cargo ended.
        status: ExitStatus,
        /// Whether the compiler found an error in a source.
        by_compiler: bool,
    },

    /// A program of the workspace was not built; what cargo said went to standard error.
    #[error("the program `{program}` was not built ({status}): {}", build_remedy(*.status, false))]
    Program {
        /// The program.
        program: String,
        /// How cargo ended.
        status: ExitStatus,
    },

    /// Cargo succeeded and yet named no dynamic library for the plugin.
    #[error(
        "plugin `{plugin}` was built, but cargo named no dynamic library: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`"
    )]
    NoLibrary {
        /// The plugin's package.
        plugin: String,
    },

    /// The file system or the start of a process failed.
    #[error("cannot {doing} {}: {source}", .at.display())]
    Io {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// The file, folder or program.
        at: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: the system's error with what was being done, and to which file, folder or program.
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

/// Cargo that a signal ended says nothing about the source, and cargo itself fails for reasons that are in no source: a folder that
/// cannot be written, a package that cannot be downloaded.
fn build_remedy(status: ExitStatus, by_compiler: bool) -> &'static str {
    match (status.code(), by_compiler) {
        (Some(_), true) => "correct what the compiler names above and build again",
        (Some(_), false) => "cargo names the reason above",
        (None, _) => "the build was interrupted",
    }
}
