//! Errors of what tests and demos need besides a plugin's build, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why a need of a test or a demo could not be met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The workspace could not be read, a plugin was not built, or the system refused something.
    #[error(transparent)]
    Project(#[from] reslot_project::Error),

    /// A variant cannot be made: the text that it replaces does not occur exactly once in the plugin's source.
    #[error(
        "{}: {edit:?}, which the variant `{variant}` replaces, occurs {found} times and not once; \
         `git checkout` restores the source for which it was written", .file.display()
    )]
    Edit {
        /// The variant.
        variant: &'static str,
        /// The source.
        file: PathBuf,
        /// The text to replace.
        edit: &'static str,
        /// How often it occurs.
        found: usize,
    },

    /// The compiler refused a variant.
    #[error("the variants in {} were not built:\n{said}", .folder.display())]
    Variants {
        /// The workspace of the build.
        folder: PathBuf,
        /// Cargo's message.
        said: String,
    },

    /// A program that a test needs is missing and could not be downloaded.
    #[error(
        "{program} is needed and is not available: {why}\n  what to do: connect this machine, and let `apt-get update` run \
             once{}",
        crate::debian::without(.program)
    )]
    Tool {
        /// The program.
        program: &'static str,
        /// What was tried, and the result.
        why: String,
    },
}

impl Error {
    /// For `map_err`: as [`reslot_project::Error::io`].
    pub(crate) fn io(doing: &'static str, at: &Path) -> impl FnOnce(io::Error) -> Error {
        let of_project = reslot_project::Error::io(doing, at);
        move |source| of_project(source).into()
    }
}
