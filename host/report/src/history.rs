//! Errors of the history, which keeps artifacts for rollbacks.

use crate::remedies::{self, Purpose};
use reslot_artifact::ContentHash;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why an artifact could not be kept, or cannot be rolled back to.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::HistoryError;
///
/// let error = HistoryError::InUse { folder: "/var/lib/desk/history".into() };
/// assert!(error.remedy().starts_with("end the other host"));
/// ```
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
    /// A kept file was changed. It is not used, and no longer listed.
    #[error("slot {slot:?}: the kept artifact {file:?} was changed: its hash should be {expected} and is {found}")]
    Changed {
        /// The slot.
        slot: String,
        /// The kept file.
        file: PathBuf,
        /// The hash that the file had when it was kept.
        expected: ContentHash,
        /// The hash that the file has now.
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
        /// The hashes of the kept artifacts, newest first.
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
    /// The history's index cannot be read. It was renamed, and the history starts empty.
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
    /// The history's index was written by a later version of Reslot. Nothing in the folder was changed.
    #[error("the history's index {path:?} has version {version}, and this host reads none after {newest}")]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The newest version that this host reads.
        newest: u64,
    },
    /// The history's index was written by an earlier version of Reslot with other hashes. So this host cannot know which
    /// versions were rolled back, and which had not passed their probation. Nothing in the folder was changed.
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
                "publish that version again if you need it; and find out which program writes into the history folder, or \
                     check its disk"
            }
            Self::Missing { .. } => {
                "publish that version again if you need it; and let only the host delete files in the history folder"
            }
            Self::Unknown { .. } => "choose a kept version, or publish the wanted version again",
            Self::KnownBad { .. } => "if you need that version all the same, publish it again and load it by name",
            Self::Index { .. } => {
                "publish the versions that the history should keep again; then delete the renamed index, and the host \
                     removes its artifacts at the next start"
            }
            Self::Older { .. } => {
                "make sure that no version that was rolled back is in the watched folder; then remove this folder, or give \
                     the host another one"
            }
            Self::Newer { .. } => "run the newer host again, or give this host another history folder",
        }
    }

    /// Makes a function for `map_err`.
    pub fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path,
            doing,
            source: Arc::new(source),
        }
    }
}
