//! The lifecycle of a generation: its states, and which may follow which. The list of mapped images (`slot/images.rs`) keeps
//! the state of each generation; code that moves a generation on does it there, and every move becomes an event.

use std::fmt;

/// The lifecycle state of a generation.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::Lifecycle;
///
/// assert!(Lifecycle::Started.may_become(Lifecycle::Stopping).is_ok());
/// let error = Lifecycle::Unloaded.may_become(Lifecycle::Started).unwrap_err();
/// assert_eq!(error.to_string(), "a generation cannot go from unloaded to started");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lifecycle {
    /// Its image is being mapped and verified.
    Loading,
    /// Its image is mapped and verified; only static constructors have run.
    Loaded,
    /// Its instance is made and gets its state, and its `init` runs.
    Initializing,
    /// The instance has its state; `start` has not run yet.
    Initialized,
    /// Its `start` runs.
    Starting,
    /// It is current, ready to become current, or the standby.
    Started,
    /// Its `stop` runs.
    Stopping,
    /// It has released what `start` acquired.
    Stopped,
    /// The instance is dropped, and the host waits for its threads and thread-locals.
    Destroying,
    /// Its image is proven gone.
    Unloaded,
    /// A hook failed, panicked, or did not return in time.
    Failed,
}

/// A move that the lifecycle does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation cannot go from {from} to {to}")]
#[non_exhaustive]
pub struct IllegalMove {
    /// The state before.
    pub from: Lifecycle,
    /// The state that was requested.
    pub to: Lifecycle,
}

impl Lifecycle {
    /// Checks that `to` may follow this state.
    ///
    /// # Errors
    /// If `to` may not follow.
    pub fn may_become(self, to: Self) -> Result<(), IllegalMove> {
        use Lifecycle::*;
        let legal = match (self, to) {
            (Unloaded | Failed, Failed) => false,
            (_, Failed) => true,
            (Loading, Loaded) | (Loaded, Initializing) | (Initializing, Initialized) | (Initialized, Starting) => true,
            (Starting, Started) | (Started, Stopping) | (Stopping, Stopped) | (Stopped, Destroying) => true,
            // An exclusive plugin starts again if its successor could not start.
            (Stopped, Starting) => true,
            // A candidate that is not needed is dropped without a start.
            (Initialized, Destroying) => true,
            // A failed generation is ended like any other: stopped if it was started, dropped if it was made.
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
