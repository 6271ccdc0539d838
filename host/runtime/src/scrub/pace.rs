//! When the scrub thread may go on comparing: when a processor is idle, and on a busy machine after a pause.
//!
//! The comparison itself does not run at idle priority. Whoever reads or allocates memory holds the kernel's lock of the process's address
//! space for a moment. A thread of idle priority that is stopped in such a moment makes every `mmap` of the program wait until it gets the
//! processor again, and so every reload: up to five seconds, as measured with four busy threads on two processors, against 50 ms with a
//! background thread. So the idle thread only grants steps, and holds nothing of the host or the kernel that another thread waits for, except
//! the scrub thread.

use reslot_process::background::{self, Kind};
use reslot_sync::{
    Instant,
    atomic::{AtomicBool, Ordering},
    mpsc::{self, Receiver, Sender},
};
use std::{cell::Cell, sync::Arc, time::Duration};

/// How long the scrub thread may compare after a processor was idle.
const STEP: Duration = Duration::from_millis(2);
/// How long it waits for that at most. So a comparison ends on a machine that is never idle, too, and takes a fiftieth of a processor there.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The pace of one scrub thread.
pub(super) struct Pace {
    granted: Receiver<()>,
    /// Asks the idle thread for a step; none if the system has given no such thread. It ends when this is dropped.
    idle: Option<Sender<()>>,
    is_ending: Arc<AtomicBool>,
    /// The idle thread was asked, and has not answered yet.
    is_asked: Cell<bool>,
    /// The end of this step; none before the first one.
    until: Cell<Option<Instant>>,
}

impl Pace {
    /// Starts the idle thread. It and the end of the host send on `grants`; `is_ending` is set before the latter does.
    pub(super) fn new((grants, granted): (Sender<()>, Receiver<()>), is_ending: Arc<AtomicBool>) -> Self {
        let (idle, asked) = mpsc::channel();
        let body = move || {
            for () in asked {
                // If the scrub thread has ended, nobody asks any more.
                let _ = grants.send(());
            }
        };
        let idle = match background::spawn(Kind::Idle, "reslot-idle", body) {
            Ok(_) => Some(idle),
            Err(error) => {
                tracing::warn!(%error, "no idle thread could be started; images are compared in steps with pauses");
                None
            }
        };
        Self {
            granted,
            idle,
            is_ending,
            is_asked: Cell::new(false),
            until: Cell::new(None),
        }
    }

    /// Waits until the scrub thread may go on. False if the host ends.
    pub(super) fn go_on(&self) -> bool {
        let is_ending = || self.is_ending.load(Ordering::Acquire);
        if is_ending() {
            return false;
        }
        if self.until.get().is_some_and(|until| Instant::now() < until) {
            return true;
        }
        if !self.is_asked.replace(true)
            && let Some(idle) = &self.idle
        {
            let _ = idle.send(());
        }
        if self.granted.recv_timeout(LONGEST_WAIT).is_ok() {
            self.is_asked.set(false);
        }
        self.until.set(Instant::now().checked_add(STEP));
        !is_ending()
    }
}
