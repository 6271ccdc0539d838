//! Makes the answers of a host from its state.

use super::{
    recent::in_a_sentence,
    shared::Shared,
    why_not::{self, no_absolute_path, unknown},
};
use crate::{
    event_message::milliseconds,
    protocol::{
        Answer, ComparedImage, ErrorKind, HeldGeneration, ImagePlace, Overview, Refused, Request, SlotStatus, Version,
    },
};
use reslot_runtime::{
    Cause, Comparison, ContentHash, EngineKind, GenerationHolders, GenerationStatus, HistoryEntry, ImageDifference,
    ImageReport, LoadOutcome, LogLevel, Refusal, RollbackError, RollbackTarget, SlotInfo, UnloadError, UnloadOutcome,
    Unloaded, VersionStatus,
    surface::{Asking, Steering},
};
use std::{path::PathBuf, time::Duration};

pub(super) fn answer(shared: &Shared, host: &Steering<'_>, request: Request) -> Result<Answer, Refused> {
    match request {
        Request::Overview => Ok(Answer::Overview(Box::new(overview(shared, host)))),
        Request::Reload { target } => reload(host, &target),
        Request::LoadAs { file, slot } => load_as(host, &file, &slot),
        Request::Rollback { slot, to } => rollback(host, &slot, to),
        Request::Confirm { slot } => confirm(host, &slot),
        Request::Unload { slot, force } => unload(host, &slot, force),
        Request::History { slot } => history(host, &slot),
        Request::WhoHolds { slot } => {
            let slot = host.slot(&slot).map_err(unknown)?;
            let generations = host.who_holds(&slot.name).iter().map(held).collect();
            Ok(Answer::Holders { generations })
        }
        Request::Verify => {
            let images = host.verify_images().iter().map(compared).collect();
            Ok(Answer::Images { images })
        }
        Request::WhyNot { target } => Ok(Answer::WhyNot(Box::new(why_not::why_not(shared, host, &target)?))),
        Request::LogLevel { slot, level } => log_level(host, &slot, level.as_deref()),
        Request::Events { .. } => Err(Refused::new(
            ErrorKind::Malformed,
            "the conversation answers requests for events",
        )),
    }
}

fn done(message: String, generation: Option<u64>) -> Result<Answer, Refused> {
    Ok(Answer::Done { message, generation })
}

fn reload(host: &Steering<'_>, target: &str) -> Result<Answer, Refused> {
    match PathBuf::from(target) {
        path if path.is_absolute() => {
            let outcomes = host.load(&path);
            loaded(path, outcomes)
        }
        _ if target.contains('/') => Err(no_absolute_path(target)),
        _ => {
            let slot = host.slot(target).map_err(unknown)?;
            if slot.engine == Some(EngineKind::Linked) {
                let message = format!(
                    "{target} is linked into the program, so there is no file to read again\n  what to do: name a file, and it replaces \
                     what is linked: `reslot reload FILE`"
                );
                return Err(Refused::new(ErrorKind::NotDone, message));
            }
            let path = slot
                .path
                .or(slot.unloaded_from)
                .ok_or_else(|| unknown(host.why_empty(target)))?;
            let outcome = host.load_as(&slot.name, &path);
            loaded(path, vec![outcome])
        }
    }
}

fn load_as(host: &Steering<'_>, file: &str, slot: &str) -> Result<Answer, Refused> {
    let path = PathBuf::from(file);
    if !path.is_absolute() {
        return Err(no_absolute_path(file));
    }
    let outcome = host.load_as(slot, &path);
    if let Err(Refusal { cause, .. }) = &outcome
        && let Cause::SlotName(_) = &**cause
    {
        let message = format!("{cause}\n  what to do: {}", cause.remedy());
        return Err(Refused::new(ErrorKind::NotDone, message));
    }
    loaded(path, vec![outcome])
}

/// The answer for a file that was loaded into one or more slots.
fn loaded(path: PathBuf, outcomes: Vec<Result<LoadOutcome, Refusal>>) -> Result<Answer, Refused> {
    let (mut messages, mut generations, mut failed) = (Vec::new(), Vec::new(), false);
    for outcome in outcomes {
        let (message, generation) = match outcome {
            Ok(LoadOutcome::Unchanged { slot, generation }) => (
                format!(
                    "{slot}: generation {generation} already has the content of {}; nothing was loaded",
                    path.display()
                ),
                Some(generation),
            ),
            Ok(outcome) => (outcome.to_string(), outcome.generation()),
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
        (true, _) => Err(Refused::new(ErrorKind::NotDone, message)),
        (false, [generation]) => done(message, *generation),
        // Each slot has its own generation.
        (false, _) => done(message, None),
    }
}

fn rollback(host: &Steering<'_>, slot: &str, to: Option<String>) -> Result<Answer, Refused> {
    let to = match to.map(|typed| typed.parse()) {
        None => RollbackTarget::Previous,
        Some(Ok(prefix)) => RollbackTarget::Prefix(prefix),
        Some(Err(error)) => return Err(Refused::new(ErrorKind::NotDone, error)),
    };
    match host.rollback(slot, to) {
        Ok(outcome) => done(outcome.to_string(), outcome.generation()),
        Err(RollbackError::Slot(error)) => Err(unknown(error)),
        Err(error) => Err(Refused::new(ErrorKind::NotDone, error)),
    }
}

fn confirm(host: &Steering<'_>, slot: &str) -> Result<Answer, Refused> {
    match host.confirm(slot) {
        Ok(true) => done(format!("{slot}: the current generation is confirmed"), None),
        Ok(false) => done(format!("{slot}: nothing was on probation"), None),
        Err(error) => Err(unknown(error)),
    }
}

/// How long an answer waits for the proof that an image is gone.
const PROOF: Duration = Duration::from_secs(1);

fn unload(host: &Steering<'_>, slot: &str, force: bool) -> Result<Answer, Refused> {
    let outcome = match force {
        true => host.force_unload(slot),
        false => host.unload(slot),
    };
    match outcome {
        Ok(UnloadOutcome::Unloaded(Unloaded {
            slot, generation, state, ..
        })) => {
            let state = match state {
                Some(state) => format!(", with {} bytes of state", state.bytes().len()),
                None => String::new(),
            };
            let image = match host.wait_until_unmapped(&slot, generation, PROOF) {
                true => "its image is proven unmapped".to_owned(),
                false => format!("its image is still mapped: `reslot who-holds {slot}` shows what keeps it"),
            };
            done(format!("{slot}: generation {generation} is unloaded{state}; {image}"), None)
        }
        Ok(UnloadOutcome::Staged { slot, generation }) => done(
            format!("{slot}: the slot's owner unloads generation {generation} in its next `sync`"),
            None,
        ),
        Ok(_) => done(format!("{slot}: the slot is unloaded"), None),
        Err(UnloadError::Slot(error)) => Err(unknown(error)),
        Err(error) => Err(Refused::new(ErrorKind::NotDone, error)),
    }
}

fn history(host: &Asking<'_>, slot: &str) -> Result<Answer, Refused> {
    let entries = host.history(slot);
    let info = host.slot(slot);
    if let Err(error) = &info
        && entries.is_empty()
    {
        return Err(unknown(error));
    }
    let serves = info.ok().and_then(|slot| slot.hash);
    let versions = entries.into_iter().map(|kept| version(kept, serves)).collect();
    Ok(Answer::History { versions })
}

fn version(kept: HistoryEntry, serves: Option<ContentHash>) -> Version {
    let condition = kept.condition.name().to_owned();
    let reason = match kept.condition {
        VersionStatus::KnownBad(why) => Some(why),
        _ => None,
    };
    Version {
        serves: serves == Some(kept.hash),
        hash: kept.hash.to_string(),
        version: kept.version,
        schema: kept.schema,
        file: kept.file,
        condition,
        reason,
        since_ms: milliseconds(kept.since),
        bytes: kept.bytes,
    }
}

/// A host accepts a level for a slot that does not exist yet. This request does not, because such a name is mostly a typing
/// error.
fn log_level(host: &Steering<'_>, slot: &str, level: Option<&str>) -> Result<Answer, Refused> {
    let info = host.slot(slot).map_err(unknown)?;
    let level = level.map(str::parse::<LogLevel>).transpose();
    let level = level.map_err(|error| Refused::new(ErrorKind::NotDone, error))?;
    let now = host.set_log_level(&info.name, level);
    let why = match level {
        Some(asked) if asked != now => ": no subscriber of the program accepts more",
        _ => "",
    };
    done(format!("{slot}: its plugin logs at the level {now}{why}"), None)
}

fn held(held: &GenerationHolders) -> HeldGeneration {
    HeldGeneration {
        generation: held.generation,
        condition: held.condition.to_string(),
        since_ms: whole_millis(held.since),
        live_bytes: held.live_bytes,
        holders: held.holders.iter().map(ToString::to_string).collect(),
    }
}

fn compared(report: &ImageReport) -> ComparedImage {
    let (condition, bytes, took, reason) = match &report.comparison {
        Comparison::Compared(compared) => {
            let condition = match report.is_damaged() {
                true => "damaged",
                false => "intact",
            };
            (condition, compared.bytes(), compared.took, None)
        }
        Comparison::NotApplicable if report.engine == EngineKind::Linked => ("linked", 0, Duration::ZERO, None),
        Comparison::NotApplicable => ("not-mapped", 0, Duration::ZERO, None),
        Comparison::Failed(why) => ("failed", 0, Duration::ZERO, Some(why.clone())),
        _ => ("ended", 0, Duration::ZERO, None),
    };
    let place = |difference: &ImageDifference| ImagePlace {
        part: difference.part.name().to_owned(),
        section: difference.section.to_string(),
        offset: difference.offset,
        address: difference.address,
        len: difference.len as u64,
        text: difference.to_string(),
    };
    ComparedImage {
        slot: report.slot.to_string(),
        generation: report.generation,
        condition: condition.to_owned(),
        bytes: bytes as u64,
        took_us: took.as_secs_f64() * 1e6,
        differences: report.differences().iter().map(place).collect(),
        more: (report.difference_count() - report.differences().len()) as u64,
        reason,
    }
}

fn overview(shared: &Shared, host: &Asking<'_>) -> Overview {
    let counts = host.images();
    Overview {
        host_id: shared.host_id.clone(),
        process: std::process::id(),
        program: program(),
        uptime_ms: whole_millis(shared.begun.elapsed()),
        folder: host.folder().map(ToOwned::to_owned),
        mapped: counts.mapped as u64,
        quarantined: counts.quarantined as u64,
        next_event: host.next_event(),
        slots: host.slots().into_iter().map(|slot| status(shared, host, slot)).collect(),
        reloads: shared.recent.reloads(),
    }
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn status(shared: &Shared, host: &Asking<'_>, slot: SlotInfo) -> SlotStatus {
    // Looking for holders visits every reader, so it is skipped when no generation is retired.
    let held = match slot.retired {
        0 => Vec::new(),
        _ => host.who_holds(&slot.name),
    };
    let late = held.iter().filter(|held| held.condition == GenerationStatus::Retired);
    let remembered = shared.recent.of_slot(&slot.name);
    let state = match (slot.generation, slot.staged) {
        (_, Some(_)) => "staged",
        (None, None) if slot.unloaded => "unloaded",
        (None, None) => "empty",
        (Some(_), None) if slot.on_probation => "probation",
        (Some(_), None) => "serving",
    };
    SlotStatus {
        name: slot.name,
        interface: slot.interface,
        plugin: slot.plugin,
        generation: slot.generation,
        version: slot.version,
        hash: slot.hash.map(|hash| hash.to_string()),
        path: slot.path,
        engine: slot.engine.map(|engine| engine.to_string()),
        state: state.to_owned(),
        staged: slot.staged,
        standby: slot.standby,
        claimed: slot.claimed,
        health: slot.health.map(|health| health.to_string()),
        live_bytes: slot.live_bytes,
        calls: slot.calls,
        faults: slot.faults,
        mapped: slot.mapped as u64,
        quarantined: slot.quarantined as u64,
        late_holders: late.map(|held| held.holders.len() as u64).sum(),
        log_level: slot.log_level.map(|level| level.to_string()),
        last_refusal: remembered.refusal.as_ref().map(in_a_sentence),
        damaged: remembered.damage_of(slot.generation),
    }
}

/// A duration in milliseconds.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
