//! Who is asked to come to a safe point when an image waits for thread-locals: every host of this process, because a thread may have
//! thread-locals of one host's plugins, and come to safe points by another host only.

use parking_lot::Mutex;
use reslot_process::PerProcess;
use std::sync::{Arc, Weak};

/// Threads that can be asked to come to a safe point.
pub(crate) trait AskedForSafePoints: Send + Sync {
    /// Asks all of them.
    fn request_safe_points(&self);
}

static ASKED: PerProcess<Mutex<Vec<Weak<dyn AskedForSafePoints>>>> = PerProcess::new(Mutex::default);

/// Has these be asked as long as they live.
pub(crate) fn register<T: AskedForSafePoints + 'static>(asked: &Arc<T>) {
    let mut all = ASKED.get().lock();
    all.retain(|known| known.strong_count() > 0);
    let asked: Weak<T> = Arc::downgrade(asked);
    all.push(asked);
}

/// Asks all that live.
pub(crate) fn request() {
    // Not under the lock: to drop the last `Arc` of a host ends generations.
    let all: Vec<_> = ASKED.get().lock().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|asked| asked.request_safe_points());
}
