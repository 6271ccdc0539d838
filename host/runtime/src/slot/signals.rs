//! What a claim's owner looks at in each `sync`, and nothing else: one load when there is nothing to do. Apart from the slot's record,
//! because calls set it as well, and a call knows no record.

use reslot_sync::atomic::{AtomicBool, Ordering};

/// Whether there may be something for a slot's owner to do.
#[derive(Default)]
pub(crate) struct OwnerSignals {
    /// There may be something to do in `sync`: a candidate, a fault, the end of another image.
    safe_point_requested: AtomicBool,
    /// A candidate waits. A hint: the truth is under the slot's lock.
    has_staged: AtomicBool,
}

impl OwnerSignals {
    /// Has the owner come to a safe point at the next `sync`.
    pub(crate) fn request_safe_point(&self) {
        self.safe_point_requested.store(true, Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn is_safe_point_requested(&self) -> bool {
        self.safe_point_requested.load(Ordering::Relaxed)
    }

    /// The owner is at a safe point. What is requested from here on is seen by the next `sync`.
    pub(crate) fn begin_safe_point(&self) {
        self.safe_point_requested.swap(false, Ordering::AcqRel);
    }

    /// Has the next `sync` look again if a candidate is still staged.
    pub(crate) fn request_again_if_staged(&self) {
        self.safe_point_requested.fetch_or(self.has_staged(), Ordering::AcqRel);
    }

    pub(crate) fn has_staged(&self) -> bool {
        self.has_staged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_staged(&self, waits: bool) {
        self.has_staged.store(waits, Ordering::Relaxed);
    }
}
