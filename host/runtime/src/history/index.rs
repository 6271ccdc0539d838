//! The history's index, as JSON with a version number. Opening a file checks what the index says about it.

use super::{
    book::{Book, Entry},
    entry::VersionStatus,
};
use reslot_artifact::ContentHash;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Increased when an older host would misread the index. Version 1 had other hashes.
pub(super) const VERSION: u64 = 2;

/// Why an index could not be read.
#[derive(Debug)]
pub(super) enum UnreadResources {
    Newer(u64),
    Older(u64),
    Broken(String),
}

/// The fields of every version.
#[derive(Deserialize)]
struct Header {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u64,
    /// The entries of each slot, oldest first.
    slots: BTreeMap<String, Vec<Written>>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    hash: String,
    copy: String,
    version: String,
    schema: Option<u32>,
    file: PathWords,
    condition: StoredStatus,
    since_ms: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredStatus {
    Confirmed,
    Unconfirmed,
    // Earlier hosts use this word, and must be able to read this index.
    #[serde(rename = "condemned", alias = "known_bad")]
    KnownBad(String),
}

/// A path need not be UTF-8, and a string in JSON must be.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathWords {
    Text(String),
    Bytes(Vec<u8>),
}

pub(super) fn write(book: &Book) -> Result<Vec<u8>, serde_json::Error> {
    let written = |(slot, entries): (&String, &Vec<Entry>)| (slot.clone(), entries.iter().map(Written::of).collect());
    serde_json::to_vec_pretty(&Index {
        version: VERSION,
        slots: book.slots().map(written).collect(),
    })
}

pub(super) fn read(bytes: &[u8]) -> Result<Book, UnreadResources> {
    let broken = |error: serde_json::Error| UnreadResources::Broken(error.to_string());
    match serde_json::from_slice(bytes).map_err(broken)? {
        Header { version: VERSION } => {}
        Header { version } if version > VERSION => return Err(UnreadResources::Newer(version)),
        Header { version: 0 } => return Err(UnreadResources::Broken("there never was a version 0".to_owned())),
        Header { version } => return Err(UnreadResources::Older(version)),
    }
    let index: Index = serde_json::from_slice(bytes).map_err(broken)?;
    let mut book = Book::default();
    for (slot, entries) in index.slots {
        for written in entries {
            let entry = written
                .entry()
                .map_err(|why| UnreadResources::Broken(format!("slot {slot:?}: {why}")))?;
            book.put(&slot, entry);
        }
    }
    Ok(book)
}

impl Written {
    fn of(entry: &Entry) -> Self {
        Self {
            hash: entry.hash.to_string(),
            copy: entry.copy.to_string(),
            version: entry.version.clone(),
            schema: entry.schema,
            file: PathWords::of(&entry.file),
            condition: match &entry.condition {
                VersionStatus::Confirmed => StoredStatus::Confirmed,
                VersionStatus::Unconfirmed => StoredStatus::Unconfirmed,
                VersionStatus::KnownBad(why) => StoredStatus::KnownBad(why.clone()),
            },
            since_ms: entry.since,
            bytes: entry.bytes,
        }
    }

    fn entry(self) -> Result<Entry, String> {
        let hash = |digits: &str| {
            let read = digits.parse::<ContentHash>();
            read.map_err(|error| error.to_string())
        };
        Ok(Entry {
            hash: hash(&self.hash)?,
            copy: hash(&self.copy)?,
            version: self.version,
            schema: self.schema,
            file: self.file.path(),
            condition: match self.condition {
                StoredStatus::Confirmed => VersionStatus::Confirmed,
                StoredStatus::Unconfirmed => VersionStatus::Unconfirmed,
                StoredStatus::KnownBad(why) => VersionStatus::KnownBad(why),
            },
            since: self.since_ms,
            bytes: self.bytes,
            serial: 0,
        })
    }
}

impl PathWords {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_owned()),
        }
    }

    fn path(self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}
