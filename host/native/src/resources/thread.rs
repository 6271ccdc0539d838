//! The calling thread, for the ledgers of images: its number, and the ledgers that have entries of it. The thread runs the destructors of
//! its entries at its own end, and those of an image that is ending at its next safe point.

use super::Ledger;
use reslot_sync::atomic::{AtomicU64, Ordering};
use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Weak},
};

static NEXT_THREAD: AtomicU64 = AtomicU64::new(1);

/// The calling thread. The drop of this thread-local is the thread's end. libc may keep a pointer to the drop, because the host's code is
/// never unmapped.
#[derive(Default)]
pub(super) struct ThisThread {
    ledgers: RefCell<Vec<Weak<Ledger>>>,
    /// On a thread that an image has started: the image's ledger, and the thread's number in it.
    own: RefCell<Option<(Arc<Ledger>, u64)>>,
}

reslot_sync::thread_local! {
    static THIS: ThisThread = ThisThread::default();
    /// The thread's number. It has no destructor, so it can be used until the thread is gone, also by plugin code that runs at the thread's
    /// end.
    static NUMBER: u64 = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
    /// The thread is running the destructors of its end. Destructors that are registered now are run by this loop, too.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    static IN_DESTRUCTOR: Cell<bool> = const { Cell::new(false) };
}

/// Marks that this thread runs a destructor of an image, until this is dropped. A panic in a destructor aborts the process.
pub(super) struct InDestructor(bool);

impl InDestructor {
    pub(super) fn enter() -> Self {
        Self(IN_DESTRUCTOR.replace(true))
    }
}

impl Drop for InDestructor {
    fn drop(&mut self) {
        IN_DESTRUCTOR.set(self.0);
    }
}

pub(super) fn in_destructor() -> bool {
    IN_DESTRUCTOR.get()
}

impl ThisThread {
    pub(super) fn number() -> u64 {
        NUMBER.with(|number| *number)
    }

    /// Registers the ledger for this thread's end, and returns the thread's number. `None` after the thread's end.
    pub(super) fn enlist(ledger: &Arc<Ledger>) -> Option<u64> {
        let enlisted = THIS.try_with(|this| {
            let mut ledgers = this.ledgers.borrow_mut();
            if !ledgers.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(ledger))) {
                ledgers.retain(|known| known.strong_count() > 0);
                ledgers.push(Arc::downgrade(ledger));
            }
        });
        // During the thread's end new destructors may still be added: `run_destructors` loops until the list is empty.
        (enlisted.is_ok() || ENDING.get()).then(Self::number)
    }
}

/// Makes each thread run the destructors of ending images at its next [`safe_point`](reslot_system::safe_point). To be called after the
/// image's `ending` is set.
pub(super) fn request_safe_points() {
    reslot_system::run_at_safe_points(run_ended);
    reslot_system::one_more_ended();
}

/// Runs the calling thread's destructors of the images that are ending.
fn run_ended() {
    // Only of images that are ending: nobody holds their instances any more, so none of their code is on this thread's stack, and none will
    // be called here again. Except the image that started this thread: its frames are on this stack, so its destructors run at the thread's
    // end. (A subscriber may call the host from there, when it receives the event of a panic on such a thread.)
    let ended = THIS.try_with(|this| {
        let known: Vec<_> = this.ledgers.borrow().iter().filter_map(Weak::upgrade).collect();
        let own = this.own.borrow().as_ref().map(|(ledger, _)| ledger.id());
        let ended = known
            .into_iter()
            .filter(|ledger| Some(ledger.id()) != own && ledger.is_ending());
        let ended: Vec<_> = ended.collect();
        let is_ended = |known: &Weak<Ledger>| ended.iter().any(|ledger| std::ptr::eq(known.as_ptr(), Arc::as_ptr(ledger)));
        this.ledgers.borrow_mut().retain(|known| !is_ended(known));
        ended
    });
    // `THIS` is gone if the thread is ending: then `drop` has run the destructors.
    for ledger in ended.unwrap_or_default() {
        ledger.run_destructors(ThisThread::number());
    }
}

impl Drop for ThisThread {
    fn drop(&mut self) {
        ENDING.set(true);
        for ledger in self.ledgers.take() {
            if let Some(ledger) = ledger.upgrade() {
                ledger.run_destructors(Self::number());
            }
        }
        ENDING.set(false);
        if let Some((ledger, thread)) = self.own.take() {
            ledger.run_destructors(Self::number());
            ledger.thread_ended(thread);
        }
    }
}

/// Registers the calling thread as one that the image has started. A thread-local reports its end, because `pthread_exit` skips the frames.
/// After that report no code of the image runs on the thread.
pub fn begin_own_thread(ledger: Arc<Ledger>, thread: u64) {
    ledger.thread_runs(thread);
    let set = THIS.try_with(|this| *this.own.borrow_mut() = Some((ledger, thread)));
    debug_assert!(set.is_ok(), "a thread that begins has its thread-locals");
}
