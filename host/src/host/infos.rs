//! What the host tells of itself, and does when asked, that its embedder and its control socket have in common.

use super::{Inner, SlotInfo};
use crate::{
    error::{Refusal, SlotError},
    image::safe_point,
    reload::{LoadOutcome, ReloadMessage},
    slot::{Mode, SlotRecord},
};
use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

impl Inner {
    /// Has the reload thread load a file, and waits for what becomes of it.
    pub(crate) fn ask_for(&self, path: PathBuf, by_name: bool) -> Result<LoadOutcome, Refusal> {
        safe_point();
        let (answer, outcome) = mpsc::channel();
        let asked = path.clone();
        let sent = self.reload.send(ReloadMessage::Load { path, by_name, answer });
        let outcome = sent.ok().and_then(|()| outcome.recv().ok());
        outcome.unwrap_or_else(|| Err(Refusal::of_a_bug(asked)))
    }

    /// The slot of this name, if something serves in it.
    pub(crate) fn known(&self, name: &str) -> Result<Arc<SlotRecord>, SlotError> {
        self.slot_named(name)
            .filter(|record| record.lock().current.is_some())
            .ok_or_else(|| self.unknown(name))
    }

    /// Every slot, with what serves in it.
    pub(crate) fn infos(&self) -> Vec<SlotInfo> {
        self.slots().iter().map(|record| info(record)).collect()
    }

    /// Changes how much a slot's plugin logs; answers what was done, or why not.
    pub(crate) fn set_log_level(&self, _record: &SlotRecord, _level: Option<&str>) -> Result<String, String> {
        Err("this build of the host has no log forwarding yet".to_owned())
    }
}

/// A slot at this moment.
pub(crate) fn info(record: &SlotRecord) -> SlotInfo {
    let mut state = record.lock();
    // The lock keeps the generation. It is the SDK that counts, in a loop over numbers: no plugin's code runs.
    let current = state.current.as_ref();
    let live_bytes = current.and_then(|current| current.generation.instance().live_bytes());
    SlotInfo {
        name: record.name.to_string(),
        generation: state.current.as_ref().map(|current| current.generation.number()),
        path: state.current.as_ref().map(|current| current.path.clone()),
        staged: state.waiting(record.id).map(|(number, _)| number),
        standby: state.standby().map(|standby| standby.current.generation.number()),
        on_probation: state.probation.is_some(),
        health: state.health(),
        claimed: state.mode == Mode::Claimed,
        live_bytes,
    }
}
