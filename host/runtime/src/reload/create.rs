//! The steps in which an artifact becomes an instance: **open**, **verify**, **create**. Nothing here touches what serves; whatever fails,
//! the candidate's image goes to the reaper, and the slot stays as it was.

use super::attempt::Attempt;
use crate::{
    runtime::Runtime,
    slot::{Generation, PeerTable, Phase, ReaperMessage, Watching},
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_native::{
    instance::Instance,
    logs::LogForwarder,
    open::{Image, Opened},
    resources::ImageResources,
};
use reslot_process::hooks::TookTooLong;
use reslot_report::{Cause, Event, Hook, HookError, Lifecycle, OpenError, QuarantineReason};
use reslot_stage::StagedFile;
use std::sync::{Arc, mpsc::Sender};

/// An image that is mapped, and not verified yet.
pub(super) struct Mapped {
    opened: Opened,
    resources: Arc<ImageResources>,
}

/// **open**: maps the private copy. Its static constructors run.
pub(super) fn open(attempt: &Attempt<'_>, copy: StagedFile, manifest: &Manifest) -> Result<Mapped, OpenError> {
    let (host, name, number) = (attempt.host, attempt.target.name(), attempt.number());
    let opened = Opened::open(copy)?;
    let resources = resources(host, name, number);
    host.images.opened(name, number, resources.clone());
    let (levels, slot) = (host.log_levels.clone(), name.clone());
    resources.set_log_forwarder(LogForwarder::new(name.clone(), number, move || levels.of(&slot)));
    let peers = PeerTable::new(&host.slots, name.clone(), manifest, host.drain_deadline);
    resources.set_peers(Box::new(peers));
    Ok(Mapped { opened, resources })
}

/// **verify**: checks that the mapped image is what was linted, and that its root has the layout that the host calls.
pub(super) fn verify(
    attempt: &Attempt<'_>,
    mapped: Mapped,
    manifest: Manifest,
    manifest_text: ContentHash,
) -> Result<Image, OpenError> {
    let (host, name, number) = (attempt.host, attempt.target.name(), attempt.number());
    let Mapped { opened, resources } = mapped;
    let image = opened.verify(manifest, Some(manifest_text), resources).inspect_err(|error| {
        // Its static constructors have run, so it stays mapped.
        let reason = match error {
            OpenError::EarlyRegistrations(count) => QuarantineReason::StaticConstructors(*count),
            _ => QuarantineReason::NotVerified,
        };
        let _ = host.images.advance(name, number, Lifecycle::Failed);
        host.images.enters(name, number, Phase::Quarantined(reason));
    })?;
    let _ = host.images.advance(name, number, Lifecycle::Loaded);
    let _ = host.images.advance(name, number, Lifecycle::Initializing);
    Ok(image)
}

/// **create**: makes the instance, on a thread for hooks.
pub(super) fn create(attempt: &Attempt<'_>, image: Image) -> Result<Generation, Cause> {
    let (host, number) = (attempt.host, attempt.number());
    let watching = Watching {
        supervisor: host.supervisor(),
        count: host.policy.probation_calls > 0,
        count_all: host.count_calls,
        call_deadline: host.policy.call_deadline,
    };
    let links = attempt.target.stands_in.links();
    let (reaper, log, images) = (host.reaper(), host.log.clone(), host.images.clone());
    let injections = host.injections.clone();
    let instance = move |image, name| match injections.trigger(Hook::Create) {
        Ok(()) => Instance::create(image, name, number),
        Err(error) => Err((image, error)),
    };
    let create = move || match instance(Box::new(image), links.name.clone()) {
        Ok(instance) => Ok(Generation::new(links, number, instance, watching, reaper, log)),
        Err((image, error)) => {
            // Before the reaper has it: it may be done with it before anything here goes on.
            let _ = images.advance(&links.name, number, Lifecycle::Failed);
            give_back(&reaper, &links.name, number, image);
            Err(error)
        }
    };
    let most = host.policy.hook_deadline;
    let created = host.hooks.run(most, create).unwrap_or_else(|TookTooLong| {
        host.images.hangs(attempt.target.name(), number, Hook::Create);
        Err(HookError::TookTooLong(most))
    });
    created.map_err(|error| Cause::Hook(Hook::Create, error))
}

fn resources(host: &Arc<Runtime>, slot: &Arc<str>, generation: u64) -> Arc<ImageResources> {
    let (reaper, log, slot) = (host.reaper(), host.log.clone(), slot.clone());
    ImageResources::new(
        format!("plugin {slot:?}, generation {generation},"),
        move || {
            // Without a reaper the process is ending.
            let _ = reaper.send(ReaperMessage::Recheck);
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
fn give_back(reaper: &Sender<ReaperMessage>, slot: &Arc<str>, number: u64, image: Box<Image>) {
    let slot = slot.clone();
    if let Err(unsent) = reaper.send(ReaperMessage::Unload { slot, number, image }) {
        std::mem::forget(unsent);
    }
}
