//! When an image waits for thread-locals, all hosts of the process ask their threads for a safe point: a thread may have
//! thread-locals of one host's plugins and pass safe points only through another host.

use reslot_sync::Mutex;
use reslot_system::PerProcess;
use std::sync::{Arc, Weak};

/// Threads that can be asked to pass a safe point.
pub(crate) trait AskedForSafePoints: Send + Sync {
    /// Asks all these threads.
    fn request_safe_points(&self);
}

static ASKED: PerProcess<Mutex<Vec<Weak<dyn AskedForSafePoints>>>> = PerProcess::new(Mutex::default);

/// Registers these threads as long as they live.
pub(crate) fn register<T: AskedForSafePoints + 'static>(asked: &Arc<T>) {
    let mut all = ASKED.get().lock();
    all.retain(|known| known.strong_count() > 0);
    let asked: Weak<T> = Arc::downgrade(asked);
    all.push(asked);
}

/// Asks all registered threads.
pub(crate) fn request() {
    // The lock is released first, because dropping the last `Arc` of a host ends generations.
    let all: Vec<_> = ASKED.get().lock().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|asked| asked.request_safe_points());
}
