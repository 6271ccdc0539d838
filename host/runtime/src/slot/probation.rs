//! The probation of a generation: its criteria, and the standby. This is only bookkeeping under the slot's lock;
//! `supervisor` and `rollback` in `reload` act on the verdict.

use super::{
    call_stats::Overdue,
    generation::Generation,
    messages::CheckResult,
    record::{Current, SlotRecord},
};
use crate::policy::Policy;
use reslot_plugin_api::Health;
use reslot_report::RollbackReason;
use reslot_sync::Instant;
use reslot_system::awake::{Limit, awake_between};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// A generation that can become current again at once.
pub(crate) struct Standby {
    pub(crate) current: Current,
    /// It was stopped because it holds an exclusive resource, so it has to be started again.
    pub(crate) stopped: bool,
}

/// A generation's probation.
pub(crate) struct Probation {
    /// The target of a rollback. None for a first version, and after a rollback: then the history is used.
    pub(crate) standby: Option<Standby>,
    begun: Instant,
    /// The generation is faulty without a standby, and the reload thread was already asked to search the history.
    pub(crate) history_asked: bool,
    /// Set if a rollback was requested, or another member of the group was rolled back. It overrides the verdict.
    pub(crate) forced: Option<RollbackReason>,
    /// The slots that were swapped together with it: they pass the probation together, or are rolled back together.
    pub(crate) set: Option<Arc<ProbationGroup>>,
}

/// Slots with a common probation, because their generations were published together; in the order in which those were started.
pub(crate) type ProbationGroup = Vec<Weak<SlotRecord>>;

/// What is known of the health of a slot's current generation.
#[derive(Default)]
pub(crate) struct HealthTracker {
    /// The number of the generation that is tracked.
    generation: u64,
    /// The result of the last check.
    pub(crate) last: Option<Health>,
    /// The number of consecutive failed checks.
    failures: u32,
    /// The number of finished checks.
    checks: u32,
    /// How many consecutive measurements found too much growth, and the last growth.
    growing: (u32, u64),
    /// The last measurement of its allocated bytes; the first one is at the swap.
    bytes: Option<(Instant, u64)>,
    /// It was measured again since then.
    measured: bool,
    last_check: Option<Instant>,
    /// When the running check began, and how many times it was counted as failed.
    pub(crate) under_way: Option<(Instant, u32)>,
}

/// The verdict about a generation on probation.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It has passed its probation.
    Passed,
    /// The slot must be rolled back.
    Faulty(RollbackReason),
    /// It is still open; check again at this time, or earlier after a message.
    Open(Instant),
}

impl Verdict {
    /// When to check again, unless a message comes before.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        match self {
            Self::Open(at) => Some(*at),
            Self::Passed | Self::Faulty(_) => None,
        }
    }
}

/// The interval after the end of the probation, while calls or a good check are still missing.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The interval in which calls that take too long are looked for.
fn overdue_interval(policy: &Policy) -> Duration {
    let deadline = policy.call_deadline.unwrap_or(LOOK_AGAIN);
    (deadline / 4).clamp(Duration::from_millis(1), LOOK_AGAIN)
}

impl Probation {
    pub(crate) fn new(standby: Option<Standby>, set: Option<Arc<ProbationGroup>>) -> Self {
        Self {
            standby,
            begun: Instant::now(),
            history_asked: false,
            forced: None,
            set,
        }
    }

    /// Whether it is of this set.
    pub(crate) fn is_of(&self, set: &Arc<ProbationGroup>) -> bool {
        self.set.as_ref().is_some_and(|own| Arc::ptr_eq(own, set))
    }

    /// When its time is over.
    pub(crate) fn end(&self, policy: &Policy) -> Instant {
        self.begun + policy.probation
    }

    pub(crate) fn judge(&self, policy: &Policy, generation: &Generation, health_tracker: &HealthTracker) -> Verdict {
        let call_stats = generation.call_stats();
        if let Some(reason) = &self.forced {
            return Verdict::Faulty(reason.clone());
        }
        if let Some(end) = call_stats.end() {
            return Verdict::Faulty(RollbackReason::InstanceEnded(end));
        }
        let (panics, limit) = (call_stats.panics(), policy.max_panics);
        if let (true, Some(last)) = (panics > limit, call_stats.last_panic()) {
            return Verdict::Faulty(RollbackReason::Panicked { panics, limit, last });
        }
        if let (Some(Overdue { method, running }), Some(limit)) = (call_stats.overdue(), policy.call_deadline) {
            return Verdict::Faulty(RollbackReason::CallTimeout { method, running, limit });
        }
        let health_tracker = (health_tracker.generation == generation.number()).then_some(health_tracker);
        if let Some(faulty) = health_tracker.and_then(|health_tracker| health_tracker.faulty(policy)) {
            return Verdict::Faulty(faulty);
        }
        let now = Instant::now();
        let end = self.end(policy);
        let clear = health_tracker
            .is_none_or(|health_tracker| health_tracker.is_clear() && !health_tracker.waits_for_check(policy, end, now));
        let enough_calls = call_stats.calls() >= policy.probation_calls;
        match now >= end {
            // A call that went in before the end, and may yet take too long.
            true if call_stats.is_undecided(end) => Verdict::Open(now + overdue_interval(policy)),
            true if clear && enough_calls => Verdict::Passed,
            true => Verdict::Open(now + LOOK_AGAIN),
            false if policy.call_deadline.is_some() => Verdict::Open(end.min(now + overdue_interval(policy))),
            false => Verdict::Open(end),
        }
    }
}

impl HealthTracker {
    /// The tracker of this generation: it begins anew if that is another one than before, and measures its memory for the first time.
    pub(crate) fn of_generation(&mut self, number: u64, bytes: impl FnOnce() -> Option<u64>) -> &mut Self {
        if self.generation != number {
            let now = Instant::now();
            *self = Self {
                generation: number,
                bytes: bytes().map(|bytes| (now, bytes)),
                last_check: Some(now),
                ..Self::default()
            };
        }
        self
    }

    /// When the next check is due. `end` is that of the probation, if it is on probation: none ends without a check.
    pub(crate) fn due(&self, policy: &Policy, end: Option<Instant>) -> Option<Instant> {
        let every = policy.health_every;
        let last = self.last_check?;
        match (self.under_way, end) {
            // While a check hangs no other one is started; it counts as one more failure in each interval.
            (Some((since, counted)), _) => Some(Limit::since(since, policy.health_timeout + every * counted).end()),
            _ if every.is_zero() => None,
            (None, Some(end)) if self.checks == 0 => Some(end.min(last + every)),
            (None, _) => Some(last + every),
        }
    }

    /// When to wake up while a check is under way, to notice if the process is stopped meanwhile. None once the check is late: then
    /// [`due`](Self::due) says when it counts as the next failure.
    pub(crate) fn watch_again(&self, policy: &Policy) -> Option<Instant> {
        let (since, _) = self.under_way?;
        let limit = Limit::since(since, policy.health_timeout);
        (!limit.is_over()).then(|| limit.next_look())
    }

    /// When memory is measured without a check: one is late, or hangs, or waits for an owner who does not come. `end` as for
    /// [`due`](Self::due).
    pub(crate) fn measurement_due(&self, policy: &Policy, end: Option<Instant>) -> Option<Instant> {
        let (Some(end), Some((at, _)), Some(_)) = (end, self.bytes, policy.max_live_bytes_growth) else {
            return None;
        };
        let every = policy.health_every;
        match (every.is_zero(), self.measured) {
            (true, _) => None,
            (false, false) => Some(end.min(at + every * 2)),
            (false, true) => Some(at + every * 2),
        }
    }

    /// This check is left out.
    pub(crate) fn passes_over(&mut self) {
        self.last_check = Some(Instant::now());
        self.checks += 1;
    }

    /// Whether nothing speaks against it, and nothing is being found out.
    fn is_clear(&self) -> bool {
        let well = matches!(self.last, None | Some(Health::Ok | Health::Warn(_)));
        well && self.growing.0 == 0 && self.under_way.is_none()
    }

    /// Whether it has not been checked yet. If a claim's owner never runs the check, this waits for one probation period after the end, and no longer.
    fn waits_for_check(&self, policy: &Policy, end: Instant, now: Instant) -> bool {
        self.checks == 0 && !policy.health_every.is_zero() && now < end + policy.probation
    }

    pub(crate) fn begins(&mut self) {
        self.under_way = Some((Instant::now(), 0));
    }

    /// The check under way has not come back in time (again). Answers the result to report, and whether it differs from the last one.
    pub(crate) fn hangs(&mut self, policy: &Policy) -> (Health, bool) {
        if let Some((_, counted)) = &mut self.under_way {
            *counted += 1;
        }
        let health = Health::CheckFailed(format!("it did not return within {:?}", policy.health_timeout));
        let is_news = self.count(&health);
        (health, is_news)
    }

    /// A check came back. Answers the result to report, and whether it differs from the last one.
    pub(crate) fn record_check(&mut self, policy: &Policy, result: CheckResult) -> (Health, bool) {
        let CheckResult { health, ran, bytes } = result;
        let took = awake_between(ran.0, ran.1);
        let health = match took > policy.health_timeout {
            true => Health::CheckFailed(format!("it took {took:.1?}, the limit is {:?}", policy.health_timeout)),
            false => health,
        };
        let counted = self.under_way.take().map_or(0, |(_, counted)| counted);
        let now = Instant::now();
        self.last_check = Some(now);
        self.checks += 1;
        self.measure(policy, now, bytes);
        // A check that hung was counted while it did: it is not counted again.
        let is_news = match counted > 0 && is_failure(&health) {
            true => self.last.replace(health.clone()).as_ref() != Some(&health),
            false => self.count(&health),
        };
        (health, is_news)
    }

    fn count(&mut self, health: &Health) -> bool {
        match health {
            _ if is_failure(health) => self.failures += 1,
            // Neither a pass nor a failure.
            Health::TemporarilyUnavailable(_) => {}
            _ => self.failures = 0,
        }
        self.last.replace(health.clone()).as_ref() != Some(health)
    }

    /// Compares what it has allocated now with what it had.
    pub(crate) fn measure(&mut self, policy: &Policy, now: Instant, bytes: Option<u64>) {
        let (Some(bytes), Some(limit)) = (bytes, policy.max_live_bytes_growth) else {
            return;
        };
        if let Some((at, before)) = self.bytes.replace((now, bytes)) {
            self.measured = true;
            let seconds = now.saturating_duration_since(at).as_secs_f64().max(1e-3);
            let rate = (bytes.saturating_sub(before) as f64 / seconds) as u64;
            self.growing = match rate > limit {
                true => (self.growing.0 + 1, rate),
                false => (0, 0),
            };
        }
    }

    fn faulty(&self, policy: &Policy) -> Option<RollbackReason> {
        let enough = policy.health_failures.max(1);
        if self.failures >= enough {
            let last = self.last.clone().unwrap_or(Health::Ok);
            let failures = self.failures;
            return Some(RollbackReason::Unhealthy { failures, last });
        }
        let limit = policy.max_live_bytes_growth?;
        (self.growing.0 >= enough).then_some(RollbackReason::Growing {
            bytes_a_second: self.growing.1,
            limit,
        })
    }
}

/// Whether this is one of the results that count as failures.
pub(crate) fn is_failure(health: &Health) -> bool {
    matches!(health, Health::Critical(_) | Health::CheckFailed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the supervisor would look again at once, for as long as the check hangs.
    #[test]
    fn check_that_is_late_is_not_looked_at_until_it_counts_again() {
        let policy = Policy::development().health_timeout(Duration::from_millis(10));
        let begun = Instant::now();
        let mut tracker = HealthTracker {
            last_check: Some(begun),
            under_way: Some((begun, 0)),
            ..HealthTracker::default()
        };
        assert!(tracker.watch_again(&policy).is_some(), "the check may be in time");
        tracker.under_way = Some((begun - Duration::from_secs(60), 200));
        assert_eq!(tracker.watch_again(&policy), None);
        assert!(tracker.due(&policy, None) > Some(Instant::now() + Duration::from_secs(30)));
    }
}
