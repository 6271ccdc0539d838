//! How much plugins log: the levels, and which slot has which. `native/src/logs.rs` forwards what they log to the program's subscriber.

use crate::{shadow_name, slot::MappedImages};
use parking_lot::Mutex;
use reslot_engine::LogLevel;
use std::collections::BTreeMap;

/// Which slot of a host has which level.
pub(crate) struct LogLevels {
    default: Option<LogLevel>,
    /// What settings say, which comes before what the program says.
    settings: Mutex<Option<LogLevel>>,
    slots: Mutex<BTreeMap<String, LogLevel>>,
}

impl LogLevels {
    pub(crate) fn new(default: Option<LogLevel>) -> Self {
        Self {
            default,
            settings: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    /// Sets how much a slot's plugin logs, also if there is no such slot yet; none for the host's own. Answers what that comes to.
    pub(crate) fn set(&self, images: &MappedImages, slot: &str, level: Option<LogLevel>) -> LogLevel {
        let mut slots = self.slots.lock();
        match level {
            Some(level) => slots.insert(slot.to_owned(), level),
            None => slots.remove(slot),
        };
        // A subscriber of the plugin's own may be asked what it wants, so no lock is held.
        drop(slots);
        for image in images.with_shadows(Some(slot)) {
            image.resources.log_level_changed();
        }
        self.of(slot)
    }

    /// Sets what settings say for all slots that have no level of their own; none for what the program says.
    pub(crate) fn set_for_all(&self, images: &MappedImages, level: Option<LogLevel>) {
        *self.settings.lock() = level;
        for image in images.with_shadows(None) {
            image.resources.log_level_changed();
        }
    }

    /// The slot's own, which is its shadows', too.
    pub(crate) fn own(&self, slot: &str) -> Option<LogLevel> {
        self.slots.lock().get(shadow_name::slot_of(slot)).copied()
    }

    /// What that comes to: nothing where nobody listens.
    pub(crate) fn of(&self, slot: &str) -> LogLevel {
        match LogLevel::heard() {
            LogLevel::Off => LogLevel::Off,
            heard => self.own(slot).or(*self.settings.lock()).or(self.default).unwrap_or(heard),
        }
    }
}
