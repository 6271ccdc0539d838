//! The saved state of an instance that may end: what is left of it in a sandbox or in a process of its own, and when it is saved.

use reslot_artifact::manifest::{Interface, Receiver};
use reslot_sync::Instant;
use std::time::Duration;

/// When an engine saves the state of a plugin, so that it is there if the instance ends. In any case it has the state that the instance was given at
/// a reload, or, if it was given none, the state after `start`.
///
/// Calls of a method with `&self` do not count, unless all methods of the interface take `&self`: then any may change what lies behind a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checkpoint {
    /// Only then.
    #[default]
    Never,
    /// After so many calls that may have changed it. With 1, the effect of no completed call is lost.
    EveryCalls(u64),
    /// After the first such call that ends so long after the last time.
    Every(Duration),
}

/// Which methods may change the state, by their index.
#[must_use]
pub fn changing_methods(interface: &Interface) -> Vec<bool> {
    let takes_mut = || interface.methods.iter().map(|method| method.receiver == Receiver::RefMut);
    let any = takes_mut().any(|takes_mut| takes_mut);
    takes_mut().map(|takes_mut| takes_mut || !any).collect()
}

/// The state that was saved last, and what is lost if the instance ends now.
#[derive(Debug)]
pub struct SavedState {
    state: Option<Vec<u8>>,
    at: Instant,
    calls: u64,
}

impl Default for SavedState {
    fn default() -> Self {
        Self::new(None)
    }
}

impl SavedState {
    /// The state as it is now; none if there is none, or if it is not known.
    #[must_use]
    pub fn new(state: Option<Vec<u8>>) -> Self {
        Self {
            state,
            at: Instant::now(),
            calls: 0,
        }
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> Option<Vec<u8>> {
        self.state.clone()
    }

    /// Whether a state was saved.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.state.is_some()
    }

    /// A call that may have changed the state has returned. Answers whether the state is to be saved now.
    pub fn completed(&mut self, when: Checkpoint) -> bool {
        self.calls += 1;
        match when {
            Checkpoint::Never => false,
            Checkpoint::EveryCalls(calls) => self.calls >= calls,
            Checkpoint::Every(time) => self.at.elapsed() >= time,
        }
    }

    /// The number of calls whose effects are lost if the instance ends now.
    #[must_use]
    pub fn lost_calls(&self) -> u64 {
        self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_lost_until_the_state_is_saved() {
        let mut saved = SavedState::default();
        assert_eq!((saved.is_some(), saved.lost_calls()), (false, 0));
        for calls in 1..3 {
            assert!(!saved.completed(Checkpoint::Never));
            assert_eq!(saved.lost_calls(), calls);
        }
        assert!(saved.completed(Checkpoint::EveryCalls(3)));
        assert!(saved.completed(Checkpoint::Every(Duration::ZERO)));
        saved = SavedState::new(Some(vec![1]));
        assert_eq!((saved.state(), saved.lost_calls()), (Some(vec![1]), 0));
        assert!(!saved.completed(Checkpoint::Every(Duration::from_secs(3600))));
        assert!(saved.completed(Checkpoint::EveryCalls(1)));
    }
}
