//! Finds out why a slot or a file is not current, from the slot's past and from the file's bytes. Each finding has a remedy.
//! Nothing is loaded, and no code of the file runs.

use super::{
    recent::{News, in_a_sentence},
    shared::Shared,
};
use crate::protocol::{ErrorKind, Reason, Refused};
use reslot_runtime::{
    Holder, Refusal, SlotError, SlotInfo, VersionStatus,
    artifact::StageError,
    surface::{Asking, ContentPlace, Examination, Obstacle, Unnoticed},
};
use std::{borrow::Borrow, path::Path};

pub(super) fn why_not(shared: &Shared, host: &Asking<'_>, target: &str) -> Result<Reason, Refused> {
    match Path::new(target) {
        path if path.is_absolute() => Ok(of_file(shared, host, path, host.examine(path))),
        _ if target.contains('/') => Err(no_absolute_path(target)),
        _ => of_slot(shared, host, target),
    }
}

/// The refusal of a target that is neither a slot nor an absolute path.
pub(super) fn no_absolute_path(target: &str) -> Refused {
    let message = format!("{target:?} is neither a slot nor an absolute path; the host has another working folder");
    Refused::new(ErrorKind::NotDone, message)
}

/// The refusal for a slot that does not exist or is empty.
pub(super) fn unknown(error: impl Borrow<SlotError>) -> Refused {
    let error = error.borrow();
    let kind = match error {
        SlotError::Unknown { .. } | SlotError::Unloaded { .. } | SlotError::Vacant { .. } => ErrorKind::UnknownSlot,
        SlotError::HostEnded { .. } | SlotError::ForkedProcess { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::NotDone,
    };
    Refused::new(kind, error)
}

/// The findings, in order.
#[derive(Default)]
struct Found {
    findings: Vec<String>,
    remedies: Vec<String>,
}

impl Found {
    fn add(&mut self, finding: impl Into<String>, remedy: impl Into<String>) {
        let (finding, remedy) = (finding.into(), remedy.into());
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
        if !remedy.is_empty() && !self.remedies.contains(&remedy) {
            self.remedies.push(remedy);
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        let at = refusal.path.display();
        self.add(format!("{} (file: {at})", in_a_sentence(refusal)), refusal.cause.remedy());
    }

    fn reason(self, serves: bool, slot: Option<String>, summary: String) -> Reason {
        Reason {
            serves,
            slot,
            summary,
            findings: self.findings,
            remedies: self.remedies,
        }
    }
}

fn of_slot(shared: &Shared, host: &Asking<'_>, name: &str) -> Result<Reason, Refused> {
    let mut found = Found::default();
    let remembered = shared.recent.of_slot(name);
    let slot = match host.slot(name) {
        Ok(slot) => slot,
        // The slot does not exist. Perhaps an artifact for it was refused.
        Err(error) => {
            let Some(refusal) = &remembered.refusal else {
                return Err(unknown(error));
            };
            found.refusal(refusal);
            let summary = format!("{name} was never loaded: its artifact was refused");
            return Ok(found.reason(false, Some(name.to_owned()), summary));
        }
    };
    let mut summary = match (slot.generation, &slot.path) {
        (Some(number), Some(path)) => format!("generation {number} of {name} serves, from {}", path.display()),
        (Some(number), None) => format!("generation {number} of {name} serves; its plugin is linked into the program"),
        _ => format!("{name} is empty"),
    };
    if let Some(path) = &slot.unloaded_from {
        summary = format!("{name} is empty: it was unloaded");
        found.add(
            format!(
                "it was unloaded, and it stays empty until a build is published; it was loaded from {}",
                path.display()
            ),
            format!("publish a build again; or `reslot reload {name}` loads that file"),
        );
    }
    if let Some(number) = slot.staged {
        summary = format!("generation {number} of {name} is staged, and waits for the slot's owner");
        found.waiting(host, &slot, number);
    }
    if let Some(refusal) = &remembered.refusal {
        summary = format!("{summary}; a newer artifact was refused");
        found.refusal(refusal);
    }
    if let Some(damage) = remembered.damage_of(slot.generation) {
        found.add(
            damage,
            format!("`reslot reload FILE` or `reslot rollback {name}` replaces it; `Policy::on_damaged_image` has the host do that by itself"),
        );
    }
    if let Some(why) = &remembered.rolled_back {
        summary = format!("{summary}; the slot was rolled back to it");
        found.add(
            why.clone(),
            "publish another version, or load that file by name: `reslot reload FILE`",
        );
    }
    // Versions that an earlier process marked as bad have no event in this one.
    let known_bad = host.history(name).into_iter().filter_map(|kept| match kept.condition {
        VersionStatus::KnownBad(why) => Some((kept.hash, why)),
        _ => None,
    });
    for (hash, why) in known_bad {
        let finding = format!("the version {hash:.12} is not loaded by itself any more: {why}");
        found.add(finding, "`reslot reload FILE` loads it all the same");
    }
    if let Some(path) = &slot.path {
        match host.examine(path) {
            Ok(file) if Some(file.hash) == slot.hash => {}
            // The file has changed since the current generation was loaded.
            file => {
                let now = of_file(shared, host, path, file);
                now.findings.into_iter().for_each(|finding| found.add(finding, ""));
                now.remedies.into_iter().for_each(|remedy| found.add("", remedy));
                found.findings.retain(|finding| !finding.is_empty());
                summary = format!("{summary}; its file has changed: {}", now.summary);
            }
        }
    }
    Ok(found.reason(slot.generation.is_some(), Some(name.to_owned()), summary))
}

impl Found {
    /// A staged candidate: whom it waits for, and what to do.
    fn waiting(&mut self, host: &Asking<'_>, slot: &SlotInfo, number: u64) {
        let held = host.who_holds(&slot.name);
        let mut holders = held.into_iter().flat_map(|held| held.holders);
        let owner = holders.find_map(|holder| match holder {
            Holder::Owner { thread, at, .. } => Some((thread, at)),
            _ => None,
        });
        let finding = match owner {
            Some((thread, at)) => {
                format!("generation {number} waits for `sync` by thread {thread:?}, which claimed the slot at {at}")
            }
            None => format!("generation {number} waits for the other slots of its set"),
        };
        self.add(finding, "let the owner call `Claim::sync` at its next safe point");
    }
}

fn of_file(shared: &Shared, host: &Asking<'_>, path: &Path, file: Result<Examination, StageError>) -> Reason {
    let mut found = Found::default();
    let shown = path.display();
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            found.add(error.to_string(), error.remedy());
            return found.reason(false, None, format!("{shown} cannot be read as an artifact"));
        }
    };
    // Slots that have the content already are listed; the findings are about the first slot that does not.
    if let ([(first, _), ..], None) = (&file.places[..], &file.slot) {
        let mut summaries = Vec::new();
        for (name, place) in &file.places {
            summaries.push(match place {
                ContentPlace::Serves(number) => format!("{shown} is loaded: it is generation {number} of {name}"),
                ContentPlace::Waits(number) => {
                    if let Some(slot) = host.find_slot(name) {
                        found.waiting(host, &slot, *number);
                    }
                    format!("{shown} is generation {number} of {name}, which waits for its owner")
                }
            });
        }
        let serves = file.places.iter().all(|(_, place)| matches!(place, ContentPlace::Serves(_)));
        return found.reason(serves, Some(first.to_string()), summaries.join("; "));
    }
    for finding in &file.inspection.findings {
        found.add(finding.to_string(), finding.remedy());
    }
    file.obstacles.iter().for_each(|obstacle| found.obstacle(obstacle));
    // If the bytes are refused, no other finding matters.
    let refused_bytes = !file.inspection.findings.is_empty();
    if let Some(refusal) = file.refused.as_ref().filter(|_| !refused_bytes) {
        found.refusal(refusal);
        found.add(
            "the same content was refused before, and is not tried again by itself",
            "`reslot reload FILE` tries it again",
        );
    }
    match shared.recent.of_file(path) {
        Some(News::Waiting(why)) => found.add(
            format!("the host waits before it loads it: {why}"),
            "nothing, the host tries again by itself",
        ),
        Some(News::Refused(refusal)) if !refused_bytes => found.refusal(&refusal),
        _ => {}
    }
    if let Some(unnoticed) = &file.unnoticed {
        found.unnoticed(unnoticed);
    }
    let manifest = file.inspection.manifest.as_ref();
    let name = file.slot.map(|slot| slot.to_string());
    let name = name.or(manifest.map(|manifest| manifest.name.clone()));
    let summary = match (&name, found.findings.is_empty()) {
        (_, true) => {
            found.add(
                "nothing is wrong with it",
                "`reslot reload FILE` loads it, and reports the result",
            );
            format!("{shown} could be loaded, and was not")
        }
        (Some(name), false) => format!("{shown} is for slot {name}, and is not loaded"),
        (None, false) => format!("{shown} is not loaded, and its slot is unknown"),
    };
    found.reason(false, name, summary)
}

impl Found {
    /// What prevents the slot from loading it.
    fn obstacle(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::OtherPlugin(cause) => self.add(cause.to_string(), cause.remedy()),
            Obstacle::Interface(difference) => self.add(
                format!("its callers need another interface: {difference}"),
                "rebuild the plugin against the host's interface crate",
            ),
            Obstacle::Missing { slot } => self.add(
                format!("it calls slot {slot:?}, which is empty"),
                "publish that plugin; the host then loads this one by itself",
            ),
            Obstacle::KnownBad { why } => self.add(
                format!("the history has it as bad: {why}"),
                "publish another version; or use `reslot reload FILE` if you want this one all the same",
            ),
            _ => {}
        }
    }

    /// Why the host does not notice the file.
    fn unnoticed(&mut self, unnoticed: &Unnoticed) {
        let by_name = "`reslot reload FILE` loads it from its place";
        match unnoticed {
            Unnoticed::NoFolder => self.add("the host watches no folder, and loads only on request", by_name),
            Unnoticed::OtherFolder { watched } => self.add(
                format!("it is not in the folder that the host watches, {}", watched.display()),
                format!("publish it there; or {by_name}"),
            ),
            Unnoticed::Name => self.add(
                "a host loads only files that are named *.so or *.wasm and do not begin with a dot",
                format!("rename it; or {by_name}"),
            ),
            _ => {}
        }
    }
}
