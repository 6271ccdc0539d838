//! Work after a swap for which no caller waits: waking the host's other threads and the readers of events, and releasing the
//! replaced generation. Waking a thread on a sleeping processor takes longer than the whole swap (20 µs each on a virtual
//! machine, five of them per adoption). So while an owner is in `sync`, this module collects the work in order, and a hook
//! thread, which is awake because it has just started the new code, does it. On any other thread the work is done at once.
//! Work whose result a caller may expect after `sync` must not be deferred.

use crate::deferred_notifications::{DeferredNotifications, defer_notifications};
use reslot_sync::{Condvar, Instant, Mutex};
use reslot_system::hooks::Hooks;
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

type Job = Box<dyn FnOnce() + Send>;

reslot_sync::thread_local! {
    static COLLECTS: Cell<bool> = const { Cell::new(false) };
    static COLLECTED: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
}

/// Runs a job: later and on another thread, if this thread is an owner's in `sync`.
pub(crate) fn defer(job: impl FnOnce() + Send + 'static) {
    if !COLLECTS.get() {
        return job();
    }
    let mut job = Some(job);
    // At the end of a thread its thread-locals are gone, so the job cannot be collected.
    let _ = COLLECTED.try_with(|jobs| jobs.borrow_mut().extend(job.take().map(|job| Box::new(job) as Job)));
    if let Some(job) = job {
        job();
    }
}

/// The work that the host's end waits for: deferred work of owners, and running requests of surfaces.
#[derive(Clone, Default)]
pub(crate) struct DeferredWork(Arc<Pending>);

#[derive(Default)]
struct Pending {
    under_way: Mutex<usize>,
    none: Condvar,
}

/// As long as this guard lives, its thread collects work and does not notify subscribers and recorders.
pub(crate) struct Collecting {
    deferred_work: DeferredWork,
    hooks: Hooks,
    /// An outer guard collects already.
    within: bool,
    /// Dropped last, so that the embedder's code runs only after the collected work was handed over.
    _deferred: DeferredNotifications,
}

impl DeferredWork {
    /// Begins to collect on this thread.
    pub(crate) fn collect(&self, hooks: &Hooks) -> Collecting {
        Collecting {
            deferred_work: self.clone(),
            hooks: hooks.clone(),
            within: COLLECTS.replace(true),
            _deferred: defer_notifications(),
        }
    }

    /// Counts a request, or a batch of deferred work, until the returned guard is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
        *self.0.under_way.lock() += 1;
        UnderWay(self.0.clone())
    }

    /// Waits until all work is done, or until the deadline: a destructor of a plugin's thread-local that hangs may block a
    /// hook thread.
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

/// Marks work as running until it is dropped.
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
