//! The result of a plugin's health check.

use crate::{root::HealthAbi, text::cut};
use std::fmt;

/// The health of a plugin: the result of [`Plugin::health`](crate::Plugin::health).
///
/// `Ok` and `Warn` are healthy. `TemporarilyUnavailable` is neither a pass nor a failure: a probation does not end while it
/// lasts. `Critical` and `CheckFailed` are failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The plugin works, and nothing is wrong.
    Ok,
    /// The plugin works, but the message needs attention.
    Warn(String),
    /// The plugin cannot work for a while for an external reason, for example because it reconnects.
    TemporarilyUnavailable(String),
    /// The plugin does not work correctly. After several of these in a row the host rolls back.
    Critical(String),
    /// The check itself failed. The host reports this when a check panics or takes too long; a plugin may return it as well.
    CheckFailed(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("healthy"),
            Self::Warn(words) => write!(f, "healthy, with a warning: {words}"),
            Self::TemporarilyUnavailable(words) => write!(f, "temporarily unavailable: {words}"),
            Self::Critical(words) => write!(f, "critical: {words}"),
            Self::CheckFailed(words) => write!(f, "the health check failed: {words}"),
        }
    }
}

impl From<Health> for HealthAbi {
    fn from(health: Health) -> Self {
        let (result, message) = match health {
            Health::Ok => (0, String::new()),
            Health::Warn(message) => (1, message),
            Health::TemporarilyUnavailable(message) => (2, message),
            Health::Critical(message) => (3, message),
            Health::CheckFailed(message) => (4, message),
        };
        Self {
            result,
            message: cut(&message).into_owned().into(),
        }
    }
}

impl From<HealthAbi> for Health {
    /// Copies the words: they are memory of the image.
    fn from(abi: HealthAbi) -> Self {
        let message = cut(&abi.message).into_owned();
        match abi.result {
            0 => Self::Ok,
            1 => Self::Warn(message),
            2 => Self::TemporarilyUnavailable(message),
            3 => Self::Critical(message),
            4 => Self::CheckFailed(message),
            other => Self::CheckFailed(format!("the plugin gave the unknown answer {other}: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_crosses_and_comes_back() {
        let words = || "the feed is late".to_owned();
        for health in [
            Health::Ok,
            Health::Warn(words()),
            Health::TemporarilyUnavailable(words()),
            Health::Critical(words()),
            Health::CheckFailed(words()),
        ] {
            assert_eq!(Health::from(HealthAbi::from(health.clone())), health);
        }
        let unknown = HealthAbi {
            result: 9,
            message: words().into(),
        };
        let health = Health::from(unknown);
        assert!(
            matches!(&health, Health::CheckFailed(words) if words.contains('9') && words.contains("late")),
            "{health}"
        );
    }
}
