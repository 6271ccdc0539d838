//! When the embedder's subscriber and recorder are told: not while this thread holds what others wait for (a slot that is moving on, a
//! closed gate, a call inside of one), because they may call the host, and may wait for somebody who waits for that. The streams are told
//! at once, these afterwards, in the same order.
//!
//! What is deferred is a property of the thread, and no argument of the functions in between: a call of a plugin's code lies between the
//! two ends, and no argument crosses that.

use std::cell::{Cell, RefCell};

type Notification = Box<dyn FnOnce()>;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<Notification>> = const { RefCell::new(Vec::new()) };
}

/// Until the outermost of these is dropped, what happens on this thread is not told to subscribers and recorders.
#[must_use]
pub(crate) struct DeferredNotifications(());

/// Made before what must not be held meanwhile, so that it is dropped after it.
pub(crate) fn defer_notifications() -> DeferredNotifications {
    DEPTH.set(DEPTH.get() + 1);
    DeferredNotifications(())
}

/// Whether this thread holds what others may wait for.
pub(crate) fn are_deferred() -> bool {
    DEPTH.get() > 0
}

/// Calls this when the thread holds nothing any more. To be called where notifications [are deferred](are_deferred).
pub(crate) fn defer(notification: impl FnOnce() + 'static) {
    let mut notification = Some(notification);
    // At the very end of a thread its thread-locals are gone, so it is called at once.
    let _ = KEPT.try_with(|kept| {
        kept.borrow_mut()
            .extend(notification.take().map(|notification| Box::new(notification) as Notification));
        ANY.set(true);
    });
    if let Some(notification) = notification {
        notification();
    }
}

impl Drop for DeferredNotifications {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 && ANY.replace(false) {
            let kept = KEPT.try_with(RefCell::take).unwrap_or_default();
            for notification in kept {
                notification();
            }
        }
    }
}
