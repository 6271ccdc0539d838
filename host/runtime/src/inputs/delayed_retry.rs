//! Another instance of what serves could not be had for a reason that may pass: a full disk, a port that was taken, calls that did not
//! come back. It is tried again, less and less often, and whatever ran of the plugin is not run for ever.

use super::{InputStore, PluginInputs};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(super) struct DelayedRetry {
    /// What there was to be given.
    what: PluginInputs,
    /// None once it is time.
    at: Option<Instant>,
    wait: Duration,
    tries: u32,
}

impl InputStore {
    /// Has it tried again later. Answers how often it has been tried.
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

    /// Whether it is not yet time to try again, as long as nothing else is there.
    pub(crate) fn is_put_off(&self, slot: &str, names: &[String]) -> bool {
        let all = self.put_off.lock();
        let waits = all.get(slot).filter(|one| one.at.is_some());
        waits.is_some_and(|one| one.what == self.there(slot, names))
    }

    /// When the next one is to be tried again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.put_off.lock().values().filter_map(|one| one.at).min()
    }

    /// Whether it is time for one that was put off; those are so no longer.
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

    /// The slot has more room: it is time at once. Answers whether that is of use to anybody.
    pub(crate) fn expedite(&self, slot: &str) -> bool {
        let mut all = self.put_off.lock();
        all.get_mut(slot).is_some_and(|one| one.at.take().is_some())
    }
}
