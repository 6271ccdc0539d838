//! How large each slot's state was last, so that the next encoding need not grow its buffer.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// By slot, how many bytes to begin with.
#[derive(Default)]
pub(crate) struct SnapshotSizes(Mutex<BTreeMap<Arc<str>, usize>>);

impl SnapshotSizes {
    pub(crate) fn of(&self, slot: &str) -> usize {
        self.0.lock().get(slot).copied().unwrap_or(0)
    }

    pub(crate) fn note(&self, slot: &Arc<str>, bytes: usize) {
        // With room for what it may have grown by until the next time.
        self.0.lock().insert(slot.clone(), bytes + bytes / 8);
    }
}
