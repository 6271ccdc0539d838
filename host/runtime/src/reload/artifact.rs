//! The first steps: **read** a file's bytes, and **lint** them. Nothing of the artifact runs here.

use super::{attempt::refusal, clock::Clock};
use crate::{history::Artifact, instances::LoadRequest, runtime::Runtime};
use reslot_artifact::{
    ContentHash,
    lint::{Expectations, LintError, Linted, inspect},
    manifest::Manifest,
};
use reslot_report::{Cause, Refusal, Step};
use reslot_stage::{Bytes, Source};
use reslot_sync::{Instant, thread};
use std::{sync::Arc, time::Duration};

/// How long the host waits before it tries a file again that somebody is writing. The time is doubled at each try, up to the maximum.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(2);
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// How long [`Host::load`](crate::Host::load) waits for a file that somebody is writing.
pub(super) const LOAD_PATIENCE: Duration = Duration::from_secs(2);

/// **read**: reads and hashes a file.
pub(super) fn read(host: &Runtime, request: &LoadRequest, clock: &mut Clock) -> Result<Source, Refusal> {
    let path = &request.path;
    if let Some(source) = host.engines.linked_source(path) {
        clock.lap(Step::Read);
        return Ok(source);
    }
    let source = host.storage.read(path).map_err(|error| {
        let record = match &request.slot {
            Some(slot) => host.slots.named(slot),
            None => host.slots.served_from(path).into_iter().next(),
        };
        let mut refusal = refusal(record.as_deref(), None, path, Step::Read, error);
        refusal.slot = refusal.slot.or_else(|| request.slot.clone());
        refusal
    })?;
    clock.lap(Step::Read);
    Ok(source)
}

/// As [`read`], but waits while somebody writes the file.
pub(super) fn read_patiently(host: &Runtime, request: &LoadRequest, clock: &mut Clock) -> Result<Source, Refusal> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match read(host, request, clock) {
            Err(refusal) if is_transient(&refusal) && begun.elapsed() < LOAD_PATIENCE => {
                thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            outcome => return outcome,
        }
    }
}

/// Whether somebody is writing the file.
pub(super) fn is_transient(refusal: &Refusal) -> bool {
    matches!(&*refusal.cause, Cause::Stage(error) if error.is_transient())
}

/// An artifact whose bytes have passed the lint.
///
/// The hash names the version: it is the published file's, in refusals, in the history, and wherever two versions are compared. The bytes
/// may be others: the lint clears `DF_1_NODELETE` and sets `DF_SYMBOLIC` in them, and a rollback or a re-instantiation begins with bytes
/// in which an earlier lint has done so. So nobody hashes them to find out which version they are.
pub(super) struct LintedArtifact {
    pub(super) source: Source,
    pub(super) linted: Linted,
    /// The hash of the bytes before the lint, if it is not the version's: bytes from the history were changed by an earlier lint.
    archived_as: Option<ContentHash>,
}

impl LintedArtifact {
    pub(super) fn manifest(&self) -> &Manifest {
        &self.linted.manifest
    }

    /// The hash of the bytes as they are now.
    pub(super) fn hash_of_bytes(&self) -> ContentHash {
        match self.linted.changed() {
            true => ContentHash::of(&self.source.bytes),
            false => self.archived_as.unwrap_or(self.source.hash),
        }
    }

    /// The same artifact for another slot.
    pub(super) fn duplicate(&self) -> Self {
        let source = Source {
            path: self.source.path.clone(),
            bytes: self.source.bytes.duplicate(),
            hash: self.source.hash,
            len: self.source.len,
        };
        let (linted, archived_as) = (self.linted.clone(), self.archived_as);
        Self {
            source,
            linted,
            archived_as,
        }
    }
}

/// An artifact whose bytes have not passed the lint.
pub(super) struct FailedLint {
    source: Source,
    error: LintError,
}

/// **lint**: the engine checks the bytes. Nothing is executed.
pub(super) fn lint(host: &Runtime, mut source: Source) -> Result<LintedArtifact, Box<FailedLint>> {
    match host.engines.for_lint(&source.path, &source.bytes).lint(&mut source.bytes) {
        Ok(linted) => Ok(LintedArtifact {
            source,
            linted,
            archived_as: None,
        }),
        Err(error) => Err(Box::new(FailedLint { source, error })),
    }
}

/// **lint**, of a version from the history.
pub(super) fn lint_archived(
    host: &Runtime,
    hash: ContentHash,
    archived: Artifact,
) -> Result<LintedArtifact, Box<FailedLint>> {
    let Artifact { bytes, copy, file, .. } = archived;
    let source = Source {
        path: file,
        len: bytes.len() as u64,
        bytes: Bytes::of(bytes),
        hash,
    };
    let archived_as = Some(copy);
    lint(host, source).map(|artifact| LintedArtifact { archived_as, ..artifact })
}

/// A refusal for each of the slots that a file was for: those that its manifest names, if it can be read, or those that were loaded from
/// this file. A refused file never creates a slot: otherwise broken files could create any number of them.
pub(super) fn refusals_of(host: &Runtime, request: &LoadRequest, unfit: FailedLint) -> Vec<Refusal> {
    let path = &request.path;
    let manifest = inspect(&unfit.source.bytes, &Expectations::of_this_build()).manifest;
    let slots = match (&request.slot, manifest) {
        (Some(slot), _) => vec![slot.clone()],
        (None, Some(manifest)) => host.slots.meant_by(request, &manifest.name),
        (None, None) => host
            .slots
            .served_from(path)
            .iter()
            .map(|record| record.name.clone())
            .collect(),
    };
    let cause = Arc::new(Cause::from(unfit.error));
    let of = |slot: Option<Arc<str>>| {
        let record = slot.as_deref().and_then(|slot| host.slots.named(slot));
        let serving = record.and_then(|record| record.lock().serving_number());
        let mut refusal = Refusal::new(path.clone(), Step::Lint, cause.clone());
        (refusal.slot, refusal.serving) = (slot, serving);
        refusal
    };
    match slots.is_empty() {
        true => vec![of(None)],
        false => slots.into_iter().map(Some).map(of).collect(),
    }
}

/// The same for an artifact that is for one slot.
pub(super) fn refusal_of(host: &Runtime, request: &LoadRequest, unfit: FailedLint) -> Refusal {
    refusals_of(host, request, unfit).remove(0)
}
