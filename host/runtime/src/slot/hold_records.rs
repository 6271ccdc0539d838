//! A record for each reader (and, with the debug option, for each `slot.load()`) of the view that it holds, for `Host::who_holds`. Records keep
//! nothing alive, and no call touches them.

use super::{acquisition::Acquisition, view::View};
use reslot_sync::Mutex;
use reslot_system::Process;
use std::sync::{Arc, Weak};

/// Those that may hold a view of a host: its readers, and tracked guards.
pub(crate) struct Holds {
    process: Process,
    /// Whether what `slot.load()` answers is noted, too.
    pub(super) track_guards: bool,
    known: Mutex<Vec<Weak<HoldRecord>>>,
}

impl Holds {
    pub(super) fn new(process: Process, track_guards: bool) -> Self {
        Self {
            process,
            track_guards,
            known: Mutex::default(),
        }
    }

    /// Counts a reader or a tracked guard among those that may hold something.
    pub(super) fn register(&self, record: &Arc<HoldRecord>) {
        if self.process.is_another() {
            return;
        }
        let mut known = self.known.lock();
        // Dead entries are removed only when the list is full, so that a guard costs the same however many others there are.
        if known.len() == known.capacity() {
            known.retain(|known| known.strong_count() > 0);
            let room = known.len().max(16);
            known.reserve(room);
        }
        known.push(Arc::downgrade(record));
    }

    /// Those that live.
    pub(super) fn living(&self) -> Vec<Arc<HoldRecord>> {
        self.known.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// What one reader, or one answer of `slot.load()`, holds.
pub(crate) struct HoldRecord {
    pub(crate) by: HoldBy,
    hold: Mutex<Option<(Weak<View>, Acquisition)>>,
}

/// What kind of thing holds a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldBy {
    Reader,
    Load,
}

impl HoldRecord {
    pub(crate) fn new(by: HoldBy) -> Arc<Self> {
        Arc::new(Self {
            by,
            hold: Mutex::default(),
        })
    }

    pub(crate) fn takes(&self, view: &Arc<View>, taken: Acquisition) {
        *self.hold.lock() = Some((Arc::downgrade(view), taken));
    }

    pub(crate) fn lets_go(&self) {
        *self.hold.lock() = None;
    }

    /// The view that is held, and who took it. The last drop of a view ends generations, so it must not happen while a lock is held.
    pub(crate) fn held(&self) -> Option<(Arc<View>, Acquisition)> {
        let hold = self.hold.lock().clone()?;
        Some((hold.0.upgrade()?, hold.1))
    }
}
