//! Files that were refused for a reason which may pass, and what each waits for.

use crate::instances::LoadRequest;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    mem::take,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files that are tried again when something has happened.
#[derive(Default)]
pub(crate) struct Retries {
    /// By slot, the file that was refused last because the slot has too many images that cannot be unmapped.
    for_room: Mutex<BTreeMap<Arc<str>, PathBuf>>,
    /// Slots in which nothing serves, each with a file that was refused because of that.
    for_slot: Mutex<Vec<(String, LoadRequest)>>,
}

impl Retries {
    /// A file waits until the slot has fewer images that cannot be unmapped.
    pub(crate) fn wait_for_room(&self, slot: &Arc<str>, path: &Path) {
        self.for_room.lock().insert(slot.clone(), path.to_owned());
    }

    pub(crate) fn waits_for_room(&self, slot: &str) -> bool {
        self.for_room.lock().contains_key(slot)
    }

    /// The file that waits for room; none any more once something newer has come.
    pub(crate) fn take_for_room(&self, slot: &str) -> Option<PathBuf> {
        self.for_room.lock().remove(slot)
    }

    /// A file waits until something serves in the slot of this name.
    pub(crate) fn wait_for_slot(&self, name: &str, request: LoadRequest) {
        let mut waiting = self.for_slot.lock();
        waiting.retain(|(known, waits)| known != name || *waits != request);
        waiting.push((name.to_owned(), request));
    }

    /// The files that waited for this slot.
    pub(crate) fn take_for_slot(&self, name: &str) -> Vec<LoadRequest> {
        let mut waiting = self.for_slot.lock();
        let (arrived, others): (Vec<_>, Vec<_>) = take(&mut *waiting).into_iter().partition(|(known, _)| known == name);
        *waiting = others;
        arrived.into_iter().map(|(_, request)| request).collect()
    }

    /// Nothing is tried again by itself in this slot.
    pub(crate) fn forget(&self, slot: &str) {
        self.take_for_room(slot);
        self.for_slot
            .lock()
            .retain(|(_, request)| request.slot.as_deref() != Some(slot));
    }
}
