//! What can go wrong with what tests and demos need besides a plugin's build, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Something that a test or a demo needs, and that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The workspace could not be read, a plugin was not built, or the system refused something.
    #[error(transparent)]
    Project(#[from] reslot_project::Error),

    /// A variant cannot be made: what it replaces does not stand in the plugin's source, or more than once.
    #[error(
        "{}: {edit:?}, which the variant `{variant}` replaces, stands there {found} times and not once; \
         `git checkout` brings the source back that it was written for", .file.display()
    )]
    Edit {
        /// The variant.
        variant: &'static str,
        /// The source.
        file: PathBuf,
        /// What is to be replaced.
        edit: &'static str,
        /// How often it stands there.
        found: usize,
    },

    /// The compiler refused a variant.
    #[error("the variants in {} were not built:\n{said}", .folder.display())]
    Variants {
        /// The workspace that they are built in.
        folder: PathBuf,
        /// What cargo said.
        said: String,
    },

    /// A program that a test needs is not there and could not be had.
    #[error(
        "{program} is needed and could not be had: {why}\n  what to do: connect this machine, and let `apt-get update` run once{}",
        crate::debian::without(.program)
    )]
    Tool {
        /// The program.
        program: &'static str,
        /// What was tried, and what came of it.
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
