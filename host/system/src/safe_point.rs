//! Safe points: moments at which a thread of the host program runs the thread-local destructors that ended plugins left on it.
//!
//! An engine that leaves such work on threads registers a function once ([`run_at_safe_points`]), and increments the epoch
//! each time there may be work ([`one_more_ended`]).

use reslot_sync::atomic::{AtomicU64, Ordering};
use std::{cell::Cell, sync::OnceLock};

/// The epoch: how often work was left on running threads.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// The functions of engines. There is no lock, because a forked child may come here, too.
static RUNNERS: [OnceLock<fn()>; 4] = [const { OnceLock::new() }; 4];

reslot_sync::thread_local! {
    /// [`ENDED`] at the thread's last safe point.
    static SEEN: Cell<u64> = const { Cell::new(0) };
    /// Whether the thread is in a safe point. A safe point inside a destructor of another one does nothing.
    static IN_SAFE_POINT: Cell<bool> = const { Cell::new(false) };
}

/// Registers a function that runs at each safe point of a thread if the epoch has changed since the thread's last one.
/// Registering a function twice has no effect.
///
/// # Panics
/// If more than four different functions are registered.
pub fn run_at_safe_points(runner: fn()) {
    let registered = RUNNERS
        .iter()
        .any(|slot| std::ptr::fn_addr_eq(*slot.get_or_init(|| runner), runner));
    assert!(registered, "there is room for four engines");
}

/// Increments the epoch, because there may be work at safe points.
pub fn one_more_ended() {
    ENDED.fetch_add(1, Ordering::Release);
}

/// The epoch. It differs from an earlier value if there may be work at a safe point.
pub fn ended_epoch() -> u64 {
    ENDED.load(Ordering::Acquire)
}

/// Runs the thread-local destructors for which unloaded plugins wait, on the calling thread.
///
/// `Claim::sync`, `Reader::view` when the view has changed, `Slot::load`, waiting for events and the host's other calls do
/// this by themselves. A thread that called plugins and then does other work for long can call this. Otherwise the plugins'
/// values in its thread-locals are not dropped, but skipped and counted in `UnloadReport`.
///
/// Without work it costs two loads.
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
