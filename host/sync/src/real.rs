//! The types of an ordinary build.

pub use arc_swap::{ArcSwap, Guard};
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::{sync::atomic, thread_local, time::Instant};

/// Threads.
pub mod thread {
    pub use std::thread::*;

    /// Runs `body` on a thread with a stack of this size, and waits for it.
    ///
    /// # Errors
    /// If the system refuses such a thread. Then `body` was not run.
    pub fn on_own_stack<R: Send>(name: &str, bytes: usize, body: impl FnOnce() -> R + Send) -> std::io::Result<Result<R>> {
        scope(|scope| {
            let builder = Builder::new().name(name.to_owned()).stack_size(bytes);
            Ok(builder.spawn_scoped(scope, body)?.join())
        })
    }
}

/// Channels.
pub mod mpsc {
    pub use std::sync::mpsc::*;
    use std::time::{Duration, Instant};

    /// Polls a channel for a moment without sleeping, and runs `between` before each further look.
    pub fn poll<T>(queue: &Receiver<T>, moment: Duration, between: fn()) -> Option<T> {
        let begun = Instant::now();
        while begun.elapsed() < moment {
            if let Ok(value) = queue.try_recv() {
                return Some(value);
            }
            between();
        }
        None
    }
}
