//! When the embedder's subscriber and recorder are told: not while this thread holds what others wait for (a slot that is moving on, a
//! closed gate, a call inside of one), because they may call the host, and may wait for whoever waits for that. The streams are told at
//! once, these afterwards, in the same order.

use super::Log;
use reslot_report::Event;
use std::cell::{Cell, RefCell};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<(Log, Event)>> = const { RefCell::new(Vec::new()) };
}

/// Until the outermost of these is dropped, what happens on this thread is not told to subscribers and recorders.
#[must_use]
pub(crate) struct DeferredNotifications(());

/// Made before what must not be held meanwhile, so that it is dropped after it.
pub(crate) fn defer_notifications() -> DeferredNotifications {
    DEPTH.set(DEPTH.get() + 1);
    DeferredNotifications(())
}

/// Keeps an event for later, if this thread holds back.
pub(super) fn keep(log: &Log, event: &Event) -> bool {
    // At the very end of a thread there is no later.
    DEPTH.get() > 0
        && KEPT
            .try_with(|kept| {
                kept.borrow_mut().push((log.clone(), event.clone()));
                ANY.set(true);
            })
            .is_ok()
}

impl Drop for DeferredNotifications {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 && ANY.replace(false) {
            let kept = KEPT.try_with(RefCell::take).unwrap_or_default();
            for (log, event) in kept {
                log.trace_now(&event);
            }
        }
    }
}
