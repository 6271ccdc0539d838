//! The log levels of plugins, by slot. `native/src/logs.rs` forwards the plugins' log records to the program's subscriber.

use crate::{shadow_name, slot::MappedImages};
use reslot_engine::LogLevel;
use reslot_sync::Mutex;
use std::collections::BTreeMap;

/// The log level of each slot of a host.
pub(crate) struct LogLevels {
    default: Option<LogLevel>,
    /// The level in the settings, which takes precedence over the program's.
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

    /// Sets the level of a slot, even if the slot does not exist yet; none: the host's level. Returns the resulting level.
    pub(crate) fn set(&self, images: &MappedImages, slot: &str, level: Option<LogLevel>) -> LogLevel {
        let mut slots = self.slots.lock();
        match level {
            Some(level) => slots.insert(slot.to_owned(), level),
            None => slots.remove(slot),
        };
        // This may call the plugin's own subscriber, so no lock is held.
        drop(slots);
        for image in images.with_shadows(Some(slot)) {
            image.resources.log_level_changed();
        }
        self.of(slot)
    }

    /// Sets the settings' level for all slots without their own level; none: the program's level.
    pub(crate) fn set_for_all(&self, images: &MappedImages, level: Option<LogLevel>) {
        *self.settings.lock() = level;
        for image in images.with_shadows(None) {
            image.resources.log_level_changed();
        }
    }

    /// The slot's own level, which its shadows use too.
    pub(crate) fn own(&self, slot: &str) -> Option<LogLevel> {
        self.slots.lock().get(shadow_name::slot_of(slot)).copied()
    }

    /// The resulting level of a slot: `Off` if the program has no subscriber.
    pub(crate) fn of(&self, slot: &str) -> LogLevel {
        match LogLevel::heard() {
            LogLevel::Off => LogLevel::Off,
            heard => self.own(slot).or(*self.settings.lock()).or(self.default).unwrap_or(heard),
        }
    }
}
