//! Makes the snapshot of a slot for an embedder or a surface.

use super::SlotInfo;
use crate::{
    runtime::Runtime,
    slot::{Phase, SlotRecord},
};

/// Every slot, with its current generation.
pub(super) fn all(host: &Runtime) -> Vec<SlotInfo> {
    host.slots.all().iter().map(|record| of(host, record)).collect()
}

/// The present state of a slot.
pub(super) fn of(host: &Runtime, record: &SlotRecord) -> SlotInfo {
    let images = host.images.of_slot(&record.name);
    let count = |is: fn(&Phase) -> bool| images.iter().filter(|image| is(&image.phase)).count();
    let mut state = record.lock();
    // The lock keeps the generation alive. The SDK's counter sums numbers in a loop; no plugin code runs.
    let current = state.current();
    let live_bytes = current.and_then(|current| current.generation.instance().live_bytes());
    let manifest = current.map(|current| current.generation.instance().manifest());
    SlotInfo {
        name: record.name.to_string(),
        plugin: manifest.map(|manifest| manifest.name.clone()),
        interface: manifest.map(|manifest| manifest.interface.name.to_string()),
        version: manifest.map(|manifest| manifest.version.to_string()),
        hash: current.map(|current| current.hash),
        unloaded: state.unloaded().is_some(),
        unloaded_from: state.unloaded().map(|left| left.path.clone()),
        generation: current.map(|current| current.generation.number()),
        newest: (state.last_number > 0).then_some(state.last_number),
        path: current
            .map(|current| current.path.clone())
            .filter(|path| !host.engines.is_linked(path)),
        engine: current.map(|current| current.generation.instance().image().engine()),
        mapped: images.len(),
        retired: count(|phase| matches!(phase, Phase::Retired)),
        quarantined: count(|phase| matches!(phase, Phase::Quarantined(_))),
        staged: state.waiting(record.id).map(|(number, _)| number),
        standby: state.standby().map(|standby| standby.current.generation.number()),
        on_probation: state.probation.is_some(),
        health: state.health(),
        claimed: state.is_claimed(),
        live_bytes,
        calls: host.options.count_calls.then(|| record.counts.calls()),
        faults: record.counts.faults(),
        log_level: host.log_levels.own(&record.name),
    }
}
