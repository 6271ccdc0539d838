//! How a host handles faulty versions, as plain data: how long a new generation is on probation, what counts as a fault, how
//! long a plugin's hooks may take, and how many versions the history keeps for a rollback. The rest of the host reads these
//! values; this module only defines them.

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
    /// How long the replaced generation is kept as the standby, so that a rollback to it takes microseconds. With zero, the
    /// host retires the replaced generation at once, a fault causes no rollback, and each version that was started counts as
    /// good.
    ///
    /// The probation lasts longer while its result is open: a health check is running or has failed, memory grew too fast at
    /// the last measurement, the first check has not run yet, or a call is still within its `call_deadline`.
    pub probation: Duration,
    /// How many calls the new generation must also have answered before its probation ends. If no calls come, that is no
    /// fault, and the probation continues. With any value but zero, each call during a probation passes through the gate,
    /// which counts it.
    pub probation_calls: u64,
    /// How many panics in calls a generation may have during probation.
    pub max_panics: u32,
    /// How long one call may take during probation; none: no limit. The host cannot end a call that hangs, but it rolls the
    /// slot back for all other callers. As with `probation_calls`, each call during a probation passes through the gate.
    pub call_deadline: Option<Duration>,
    /// How often the host calls a plugin's `health` and measures its memory. Zero: only once, before the plugin serves.
    pub health_every: Duration,
    /// How long one check may take; a check that takes longer counts as failed.
    pub health_timeout: Duration,
    /// After how many consecutive failed checks a generation on probation is faulty.
    pub health_failures: u32,
    /// How many bytes a second the plugin's live memory may grow during probation, from one measurement to the next. The
    /// generation is faulty after `health_failures` consecutive measurements above the limit. The host measures at the swap,
    /// after each check, and also if no check has ended for two `health_every`. None: no limit.
    pub max_live_bytes_growth: Option<u64>,
    /// How long a hook may take: `Default`, `migrate`, the state's decoding, `init`, `start` and `stop`. A candidate whose
    /// hook takes longer is refused; its image stays mapped until the hook returns.
    pub hook_deadline: Duration,
    /// Which state a slot has after a rollback.
    pub rollback_state: RollbackState,
    /// How many good artifacts the history keeps besides the current one.
    pub history: usize,
    /// How the host tries an artifact in a child process, with a copy of the current state, before it opens the artifact
    /// itself. None: no preflight. The reload's report has its cost, and `cargo xtask bench reload` measures it. The child
    /// has neither configuration nor resources: `init` and `health` run there with the instance that `Default` and the state
    /// produce.
    pub preflight: Option<Preflight>,
    /// What the host does with a slot whose file is deleted from the watched folder.
    pub on_deleted_file: DeletedFile,
    /// How often the host compares the read-only memory of each mapped image with its artifact, while a processor is idle, as
    /// [`Host::verify_images`](crate::Host::verify_images) does on demand. A comparison that takes longer than this is followed by the next
    /// one at once. None: never.
    pub scrub_every: Option<Duration>,
    /// What the host does with a slot whose image differs in memory from its artifact.
    pub on_damaged_image: DamagedImage,
    /// For plugins in a sandbox or in a process of their own: the pause after the first replacement of an instance that has ended, before its
    /// successor is replaced as well. It is doubled with each one in a row, up to 30 seconds. An instance that ends on probation is rolled back.
    /// Default: 100 ms.
    pub restart_pause: Duration,
}

/// What the host does with a slot whose image differs in memory from its artifact, because a bit has flipped or something has written there.
/// [`Event::ImageDamaged`](crate::Event::ImageDamaged) reports the difference in any case. A damaged standby is given up with any value but
/// `Report`, so that no rollback goes to it, and another candidate of the same artifact takes the place of a damaged one that waits for its owner.
///
/// To take the state, the host calls the `snapshot` of the damaged image. With [`RollbackState::Snapshot`], a rollback within the probation
/// calls nothing of it, and starts from the snapshot of the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DamagedImage {
    /// The slot gets a fresh image of the same artifact, with its state: [`Event::ImageRenewed`](crate::Event::ImageRenewed).
    #[default]
    Renew,
    /// The slot is rolled back to the standby, or to the newest older version of the history. If there is none, it gets a fresh image. The
    /// version is not marked as bad, because it is not at fault.
    Rollback,
    /// The current generation keeps serving.
    Report,
}

/// What the host does with a slot whose file is deleted from the watched folder, or renamed out of it. Replacing a file
/// (deleting and creating it within two seconds, or renaming another one over it) does not count as deletion, and neither
/// does deleting or replacing the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeletedFile {
    /// The current generation keeps serving; [`Event::FileDeleted`](crate::Event::FileDeleted) reports the deletion.
    #[default]
    Keep,
    /// The host unloads the slot, as [`Host::unload`](crate::Host::unload) does.
    /// [`Host::left_state`](crate::Host::left_state) returns its state until the slot has a generation again. If other slots
    /// use this slot, the host waits until they are unloaded.
    Unload,
}

/// Which state a slot has after a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackState {
    /// The newer version's state, migrated down: changes since the swap are kept. If that fails (a panic, a timeout, a state
    /// that does not fit), the slot gets the snapshot.
    ///
    /// A call that panicked may have left the state half changed. Choose [`Snapshot`](Self::Snapshot) if that is worse than
    /// losing the changes since the swap.
    KeepCurrent,
    /// The state that was handed over at the swap: changes since then are lost.
    Snapshot,
}

impl Policy {
    /// For development: two seconds of probation, no preflight. This is a host's default.
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
            scrub_every: None,
            on_damaged_image: DamagedImage::Renew,
            restart_pause: Duration::from_millis(100),
        }
    }

    /// For production: thirty seconds of probation, and a preflight of each artifact in a child process.
    pub fn production() -> Self {
        Self {
            probation: Duration::from_secs(30),
            preflight: Some(Preflight::default()),
            ..Self::development()
        }
    }

    /// The host retires a replaced generation at once: for tests of unloading, and for machines without memory for two
    /// generations. A fault causes no rollback, so the limits on calls, panics, health and memory do not apply.
    pub fn without_probation() -> Self {
        Self {
            probation: Duration::ZERO,
            ..Self::development()
        }
    }
}

/// Each method sets one field and returns the policy, so that calls can be chained.
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

    /// The host checks a plugin's health once before it serves and then never again, and does not measure its memory.
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

    /// Sets [`scrub_every`](Self#structfield.scrub_every): an interval, or `None`.
    #[must_use]
    pub fn scrub_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.scrub_every = interval.into();
        self
    }

    /// Sets [`restart_pause`](Self#structfield.restart_pause).
    #[must_use]
    pub fn restart_pause(mut self, pause: Duration) -> Self {
        self.restart_pause = pause;
        self
    }

    /// Sets [`on_damaged_image`](Self#structfield.on_damaged_image).
    #[must_use]
    pub fn on_damaged_image(mut self, what: DamagedImage) -> Self {
        self.on_damaged_image = what;
        self
    }

    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let checks_health = !self.health_every.is_zero();
        let deadlines = [
            ("hook_deadline", Some(self.hook_deadline)),
            ("health_timeout", Some(self.health_timeout).filter(|_| checks_health)),
            ("call_deadline", self.call_deadline),
            ("scrub_every", self.scrub_every),
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

/// Why a host refuses a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A deadline is zero, so every hook or call would exceed it.
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
