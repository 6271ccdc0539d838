//! How much plugins log: the levels, and which slot has which. How what they log gets to the program's subscriber is told in
//! `image/logs.rs`.

use crate::shadow_name;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{collections::BTreeMap, fmt, str::FromStr};
use tracing::level_filters::LevelFilter;

/// How much a plugin logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// Errors.
    Error = 1,
    /// Those and warnings.
    Warn = 2,
    /// Those and what is usually of interest.
    Info = 3,
    /// Those and what is of interest to whoever looks for a fault.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl LogLevel {
    const ALL: [(Self, &str); 6] = [
        (Self::Off, "off"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];

    /// The most that a subscriber of this process lets through.
    fn heard() -> Self {
        LevelFilter::current().into()
    }
}

impl From<LevelFilter> for LogLevel {
    fn from(filter: LevelFilter) -> Self {
        match filter {
            LevelFilter::OFF => Self::Off,
            LevelFilter::ERROR => Self::Error,
            LevelFilter::WARN => Self::Warn,
            LevelFilter::INFO => Self::Info,
            LevelFilter::DEBUG => Self::Debug,
            LevelFilter::TRACE => Self::Trace,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

/// A text is not the name of a [`LogLevel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no level: they are off, error, warn, info, debug and trace")]
pub struct NoLogLevel(pub String);

impl FromStr for LogLevel {
    type Err = NoLogLevel;

    fn from_str(name: &str) -> Result<Self, NoLogLevel> {
        let known = Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        known.map(|(level, _)| *level).ok_or_else(|| NoLogLevel(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Which slot of a host has which level.
pub(crate) struct LogLevels {
    default: Option<LogLevel>,
    /// The host's settings, which come before what the program says.
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

    /// What the host's settings say for all slots that have none of their own.
    #[cfg(feature = "config")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written() {
        for (level, name) in LogLevel::ALL {
            assert_eq!(level.to_string(), name);
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(name.to_uppercase().parse(), Ok(level));
        }
        assert_eq!("loud".parse::<LogLevel>(), Err(NoLogLevel("loud".to_owned())));
    }
}
