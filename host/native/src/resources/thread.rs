//! The calling thread as ledgers know it: its number, the accounts that it stands in, and the moments at which it runs what
//! images have left on it: its own end, and, once an image is ending, its next safe point.

use super::ImageResources;
use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

static NEXT_THREAD: AtomicU64 = AtomicU64::new(1);

/// The calling thread, for ledgers. Its drop is the thread's end; the host's code is never unmapped, so libc may keep it.
#[derive(Default)]
pub(super) struct ThisThread {
    ledgers: RefCell<Vec<Weak<ImageResources>>>,
    /// Set on a thread that an image started: the image, and the number by which it counts the thread.
    own: RefCell<Option<(Arc<ImageResources>, u64)>>,
}

thread_local! {
    static THIS: ThisThread = ThisThread::default();
    /// The thread's number. Without a destructor, so that it is there until the very end, also for plugin code that the
    /// thread's own end runs.
    static NUMBER: u64 = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
    /// The thread is running the destructors of its end: what is registered now is run by them.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    static IN_DESTRUCTOR: Cell<bool> = const { Cell::new(false) };
}

/// A destructor of an image is being run on this thread, until dropped. A panic in one aborts the process.
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

    /// Makes sure that this thread's end is told to the ledger. `None` when the thread is past its end.
    pub(super) fn enlist(resources: &Arc<ImageResources>) -> Option<u64> {
        let enlisted = THIS.try_with(|this| {
            let mut ledgers = this.ledgers.borrow_mut();
            if !ledgers
                .iter()
                .any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(resources)))
            {
                ledgers.retain(|known| known.strong_count() > 0);
                ledgers.push(Arc::downgrade(resources));
            }
        });
        // While its destructors run, the ledger whose turn it is looks again until nothing is left.
        (enlisted.is_ok() || ENDING.get()).then(Self::number)
    }
}

/// Has the calls of [`safe_point`](reslot_process::safe_point) run what an image left on threads that live on; the image's `ending` is set
/// already.
pub(super) fn one_more_ended() {
    reslot_process::run_at_safe_points(run_ended);
    reslot_process::one_more_ended();
}

/// What the native engine does at a safe point of the calling thread.
fn run_ended() {
    // Only images that are ending: no code of theirs is on this thread's stack, because nobody holds their instances any more,
    // and none will be called here again. But for the image that started this thread: its code is below, and what it has here
    // is dropped at the thread's end. (A subscriber that is told of a panic of such a thread may call the host from there.)
    let ended = THIS.try_with(|this| {
        let known: Vec<_> = this.ledgers.borrow().iter().filter_map(Weak::upgrade).collect();
        let own = this.own.borrow().as_ref().map(|(resources, _)| resources.id());
        let ended = known
            .into_iter()
            .filter(|resources| Some(resources.id()) != own && resources.is_ending());
        let ended: Vec<_> = ended.collect();
        let is_ended = |known: &Weak<ImageResources>| {
            ended
                .iter()
                .any(|resources| std::ptr::eq(known.as_ptr(), Arc::as_ptr(resources)))
        };
        this.ledgers.borrow_mut().retain(|known| !is_ended(known));
        ended
    });
    // A thread that is past its end runs its destructors there.
    for resources in ended.unwrap_or_default() {
        resources.run_destructors(ThisThread::number());
    }
}

impl Drop for ThisThread {
    fn drop(&mut self) {
        ENDING.set(true);
        for resources in self.ledgers.take() {
            if let Some(resources) = resources.upgrade() {
                resources.run_destructors(Self::number());
            }
        }
        ENDING.set(false);
        if let Some((resources, thread)) = self.own.take() {
            resources.run_destructors(Self::number());
            resources.thread_ended(thread);
        }
    }
}

/// Has the end of the calling thread, however it comes (`pthread_exit` passes by the frames), told to the image that started
/// it. After that no code of the image runs on it any more.
pub fn begin_own_thread(resources: Arc<ImageResources>, thread: u64) {
    resources.thread_runs(thread);
    let told = THIS.try_with(|this| *this.own.borrow_mut() = Some((resources, thread)));
    debug_assert!(told.is_ok(), "a thread that begins has its thread-locals");
}
