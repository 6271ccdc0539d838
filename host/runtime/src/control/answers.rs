//! What a host answers: its own facts, in the words of the protocol.

use super::{
    protocol::{Answer, ErrorKind, HeldGeneration, Overview, Refused, Request, SlotStatus, Version},
    server::Shared,
    tally::in_a_sentence,
    told::milliseconds,
    why_not,
};
use crate::{
    history::{HistoryEntry, VersionStatus},
    host::{Inner, RollbackError, RollbackTarget, SlotInfo, after},
    instances::LoadRequest,
    reload::{LoadOutcome, UnloadOutcome, Unloaded},
    slot::{Phase, SlotRecord, who_holds},
};
use reslot_artifact::{ContentHash, manifest::is_name};
use reslot_native::level::LogLevel;
use reslot_report::{Cause, GenerationHolders, GenerationStatus, SlotError, UnloadError};
use std::{path::PathBuf, sync::Arc, time::Duration};

pub(super) fn answer(shared: &Shared, host: &Arc<Inner>, request: Request) -> Result<Answer, Refused> {
    match request {
        Request::Overview => Ok(Answer::Overview(Box::new(overview(shared, host)))),
        Request::Reload { target } => reload(host, &target),
        Request::LoadAs { file, slot } => load_as(host, &file, &slot),
        Request::Rollback { slot, to } => rollback(host, &slot, to),
        Request::Confirm { slot } => confirm(host, &slot),
        Request::Unload { slot, force } => unload(host, &slot, force),
        Request::History { slot } => history(host, &slot),
        Request::WhoHolds { slot } => {
            let record = record(host, &slot)?;
            let generations = who_holds(&host.slots, &host.images, &record).iter().map(held).collect();
            Ok(Answer::Holders { generations })
        }
        Request::WhyNot { target } => Ok(Answer::WhyNot(Box::new(why_not::why_not(shared, host, &target)?))),
        Request::LogLevel { slot, level } => log_level(host, &slot, level.as_deref()),
        Request::Events { .. } => Err(refused(ErrorKind::Malformed, "events are told by the conversation")),
    }
}

pub(super) fn refused(kind: ErrorKind, message: impl ToString) -> Refused {
    let message = message.to_string();
    Refused { kind, message }
}

/// A slot that has been there, whether something serves in it or not.
pub(super) fn record(host: &Inner, slot: &str) -> Result<Arc<SlotRecord>, Refused> {
    host.slots.named(slot).ok_or_else(|| unknown(&host.slots.why_not(slot)))
}

pub(super) fn unknown(error: &SlotError) -> Refused {
    let kind = match error {
        SlotError::Unknown { .. } | SlotError::Unloaded { .. } | SlotError::Vacant { .. } => ErrorKind::UnknownSlot,
        SlotError::HostEnded { .. } | SlotError::ForkedProcess { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::NotDone,
    };
    refused(kind, error)
}

fn done(message: String, generation: Option<u64>) -> Result<Answer, Refused> {
    Ok(Answer::Done { message, generation })
}

fn reload(host: &Inner, target: &str) -> Result<Answer, Refused> {
    let request = match PathBuf::from(target) {
        path if path.is_absolute() => LoadRequest::file(path),
        _ if target.contains('/') => return Err(no_absolute_path(target)),
        _ => {
            let record = record(host, target)?;
            let path = {
                let state = record.lock();
                let serves = state.current.as_ref().map(|current| current.path.clone());
                // Of one that was unloaded, the file that it was loaded from.
                serves.or_else(|| state.unloaded().map(|left| left.path.clone()))
            };
            let path = path.ok_or_else(|| unknown(&host.slots.why_not(target)))?;
            LoadRequest::of_slot(path, &record.name)
        }
    };
    load(host, request)
}

fn no_absolute_path(target: &str) -> Refused {
    let message = format!("{target:?} is neither a slot nor an absolute path; the host has another working folder");
    refused(ErrorKind::NotDone, message)
}

fn load_as(host: &Inner, file: &str, slot: &str) -> Result<Answer, Refused> {
    let path = PathBuf::from(file);
    if !path.is_absolute() {
        return Err(no_absolute_path(file));
    }
    if !is_name(slot) {
        let cause = Cause::SlotName(slot.to_owned());
        let message = format!("{cause}\n  what to do: {}", cause.remedy());
        return Err(refused(ErrorKind::NotDone, message));
    }
    load(host, LoadRequest::of_slot(path, &slot.into()))
}

/// Loads a file into each slot that it is for, and tells what became of it in each.
fn load(host: &Inner, request: LoadRequest) -> Result<Answer, Refused> {
    let path = request.path.clone();
    let (mut messages, mut generations, mut failed) = (Vec::new(), Vec::new(), false);
    for outcome in host.ask_for(request, true) {
        let (message, generation) = match outcome {
            Ok(LoadOutcome::Unchanged { slot, generation }) => (
                format!(
                    "{slot}: {} holds what generation {generation} is made of already; nothing was loaded",
                    path.display()
                ),
                Some(generation),
            ),
            Ok(outcome) => in_words(outcome),
            Err(refusal) => {
                failed = true;
                (refusal.to_string(), None)
            }
        };
        messages.push(message);
        generations.push(generation);
    }
    let message = messages.join("\n");
    match (failed, &generations[..]) {
        (true, _) => Err(refused(ErrorKind::NotDone, message)),
        (false, [generation]) => done(message, *generation),
        // Each slot has its own.
        (false, _) => done(message, None),
    }
}

fn in_words(outcome: LoadOutcome) -> (String, Option<u64>) {
    match outcome {
        LoadOutcome::Swapped(report) => (report.to_string(), Some(report.generation)),
        LoadOutcome::RolledBack(report) => (report.to_string(), Some(report.to)),
        LoadOutcome::Staged { slot, generation } => (
            format!("{slot}: generation {generation} is ready, and serves when the slot's owner comes to his next `sync`"),
            None,
        ),
        LoadOutcome::Unchanged { slot, generation } => {
            (format!("{slot}: generation {generation} serves already"), Some(generation))
        }
        LoadOutcome::StillUnloaded { slot } => (format!("{slot}: it was unloaded, and nothing was loaded"), None),
        LoadOutcome::Instances(all) => {
            let words: Vec<_> = all.into_iter().map(|outcome| in_words(outcome).0).collect();
            (words.join("\n"), None)
        }
    }
}

fn rollback(host: &Arc<Inner>, slot: &str, to: Option<String>) -> Result<Answer, Refused> {
    let to = match to.map(|typed| typed.parse()) {
        None => RollbackTarget::Previous,
        Some(Ok(prefix)) => RollbackTarget::Prefix(prefix),
        Some(Err(error)) => return Err(refused(ErrorKind::NotDone, error)),
    };
    match host.rollback(slot, to, None) {
        Ok(outcome) => {
            let (message, generation) = in_words(outcome);
            done(message, generation)
        }
        Err(RollbackError::Slot(error)) => Err(unknown(&error)),
        Err(error) => Err(refused(ErrorKind::NotDone, error)),
    }
}

fn confirm(host: &Arc<Inner>, slot: &str) -> Result<Answer, Refused> {
    match host.confirm(slot) {
        Ok(true) => done(format!("{slot}: what serves counts as good from now on"), None),
        Ok(false) => done(format!("{slot}: nothing was on probation"), None),
        Err(error) => Err(unknown(&error)),
    }
}

/// How long an answer waits for the proof that an image is gone.
const PROOF: Duration = Duration::from_secs(1);

fn unload(host: &Arc<Inner>, slot: &str, force: bool) -> Result<Answer, Refused> {
    match host.unload(slot, force) {
        Ok(UnloadOutcome::Unloaded(Unloaded {
            slot, generation, state, ..
        })) => {
            let state = match state {
                Some(state) => format!(", with {} bytes of state", state.bytes().len()),
                None => String::new(),
            };
            let image = match host.images.wait_until_gone(&slot, generation, after(PROOF)) {
                true => "its image is proven unmapped".to_owned(),
                false => format!("its image is still mapped: `reslot who-holds {slot}` says who keeps it"),
            };
            done(format!("{slot}: generation {generation} is unloaded{state}; {image}"), None)
        }
        Ok(UnloadOutcome::Staged { slot, generation }) => done(
            format!("{slot}: generation {generation} is unloaded when the slot's owner comes to his next `sync`"),
            None,
        ),
        Err(UnloadError::Slot(error)) => Err(unknown(&error)),
        Err(error) => Err(refused(ErrorKind::NotDone, error)),
    }
}

fn history(host: &Inner, slot: &str) -> Result<Answer, Refused> {
    let entries = host.history.entries(slot);
    let record = host.slots.named(slot);
    if entries.is_empty() && record.is_none() {
        return Err(unknown(&host.slots.why_not(slot)));
    }
    let serves = record.and_then(|record| record.lock().current.as_ref().map(|current| current.hash));
    let versions = entries.into_iter().map(|kept| version(kept, serves)).collect();
    Ok(Answer::History { versions })
}

fn version(kept: HistoryEntry, serves: Option<ContentHash>) -> Version {
    let (condition, reason) = match kept.condition {
        VersionStatus::Confirmed => ("confirmed", None),
        VersionStatus::Unconfirmed => ("unconfirmed", None),
        VersionStatus::KnownBad(why) => ("known_bad", Some(why)),
    };
    Version {
        serves: serves == Some(kept.hash),
        hash: kept.hash.to_string(),
        version: kept.version,
        schema: kept.schema,
        file: kept.file,
        condition: condition.to_owned(),
        reason,
        since_ms: milliseconds(kept.since),
        bytes: kept.bytes,
    }
}

/// Also of a slot that is still to come would do; but whoever types a name has mistyped it more often.
fn log_level(host: &Inner, slot: &str, level: Option<&str>) -> Result<Answer, Refused> {
    let record = record(host, slot)?;
    let level = level.map(str::parse::<LogLevel>).transpose();
    let level = level.map_err(|error| refused(ErrorKind::NotDone, error.to_string()))?;
    let now = host.set_log_level(&record.name, level);
    let why = match level {
        Some(asked) if asked != now => ": the program has no subscriber that would hear more",
        _ => "",
    };
    done(format!("{slot}: its plugin logs at the level {now}{why}"), None)
}

fn held(held: &GenerationHolders) -> HeldGeneration {
    HeldGeneration {
        generation: held.generation,
        condition: held.condition.to_string(),
        since_ms: whole(held.since),
        live_bytes: held.live_bytes,
        holders: held.holders.iter().map(ToString::to_string).collect(),
    }
}

fn overview(shared: &Shared, host: &Inner) -> Overview {
    let counts = host.images.counts();
    Overview {
        process: std::process::id(),
        program: program(),
        uptime_ms: whole(shared.begun.elapsed()),
        folder: shared.folder.clone(),
        mapped: counts.mapped as u64,
        quarantined: counts.quarantined as u64,
        next_event: host.log.next(),
        slots: host.slots.all().iter().map(|record| status(shared, host, record)).collect(),
        reloads: shared.tally.reloads(),
    }
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn status(shared: &Shared, host: &Inner, record: &Arc<SlotRecord>) -> SlotStatus {
    let SlotInfo {
        name,
        plugin,
        unloaded,
        generation,
        path,
        hash,
        staged,
        standby,
        on_probation,
        health,
        claimed,
        live_bytes,
        calls,
        faults,
        log_level,
    } = host.info(record);
    let manifest = {
        let state = record.lock();
        let current = state.current.as_ref();
        current.map(|current| {
            let manifest = &current.generation.instance().image().manifest;
            (manifest.interface.name.clone(), manifest.version.clone())
        })
    };
    let (interface, version) = manifest.unzip();
    let images = host.images.of_slot(&name);
    let quarantined = images.iter().filter(|image| matches!(image.phase, Phase::Quarantined(_)));
    // To find out who holds what takes a look at every reader; mostly there is nothing to be held.
    let held = match images.iter().any(|image| matches!(image.phase, Phase::Retired)) {
        true => who_holds(&host.slots, &host.images, record),
        false => Vec::new(),
    };
    let late = held.iter().filter(|held| held.condition == GenerationStatus::Retired);
    let remembered = shared.tally.of_slot(&name);
    let state = match (generation, staged) {
        (_, Some(_)) => "staged",
        (None, None) if unloaded => "unloaded",
        (None, None) => "empty",
        (Some(_), None) if on_probation => "probation",
        (Some(_), None) => "serving",
    };
    SlotStatus {
        interface: interface.map(|name| name.to_string()),
        plugin,
        generation,
        version: version.map(|version| version.to_string()),
        hash: hash.map(|hash| hash.to_string()),
        path,
        state: state.to_owned(),
        staged,
        standby,
        claimed,
        health: health.map(|health| health.to_string()),
        live_bytes,
        calls,
        faults,
        mapped: images.len() as u64,
        quarantined: quarantined.count() as u64,
        late_holders: late.map(|held| held.holders.len() as u64).sum(),
        log_level: log_level.map(|level| level.to_string()),
        last_refusal: remembered.refusal.as_ref().map(in_a_sentence),
        name,
    }
}

/// In milliseconds.
fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
