//! How hooks of plugins are run: on threads of their own, each within the deadline of the policy. A test can have them fail.

use crate::testing::Injections;
use reslot_report::{Hook, HookError};
use reslot_system::hooks::{Hooks, TookTooLong};
use std::time::Duration;

/// Runs hooks of plugins.
pub(crate) struct HookRunner {
    pool: Hooks,
    deadline: Duration,
    injections: Injections,
}

impl HookRunner {
    pub(crate) fn new(deadline: Duration, injections: Injections) -> Self {
        Self {
            pool: Hooks::new(),
            deadline,
            injections,
        }
    }

    /// The threads on which hooks run.
    pub(crate) fn pool(&self) -> &Hooks {
        &self.pool
    }

    /// How long one hook may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Failures of hooks that a test asks for.
    pub(crate) fn injections(&self) -> &Injections {
        &self.injections
    }

    /// Fails in place of this hook, if a test has asked for that.
    ///
    /// # Errors
    /// As the test says.
    pub(crate) fn trigger(&self, hook: Hook) -> Result<(), HookError> {
        self.injections.trigger(hook)
    }

    /// Runs a job, and waits for it until the deadline. After that it goes on alone.
    ///
    /// # Errors
    /// If it has not come back by then.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, TookTooLong> {
        self.pool.run(self.deadline, job)
    }

    /// The same for one hook.
    ///
    /// # Errors
    /// As the hook says, or if it has not come back.
    pub(crate) fn run_hook<T: Send + 'static>(
        &self,
        hook: impl FnOnce() -> Result<T, HookError> + Send + 'static,
    ) -> Result<T, HookError> {
        self.run(hook).unwrap_or_else(|TookTooLong| Err(self.took_too_long()))
    }

    /// The error of a hook that has not come back.
    pub(crate) fn took_too_long(&self) -> HookError {
        HookError::TookTooLong(self.deadline)
    }

    /// Wakes an idle thread, because a job will come soon.
    pub(crate) fn wake_one(&self) {
        self.pool.wake_one();
    }
}
