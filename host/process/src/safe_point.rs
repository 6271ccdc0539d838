//! Safe points: moments at which a thread of the host program runs the thread-local destructors that ended plugins left on it.
//!
//! An engine that leaves such work on threads registers a function once ([`run_at_safe_points`]), and raises the epoch each time there
//! may be something to do ([`one_more_ended`]).

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many times something has been left on threads that live on.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// What engines run at safe points. No lock, because a forked child comes here, too.
static RUNNERS: [OnceLock<fn()>; 4] = [const { OnceLock::new() }; 4];

thread_local! {
    /// [`ENDED`] at the thread's last safe point.
    static SEEN: Cell<u64> = const { Cell::new(0) };
    /// The thread is in a safe point: a destructor that comes to one in a roundabout way does nothing there.
    static IN_SAFE_POINT: Cell<bool> = const { Cell::new(false) };
}

/// Has this function run at each safe point of each thread at which the epoch is another than at the thread's last one. A function that is
/// registered already is not registered again.
///
/// # Panics
/// If more than four different functions are registered.
pub fn run_at_safe_points(runner: fn()) {
    let registered = RUNNERS
        .iter()
        .any(|slot| std::ptr::fn_addr_eq(*slot.get_or_init(|| runner), runner));
    assert!(registered, "there is room for four engines");
}

/// Raises the epoch: there may be something to do at safe points.
pub fn one_more_ended() {
    ENDED.fetch_add(1, Ordering::Release);
}

/// Differs from an earlier answer if there may be something to do at a safe point.
pub fn ended_epoch() -> u64 {
    ENDED.load(Ordering::Acquire)
}

/// Runs the thread-local destructors that unloaded plugins are waiting for, on the calling thread.
///
/// `Claim::sync`, `Reader::view` when the view has changed, `Slot::load`, waiting for events and the host's other calls do this by
/// themselves. A thread that called plugins and then does something else for long can do it here: otherwise what plugins have left in its
/// thread-locals is not dropped, but skipped and counted in `UnloadReport`.
///
/// With nothing to do it costs two loads.
#[inline]
pub fn safe_point() {
    let ended = ENDED.load(Ordering::Acquire);
    if ended != SEEN.get() {
        run(ended);
    }
}

#[cold]
#[inline(never)]
fn run(ended: u64) {
    if IN_SAFE_POINT.replace(true) {
        return;
    }
    SEEN.set(ended);
    for runner in RUNNERS.iter().filter_map(OnceLock::get) {
        runner();
    }
    IN_SAFE_POINT.set(false);
}
