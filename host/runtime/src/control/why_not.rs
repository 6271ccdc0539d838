//! Why something does not serve: what a slot's past says, and what the bytes of a file say, each finding with its remedy. It only
//! looks: nothing is loaded, and nothing of the file is executed.

use super::{
    answers::{refused, unknown},
    protocol::{ErrorKind, Reason, Refused},
    server::Shared,
    tally::{News, in_a_sentence},
};
use crate::{
    artifact::inspect,
    history::VersionStatus,
    host::Inner,
    instances::LoadRequest,
    reload::check_plugin,
    slot::{ContentPlace, Mode, SlotRecord},
    watch::is_artifact,
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_report::Refusal;
use reslot_stage::read_source;
use std::path::{Path, PathBuf};

pub(super) fn why_not(shared: &Shared, host: &Inner, target: &str) -> Result<Reason, Refused> {
    match Path::new(target) {
        path if path.is_absolute() => Ok(of_file(shared, host, path)),
        _ if target.contains('/') => {
            let message = format!("{target:?} is neither a slot nor an absolute path; the host has another working folder");
            Err(refused(ErrorKind::NotDone, message))
        }
        _ => of_slot(shared, host, target),
    }
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

fn of_slot(shared: &Shared, host: &Inner, slot: &str) -> Result<Reason, Refused> {
    let mut found = Found::default();
    let remembered = shared.tally.of_slot(slot);
    let Some(record) = host.slots.named(slot) else {
        // Nothing ever served. Perhaps something was to.
        let Some(refusal) = &remembered.refusal else {
            return Err(unknown(&host.slots.why_not(slot)));
        };
        found.refusal(refusal);
        let summary = format!("nothing has ever served in {slot}: what was to was refused");
        return Ok(found.reason(false, Some(slot.to_owned()), summary));
    };
    let serving = serving(&record);
    let mut summary = match &serving {
        Some((number, path, _)) => format!("generation {number} of {slot} serves, from {}", path.display()),
        None => format!("nothing serves in {slot}"),
    };
    let left = record.lock().unloaded().map(|left| left.path.clone());
    if let Some(path) = left {
        summary = format!("nothing serves in {slot}: it was unloaded");
        found.add(
            format!(
                "it was unloaded, and nothing is loaded there by itself until a build is published; it was loaded from {}",
                path.display()
            ),
            format!("publish a build anew; or `reslot reload {slot}` loads that file"),
        );
    }
    if let Some((number, finding, remedy)) = waiting(&record) {
        summary = format!("generation {number} of {slot} is ready, and waits for its owner");
        found.add(finding, remedy);
    }
    if let Some(refusal) = &remembered.refusal {
        summary = format!("{summary}; what came after it was refused");
        found.refusal(refusal);
    }
    if let Some(why) = &remembered.went_back {
        summary = format!("{summary}; it is there because the slot went back to it");
        found.add(
            why.clone(),
            "publish another version, or load that very file by name: `reslot reload FILE`",
        );
    }
    // Of what was marked as bad in an earlier process nothing was told in this one.
    let known_bad = host
        .history
        .entries(slot)
        .into_iter()
        .filter_map(|kept| match kept.condition {
            VersionStatus::KnownBad(why) => Some((kept.hash, why)),
            _ => None,
        });
    for (hash, why) in known_bad {
        let finding = format!("the version {hash:.12} is not taken by itself any more: {why}");
        found.add(finding, "`reslot reload FILE` takes it all the same");
    }
    if let Some((_, path, hash)) = &serving {
        match read_source(path, &host.limits) {
            Ok(source) if source.hash == *hash => {}
            // What lies there now is another file than the one that serves.
            _ => {
                let now = of_file(shared, host, path);
                now.findings.into_iter().for_each(|finding| found.add(finding, ""));
                now.remedies.into_iter().for_each(|remedy| found.add("", remedy));
                found.findings.retain(|finding| !finding.is_empty());
                summary = format!("{summary}; its file is another one by now: {}", now.summary);
            }
        }
    }
    Ok(found.reason(serving.is_some(), Some(slot.to_owned()), summary))
}

/// The generation that serves, and what it was made of.
fn serving(record: &SlotRecord) -> Option<(u64, PathBuf, ContentHash)> {
    let state = record.lock();
    let current = state.current.as_ref()?;
    Some((current.generation.number(), current.path.clone(), current.hash))
}

/// The candidate that waits for the owner, why it does, and what to do.
fn waiting(record: &SlotRecord) -> Option<(u64, String, &'static str)> {
    let state = record.lock();
    let (number, _) = state.waiting(record.id)?;
    let owner = state.owner.as_ref().filter(|_| state.mode == Mode::Claimed);
    let finding = match owner {
        Some(owner) => format!(
            "generation {number} waits for `sync` by thread {:?}, which claimed the slot at {}",
            owner.thread, owner.at
        ),
        None => format!("generation {number} waits for the other slots of its set"),
    };
    Some((number, finding, "have the owner call `Claim::sync` at its next safe point"))
}

fn of_file(shared: &Shared, host: &Inner, path: &Path) -> Reason {
    let mut found = Found::default();
    let shown = path.display();
    let before = shared.tally.of_file(path);
    let source = match read_source(path, &host.limits) {
        Ok(source) => source,
        Err(error) => {
            found.add(error.to_string(), error.remedy());
            return found.reason(false, None, format!("{shown} cannot be read as an artifact"));
        }
    };
    let bytes = &source.bytes;
    let inspection = inspect(bytes);
    let name = inspection.manifest.as_ref().map(|manifest| manifest.name.to_string());
    let slots = match &name {
        Some(name) => host.slots.meant_by(&LoadRequest::file(path), name, &host.instances),
        None => Vec::new(),
    };
    // What has it already is told, and the rest is about the first slot that does not.
    let (mut has, mut lacks) = (Vec::new(), Vec::new());
    for slot in slots {
        match host.slots.content_place(&slot, &source.hash) {
            Some(has_it) => has.push((slot, has_it)),
            None => lacks.push(slot),
        }
    }
    if let ([(slot, _), ..], []) = (&has[..], &lacks[..]) {
        let mut summaries = Vec::new();
        for (slot, has_it) in &has {
            summaries.push(match has_it {
                ContentPlace::Serves(number) => format!("{shown} serves: it is generation {number} of {slot}"),
                ContentPlace::Waits(number) => {
                    if let Some((_, finding, remedy)) = host.slots.named(slot).as_deref().and_then(waiting) {
                        found.add(finding, remedy);
                    }
                    format!("{shown} is generation {number} of {slot}, which waits for its owner")
                }
            });
        }
        let serves = has.iter().all(|(_, has_it)| matches!(has_it, ContentPlace::Serves(_)));
        return found.reason(serves, Some(slot.to_string()), summaries.join("; "));
    }
    let slot = lacks.into_iter().next();
    let record = slot.as_deref().and_then(|slot| host.slots.named(slot));
    for finding in &inspection.findings {
        found.add(finding.to_string(), finding.remedy());
    }
    let refused_bytes = !inspection.findings.is_empty();
    if let Some(manifest) = inspection.manifest.as_ref().filter(|_| !refused_bytes) {
        let slot = slot.as_deref().unwrap_or(&manifest.name);
        of_manifest(host, manifest, slot, record.as_deref(), &source.hash, &mut found);
    }
    match host.slots.refusals.of(&source.hash, slot.as_deref()) {
        Some(refusal) if !refused_bytes => {
            found.refusal(&refusal);
            found.add(
                "the same content was refused before, and is not tried again by itself",
                "`reslot reload FILE` tries it again",
            );
        }
        _ => {}
    }
    match before {
        Some(News::Waiting(why)) => found.add(
            format!("the host waits with it: {why}"),
            "nothing, it is tried again by itself",
        ),
        Some(News::Refused(refusal)) if !refused_bytes => found.refusal(&refusal),
        _ => {}
    }
    of_place(shared.folder.as_deref(), path, &mut found);
    let name = slot.map(|slot| slot.to_string()).or(name);
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

/// What an artifact says of itself, against what is there.
fn of_manifest(
    host: &Inner,
    manifest: &Manifest,
    slot: &str,
    record: Option<&SlotRecord>,
    hash: &ContentHash,
    found: &mut Found,
) {
    let serving = record.and_then(|record| record.lock().current.as_ref().map(|current| current.generation.clone()));
    if let Some(serving) = serving
        && let Err(cause) = check_plugin(&serving.instance().image().manifest, manifest)
    {
        found.add(cause.to_string(), cause.remedy());
    }
    if let Some(Err(differences)) = record.map(|record| record.lock().check(&manifest.interface)) {
        let remedy = "rebuild the plugin against the host's interface crate";
        differences
            .iter()
            .for_each(|difference| found.add(format!("its callers need another interface: {difference}"), remedy));
    }
    for slot in host.slots.empty_among(&manifest.uses) {
        let finding = format!("it calls slot {slot:?}, in which nothing serves");
        found.add(finding, "publish that plugin; this one is then taken up by itself");
    }
    if let Some(why) = host.history.known_bad(slot, hash) {
        let finding = format!("the history has it down as bad: {why}");
        found.add(
            finding,
            "publish another version; or `reslot reload FILE`, if it is wanted all the same",
        );
    }
}

/// Whether the host would have noticed it where it lies.
fn of_place(folder: Option<&Path>, path: &Path, found: &mut Found) {
    let by_name = "`reslot reload FILE` loads it from where it is";
    let Some(folder) = folder else {
        found.add("the host watches no folder, and loads what it is told to", by_name);
        return;
    };
    // By whatever way it was named.
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.parent() != Some(folder) && path.parent().map(real) != Some(real(folder)) {
        let finding = format!("it does not lie in the folder that the host watches, {}", folder.display());
        found.add(finding, format!("publish it there; or {by_name}"));
    } else if !is_artifact(path) {
        found.add(
            "a host takes files up that are named *.so and do not begin with a dot",
            format!("rename it; or {by_name}"),
        );
    }
}
