//! Time during which this process ran. A deadline of a hook or a call must not pass because the whole process was stopped (SIGSTOP, a
//! debugger, a frozen container): then nothing of it had a chance to be quick.
//!
//! The monotonic clock counts such time. So each thread of the host that waits for a deadline wakes up several times before it. If
//! it wakes up much later than it wanted to, the process was not running, or had no processor; that time is noted, and no deadline counts it.

use crate::PerProcess;
use reslot_sync::{Instant, Mutex};
use std::time::Duration;

/// The clock of `cargo xtask explore` advances only when all threads wait, so no thread oversleeps there.
const NOTED: bool = cfg!(not(reslot_explore));
/// A thread that wakes up later than this was kept from running. On a machine that is busy enough to delay a thread so much, the plugin's
/// threads wait as well, so a deadline is longer there by the delay.
const LATE: Duration = Duration::from_millis(100);
/// The longest time between two looks of a thread that waits for a deadline.
const LONGEST_SLICE: Duration = Duration::from_millis(250);
/// How many times are remembered. Two that meet are one.
const MOST: usize = 16;

static ASLEEP: PerProcess<Mutex<Asleep>> = PerProcess::new(Mutex::default);

#[derive(Default)]
struct Asleep {
    /// Times in which the process did not run, the oldest first; none overlaps another.
    times: Vec<(Instant, Instant)>,
    /// The threads that wait now, each with the moment at which it wants to be awake again.
    waiting: Vec<(u64, Instant)>,
    last_number: u64,
}

/// Runs `wait`, which returns by `latest` at the latest. If it returns much later, the process was asleep in between.
pub fn watch<T>(latest: Instant, wait: impl FnOnce() -> T) -> T {
    if !NOTED {
        return wait();
    }
    /// Also if `wait` panics.
    struct Waiting(u64);
    impl Drop for Waiting {
        fn drop(&mut self) {
            ASLEEP.get().lock().wakes(self.0, Instant::now());
        }
    }
    let number = {
        let mut asleep = ASLEEP.get().lock();
        asleep.last_number += 1;
        let number = asleep.last_number;
        // A thread that wants to be awake already has not overslept yet.
        asleep.waiting.push((number, latest.max(Instant::now())));
        number
    };
    let _waiting = Waiting(number);
    wait()
}

/// How long the process ran between two moments.
pub fn awake_between(from: Instant, to: Instant) -> Duration {
    let asleep = match NOTED {
        true => ASLEEP.get().lock().between(from, to, Instant::now()),
        false => Duration::ZERO,
    };
    to.saturating_duration_since(from).saturating_sub(asleep)
}

impl Asleep {
    fn wakes(&mut self, number: u64, now: Instant) {
        // A forked child has none.
        let Some(at) = self.waiting.iter().position(|(known, _)| *known == number) else {
            return;
        };
        let (_, latest) = self.waiting.swap_remove(at);
        if now.saturating_duration_since(latest) > LATE {
            self.add(latest, now);
        }
    }

    fn add(&mut self, mut from: Instant, mut to: Instant) {
        // Several threads notice the same time.
        self.times.retain(|(begun, ended)| {
            let apart = *ended < from || to < *begun;
            if !apart {
                (from, to) = (from.min(*begun), to.max(*ended));
            }
            apart
        });
        let at = self.times.partition_point(|(begun, _)| *begun < from);
        self.times.insert(at, (from, to));
        if self.times.len() > MOST {
            self.times.remove(0);
        }
    }

    /// The time between two moments in which the process was asleep, as far as is known at `now`.
    fn between(&mut self, from: Instant, to: Instant, now: Instant) -> Duration {
        // The thread that asks may have woken up before the threads that wait.
        let late = self.waiting.iter().map(|(_, latest)| *latest).min();
        if let Some(late) = late.filter(|late| now.saturating_duration_since(*late) > LATE) {
            self.add(late, now);
        }
        let within = |(begun, ended): &(Instant, Instant)| (*ended).min(to).saturating_duration_since((*begun).max(from));
        self.times.iter().map(within).sum()
    }
}

/// A time limit that counts only time during which the process ran.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    since: Instant,
    most: Duration,
}

impl Limit {
    /// It begins now.
    pub fn begin(most: Duration) -> Self {
        Self::since(Instant::now(), most)
    }

    /// It began then.
    pub fn since(since: Instant, most: Duration) -> Self {
        Self { since, most }
    }

    /// How much of it is left.
    pub fn left(&self) -> Duration {
        self.most.saturating_sub(awake_between(self.since, Instant::now()))
    }

    /// When it will have passed, if the process goes on running.
    pub fn end(&self) -> Instant {
        let now = Instant::now();
        let asleep = now
            .saturating_duration_since(self.since)
            .saturating_sub(awake_between(self.since, now));
        self.since + self.most + asleep
    }

    /// Whether it has passed.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How long a thread may sleep that waits for it.
    pub fn slice(&self) -> Duration {
        if !NOTED {
            return self.left();
        }
        self.left()
            .min((self.most / 4).min(LONGEST_SLICE).max(Duration::from_millis(1)))
    }

    /// The same as a moment.
    pub fn next_look(&self) -> Instant {
        Instant::now() + self.slice()
    }

    /// Tries until it succeeds or the limit has passed. `attempt` waits for the given time at most.
    pub fn wait<T>(&self, mut attempt: impl FnMut(Duration) -> Option<T>) -> Option<T> {
        loop {
            let slice = self.slice();
            let done = watch(Instant::now() + slice, || attempt(slice));
            if done.is_some() || self.is_over() {
                return done;
            }
        }
    }
}

/// Waits until a deadline, for something that would lose its place in a queue if it waited in slices: `attempt` waits until the given
/// moment. If the process was asleep when the deadline passed, there is another attempt.
pub fn wait_until<T>(deadline: Instant, mut attempt: impl FnMut(Instant) -> Option<T>) -> Option<T> {
    let mut latest = deadline.max(Instant::now());
    loop {
        let done = watch(latest, || attempt(latest));
        if done.is_some() || latest.elapsed() <= LATE {
            return done;
        }
        latest = Instant::now() + LONGEST_SLICE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_that_several_threads_have_noted_counts_once() {
        let start = Instant::now();
        let at = |after| start + seconds(after);
        let mut asleep = Asleep::default();
        for (from, to) in [(10, 20), (12, 20), (9, 15), (30, 40), (19, 21)] {
            asleep.add(at(from), at(to));
        }
        assert_eq!(asleep.times, [(at(9), at(21)), (at(30), at(40))]);
        assert_eq!(asleep.between(at(0), at(50), start), seconds(22));
        assert_eq!(asleep.between(at(15), at(35), start), seconds(11));
        assert_eq!(asleep.between(at(21), at(30), start), seconds(0));
        for n in 0..50 {
            asleep.add(at(100 + 2 * n), at(101 + 2 * n));
        }
        assert_eq!(asleep.times.len(), MOST);
    }

    #[test]
    fn thread_that_oversleeps_is_noticed_by_itself_and_by_others() {
        let start = Instant::now();
        let at = |after| start + seconds(after);
        let mut asleep = Asleep {
            waiting: vec![(1, at(1)), (2, at(5))],
            ..Asleep::default()
        };
        // Another thread asks before these have woken up.
        assert_eq!(asleep.between(at(0), at(10), at(10)), seconds(9));
        asleep.wakes(2, at(11));
        asleep.wakes(1, at(12));
        assert_eq!(asleep.times, [(at(1), at(12))]);
        // This one wakes up in time.
        asleep.waiting = vec![(3, at(20))];
        asleep.wakes(3, at(19));
        assert_eq!((asleep.times.len(), asleep.waiting.len()), (1, 0));
    }

    #[test]
    fn limit_does_not_count_time_in_which_the_process_did_not_run() {
        let begun = Instant::now() - seconds(60);
        let limit = Limit::since(begun, seconds(30));
        assert!(limit.is_over());
        ASLEEP.get().lock().add(begun + seconds(1), Instant::now());
        assert!(limit.end() > Instant::now() + seconds(28));
        assert!(!limit.is_over() && limit.left() > seconds(28), "{:?}", limit.left());
        assert!(limit.slice() <= LONGEST_SLICE);
        assert_eq!(limit.wait(|slice| (slice <= LONGEST_SLICE).then_some(1)), Some(1));
        assert_eq!(Limit::begin(Duration::ZERO).wait(|_| None::<()>), None);
    }

    #[test]
    fn deadline_that_passed_in_sleep_is_waited_for_again() {
        let deadline = Instant::now() + seconds(1);
        assert_eq!(wait_until(deadline, |until| (until == deadline).then_some(1)), Some(1));
        let mut attempts = 0;
        let done = wait_until(Instant::now(), |until| {
            attempts += 1;
            // As long as a process that is stopped.
            while attempts == 1 && until.elapsed() <= LATE * 2 {
                std::thread::yield_now();
            }
            None::<()>
        });
        assert_eq!((done, attempts), (None, 2));
    }
}
