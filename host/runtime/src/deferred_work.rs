//! What is left to be done when a slot has moved on and nobody waits for: waking the host's other threads and whoever waits for events,
//! letting go of what was replaced. To wake a thread whose processor sleeps takes longer than the whole hand-over (20 µs each on a
//! virtual machine, five of them at an adoption). So while an owner is in his `sync`, it is collected here, in its order, and done on a
//! thread for hooks, which is awake because it has just started the new code. On every other thread it is done at once. Nothing that a
//! caller may look for when `sync` is back belongs here.

use crate::deferred_notifications::{DeferredNotifications, defer_notifications};
use parking_lot::{Condvar, Mutex};
use reslot_process::hooks::Hooks;
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Instant,
};

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static COLLECTS: Cell<bool> = const { Cell::new(false) };
    static COLLECTED: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
}

/// Does something: later and on another thread, if this one is an owner's in his `sync`.
pub(crate) fn defer(job: impl FnOnce() + Send + 'static) {
    if !COLLECTS.get() {
        return job();
    }
    let mut job = Some(job);
    // At the very end of a thread there is no later.
    let _ = COLLECTED.try_with(|jobs| jobs.borrow_mut().extend(job.take().map(|job| Box::new(job) as Job)));
    if let Some(job) = job {
        job();
    }
}

/// What the end of the host waits for: work that owners have deferred, and requests of surfaces that are under way.
#[derive(Clone, Default)]
pub(crate) struct DeferredWork(Arc<Pending>);

#[derive(Default)]
struct Pending {
    under_way: Mutex<usize>,
    none: Condvar,
}

/// As long as this lives, its thread collects, and what happens on it is not told to subscribers and recorders.
pub(crate) struct Collecting {
    deferred_work: DeferredWork,
    hooks: Hooks,
    /// Something around it collects already.
    within: bool,
    /// Dropped after what is below: the embedder's own code runs when nobody waits any more for what was collected.
    _told_later: DeferredNotifications,
}

impl DeferredWork {
    /// From now on this thread collects.
    pub(crate) fn collect(&self, hooks: &Hooks) -> Collecting {
        Collecting {
            deferred_work: self.clone(),
            hooks: hooks.clone(),
            within: COLLECTS.replace(true),
            _told_later: defer_notifications(),
        }
    }

    /// Counts a request, or a batch of deferred work, until the answer is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
        *self.0.under_way.lock() += 1;
        UnderWay(self.0.clone())
    }

    /// Waits until all of it is done; not for ever, because a plugin's thread-local that does not come back may keep a thread for hooks.
    pub(crate) fn wait(&self, deadline: Instant) {
        let mut under_way = self.0.under_way.lock();
        while *under_way > 0 && !self.0.none.wait_until(&mut under_way, deadline).timed_out() {}
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        if self.within {
            return;
        }
        COLLECTS.set(false);
        let jobs = COLLECTED.try_with(RefCell::take).unwrap_or_default();
        if jobs.is_empty() {
            return;
        }
        let under_way = self.deferred_work.begin();
        self.hooks.start(move || {
            let _under_way = under_way;
            for job in jobs {
                job();
            }
        });
    }
}

/// Work that is under way, until this is dropped.
pub(crate) struct UnderWay(Arc<Pending>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock();
        *under_way -= 1;
        if *under_way == 0 {
            self.0.none.notify_all();
        }
    }
}
