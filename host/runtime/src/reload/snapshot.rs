//! The step **snapshot**: the current generation encodes its state. And which plugin is at fault when that state cannot be read.

use crate::{
    deferred_work::defer,
    runtime::HookRunner,
    slot::{Generation, SlotRecord, Snapshot},
};
use reslot_report::{Cause, Hook, HookError};
use reslot_system::hooks::{on_behalf_of, this_thread};
use std::sync::Arc;

/// **snapshot**: the state of a generation, if it has one. Nobody changes it meanwhile: its gate is closed, or this is its owner's thread
/// (`owner`), where it has no deadline. In an open slot the caller has a `Moving`.
///
/// A remote instance that has ended answers the state that was saved last. That is right if it had ended before; if it ends while it encodes, its
/// state may be newer, and this fails.
///
/// After a timeout the hook still runs. Beside calls it may do so only if the plugin is `Sync`. Any other plugin can be called only by a claim's
/// owner, so the hook keeps claims out of the slot until it returns.
pub(super) fn snapshot(
    hooks: &HookRunner,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    owner: bool,
) -> Result<Option<Arc<Snapshot>>, Cause> {
    let Some(schema) = old.instance().schema() else {
        return Ok(None);
    };
    let failed = |error| Cause::Hook(Hook::Snapshot, error);
    hooks.trigger(Hook::Snapshot).map_err(failed)?;
    let room = old.expected_snapshot_size();
    let had_ended = old.instance().ended().is_some();
    let bytes = if owner {
        old.instance().snapshot(room)
    } else {
        let encoding = match old.instance().is_shared() {
            true => None,
            false => Some(record.begin_encoding().ok_or_else(|| failed(hooks.took_too_long()))?),
        };
        let (old, waiting) = (old.clone(), this_thread());
        // Code of the plugin, such as a log call, may come back to the gate that this thread has closed.
        hooks.run_hook(move || {
            let bytes = on_behalf_of(waiting, || old.instance().snapshot(room));
            drop(encoding);
            bytes
        })
    };
    let bytes = bytes.map_err(failed)?;
    if let Some(end) = old.instance().ended() {
        let ended = old.clone();
        // A subscriber may call the slot, whose gate is closed here.
        defer(move || ended.look_for_end());
        if !had_ended {
            return Err(failed(HookError::InstanceEnded(end)));
        }
    }
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
