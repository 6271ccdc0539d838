//! Keeping an artifact, so that the slot can go back to it: written down before it can serve, put away when its owner has had a moment.

use super::attempt::Attempt;
use crate::{
    history::{Content, NewEntry},
    runtime::Runtime,
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_report::HistoryError;
use reslot_stage::{Bytes, PrivateCopies, StagedFile};
use std::{path::PathBuf, sync::Arc};

/// The bytes of a candidate, which the history puts away when this is dropped: by then it has its place, and its owner has had a moment to
/// come.
pub(super) struct PendingArchive {
    host: Arc<Runtime>,
    slot: Arc<str>,
    hash: ContentHash,
    /// Of the bytes, which may have been changed since they were read.
    copy: ContentHash,
    bytes: Bytes,
    file: Option<PathBuf>,
    /// The history does not have them yet.
    later: bool,
}

impl PendingArchive {
    fn content(&self) -> Content<'_> {
        Content {
            bytes: &self.bytes,
            hash: self.copy,
            file: self.file.as_deref(),
        }
    }
}

impl Drop for PendingArchive {
    fn drop(&mut self) {
        if self.later {
            let kept = self.host.storage.history.keep(&self.slot, &self.hash, self.content());
            self.host.storage.report_history_error(&self.slot, kept);
        }
    }
}

/// Writes a version down: what cannot be undone after the host has ended is not begun. Answers what is left to be put away.
///
/// # Errors
/// If the history cannot be written.
pub(super) fn begin(
    attempt: &Attempt<'_>,
    manifest: &Manifest,
    bytes: Bytes,
    hash_of_bytes: ContentHash,
    copy: &StagedFile,
) -> Result<PendingArchive, HistoryError> {
    let (host, slot) = (attempt.host, attempt.target.name());
    let new = NewEntry {
        slot,
        hash: attempt.hash,
        version: &manifest.version,
        schema: manifest.state.map(|state| state.schema),
        file: attempt.path,
    };
    // What stands in the folder is otherwise a link to memory.
    let file = (host.storage.private().copies() == PrivateCopies::Files).then(|| copy.path().to_owned());
    let archive = PendingArchive {
        // The history hard-links the private copy, so what is written later needs no disk space. But for a preflight the owner is asked
        // for his state, and he must not be kept waiting by that.
        later: file.is_some() && host.storage.history.archives_in_background() && host.options.policy.preflight.is_none(),
        host: host.clone(),
        slot: slot.clone(),
        hash: attempt.hash,
        copy: hash_of_bytes,
        bytes,
        file,
    };
    host.storage.history.begins(&new, archive.content(), archive.later)?;
    Ok(archive)
}
