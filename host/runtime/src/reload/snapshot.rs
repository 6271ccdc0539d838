//! The step **snapshot**: the current generation encodes its state. And which plugin is at fault when that state cannot be read.

use crate::{
    runtime::HookRunner,
    slot::{Generation, Snapshot},
};
use reslot_report::{Cause, Hook, HookError};
use reslot_system::hooks::{on_behalf_of, this_thread};
use std::sync::Arc;

/// **snapshot**: the state of a generation, if it has one. Nobody changes it meanwhile: its gate is closed, or this is its owner's thread
/// (`owner`), where it has no deadline.
pub(super) fn snapshot(hooks: &HookRunner, old: &Arc<Generation>, owner: bool) -> Result<Option<Arc<Snapshot>>, Cause> {
    let Some(schema) = old.instance().schema() else {
        return Ok(None);
    };
    // Only a `Sync` plugin is encoded on a thread for hooks: after a timeout the snapshot may run beside calls.
    let here = owner || !old.instance().is_shared();
    let failed = |error| Cause::Hook(Hook::Snapshot, error);
    hooks.trigger(Hook::Snapshot).map_err(failed)?;
    let room = old.expected_snapshot_size();
    let bytes = match here {
        true => old.instance().snapshot(room),
        false => {
            let (old, waiting) = (old.clone(), this_thread());
            // Code of the plugin, such as a log call, may come back to the gate that this thread has closed.
            hooks.run_hook(move || on_behalf_of(waiting, || old.instance().snapshot(room)))
        }
    };
    let bytes = bytes.map_err(failed)?;
    Ok(bytes.map(|bytes| {
        old.note_snapshot_size(bytes.len());
        Arc::new(Snapshot::new(schema.schema, bytes))
    }))
}

/// Why a candidate refuses the current state. If the plugin that wrote the state cannot read it either, the candidate is not at fault.
pub(super) fn whose_fault(hooks: &HookRunner, serving: &Arc<Generation>, state: &Arc<Snapshot>, cause: Cause) -> Cause {
    let (hook, words) = match &cause {
        Cause::Hook(hook @ (Hook::Restore | Hook::Migrate), HookError::Refused(_) | HookError::NotCarried(_)) => {
            (*hook, cannot_read(hooks, serving, state))
        }
        _ => return cause,
    };
    match words {
        Some(words) => Cause::Hook(hook, HookError::NotCarried(words)),
        None => cause,
    }
}

/// The error, if a plugin cannot read the state that it has written.
pub(super) fn cannot_read(hooks: &HookRunner, serving: &Arc<Generation>, state: &Arc<Snapshot>) -> Option<String> {
    let (serving, state, waiting) = (serving.clone(), state.clone(), this_thread());
    let read = move || on_behalf_of(waiting, || serving.instance().cannot_read(&state.bytes));
    let words = hooks.run(read).ok().flatten()?;
    Some(format!(
        "{words}; the version that serves has written it and cannot read it either, so no build can take it over as it is"
    ))
}
