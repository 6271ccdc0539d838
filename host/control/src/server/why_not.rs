//! Why something does not serve: what a slot's past says, and what the bytes of a file say, each finding with its remedy. It only
//! looks: nothing is loaded, and nothing of the file is executed.

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

/// A target that the host cannot find.
pub(super) fn no_absolute_path(target: &str) -> Refused {
    let message = format!("{target:?} is neither a slot nor an absolute path; the host has another working folder");
    Refused::new(ErrorKind::NotDone, message)
}

/// A slot that there is not, or in which nothing serves.
pub(super) fn unknown(error: impl Borrow<SlotError>) -> Refused {
    let error = error.borrow();
    let kind = match error {
        SlotError::Unknown { .. } | SlotError::Unloaded { .. } | SlotError::Vacant { .. } => ErrorKind::UnknownSlot,
        SlotError::HostEnded { .. } | SlotError::ForkedProcess { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::NotDone,
    };
    Refused::new(kind, error)
}

/// What was found, in the order in which it was.
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
        // Nothing ever served. Perhaps something was to.
        Err(error) => {
            let Some(refusal) = &remembered.refusal else {
                return Err(unknown(error));
            };
            found.refusal(refusal);
            let summary = format!("nothing has ever served in {name}: what was to was refused");
            return Ok(found.reason(false, Some(name.to_owned()), summary));
        }
    };
    let mut summary = match (slot.generation, &slot.path) {
        (Some(number), Some(path)) => format!("generation {number} of {name} serves, from {}", path.display()),
        _ => format!("nothing serves in {name}"),
    };
    if let Some(path) = &slot.unloaded_from {
        summary = format!("nothing serves in {name}: it was unloaded");
        found.add(
            format!(
                "it was unloaded, and nothing is loaded there by itself until a build is published; it was loaded from {}",
                path.display()
            ),
            format!("publish a build anew; or `reslot reload {name}` loads that file"),
        );
    }
    if let Some(number) = slot.staged {
        summary = format!("generation {number} of {name} is ready, and waits for its owner");
        found.waiting(host, &slot, number);
    }
    if let Some(refusal) = &remembered.refusal {
        summary = format!("{summary}; what came after it was refused");
        found.refusal(refusal);
    }
    if let Some(why) = &remembered.rolled_back {
        summary = format!("{summary}; it is there because the slot went back to it");
        found.add(
            why.clone(),
            "publish another version, or load that very file by name: `reslot reload FILE`",
        );
    }
    // Of what was marked as bad in an earlier process nothing was told in this one.
    let known_bad = host.history(name).into_iter().filter_map(|kept| match kept.condition {
        VersionStatus::KnownBad(why) => Some((kept.hash, why)),
        _ => None,
    });
    for (hash, why) in known_bad {
        let finding = format!("the version {hash:.12} is not taken by itself any more: {why}");
        found.add(finding, "`reslot reload FILE` takes it all the same");
    }
    if let Some(path) = &slot.path {
        match host.examine(path) {
            Ok(file) if Some(file.hash) == slot.hash => {}
            // What lies there now is another file than the one that serves.
            file => {
                let now = of_file(shared, host, path, file);
                now.findings.into_iter().for_each(|finding| found.add(finding, ""));
                now.remedies.into_iter().for_each(|remedy| found.add("", remedy));
                found.findings.retain(|finding| !finding.is_empty());
                summary = format!("{summary}; its file is another one by now: {}", now.summary);
            }
        }
    }
    Ok(found.reason(slot.generation.is_some(), Some(name.to_owned()), summary))
}

impl Found {
    /// A candidate that waits: for whom, and what to do.
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
        self.add(finding, "have the owner call `Claim::sync` at its next safe point");
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
    // What has it already is told, and the rest is about the first slot that does not.
    if let ([(first, _), ..], None) = (&file.places[..], &file.slot) {
        let mut summaries = Vec::new();
        for (name, place) in &file.places {
            summaries.push(match place {
                ContentPlace::Serves(number) => format!("{shown} serves: it is generation {number} of {name}"),
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
    // What is wrong with the bytes says it all.
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
            format!("the host waits with it: {why}"),
            "nothing, it is tried again by itself",
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
                "nothing speaks against it",
                "`reslot reload FILE` loads it, and says what becomes of it",
            );
            format!("{shown} could serve, and was not taken up")
        }
        (Some(name), false) => format!("{shown} is for slot {name}, and does not serve"),
        (None, false) => format!("{shown} does not serve, and does not say for which slot it is"),
    };
    found.reason(false, name, summary)
}

impl Found {
    /// What stands in its way in its slot.
    fn obstacle(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::OtherPlugin(cause) => self.add(cause.to_string(), cause.remedy()),
            Obstacle::Interface(difference) => self.add(
                format!("its callers need another interface: {difference}"),
                "rebuild the plugin against the host's interface crate",
            ),
            Obstacle::Missing { slot } => self.add(
                format!("it calls slot {slot:?}, in which nothing serves"),
                "publish that plugin; this one is then taken up by itself",
            ),
            Obstacle::KnownBad { why } => self.add(
                format!("the history has it down as bad: {why}"),
                "publish another version; or `reslot reload FILE`, if it is wanted all the same",
            ),
            _ => {}
        }
    }

    /// The host does not notice it where it lies.
    fn unnoticed(&mut self, unnoticed: &Unnoticed) {
        let by_name = "`reslot reload FILE` loads it from where it is";
        match unnoticed {
            Unnoticed::NoFolder => self.add("the host watches no folder, and loads what it is told to", by_name),
            Unnoticed::OtherFolder { watched } => self.add(
                format!("it does not lie in the folder that the host watches, {}", watched.display()),
                format!("publish it there; or {by_name}"),
            ),
            Unnoticed::Name => self.add(
                "a host takes files up that are named *.so and do not begin with a dot",
                format!("rename it; or {by_name}"),
            ),
            _ => {}
        }
    }
}
