//! Keeping an artifact in the history, so that the slot can be rolled back to it. The entry is written before the artifact runs; the bytes
//! are written later, when the owner has probably adopted the candidate.

use super::attempt::Attempt;
use crate::{
    history::{Content, NewEntry},
    runtime::Runtime,
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_report::HistoryError;
use reslot_stage::{Bytes, PrivateCopies, StagedFile};
use std::{path::PathBuf, sync::Arc};

/// The bytes of a candidate. The history writes them when this is dropped.
pub(super) struct PendingArchive {
    host: Arc<Runtime>,
    slot: Arc<str>,
    hash: ContentHash,
    /// The hash of these bytes, which the lint may have changed since they were read.
    copy: ContentHash,
    bytes: Bytes,
    file: Option<PathBuf>,
    /// The history has the entry, but not the bytes.
    bytes_pending: bool,
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
        if self.bytes_pending {
            let kept = self.host.storage.history.keep(&self.slot, &self.hash, self.content());
            self.host.storage.report_history_error(&self.slot, kept);
        }
    }
}

/// Writes the history's entry. If that fails, the reload is refused, because a later host could not roll it back. Answers the bytes that
/// are still to be written.
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
    // With copies in memory, the folder has only a link, which cannot be hard-linked.
    let file = (host.storage.private().copies() == PrivateCopies::Files).then(|| copy.path().to_owned());
    let archive = PendingArchive {
        // The history hard-links the private copy, so the later write needs no disk space. With a preflight the bytes are written now,
        // because the preflight asks the owner for his state, and a write after that would make him wait.
        bytes_pending: file.is_some()
            && host.storage.history.archives_in_background()
            && host.options.policy.preflight.is_none(),
        host: host.clone(),
        slot: slot.clone(),
        hash: attempt.hash,
        copy: hash_of_bytes,
        bytes,
        file,
    };
    host.storage.history.begins(&new, archive.content(), archive.bytes_pending)?;
    Ok(archive)
}
