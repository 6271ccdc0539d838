//! The step **snapshot**: what serves encodes its state. And whose fault it is when that state cannot be read.

use crate::{
    runtime::HookRunner,
    slot::{Generation, Snapshot},
};
use reslot_process::hooks::{on_behalf_of, this_thread};
use reslot_report::{Cause, Hook, HookError};
use std::sync::Arc;

/// **snapshot**: the state of what serves, if it has one. Nobody changes it meanwhile: its gate is closed, or this is its owner's thread
/// (`owner`), which no deadline can guard: it runs code of what serves, as each of the owner's calls does.
pub(super) fn snapshot(hooks: &HookRunner, old: &Arc<Generation>, owner: bool) -> Result<Option<Arc<Snapshot>>, Cause> {
    let Some(schema) = old.instance().schema() else {
        return Ok(None);
    };
    // A snapshot that is not waited for any more must not run beside calls, unless the type is `Sync`.
    let here = owner || !old.instance().is_shared();
    let failed = |error| Cause::Hook(Hook::Snapshot, error);
    hooks.trigger(Hook::Snapshot).map_err(failed)?;
    let room = old.expected_snapshot_size();
    let bytes = match here {
        true => old.instance().snapshot(room),
        false => {
            let (old, waiting) = (old.clone(), this_thread());
            // What it logs, say, may come back to the gate that this thread has closed.
            hooks.run_hook(move || on_behalf_of(waiting, || old.instance().snapshot(room)))
        }
    };
    let bytes = bytes.map_err(failed)?;
    Ok(bytes.map(|bytes| {
        old.note_snapshot_size(bytes.len());
        let schema = schema.schema;
        Arc::new(Snapshot { schema, bytes })
    }))
}

/// Why a candidate refuses the state of what serves. If that cannot read it itself, it is not the candidate that has to be mended.
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

/// Why what has written a state cannot read it, if that is so.
pub(super) fn cannot_read(hooks: &HookRunner, serving: &Arc<Generation>, state: &Arc<Snapshot>) -> Option<String> {
    let (serving, state, waiting) = (serving.clone(), state.clone(), this_thread());
    let read = move || on_behalf_of(waiting, || serving.instance().cannot_read(&state.bytes));
    let words = hooks.run(read).ok().flatten()?;
    Some(format!(
        "{words}; the version that serves has written it and cannot read it either, so no build can take it over as it is"
    ))
}
