//! What becomes of a panic on one of the host's own threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic here is a bug of ours. It must cost the one reload or the one unloading, not all that are to come.
pub(super) fn survive(body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        tracing::error!(
            "a reload or an unloading panicked; this is a bug in Reslot, please report it with the panic's message"
        );
    }
}
