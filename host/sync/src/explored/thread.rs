//! Threads of an execution.

use std::{io, time::Duration};

pub use shuttle::thread::{JoinHandle, Thread, ThreadId, current, park};
pub use std::thread::{Result, panicking};

/// Lets the scheduler continue another thread.
pub fn yield_now() {
    super::wait::point();
}

/// Waits on the execution's clock.
pub fn sleep(long: Duration) {
    super::time::sleep(long);
}

/// Waits on the execution's clock, also if the thread is unparked before. A caller has to expect that.
pub fn park_timeout(long: Duration) {
    sleep(long);
}

/// The settings of a new thread.
#[derive(Debug, Default)]
pub struct Builder(shuttle::thread::Builder);

impl Builder {
    /// The ordinary settings.
    #[must_use]
    pub fn new() -> Self {
        Self(shuttle::thread::Builder::new())
    }

    /// Names the thread.
    #[must_use]
    pub fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// Never, in an execution.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
        self.0.spawn(body)
    }
}

/// Starts a thread.
#[track_caller]
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    shuttle::thread::spawn(body)
}

/// Runs `body` on the calling thread: every thread of an execution has a large stack.
///
/// # Errors
/// Never, in an execution.
pub fn on_own_stack<R: Send>(_: &str, _: usize, body: impl FnOnce() -> R + Send) -> io::Result<Result<R>> {
    Ok(Ok(body()))
}
