//! Decides when the host calls the embedder's subscriber and recorder: not while this thread holds something that other
//! threads wait for (a slot during a swap, a closed gate, a call behind a gate). They may call the host, or wait for a
//! thread that waits for this one. Streams get the event at once; subscribers and recorders are called afterwards, in the
//! same order.
//!
//! The deferral is stored in the thread and not passed as an argument, because a call of plugin code lies in between, which
//! no argument can cross.

use std::cell::{Cell, RefCell};

type Notification = Box<dyn FnOnce()>;

reslot_sync::thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<Notification>> = const { RefCell::new(Vec::new()) };
}

/// Until the outermost of these guards is dropped, this thread does not notify subscribers and recorders.
#[must_use]
pub(crate) struct DeferredNotifications(());

/// Create it before the lock or gate, so that it is dropped after it.
pub(crate) fn defer_notifications() -> DeferredNotifications {
    DEPTH.set(DEPTH.get() + 1);
    DeferredNotifications(())
}

/// Whether this thread holds something that other threads may wait for.
pub(crate) fn are_deferred() -> bool {
    DEPTH.get() > 0
}

/// Calls the function when the thread no longer holds anything. Use it only while notifications [are
/// deferred](are_deferred).
pub(crate) fn defer(notification: impl FnOnce() + 'static) {
    let mut notification = Some(notification);
    // At the end of a thread its thread-locals are gone, so the function is called at once.
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
