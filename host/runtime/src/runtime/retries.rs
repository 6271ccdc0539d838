//! What is tried again by itself: files that were refused for a reason which may pass, and what each waits for.

use super::Threads;
use crate::{inputs::InputStore, instances::LoadRequest, reload::ReloadMessage};
use reslot_sync::Mutex;
use std::{
    collections::BTreeMap,
    mem::take,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files that are tried again when something has happened.
pub(crate) struct Retries {
    /// By slot, the file that was refused last because the slot has too many images that cannot be unmapped.
    for_quarantine: Mutex<BTreeMap<Arc<str>, PathBuf>>,
    /// Slots in which nothing serves, each with a file that was refused because of that.
    for_slot: Mutex<Vec<(String, LoadRequest)>>,
    inputs: Arc<InputStore>,
    threads: Arc<Threads>,
}

impl Retries {
    pub(crate) fn new(inputs: Arc<InputStore>, threads: Arc<Threads>) -> Arc<Self> {
        Arc::new(Self {
            for_quarantine: Mutex::default(),
            for_slot: Mutex::default(),
            inputs,
            threads,
        })
    }

    /// A file waits until the slot has fewer images that cannot be unmapped.
    pub(crate) fn wait_for_quarantine_room(&self, slot: &Arc<str>, path: &Path) {
        self.for_quarantine.lock().insert(slot.clone(), path.to_owned());
    }

    /// The file that waits until the slot has fewer quarantined images; none any more once something newer has come.
    pub(crate) fn take_waiting_for_quarantine(&self, slot: &str) -> Option<PathBuf> {
        self.for_quarantine.lock().remove(slot)
    }

    /// The slot has one image less: what was refused for that reason is tried again, in its turn.
    pub(crate) fn quarantine_room_freed(&self, slot: &Arc<str>) {
        if self.inputs.expedite(slot) {
            self.threads.recheck_inputs(&self.inputs);
        }
        if self.for_quarantine.lock().contains_key(slot) {
            self.threads.send_to_reload(ReloadMessage::RoomAvailable(slot.clone()));
        }
    }

    /// A file waits until something serves in the slot of this name.
    pub(crate) fn wait_for_slot(&self, name: &str, request: LoadRequest) {
        let mut waiting = self.for_slot.lock();
        waiting.retain(|(known, waits)| known != name || *waits != request);
        waiting.push((name.to_owned(), request));
    }

    /// Something serves in a slot in which nothing did: the files that waited for that are tried again, in their turn.
    pub(crate) fn slot_filled(&self, name: &str) {
        let mut waiting = self.for_slot.lock();
        let (arrived, others): (Vec<_>, Vec<_>) = take(&mut *waiting).into_iter().partition(|(known, _)| known == name);
        *waiting = others;
        drop(waiting);
        for (_, request) in arrived {
            self.threads.send_to_reload_later(ReloadMessage::Retry(request));
        }
    }

    /// Nothing that was refused for this slot is tried again by itself.
    pub(crate) fn forget(&self, slot: &str) {
        self.inputs.forget_vetoed(slot);
        self.take_waiting_for_quarantine(slot);
        self.superseded(slot);
    }

    /// A newer candidate of this slot is staged or current: the older files of the slot do not wait for other slots any more.
    pub(crate) fn superseded(&self, slot: &str) {
        self.for_slot
            .lock()
            .retain(|(_, request)| request.slot.as_deref() != Some(slot));
    }
}
