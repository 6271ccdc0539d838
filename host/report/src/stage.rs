//! Errors of reading an artifact and of writing its private copy.

use crate::remedies::{self, Purpose};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why an artifact could not be read or copied.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::StageError;
///
/// let error = StageError::BeingWritten { path: "plugins/libmomentum.so".into() };
/// assert!(error.is_transient()); // try again soon
/// println!("{error}\n  what to do: {}", error.remedy());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A process has it open for writing.
    #[error("{path:?} is still being written")]
    BeingWritten {
        /// The artifact.
        path: PathBuf,
    },
    /// It changed while it was read.
    #[error("{path:?} changed while it was read")]
    ChangedWhileRead {
        /// The artifact.
        path: PathBuf,
    },
    /// It is a folder, a pipe, or a device.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It is larger than the host's limit.
    #[error("{path:?} has {len} bytes, and the limit is {max_bytes}")]
    TooLarge {
        /// The artifact.
        path: PathBuf,
        /// Its size.
        len: u64,
        /// The host's limit.
        max_bytes: u64,
    },
    /// A large file that does not begin like a library.
    #[error("{path:?} begins with {found:02x?} and is not an ELF library; the rest was not read")]
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
        /// Its size.
        needed: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder for private copies could not be made.
    #[error("{}: {source}", NoFolder(.base, .lost.as_deref()))]
    PrivateFolder {
        /// The parent folder.
        base: PathBuf,
        /// The host's former private folder, if it was removed or replaced.
        lost: Option<PathBuf>,
        /// The system's reason.
        source: io::Error,
    },
    /// The process changed its user after the host was built, and the private folder belongs to the former user.
    #[error("the private folder {path:?} belongs to user {was}, who built the host, and the process is now user {now}")]
    UserChanged {
        /// The folder.
        path: PathBuf,
        /// The user id with which the host was built.
        was: u32,
        /// The current user id of the process.
        now: u32,
    },
    /// The private copy could not be written, and the reason is not space.
    #[error("could not write the private copy {path:?}: {source}")]
    Copy {
        /// The copy.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused to read the artifact.
    #[error("could not {doing} {path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The refused operation.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StageError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BeingWritten { .. } | Self::ChangedWhileRead { .. } => {
                "nothing, the host tries again by itself; write the file elsewhere and rename it into place to avoid the \
                     wait"
            }
            Self::NotAFile { .. } => "put the built library itself, or a link to it, at this path",
            Self::TooLarge { .. } => "strip the library, or raise the limit",
            Self::NotALibrary { .. } => "publish the library that cargo built: a file named lib….so",
            Self::NoSpace { source, .. } => remedies::of(source, Purpose::PrivateCopy),
            Self::PrivateFolder { source, lost: None, .. } => remedies::of(source, Purpose::PrivateFolder),
            Self::PrivateFolder { source, .. } | Self::Copy { source, .. } => remedies::of(source, Purpose::PrivateCopy),
            Self::UserChanged { .. } => {
                "change the user before building the host (`HostBuilder::build`); or drop this host and build another one as this user"
            }
            Self::Io { source, .. } => remedies::of(source, Purpose::Artifact),
        }
    }

    /// Whether the host should try again soon, without a new notice of the watch.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::BeingWritten { .. } | Self::ChangedWhileRead { .. })
    }

    /// The system refused an operation on a file or folder.
    pub fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            doing,
            source,
        }
    }

    /// A copy of this size could not be written, for lack of space or another reason.
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
                "the private folder {lost:?} is not usable any more, and a new one cannot be made in {base:?}"
            ),
            None => write!(f, "the private folder cannot be made in {base:?}"),
        }
    }
}
