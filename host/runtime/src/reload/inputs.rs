//! What becomes of what plugins are given beside their state: it is taken or refused by a candidate, and what follows from that. How what
//! serves is kept up with it is `reinstance`.

use super::messages::ReloadMessage;
use crate::{
    event::Log,
    inputs::{InputStore, PluginInputs, Read},
    runtime::{Runtime, Threads},
    slot::{Generation, SlotRecord},
};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Event, Hook, HookError, Refusal};
use std::sync::Arc;

/// What a candidate is given.
pub(super) fn inputs_for(store: &InputStore, candidate: &Generation, artifact: &ContentHash) -> PluginInputs {
    let names = &candidate.instance().manifest().resources;
    store.try_on(candidate.slot(), names, Some(artifact))
}

/// Reads what a plugin will be given of its resources, here, where nobody waits, and not on an owner's thread.
pub(super) fn learn_resources(host: &Runtime, record: &SlotRecord, names: &[String]) {
    for trouble in host.inputs.learn(names) {
        report_input_problem(&host.log, &host.threads, Some(&record.name), trouble);
    }
}

/// A resource cannot be had.
pub(super) fn report_input_problem(log: &Log, threads: &Threads, slot: Option<&Arc<str>>, trouble: Read) {
    match trouble {
        Read::Changed => {}
        Read::BeingWritten { name, .. } => {
            // It is looked at again, in its turn.
            threads.tell_reload(ReloadMessage::Resource(name));
        }
        Read::Failed { file, error } => log.push(Event::ConfigRefused {
            file: Some(file),
            slot: slot.cloned(),
            reason: error,
        }),
    }
}

/// How another instance of what serves failed.
enum Failure {
    /// The plugin does not take what there is.
    Refused,
    /// Not for that reason; it is tried so often.
    MayPass(u32),
}

impl Failure {
    fn of(cause: &Cause) -> Self {
        match cause {
            // Each costs an image that stays as long as the hook runs.
            Cause::Hook(_, HookError::TookTooLong(_)) => Self::MayPass(3),
            Cause::Hook(Hook::OnConfig | Hook::OnResource | Hook::Init, _) => Self::Refused,
            // Each runs the plugin, and has callers wait.
            Cause::Hook(..) | Cause::Unhealthy(_) | Cause::Busy(_) => Self::MayPass(8),
            _ => Self::MayPass(u32::MAX),
        }
    }
}

/// Another instance of what serves did not come to serve.
pub(super) fn report_refused(host: &Runtime, refusal: Refusal) {
    let Some(slot) = &refusal.slot else { return };
    keep(host, slot, Failure::of(&refusal.cause), refusal.cause.to_string());
}

/// Another instance of what serves cannot be made, because its artifact cannot be read.
pub(super) fn report_unreadable(host: &Runtime, slot: &Arc<str>, reason: String) {
    keep(host, slot, Failure::MayPass(u32::MAX), reason);
}

/// What serves in a slot goes on with what it has, until there is something else again, or it is time to try once more.
fn keep(host: &Runtime, slot: &Arc<str>, failure: Failure, reason: String) {
    let serving = host.slots.named(slot).and_then(|record| {
        let state = record.lock();
        let current = state.current()?;
        Some((current.generation.clone(), current.hash))
    });
    let mut first = true;
    if let Some((serving, hash)) = serving {
        let names = &serving.instance().manifest().resources;
        let tries = match failure {
            Failure::Refused => None,
            Failure::MayPass(most) => Some(host.inputs.put_off(slot, names)).filter(|tries| *tries < most),
        };
        match tries {
            None => host.inputs.refuse(slot, names, hash, serving.inputs()),
            // Told once.
            Some(tries) => {
                first = tries == 1;
                // Perhaps from an owner's thread: the reload thread is to know how long it may sleep.
                host.threads.recheck_inputs(&host.inputs);
            }
        }
    }
    if first {
        host.log.push(Event::ConfigRefused {
            file: None,
            slot: Some(slot.clone()),
            reason,
        });
    }
}

/// Something has come to serve, with what it was given when it was prepared; what there is may be something else by now.
pub(super) fn has_come(store: &InputStore, threads: &Threads, generation: &Generation, other_artifact: bool) {
    if !store.is_asked() {
        return;
    }
    store.serves_with(generation.slot(), &generation.inputs());
    if other_artifact {
        store.forget_vetoed(generation.slot());
    }
    threads.recheck_inputs(store);
}

/// Whether a new artifact that was refused is tried once more, with what the one that serves has instead of what both have refused.
pub(super) fn falls_back(store: &InputStore, log: &Log, slot: &Arc<str>, hash: &ContentHash, refusal: &Refusal) -> bool {
    let refused = matches!(Failure::of(&refusal.cause), Failure::Refused);
    let falls_back = refused && store.falls_back(slot, hash);
    if falls_back {
        log.push(Event::ConfigRefused {
            file: None,
            slot: Some(slot.clone()),
            reason: refusal.cause.to_string(),
        });
    }
    falls_back
}

/// An artifact that was refused because of what it was given is tried again when that is something else.
pub(super) fn refuse_inputs(store: &InputStore, slot: &Arc<str>, refusal: &Refusal) {
    let of_resource = match &*refusal.cause {
        Cause::Hook(Hook::OnConfig, _) => false,
        Cause::Hook(Hook::OnResource, _) => true,
        _ => return,
    };
    store.refuse_inputs(slot, refusal.path.clone(), of_resource);
}
