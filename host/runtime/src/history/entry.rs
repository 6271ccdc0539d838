//! What is kept of a version, and what is told of it, as data.

use reslot_artifact::ContentHash;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A version of a plugin that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The hash of the artifact's content.
    pub hash: ContentHash,
    /// The plugin's version. Empty if the artifact was marked as bad before it was known here.
    pub version: String,
    /// The schema number of its state, if it has any.
    pub schema: Option<u32>,
    /// The path that the artifact was published under. There may be another file by now.
    pub file: PathBuf,
    /// What is thought of it.
    pub condition: VersionStatus,
    /// When it came into this condition.
    pub since: SystemTime,
    /// How many bytes are kept. None if it is marked as bad.
    pub bytes: u64,
}

/// What is thought of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionStatus {
    /// It served, and passed its probation.
    Confirmed,
    /// It was tried, or is being tried, and has not passed its probation.
    Unconfirmed,
    /// It was rolled back, for this reason. Its bytes are not kept.
    KnownBad(String),
}

/// An artifact that is to be tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEntry<'a> {
    pub slot: &'a str,
    /// Of the artifact as it was read.
    pub hash: ContentHash,
    pub version: &'a str,
    pub schema: Option<u32>,
    /// The path that it was published under.
    pub file: &'a Path,
}

/// The bytes that were linted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub bytes: &'a [u8],
    /// Of these bytes. Given by the caller, who mostly knows it: that of a large artifact takes as long as its private copy.
    pub hash: ContentHash,
    /// A file that has these bytes and is not written any more, of which what is kept may become another name.
    pub file: Option<&'a Path>,
}

/// A kept artifact, read and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub bytes: Vec<u8>,
    /// The hash of these bytes: where they were changed before they were kept, not the hash by which the artifact is known.
    pub copy: ContentHash,
    /// The path that it was published under.
    pub file: PathBuf,
    pub version: String,
    pub schema: Option<u32>,
}
