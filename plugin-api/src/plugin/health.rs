//! How a plugin says that it is well, or what is wrong with it.

use crate::{root::HealthAbi, text::cut};
use std::fmt;

/// How a plugin is: what [`Plugin::health`](crate::Plugin::health) answers.
///
/// `Ok` and `Warn` are healthy. `TemporarilyUnavailable` is neither a pass nor a failure: a probation does not end while it
/// lasts. `Critical` and `CheckFailed` are failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It serves, and nothing is wrong.
    Ok,
    /// It serves, and somebody should know this.
    Warn(String),
    /// It cannot serve for a while, for a reason that is not its own: it reconnects, say, or something that it needs is away.
    TemporarilyUnavailable(String),
    /// It does not serve as it should. Enough of these in a row, and its predecessor comes back.
    Critical(String),
    /// It could not be found out. The host makes this itself when a check panics or takes too long; a plugin may answer it as well.
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
