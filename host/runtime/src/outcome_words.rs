//! The outcome of a load, as a sentence for a person.

use crate::{history::VersionStatus, reload::LoadOutcome};
use std::fmt;

impl LoadOutcome {
    /// The generation that serves because of it, if it is exactly one.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Swapped(report) => Some(report.generation),
            Self::RolledBack(report) => Some(report.to),
            Self::Unchanged { generation, .. } => Some(*generation),
            Self::Staged { .. } | Self::StillUnloaded { .. } | Self::Instances(_) => None,
        }
    }
}

impl fmt::Display for LoadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swapped(report) => report.fmt(f),
            Self::RolledBack(report) => report.fmt(f),
            Self::Staged { slot, generation } => {
                write!(
                    f,
                    "{slot}: generation {generation} is ready, and serves when the slot's owner comes to his next `sync`"
                )
            }
            Self::Unchanged { slot, generation } => write!(f, "{slot}: generation {generation} serves already"),
            Self::StillUnloaded { slot } => write!(f, "{slot}: it was unloaded, and nothing was loaded"),
            Self::Instances(all) => {
                let words: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&words.join("\n"))
            }
        }
    }
}

impl VersionStatus {
    /// In one word: `confirmed`, `unconfirmed` or `known_bad`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unconfirmed => "unconfirmed",
            Self::KnownBad(_) => "known_bad",
        }
    }
}
