//! How much plugins log: the levels, and which slot has which. `native/src/logs.rs` forwards what they log to the program's subscriber.

use crate::shadow_name;
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

    pub(crate) fn set(&self, slot: &str, level: Option<LogLevel>) {
        let mut slots = self.slots.lock();
        match level {
            Some(level) => slots.insert(slot.to_owned(), level),
            None => slots.remove(slot),
        };
    }

    /// What settings say for all slots that have no level of their own.
    pub(crate) fn set_for_all(&self, level: Option<LogLevel>) {
        *self.settings.lock() = level;
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
