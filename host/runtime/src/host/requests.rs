//! Requests of an embedder or a surface to the reload thread. Each waits in the thread's queue, and for its outcome.

use crate::{
    inputs::{PluginSettings, SettingsRefused},
    instances::LoadRequest,
    reload::{LoadOutcome, Outcomes, ReloadMessage, SavedState, UnloadOutcome},
    runtime::{Runtime, Threads},
    slot::{Slots, UnloadRequest},
};
use reslot_report::{Refusal, UnloadError, UnloadReason};
use reslot_system::safe_point;
use std::path::PathBuf;

/// Requests the load of a file, and returns the outcome in each of its slots.
pub(super) fn ask_for(threads: &Threads, request: LoadRequest, by_name: bool) -> Outcomes {
    let asked = request.path.clone();
    let outcomes = threads.ask_reload(asked, |answer| ReloadMessage::Load {
        request,
        by_name,
        state: None,
        answer,
    });
    outcomes.unwrap_or_else(|refusal| vec![Err(refusal)])
}

/// As [`Host::load`](crate::Host::load).
pub(super) fn load(threads: &Threads, request: LoadRequest) -> Result<LoadOutcome, Refusal> {
    let mut outcomes = ask_for(threads, request, true);
    if outcomes.len() == 1 {
        return outcomes.remove(0);
    }
    let outcomes: Result<Vec<_>, _> = outcomes.into_iter().collect();
    outcomes.map(LoadOutcome::Instances)
}

/// As [`Host::load_from`](crate::Host::load_from).
pub(super) fn load_from(threads: &Threads, request: LoadRequest, state: SavedState) -> Result<LoadOutcome, Refusal> {
    let asked = request.path.clone();
    let mut outcomes = threads.ask_reload(asked, |answer| ReloadMessage::Load {
        request,
        by_name: true,
        state: Some(state),
        answer,
    })?;
    // The request names one slot, so there is one outcome.
    outcomes.remove(0)
}

/// As [`Host::load_together`](crate::Host::load_together).
pub(super) fn load_together(threads: &Threads, request: Vec<LoadRequest>) -> Result<Vec<LoadOutcome>, Refusal> {
    let first = request.first().map(|request| request.path.clone()).unwrap_or_default();
    threads.ask_reload(first, |answer| ReloadMessage::LoadTogether { request, answer })
}

/// As [`Host::unload`](crate::Host::unload).
pub(super) fn unload(threads: &Threads, slots: &Slots, slot: &str, force: bool) -> Result<UnloadOutcome, UnloadError> {
    let record = slots.serving(slot)?;
    safe_point();
    let request = UnloadRequest {
        reason: UnloadReason::Requested,
        force,
    };
    let message = |answer| ReloadMessage::Unload { record, request, answer };
    threads.ask_reload(PathBuf::new(), message)
}

/// As [`Steering::check_settings`](super::Steering::check_settings). It runs hooks on this thread, without the reload
/// thread.
pub(super) fn check_settings(host: &Runtime, settings: &PluginSettings) -> Result<(), SettingsRefused> {
    for record in host.slots.all().iter() {
        let serving = record.lock().serving().cloned();
        let Some(serving) = serving else { continue };
        let Some(table) = host.inputs.changed_table(&record.name, settings) else {
            continue;
        };
        let checked = host.hooks.run_hook(move || serving.instance().check_config(&table));
        checked.map_err(|error| SettingsRefused {
            slot: record.name.clone(),
            error,
        })?;
    }
    Ok(())
}
