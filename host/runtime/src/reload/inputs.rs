//! Plugin inputs (configuration and resources) during a reload: which inputs a candidate gets, and what follows if it refuses them.
//! `reinstance.rs` brings running plugins up to date when inputs change.

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

/// The inputs of a candidate.
pub(super) fn inputs_for(store: &InputStore, candidate: &Generation, artifact: &ContentHash) -> PluginInputs {
    let names = &candidate.instance().manifest().resources;
    store.try_on(candidate.slot(), names, Some(artifact))
}

/// Reads the resources that a plugin will get. This is done here, where no caller waits, and not on an owner's thread.
pub(super) fn learn_resources(host: &Runtime, record: &SlotRecord, names: &[String]) {
    for trouble in host.inputs.learn(names) {
        report_input_problem(&host.log, &host.threads, Some(&record.name), trouble);
    }
}

/// Reports that a resource cannot be read.
pub(super) fn report_input_problem(log: &Log, threads: &Threads, slot: Option<&Arc<str>>, trouble: Read) {
    match trouble {
        Read::Changed => {}
        Read::BeingWritten { name, .. } => {
            // Try again in order with the other messages.
            threads.send_to_reload(ReloadMessage::Resource(name));
        }
        Read::Failed { file, error } => log.push(Event::ConfigRefused {
            file: Some(file),
            slot: slot.cloned(),
            reason: error,
        }),
    }
}

/// How a re-instantiation failed.
enum Failure {
    /// The plugin refuses its inputs.
    Refused,
    /// For another reason; it is tried this many times.
    MayPass(u32),
}

impl Failure {
    fn of(cause: &Cause) -> Self {
        match cause {
            // Each try keeps one more image mapped, as long as the hook runs.
            Cause::Hook(_, HookError::TookTooLong(_)) => Self::MayPass(3),
            Cause::Hook(Hook::OnConfig | Hook::OnResource | Hook::Init, _) => Self::Refused,
            // Each try runs the plugin and makes callers wait.
            Cause::Hook(..) | Cause::Unhealthy(_) | Cause::Busy(_) => Self::MayPass(8),
            _ => Self::MayPass(u32::MAX),
        }
    }
}

/// Reports that a re-instantiation was refused.
pub(super) fn report_refused(host: &Runtime, refusal: Refusal) {
    let Some(slot) = &refusal.slot else { return };
    keep_old_inputs(host, slot, Failure::of(&refusal.cause), refusal.cause.to_string());
}

/// Reports that a re-instantiation cannot be made, because its artifact cannot be read.
pub(super) fn report_unreadable(host: &Runtime, slot: &Arc<str>, reason: String) {
    keep_old_inputs(host, slot, Failure::MayPass(u32::MAX), reason);
}

/// After a re-instantiation failed, the current generation keeps its inputs. The next try is after the next change, or after a while.
fn keep_old_inputs(host: &Runtime, slot: &Arc<str>, failure: Failure, reason: String) {
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
            // Report it once.
            Some(tries) => {
                first = tries == 1;
                // The reload thread computes its next timeout again. This may be an owner's thread.
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

/// Called when a generation was published: notes which inputs it has, and requests a check whether they are still the newest.
pub(super) fn note_inputs_in_use(store: &InputStore, threads: &Threads, generation: &Generation, other_artifact: bool) {
    if !store.is_asked() {
        return;
    }
    store.serves_with(generation.slot(), &generation.inputs());
    if other_artifact {
        store.forget_vetoed(generation.slot());
    }
    threads.recheck_inputs(store);
}

/// Whether a refused artifact is tried once more with the inputs of the current generation, because both refused the newest inputs.
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

/// An artifact that refused its configuration or a resource is tried again after the next change of it.
pub(super) fn retry_when_inputs_change(store: &InputStore, slot: &Arc<str>, refusal: &Refusal) {
    let of_resource = match &*refusal.cause {
        Cause::Hook(Hook::OnConfig, _) => false,
        Cause::Hook(Hook::OnResource, _) => true,
        _ => return,
    };
    store.refuse_inputs(slot, refusal.path.clone(), of_resource);
}
