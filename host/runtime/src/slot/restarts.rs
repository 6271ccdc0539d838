//! When an instance that has ended is replaced: at once, and then with growing pauses if its successors end as well.

use crate::policy::Policy;
use reslot_sync::Instant;
use std::time::Duration;

/// A replacement that lasts this long begins a new series.
const CALM: Duration = Duration::from_secs(60);

/// The replacements of ended instances of one slot.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// How many there were in a row.
    in_a_row: u32,
    /// When the last one was asked for.
    last: Option<Instant>,
}

impl Restarts {
    /// When the next one may be asked for.
    pub(crate) fn due(&self, policy: &Policy, now: Instant) -> Instant {
        match self.last {
            Some(last) if now < last + CALM => last + pause(policy, self.in_a_row),
            _ => now,
        }
    }

    /// One is asked for. Returns when to look whether another one is needed.
    pub(crate) fn asked(&mut self, policy: &Policy, now: Instant) -> Instant {
        self.in_a_row = match self.last {
            Some(last) if now < last + CALM => self.in_a_row.saturating_add(1),
            _ => 1,
        };
        self.last = Some(now);
        now + pause(policy, self.in_a_row)
    }
}

/// The pause after so many replacements in a row: the first one, doubled with each, up to the longest.
fn pause(policy: &Policy, in_a_row: u32) -> Duration {
    let doubled = 1_u32.checked_shl(in_a_row.saturating_sub(1)).unwrap_or(u32::MAX);
    policy.restart_pause.saturating_mul(doubled).min(LONGEST_PAUSE)
}

/// The longest pause between two replacements.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_replacement_lasts() {
        let policy = Policy::development();
        let (mut restarts, begun) = (Restarts::default(), Instant::now());
        assert_eq!(restarts.due(&policy, begun), begun, "the first at once");
        let mut now = begun;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let next = restarts.asked(&policy, now);
            assert_eq!(restarts.due(&policy, now), next);
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(
            pauses[..3],
            [policy.restart_pause, policy.restart_pause * 2, policy.restart_pause * 4]
        );
        assert_eq!(pauses[11], LONGEST_PAUSE);
        now += CALM * 2;
        assert_eq!(restarts.due(&policy, now), now);
        assert_eq!(restarts.asked(&policy, now), now + policy.restart_pause, "a new series");
    }
}
