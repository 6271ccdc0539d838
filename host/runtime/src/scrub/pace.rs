//! When the scrub thread may go on comparing: when a processor is idle, and on a busy machine after a pause.
//!
//! The comparison itself does not run at idle priority. A thread that reads or allocates memory holds the kernel's lock of the process's address
//! space for a moment. A thread of idle priority that is stopped in such a moment makes every `mmap` of the program wait until it gets the
//! processor again, and so every reload: up to five seconds, as measured with four busy threads on two processors, against 50 ms with a
//! background thread. So the idle thread only grants steps. It does so with flags and `unpark`, because a channel has a lock, which the
//! thread could hold when it is stopped.

use reslot_sync::{
    Instant,
    atomic::{AtomicBool, Ordering},
    thread::{self, Thread},
};
use reslot_system::background::{self, Kind};
use std::{cell::Cell, sync::Arc, time::Duration};

/// How long the scrub thread may compare after a processor was idle.
const STEP: Duration = Duration::from_millis(2);
/// How long it waits for that at most. So a comparison ends on a machine that is never idle, too, and takes a fiftieth of a processor there.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The pace of one scrub thread.
pub(super) struct Pace {
    flags: Arc<Flags>,
    /// The idle thread; none if the system has given no such thread.
    idle: Option<Thread>,
    is_ending: Arc<AtomicBool>,
    /// The end of this step; none before the first one.
    until: Cell<Option<Instant>>,
}

/// What the scrub thread and the idle thread tell each other. Each unparks the other one after it has set a flag.
#[derive(Default)]
struct Flags {
    asked: AtomicBool,
    granted: AtomicBool,
    /// The scrub thread has ended.
    over: AtomicBool,
}

impl Pace {
    /// Starts the idle thread for this thread, which compares. The end of the host sets `is_ending`, and unparks this thread.
    pub(super) fn new(is_ending: Arc<AtomicBool>) -> Self {
        let flags = Arc::new(Flags::default());
        let (of_idle, scrub) = (flags.clone(), thread::current());
        let body = move || {
            while !of_idle.over.load(Ordering::Acquire) {
                if of_idle.asked.swap(false, Ordering::AcqRel) {
                    of_idle.granted.store(true, Ordering::Release);
                    scrub.unpark();
                }
                thread::park();
            }
        };
        let idle = match background::spawn(Kind::Idle, "reslot-idle", body) {
            Ok(idle) => Some(idle.thread().clone()),
            Err(error) => {
                tracing::warn!(%error, "no idle thread could be started; images are compared in steps with pauses");
                None
            }
        };
        Self {
            flags,
            idle,
            is_ending,
            until: Cell::new(None),
        }
    }

    /// Waits until the scrub thread may go on. False if the host ends.
    pub(super) fn may_continue(&self) -> bool {
        let is_ending = || self.is_ending.load(Ordering::Acquire);
        if self.until.get().is_some_and(|until| Instant::now() < until) {
            return !is_ending();
        }
        self.flags.asked.store(true, Ordering::Release);
        self.wake_idle();
        let latest = Instant::now() + LONGEST_WAIT;
        while !is_ending() && !self.flags.granted.swap(false, Ordering::AcqRel) {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        self.until.set(Instant::now().checked_add(STEP));
        !is_ending()
    }

    fn wake_idle(&self) {
        if let Some(idle) = &self.idle {
            idle.unpark();
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.flags.over.store(true, Ordering::Release);
        self.wake_idle();
    }
}
