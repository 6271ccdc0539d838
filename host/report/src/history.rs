//! What can go wrong with the kept artifacts, in words for the person who runs the host.

use crate::remedies::{self, Purpose};
use reslot_artifact::ContentHash;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why an artifact could not be kept, or cannot be gone back to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The system refused something.
    #[error("the history could not {doing} {path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Another living host keeps its history there.
    #[error("the history folder {folder:?} is in use by another host")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A kept file has other bytes than those that were kept. It is not used, and no longer listed.
    #[error("slot {slot:?}: the kept artifact {file:?} was changed: its hash should be {expected} and is {found}")]
    Changed {
        /// The slot.
        slot: String,
        /// The kept file.
        file: PathBuf,
        /// The hash of what was kept.
        expected: ContentHash,
        /// That of what is there now.
        found: ContentHash,
    },
    /// A kept file is gone. It is no longer listed.
    #[error("slot {slot:?}: the kept artifact {file:?} is gone")]
    Missing {
        /// The slot.
        slot: String,
        /// Where it was.
        file: PathBuf,
    },
    /// No artifact of this hash is kept.
    #[error("slot {slot:?}: no artifact {hash} is kept; {}", Known(.known))]
    Unknown {
        /// The slot.
        slot: String,
        /// The hash that was asked for.
        hash: ContentHash,
        /// The hashes that can be had, newest first.
        known: Vec<ContentHash>,
    },
    /// It was rolled back, so its bytes were not kept.
    #[error("slot {slot:?}: artifact {hash} was rolled back, and its bytes are not kept: {why}")]
    KnownBad {
        /// The slot.
        slot: String,
        /// Its hash.
        hash: ContentHash,
        /// Why it was rolled back.
        why: String,
    },
    /// The list of what is kept cannot be read. It was put aside, and the history starts empty.
    #[error(
        "the history's index {path:?} cannot be read: {why}; it was put aside as {aside:?}, and the history starts empty"
    )]
    Index {
        /// Where it was.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Where it is now.
        aside: PathBuf,
    },
    /// The list of what is kept was written by a later version of Reslot. Nothing in the folder was touched.
    #[error("the history's index {path:?} has version {version}, and this host reads none after {newest}")]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The newest version that this host reads.
        newest: u64,
    },
    /// The list of what is kept was written by an earlier version of Reslot, whose hashes are others: which versions were rolled back,
    /// and which had not proved themselves, cannot be known from it. Nothing in the folder was touched.
    #[error(
        "the history's index {path:?} has version {version}, whose hashes this host, which writes version {oldest}, does not know"
    )]
    Older {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The oldest version that this host reads.
        oldest: u64,
    },
}

struct Known<'a>(&'a [ContentHash]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none is kept for this slot"),
            known => {
                let written: Vec<_> = known.iter().map(ContentHash::to_string).collect();
                write!(f, "there are {}", written.join(", "))
            }
        }
    }
}

impl HistoryError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => remedies::of(source, Purpose::History),
            Self::InUse { .. } => "end the other host, or give each host a history folder of its own",
            Self::Changed { .. } => {
                "publish that version again if it is wanted; and find out who writes into the history folder, or check its disk"
            }
            Self::Missing { .. } => {
                "publish that version again if it is wanted; and let nobody but the host delete what is in the history folder"
            }
            Self::Unknown { .. } => "ask for one that is kept, or publish the wanted version again",
            Self::KnownBad { .. } => "publish that version again if it is wanted all the same, and load it by name",
            Self::Index { .. } => {
                "publish the versions that are to be kept again; when the index that was put aside has been looked at, delete it, and the \
                 artifacts that it named are removed at the host's next start"
            }
            Self::Older { .. } => {
                "see that no version that was rolled back lies in the watched folder, then remove this folder, or give the host another one"
            }
            Self::Newer { .. } => "run the newer host again, or give this one another history folder",
        }
    }

    /// For `map_err`.
    pub fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path,
            doing,
            source: Arc::new(source),
        }
    }
}
