//! What a host does about versions that turn out badly, as plain data: how long a new generation is on probation, what counts as
//! a fault, how long a plugin's hooks may take, what is kept to go back to. The rest of the host reads it; nothing here acts.

use reslot_engine::Preflight;
use std::time::Duration;

/// How a host treats new generations. Made by [`development`](Self::development) (a host's default), [`production`](Self::production)
/// or [`without_probation`](Self::without_probation), and changed by methods that have the names of the fields:
///
/// ```
/// use reslot::{Host, Policy, RollbackState};
/// use std::time::Duration;
///
/// let policy = Policy::production()
///     .probation(Duration::from_secs(60))
///     .call_deadline(Duration::from_secs(1))
///     .rollback_state(RollbackState::Snapshot);
/// assert_eq!(policy.probation, Duration::from_secs(60));
/// # let policy = policy.preflight(None);
/// let host = Host::builder().policy(policy).build()?;
/// # Ok::<(), reslot::BuildError>(())
/// ```
///
/// [`HostBuilder::build`](crate::HostBuilder::build) refuses values with which nothing could work, such as a deadline of zero, with a [`PolicyError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How long the generation that was replaced stays alive, quiet and complete, so that the slot can go back to it in
    /// microseconds. With zero it is retired at once, no fault leads back, and every version counts as good that was started.
    ///
    /// It lasts longer while something is being found out: a check is under way or has failed, memory grew too fast at the last
    /// measurement, the first check is still to come, or a call is inside whose `call_deadline` is not over.
    pub probation: Duration,
    /// How many calls the new generation must have answered as well before its probation ends. That no calls come is no fault;
    /// the probation goes on. Other than zero it has every call of a probation take the way through the gate, which counts.
    pub probation_calls: u64,
    /// How many panics in calls a generation may have on probation.
    pub max_panics: u32,
    /// How long one call may take on probation; none: as long as it likes. A call that has not come back cannot be ended, but
    /// the other callers are led back. As with `probation_calls`, calls of a probation take the way through the gate.
    pub call_deadline: Option<Duration>,
    /// How often a plugin's `health` is asked, and its memory looked at. Zero: never, but for once before it serves.
    pub health_every: Duration,
    /// How long one check may take; one that takes longer has failed.
    pub health_timeout: Duration,
    /// After how many failed checks, one after the other, a generation on probation is faulty.
    pub health_failures: u32,
    /// By how many bytes a second the plugin's live memory may grow on probation, from one measurement to the next, as often in a row as
    /// `health_failures` says. It is measured at the swap and after each check, and without one if none has come for two `health_every`.
    /// None: by as many as it likes.
    pub max_live_bytes_growth: Option<u64>,
    /// How long a hook may take: `Default`, `migrate`, the state's decoding, `init`, `start` and `stop`. A candidate whose hook
    /// takes longer is refused; its image stays mapped until the hook comes back.
    pub hook_deadline: Duration,
    /// From what state a slot goes on when it goes back.
    pub rollback_state: RollbackState,
    /// How many good artifacts are kept besides the one that serves.
    pub history: usize,
    /// How an artifact is tried out in a child process before this one opens it, with the state of what serves. None: it is not. What
    /// that costs is in the reload's report, and shown by `cargo xtask bench reload`.
    /// The child has neither configuration nor resources: `init` and `health` run there with what `Default` and the state give.
    pub preflight: Option<Preflight>,
    /// What becomes of a slot whose file is deleted from the watched folder.
    pub on_deleted_file: DeletedFile,
}

/// What becomes of a slot whose file is deleted from the watched folder, or renamed out of it. A file that is replaced (deleted and made
/// again within two seconds, or renamed over) is not deleted; and a folder that goes, or is another one by now, deletes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeletedFile {
    /// The current generation keeps serving; [`Event::FileDeleted`](crate::Event::FileDeleted) tells of it.
    #[default]
    Keep,
    /// The slot is unloaded, as by [`Host::unload`](crate::Host::unload). Its state can be had from
    /// [`Host::left_state`](crate::Host::left_state) until something else comes to serve there. Slots that others use wait for those to go.
    Unload,
}

/// From what state a slot goes on when it goes back to an earlier version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackState {
    /// From the newer version's, migrated down: what was done since the swap is kept. If that cannot be had (it panics, it takes
    /// too long, it does not fit), from the snapshot.
    ///
    /// A call that panicked may have left the state half changed. Where that is worse than losing what was done since the swap,
    /// choose [`Snapshot`](Self::Snapshot).
    KeepCurrent,
    /// From the one that was handed over at the swap: what was done since is lost.
    Snapshot,
}

impl Policy {
    /// For the one who edits: two seconds of probation, no preflight. A host's default.
    pub fn development() -> Self {
        Self {
            probation: Duration::from_secs(2),
            probation_calls: 0,
            max_panics: 0,
            call_deadline: None,
            health_every: Duration::from_millis(500),
            health_timeout: Duration::from_secs(1),
            health_failures: 3,
            max_live_bytes_growth: Some(10_000_000),
            hook_deadline: Duration::from_secs(5),
            rollback_state: RollbackState::KeepCurrent,
            history: 2,
            preflight: None,
            on_deleted_file: DeletedFile::Keep,
        }
    }

    /// For those who bet on it: thirty seconds of probation, and each artifact is tried in a child process first.
    pub fn production() -> Self {
        Self {
            probation: Duration::from_secs(30),
            preflight: Some(Preflight::default()),
            ..Self::development()
        }
    }

    /// What was replaced goes at once: for tests of unloading, and where memory for two generations is not to be had. No fault leads
    /// back, so limits of calls, panics, health and memory do not apply.
    pub fn without_probation() -> Self {
        Self {
            probation: Duration::ZERO,
            ..Self::development()
        }
    }
}

/// Each sets one field and returns the policy, so that they can be chained.
impl Policy {
    /// Sets [`probation`](Self#structfield.probation).
    #[must_use]
    pub fn probation(mut self, time: Duration) -> Self {
        self.probation = time;
        self
    }

    /// Sets [`probation_calls`](Self#structfield.probation_calls).
    #[must_use]
    pub fn probation_calls(mut self, calls: u64) -> Self {
        self.probation_calls = calls;
        self
    }

    /// Sets [`max_panics`](Self#structfield.max_panics).
    #[must_use]
    pub fn max_panics(mut self, panics: u32) -> Self {
        self.max_panics = panics;
        self
    }

    /// Sets [`call_deadline`](Self#structfield.call_deadline): a time, or `None`.
    #[must_use]
    pub fn call_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.call_deadline = deadline.into();
        self
    }

    /// Sets [`health_every`](Self#structfield.health_every). Zero is [`without_health_checks`](Self::without_health_checks).
    #[must_use]
    pub fn health_every(mut self, interval: Duration) -> Self {
        self.health_every = interval;
        self
    }

    /// A plugin's health is asked once before it serves, and then never again; its memory is not measured.
    #[must_use]
    pub fn without_health_checks(self) -> Self {
        self.health_every(Duration::ZERO)
    }

    /// Sets [`health_timeout`](Self#structfield.health_timeout).
    #[must_use]
    pub fn health_timeout(mut self, timeout: Duration) -> Self {
        self.health_timeout = timeout;
        self
    }

    /// Sets [`health_failures`](Self#structfield.health_failures).
    #[must_use]
    pub fn health_failures(mut self, failures: u32) -> Self {
        self.health_failures = failures;
        self
    }

    /// Sets [`max_live_bytes_growth`](Self#structfield.max_live_bytes_growth): bytes a second, or `None`.
    #[must_use]
    pub fn max_live_bytes_growth(mut self, bytes_a_second: impl Into<Option<u64>>) -> Self {
        self.max_live_bytes_growth = bytes_a_second.into();
        self
    }

    /// Sets [`hook_deadline`](Self#structfield.hook_deadline).
    #[must_use]
    pub fn hook_deadline(mut self, deadline: Duration) -> Self {
        self.hook_deadline = deadline;
        self
    }

    /// Sets [`rollback_state`](Self#structfield.rollback_state).
    #[must_use]
    pub fn rollback_state(mut self, state: RollbackState) -> Self {
        self.rollback_state = state;
        self
    }

    /// Sets [`history`](Self#structfield.history).
    #[must_use]
    pub fn history(mut self, versions: usize) -> Self {
        self.history = versions;
        self
    }

    /// Sets [`preflight`](Self#structfield.preflight): how a candidate is tried in a child process, or `None`.
    #[must_use]
    pub fn preflight(mut self, preflight: impl Into<Option<Preflight>>) -> Self {
        self.preflight = preflight.into();
        self
    }

    /// Sets [`on_deleted_file`](Self#structfield.on_deleted_file).
    #[must_use]
    pub fn on_deleted_file(mut self, what: DeletedFile) -> Self {
        self.on_deleted_file = what;
        self
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let checks_health = !self.health_every.is_zero();
        let deadlines = [
            ("hook_deadline", Some(self.hook_deadline)),
            ("health_timeout", Some(self.health_timeout).filter(|_| checks_health)),
            ("call_deadline", self.call_deadline),
        ];
        match deadlines
            .iter()
            .find(|(_, deadline)| deadline.is_some_and(|deadline| deadline.is_zero()))
        {
            Some((field, _)) => Err(PolicyError::NoTime { field }),
            None if checks_health && self.health_failures == 0 => Err(PolicyError::NoFailures),
            None => Ok(()),
        }
    }
}

/// Why a host does not take a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A deadline is zero, so that everything would be late.
    #[error("the policy's `{field}` is zero, so that nothing could be done in time\n  what to do: set a longer time")]
    NoTime {
        /// The field of [`Policy`].
        field: &'static str,
    },
    /// `health_failures` is zero, so that a generation would be faulty without a failed check.
    #[error(
        "the policy's `health_failures` is zero, so that a generation would be faulty without a failed check\n  what to do: set 1 or more; \
         `without_health_checks` turns checks off"
    )]
    NoFailures,
}

impl Default for Policy {
    fn default() -> Self {
        Self::development()
    }
}
