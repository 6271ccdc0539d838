//! Examines a file for a host: its manifest, its slots, and the obstacles to loading it there. Nothing is loaded, and no
//! code of the file is executed.

use crate::{
    artifact::{Difference, Inspection, inspect},
    instances::LoadRequest,
    reload::check_plugin,
    runtime::Runtime,
    slot::{ContentPlace, Slots},
    watch::is_artifact,
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_report::{Cause, Refusal, StageError};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The result of examining a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Examination {
    /// The hash of its content.
    pub hash: ContentHash,
    /// What the lint found in its bytes.
    pub inspection: Inspection,
    /// The slots that have this content already.
    pub places: Vec<(Arc<str>, ContentPlace)>,
    /// The first of the file's slots that has another content, or none.
    pub slot: Option<Arc<str>>,
    /// The obstacles to loading it into that slot. Empty if the lint has found a fault, because the check then stops there.
    pub obstacles: Vec<Obstacle>,
    /// The earlier refusal of the same content, which the host does not try again by itself.
    pub refused: Option<Refusal>,
    /// Why the host's watch does not see the file; none if it does.
    pub unnoticed: Option<Unnoticed>,
}

/// An obstacle to loading an artifact.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Obstacle {
    /// The current generation of its slot is of another plugin.
    OtherPlugin(Arc<Cause>),
    /// The slot's callers need another interface.
    Interface(Difference),
    /// It calls a slot that is empty.
    Missing {
        /// That slot.
        slot: String,
    },
    /// The history has marked it as bad.
    KnownBad {
        /// Why.
        why: String,
    },
}

/// Why a host's watch does not see a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unnoticed {
    /// The host watches no folder.
    NoFolder,
    /// The file is in another folder.
    OtherFolder {
        /// The folder that the host watches.
        watched: PathBuf,
    },
    /// Its name is not an artifact's name.
    Name,
}

/// As [`Asking::examine`](super::Asking::examine).
pub(super) fn examine(host: &Runtime, path: &Path) -> Result<Examination, StageError> {
    let source = host.storage.read(path)?;
    let inspection = inspect(&source.bytes);
    let slots = match &inspection.manifest {
        Some(manifest) => host.slots.meant_by(&LoadRequest::file(path), &manifest.name),
        None => Vec::new(),
    };
    let (mut places, mut slot) = (Vec::new(), None);
    for name in slots {
        match host.slots.content_place(&name, &source.hash) {
            Some(place) => places.push((name, place)),
            None => slot = slot.or(Some(name)),
        }
    }
    let manifest = inspection.manifest.as_ref().filter(|_| inspection.findings.is_empty());
    let obstacles = manifest.map(|manifest| {
        let slot = slot.as_deref().unwrap_or(&manifest.name);
        obstacles(host, manifest, slot, &source.hash)
    });
    Ok(Examination {
        hash: source.hash,
        obstacles: obstacles.unwrap_or_default(),
        refused: host.slots.refusals.of(&source.hash, slot.as_deref()),
        unnoticed: why_unnoticed(&host.slots, path),
        inspection,
        places,
        slot,
    })
}

/// Compares an artifact's manifest with the slot.
fn obstacles(host: &Runtime, manifest: &Manifest, slot: &str, hash: &ContentHash) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Some(record) = host.slots.named(slot) {
        let serving = record.lock().serving().cloned();
        if let Some(serving) = serving
            && let Err(cause) = check_plugin(serving.instance().manifest(), manifest)
        {
            found.push(Obstacle::OtherPlugin(Arc::new(cause)));
        }
        if let Err(differences) = record.lock().check(&manifest.interface) {
            found.extend(differences.into_iter().map(Obstacle::Interface));
        }
    }
    let missing = host.slots.empty_among(&manifest.uses).into_iter();
    found.extend(missing.map(|slot| Obstacle::Missing { slot }));
    if let Some(why) = host.storage.history.known_bad(slot, hash) {
        let why = why.to_string();
        found.push(Obstacle::KnownBad { why });
    }
    found
}

fn why_unnoticed(slots: &Slots, path: &Path) -> Option<Unnoticed> {
    let Some(folder) = slots.folder() else {
        return Some(Unnoticed::NoFolder);
    };
    // The paths are compared with links resolved.
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.parent() != Some(folder) && path.parent().map(real) != Some(real(folder)) {
        let watched = folder.to_owned();
        return Some(Unnoticed::OtherFolder { watched });
    }
    (!is_artifact(path)).then_some(Unnoticed::Name)
}
