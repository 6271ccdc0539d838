//! The steps in which an artifact becomes an instance: **open**, **verify**, **create**. Nothing here touches the current generation. If a
//! step fails, the candidate's image goes to the reaper, and the slot stays as it was.

use super::attempt::Attempt;
use crate::{
    runtime::Runtime,
    slot::{Generation, Phase, ReaperMessage, SlotPeers, Watching},
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_engine::{Image, ImageOwner, Opened, StagedArtifact};
use reslot_report::{Cause, Event, Hook, Lifecycle, OpenError, QuarantineReason};
use reslot_sync::mpsc::Sender;
use reslot_system::hooks::TookTooLong;
use std::sync::Arc;

/// **open**: maps the private copy. Its static constructors run.
pub(super) fn open(
    attempt: &Attempt<'_>,
    staged: Box<dyn StagedArtifact>,
    manifest: &Manifest,
) -> Result<Box<dyn Opened>, OpenError> {
    let (host, name, number) = (attempt.host, attempt.target.name(), attempt.number());
    let opened = staged.open(owner(host, name, number, manifest))?;
    host.images.opened(name, number, opened.resources());
    Ok(opened)
}

/// **verify**: checks that the mapped image is what was linted, and that its root has the layout that the host calls.
pub(super) fn verify(
    attempt: &Attempt<'_>,
    opened: Box<dyn Opened>,
    manifest: Manifest,
    manifest_text: ContentHash,
) -> Result<Box<dyn Image>, OpenError> {
    let (host, name, number) = (attempt.host, attempt.target.name(), attempt.number());
    let image = opened.verify(manifest, manifest_text).inspect_err(|error| {
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
pub(super) fn create(attempt: &Attempt<'_>, image: Box<dyn Image>) -> Result<Generation, Cause> {
    let (host, number) = (attempt.host, attempt.number());
    let watching = Watching {
        supervisor: host.threads.supervisor(),
        count: host.options.policy.probation_calls > 0,
        count_all: host.options.count_calls,
        call_deadline: host.options.policy.call_deadline,
    };
    let links = attempt.target.record.links();
    let (reaper, log, images) = (host.threads.reaper(), host.log.clone(), host.images.clone());
    let injections = host.hooks.injections().clone();
    let create = move || {
        let name = links.name.clone();
        let created = match injections.trigger(Hook::Create) {
            Ok(()) => Generation::create(image, links, number, watching, reaper.clone(), log),
            Err(error) => Err((image, error)),
        };
        created.map_err(|(image, error)| {
            // Before the reaper has it: it may be done with it before anything here goes on.
            let _ = images.advance(&name, number, Lifecycle::Failed);
            give_back(&reaper, &name, number, image);
            error
        })
    };
    let created = host.hooks.run(create).unwrap_or_else(|TookTooLong| {
        host.images.hangs(attempt.target.name(), number, Hook::Create);
        Err(host.hooks.took_too_long())
    });
    created.map_err(|error| Cause::Hook(Hook::Create, error))
}

/// What the image of a generation reports to the host, and asks it.
fn owner(host: &Arc<Runtime>, slot: &Arc<str>, generation: u64, manifest: &Manifest) -> ImageOwner {
    let (levels, own) = (host.log_levels.clone(), slot.clone());
    let (reaper, log, name) = (host.threads.reaper(), host.log.clone(), slot.clone());
    ImageOwner {
        slot: slot.clone(),
        generation,
        peers: Box::new(SlotPeers::new(
            &host.slots,
            slot.clone(),
            manifest,
            host.options.drain_deadline,
        )),
        log_level: Box::new(move || levels.of(&own)),
        when_less: Box::new(move || {
            // Without a reaper the process is ending.
            let _ = reaper.send(ReaperMessage::Recheck);
        }),
        on_thread_panic: Box::new(move |report| {
            report.backtrace.keep();
            log.push(Event::ThreadPanicked {
                slot: name.clone(),
                generation,
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            });
        }),
    }
}

/// Hands an image without instance to the reaper.
fn give_back(reaper: &Sender<ReaperMessage>, slot: &Arc<str>, number: u64, image: Box<dyn Image>) {
    let slot = slot.clone();
    if let Err(unsent) = reaper.send(ReaperMessage::Unload { slot, number, image }) {
        std::mem::forget(unsent);
    }
}
