//! What is counted of the calls into a slot for as long as the host lives, whichever generation serves: how many ended in an error,
//! always, for those are rare and slow; and how many there were, if the host was built to count them. What a probation counts is
//! `call_stats.rs`'s and begins anew with each generation.

use reslot_sync::atomic::{AtomicU64, Ordering};

/// The counts of one slot.
#[derive(Default)]
pub(crate) struct CallCounts {
    calls: AtomicU64,
    faults: AtomicU64,
}

impl CallCounts {
    /// A call has come as far as the plugin.
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ends in an error.
    #[cold]
    pub(super) fn failed(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}
