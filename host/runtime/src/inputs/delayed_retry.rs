//! A delayed retry: a new instance of the current generation failed for a temporary reason, such as a full disk, a port in
//! use, or calls that hung. The host tries again with growing delays, so that a plugin that keeps failing is not run all the
//! time.

use super::{InputStore, PluginInputs};
use reslot_sync::Instant;
use std::{sync::Arc, time::Duration};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(super) struct DelayedRetry {
    /// The inputs for the new instance.
    what: PluginInputs,
    /// None once the retry is due.
    at: Option<Instant>,
    wait: Duration,
    tries: u32,
}

impl InputStore {
    /// Plans a retry. Returns the number of attempts so far.
    pub(crate) fn put_off(&self, slot: &Arc<str>, names: &[String]) -> u32 {
        let tried = self.tried.lock().remove(slot);
        let what = tried.unwrap_or_else(|| self.there(slot, names));
        let mut all = self.put_off.lock();
        let before = all.get(slot).filter(|before| before.what == what);
        let (wait, tries) = before.map_or((FIRST_WAIT, 1), |before| {
            ((before.wait * 2).min(LONGEST_WAIT), before.tries.saturating_add(1))
        });
        let at = Some(Instant::now() + wait);
        all.insert(slot.clone(), DelayedRetry { what, at, wait, tries });
        tries
    }

    /// Whether a retry is planned with the same inputs and is not due yet.
    pub(crate) fn is_put_off(&self, slot: &str, names: &[String]) -> bool {
        let all = self.put_off.lock();
        let waits = all.get(slot).filter(|one| one.at.is_some());
        waits.is_some_and(|one| one.what == self.there(slot, names))
    }

    /// The time of the next retry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.put_off.lock().values().filter_map(|one| one.at).min()
    }

    /// Whether a retry is due; marks all due ones.
    pub(crate) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut due = false;
        for one in self
            .put_off
            .lock()
            .values_mut()
            .filter(|one| one.at.is_some_and(|at| at <= now))
        {
            one.at = None;
            due = true;
        }
        due
    }

    /// The slot can take another instance again, so its retry becomes due at once. Returns whether there was one.
    pub(crate) fn expedite(&self, slot: &str) -> bool {
        let mut all = self.put_off.lock();
        all.get_mut(slot).is_some_and(|one| one.at.take().is_some())
    }
}
