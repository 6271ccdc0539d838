//! Data types: the history's entries, and how they are reported.

use reslot_artifact::ContentHash;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A version of a plugin in the history.
///
/// ```
/// # use reslot::Host;
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let newest = &host.history("pricer")[0];
/// println!("{:.12} {} {}", newest.hash, newest.version, newest.condition.name());
/// assert_eq!(host.artifact("pricer", newest.hash)?.len() as u64, newest.bytes); // its bytes are kept
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The hash of the artifact's content.
    pub hash: ContentHash,
    /// The plugin's version. Empty if the artifact was marked as bad before it was known here.
    pub version: String,
    /// The schema number of its state, if it has any.
    pub schema: Option<u32>,
    /// The path under which the artifact was published. The file there may be another one now.
    pub file: PathBuf,
    /// Its status.
    pub condition: VersionStatus,
    /// Since when it has this status.
    pub since: SystemTime,
    /// The number of stored bytes; 0 if it is marked as bad.
    pub bytes: u64,
}

/// The status of a version.
///
/// ```
/// use reslot::VersionStatus;
///
/// assert_eq!(VersionStatus::Confirmed.name(), "confirmed");
/// assert_eq!(VersionStatus::KnownBad("it panicked".to_owned()).name(), "known_bad");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionStatus {
    /// It has passed its probation.
    Confirmed,
    /// It is, or was, on probation, and has not passed it.
    Unconfirmed,
    /// It was rolled back for this reason. Its bytes are not stored.
    KnownBad(String),
}

/// An artifact whose probation begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEntry<'a> {
    pub slot: &'a str,
    /// The hash of the artifact as it was read.
    pub hash: ContentHash,
    pub version: &'a str,
    pub schema: Option<u32>,
    /// The path under which it was published.
    pub file: &'a Path,
}

/// The bytes that were linted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub bytes: &'a [u8],
    /// The hash of these bytes. The caller passes it, because it usually knows it already, and hashing a large artifact
    /// takes as long as copying it.
    pub hash: ContentHash,
    /// A finished file with these bytes; the history may store them as a hard link to it.
    pub file: Option<&'a Path>,
}

/// A stored artifact, read and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub bytes: Vec<u8>,
    /// The hash of these bytes. It differs from the artifact's own hash if the bytes were changed before they were stored.
    pub copy: ContentHash,
    /// The path under which it was published.
    pub file: PathBuf,
    pub version: String,
    pub schema: Option<u32>,
}
