//! The lifecycle of a generation: its states, and which may follow which. Where each one stands is kept in the list of mapped images
//! (`slot/images.rs`); whoever moves one on asks there, and every move becomes an event.

use std::fmt;

/// How far a generation has come in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lifecycle {
    /// Its image is being mapped and verified.
    Loading,
    /// Its image is mapped and verified; nothing but static constructors has run.
    Loaded,
    /// Its instance is made, gets its state, and its `init` runs.
    Initializing,
    /// The instance has its state, and nothing of the outside yet.
    Initialized,
    /// Its `start` runs.
    Starting,
    /// It serves, or is ready to; or it has served and stands by.
    Started,
    /// Its `stop` runs.
    Stopping,
    /// It has given back what `start` acquired.
    Stopped,
    /// The instance is dropped, and its threads and thread-locals are waited for.
    Destroying,
    /// Its image is proven gone.
    Unloaded,
    /// A hook refused, panicked, or did not come back in time.
    Failed,
}

/// A move that the lifecycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation cannot go from {from} to {to}")]
#[non_exhaustive]
pub struct IllegalMove {
    /// Where it stands.
    pub from: Lifecycle,
    /// Where it was to go.
    pub to: Lifecycle,
}

impl Lifecycle {
    /// Whether `to` may follow.
    ///
    /// # Errors
    /// If it may not, with both states.
    pub fn may_become(self, to: Self) -> Result<(), IllegalMove> {
        use Lifecycle::*;
        let legal = match (self, to) {
            (Unloaded | Failed, Failed) => false,
            (_, Failed) => true,
            (Loading, Loaded) | (Loaded, Initializing) | (Initializing, Initialized) | (Initialized, Starting) => true,
            (Starting, Started) | (Started, Stopping) | (Stopping, Stopped) | (Stopped, Destroying) => true,
            // An exclusive plugin whose successor could not start takes its resource again.
            (Stopped, Starting) => true,
            // A candidate that was not needed was never started.
            (Initialized, Destroying) => true,
            // What has failed is ended like everything else: stopped if it was started, dropped if it was made.
            (Failed, Stopping | Starting | Destroying | Unloaded) => true,
            (Destroying, Unloaded) => true,
            _ => false,
        };
        match legal {
            true => Ok(()),
            false => Err(IllegalMove { from: self, to }),
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Initializing => "initializing",
            Self::Initialized => "initialized",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Destroying => "destroying",
            Self::Unloaded => "unloaded",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Lifecycle::{self, *};

    const WHOLE: [Lifecycle; 10] = [
        Loading,
        Loaded,
        Initializing,
        Initialized,
        Starting,
        Started,
        Stopping,
        Stopped,
        Destroying,
        Unloaded,
    ];

    #[test]
    fn the_whole_way_is_legal_and_no_step_of_it_may_be_left_out() {
        for (at, from) in WHOLE.iter().enumerate() {
            for (to_at, to) in WHOLE.iter().enumerate() {
                let next = to_at == at + 1;
                let exception = matches!((from, to), (Stopped, Starting) | (Initialized, Destroying));
                assert_eq!(from.may_become(*to).is_ok(), next || exception, "{from} to {to}");
            }
        }
    }

    #[test]
    fn anything_but_the_end_may_fail_once() {
        for from in WHOLE {
            assert_eq!(from.may_become(Failed).is_ok(), from != Unloaded, "{from}");
        }
        let refused = Failed.may_become(Failed).unwrap_err();
        assert_eq!(refused.to_string(), "a generation cannot go from failed to failed");
    }
}
