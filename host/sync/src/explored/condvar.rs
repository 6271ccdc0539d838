//! Condition variables.

use super::{
    Instant, MutexGuard,
    wait::{Waiting, point},
};
use std::time::Duration;

/// A condition variable with the methods of `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar(Waiting);

/// Whether a wait ended because of its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the deadline has passed without a notification.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition variable without waiting threads.
    pub const fn new() -> Self {
        Self(Waiting::new())
    }

    /// Waits for a notification.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_at_most(guard, None);
    }

    /// Waits for a notification, at most until the deadline.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeoutResult {
        self.wait_at_most(guard, Some(deadline))
    }

    /// Waits for a notification, at most for so long.
    pub fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, long: Duration) -> WaitTimeoutResult {
        self.wait_at_most(guard, Instant::now().checked_add(long))
    }

    fn wait_at_most<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> WaitTimeoutResult {
        point();
        // No other thread runs between these two.
        guard.release();
        let notified = self.0.wait(deadline);
        guard.take_again();
        WaitTimeoutResult(!notified)
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        point();
        self.0.wake_all();
    }

    /// Wakes one thread that waits.
    pub fn notify_one(&self) {
        point();
        self.0.wake_one();
    }
}
