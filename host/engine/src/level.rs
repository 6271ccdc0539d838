//! How much a plugin logs.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::{fmt, str::FromStr};
use tracing::level_filters::LevelFilter;

/// How much a plugin logs.
///
/// ```
/// use reslot_engine::LogLevel;
///
/// let typed: LogLevel = "debug".parse()?;
/// assert!(typed > LogLevel::Info && typed.to_string() == "debug");
/// assert_eq!(LogLevel::heard(), LogLevel::Off); // this process has no subscriber
/// # Ok::<(), reslot_engine::NoLogLevel>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// Errors.
    Error = 1,
    /// Those and warnings.
    Warn = 2,
    /// Those and information that is usually of interest.
    Info = 3,
    /// Those and details for finding a fault.
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

    /// The most verbose level that a subscriber of this process accepts.
    pub fn heard() -> Self {
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

/// A text that is not the name of a [`LogLevel`].
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
