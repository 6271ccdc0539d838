//! Why an artifact could not be read, or its private copy not be written.

use crate::remedies::{self, Purpose};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why an artifact could not be read or copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// Somebody has it open for writing.
    #[error("{path:?} is still being written")]
    BeingWritten {
        /// The artifact.
        path: PathBuf,
    },
    /// It was not the same before and after it was read.
    #[error("{path:?} changed while it was read")]
    ChangedWhileRead {
        /// The artifact.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// What was to be read.
        path: PathBuf,
    },
    /// Larger than is allowed.
    #[error("{path:?} has {len} bytes, and the limit is {max_bytes}")]
    TooLarge {
        /// The artifact.
        path: PathBuf,
        /// Its size.
        len: u64,
        /// The host's limit.
        max_bytes: u64,
    },
    /// A large file that begins like no library.
    #[error("{path:?} begins with {found:02x?}, which no ELF library does; it was not read further")]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: [u8; 4],
    },
    /// The disk or the quota is full.
    #[error("no space for the {needed} bytes of {path:?}")]
    NoSpace {
        /// The copy that could not be written.
        path: PathBuf,
        /// How large it would have been.
        needed: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder for the private copies could not be made, or not be made again.
    #[error("{}: {source}", NoFolder(.base, .lost.as_deref()))]
    PrivateFolder {
        /// The folder in which it was to be made.
        base: PathBuf,
        /// The one that the host had before, if somebody has removed or replaced that.
        lost: Option<PathBuf>,
        /// The system's reason.
        source: io::Error,
    },
    /// The process has changed its user since the host was built, and its private folder belongs to the user that it had then.
    #[error(
        "the private folder {path:?} belongs to user {was}, as which the host was built, and the process is user {now} now"
    )]
    UserChanged {
        /// The folder.
        path: PathBuf,
        /// The number of the user as which the host was built.
        was: u32,
        /// The number of the user that the process has now.
        now: u32,
    },
    /// The private copy could not be written, for another reason than space.
    #[error("could not write the private copy {path:?}: {source}")]
    Copy {
        /// The copy.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused to have the artifact read.
    #[error("could not {doing} {path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StageError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BeingWritten { .. } | Self::ChangedWhileRead { .. } => {
                "nothing, it is tried again by itself; writing elsewhere and renaming into place avoids the wait"
            }
            Self::NotAFile { .. } => "put the built library itself, or a link to it, there",
            Self::TooLarge { .. } => "strip the library, or raise the limit",
            Self::NotALibrary { .. } => "publish the library that cargo built, a file named lib….so",
            Self::NoSpace { source, .. } => remedies::of(source, Purpose::PrivateCopy),
            Self::PrivateFolder { source, lost: None, .. } => remedies::of(source, Purpose::PrivateFolder),
            Self::PrivateFolder { source, .. } | Self::Copy { source, .. } => remedies::of(source, Purpose::PrivateCopy),
            Self::UserChanged { .. } => {
                "change the user before the host is built (`HostBuilder::build`); or drop this host and build another one as this user"
            }
            Self::Io { source, .. } => remedies::of(source, Purpose::Artifact),
        }
    }

    /// Whether trying again soon, without another notice, makes sense.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::BeingWritten { .. } | Self::ChangedWhileRead { .. })
    }

    /// The system refused to do this with a file or folder.
    pub fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            doing,
            source,
        }
    }

    /// A copy of this size could not be written: no space, or another reason.
    pub fn writing(path: &Path, needed: usize, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, needed, source },
            _ => Self::Copy { path, source },
        }
    }
}

struct NoFolder<'a>(&'a Path, Option<&'a Path>);

impl fmt::Display for NoFolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(base, lost) = self;
        match lost {
            Some(lost) => write!(
                f,
                "the private folder {lost:?} cannot be used any more, and no new one can be made in {base:?}"
            ),
            None => write!(f, "the private folder cannot be made in {base:?}"),
        }
    }
}
