//! From a file to a candidate: stage, lint, open, verify, create. Nothing here touches what serves; whatever fails, the
//! candidate's image goes back to the reaper and the slot never knew.

use super::{Clock, Phase, ReaperMessage};
use crate::{
    error::{Cause, Hook, Refusal},
    event::{Event, Step},
    host::Inner,
    image::{
        Image, Ledger, OpenError, Opened, QuarantineReason,
        lint::{Expectations, LintError, inspect, lint},
        stage::{Source, read_source},
    },
    instance::Instance,
    slot::{Beside, Generation, SlotRecord},
};
use reslot_plugin_api::{API_VERSION, TARGET, TOOLCHAIN};
use std::{path::Path, sync::Arc};

/// A candidate and the slot that it is for.
pub(super) struct Candidate {
    pub(super) record: Arc<SlotRecord>,
    pub(super) generation: Generation,
}

/// What the lint expects of an artifact for this host, but for the interface.
pub(crate) fn expectations() -> Expectations<'static> {
    Expectations {
        toolchain: TOOLCHAIN,
        target: TARGET,
        api: API_VERSION,
        interface: None,
        machine: machine(),
    }
}

/// This host's `e_machine`.
fn machine() -> u16 {
    #[cfg(target_arch = "x86_64")]
    let machine = object::elf::EM_X86_64;
    #[cfg(target_arch = "aarch64")]
    let machine = object::elf::EM_AARCH64;
    machine.0
}

/// Reads and hashes the file.
pub(super) fn read(host: &Inner, path: &Path, clock: &mut Clock) -> Result<Source, Refusal> {
    let source = read_source(path, &host.limits)
        .map_err(|error| refusal(host.slot_from(path).as_deref(), None, path, Step::Stage, error))?;
    clock.lap(Step::Stage);
    Ok(source)
}

/// Makes a candidate of the bytes.
pub(super) fn candidate(host: &Arc<Inner>, path: &Path, source: Source, clock: &mut Clock) -> Result<Candidate, Refusal> {
    let mut bytes = source.bytes;
    let linted = lint(&mut bytes, &expectations()).map_err(|error| {
        let slot = slot_of_refused(host, path, &bytes);
        refusal(slot.as_deref(), None, path, Step::Lint, error)
    })?;
    let record = host.slot_record(&linted.manifest.name);
    let refuse = |number, step, cause: Cause| refusal(Some(&record), number, path, step, cause);
    // Looked at again before it comes to serve: a caller may ask for another interface meanwhile.
    let satisfied = record.lock().check(&linted.manifest.interface);
    satisfied.map_err(|differences| refuse(None, Step::Lint, LintError::Interface(differences).into()))?;
    let full = |kept: &[(u64, QuarantineReason)]| !kept.is_empty() && kept.len() >= host.quarantine_cap;
    let quarantined = host.tally.kept(&record.name, host.drain_deadline);
    if full(&quarantined) {
        host.defer(&record.name, path);
        // One of them may have gone before it could know that somebody waits for that.
        if !full(&host.tally.kept(&record.name, host.drain_deadline)) {
            host.retry_deferred(&record.name);
        }
        let cap = host.quarantine_cap;
        return Err(refuse(None, Step::Open, Cause::QuarantineFull { quarantined, cap }));
    }
    // What waited for room is older than this.
    host.take_deferred(&record.name);
    clock.lap(Step::Lint);
    host.log.push(Event::Linted {
        slot: record.name.clone(),
        warnings: linted.warnings,
    });

    let staged = host
        .private
        .write(&record.name, &bytes)
        .map_err(|error| refuse(None, Step::Open, error.into()))?;
    drop(bytes);
    let number = record.lock().next_number();
    let opened = Opened::open(staged).map_err(|error| refuse(Some(number), Step::Open, error.into()))?;
    clock.lap(Step::Open);

    let ledger = ledger(host, &record.name, number);
    ledger.lives_beside(Box::new(Beside::new(host, record.name.clone(), &linted.manifest)));
    let image = opened.verify(linted.manifest, ledger.clone()).map_err(|error| {
        // Its static constructors have run, so it stays mapped.
        host.tally.opened(&record.name, number, ledger.clone());
        let reason = match error {
            OpenError::EarlyRegistrations(count) => QuarantineReason::StaticConstructors(count),
            _ => QuarantineReason::NotVerified,
        };
        host.tally.enters(&record.name, number, Phase::Quarantined(reason));
        refuse(Some(number), Step::Verify, error.into())
    })?;
    host.tally.opened(&record.name, number, ledger);
    clock.lap(Step::Verify);
    host.log.push(Event::Opened {
        slot: record.name.clone(),
        generation: number,
    });

    let instance = Instance::create(Box::new(image), record.name.clone(), number).map_err(|(image, error)| {
        give_back(host, &record, number, image);
        refuse(Some(number), Step::Create, Cause::Hook(Hook::Create, error))
    })?;
    clock.lap(Step::Create);
    host.log.push(Event::Created {
        slot: record.name.clone(),
        generation: number,
    });
    let generation = Generation::new(record.name.clone(), number, instance, host.reaper(), host.log.clone());
    Ok(Candidate { record, generation })
}

/// The slot that a refused file was for: the one that its manifest names, if it can be read, or the one that the file served
/// until now.
fn slot_of_refused(host: &Inner, path: &Path, bytes: &[u8]) -> Option<Arc<SlotRecord>> {
    let named = inspect(bytes, &expectations())
        .manifest
        .map(|manifest| host.slot_record(&manifest.name));
    named.or_else(|| host.slot_from(path))
}

fn ledger(host: &Arc<Inner>, slot: &Arc<str>, generation: u64) -> Arc<Ledger> {
    let (reaper, log, slot) = (host.reaper(), host.log.clone(), slot.clone());
    Ledger::new(
        format!("plugin {slot:?}, generation {generation},"),
        move || {
            // Without a reaper the process is ending.
            let _ = reaper.send(ReaperMessage::Less);
        },
        move |report| {
            report.backtrace.keep();
            log.push(Event::ThreadPanicked {
                slot: slot.clone(),
                generation,
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            });
        },
    )
}

/// Hands an image without instance to the reaper.
fn give_back(host: &Inner, record: &SlotRecord, number: u64, image: Box<Image>) {
    let message = ReaperMessage::Unload {
        slot: record.name.clone(),
        number,
        image,
    };
    if let Err(unsent) = host.reaper().send(message) {
        std::mem::forget(unsent);
    }
}

pub(super) fn refusal(
    record: Option<&SlotRecord>,
    candidate: Option<u64>,
    path: &Path,
    step: Step,
    cause: impl Into<Cause>,
) -> Refusal {
    let serving = record.and_then(|record| record.lock().current.as_ref().map(|current| current.generation.number()));
    Refusal {
        slot: record.map(|record| record.name.clone()),
        candidate,
        serving,
        path: path.to_owned(),
        step,
        cause: Arc::new(cause.into()),
    }
}
