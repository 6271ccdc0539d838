//! The clock of an execution. It stands still while any thread can run; when all wait, it advances to the next deadline.

use super::wait::{self, here};
use shuttle_engine::runtime::task::TaskId;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A moment of the execution's clock, with the methods of `std::time::Instant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

#[derive(Default)]
struct Clock {
    now: Duration,
    /// The deadlines, and which thread each of them wakes.
    deadlines: BTreeSet<(Duration, usize)>,
    /// The thread that advances the clock, while it waits for a deadline.
    idle: Option<TaskId>,
    ended: bool,
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

/// The clock of a new execution.
pub(super) fn begin() {
    CLOCK.take();
}

/// What the thread that advances the clock does until [`end`]. The scheduler continues it only when no other thread is runnable.
pub(super) fn advance() {
    loop {
        let due = CLOCK.with_borrow_mut(|clock| {
            let first = clock.deadlines.first().map(|(at, _)| *at)?;
            clock.now = clock.now.max(first);
            let later = clock.deadlines.split_off(&(first + Duration::from_nanos(1), 0));
            Some(std::mem::replace(&mut clock.deadlines, later))
        });
        match due {
            Some(due) => {
                for (_, task) in due {
                    wait::unblock(TaskId::from(task));
                }
                wait::point();
            }
            None if CLOCK.with_borrow(|clock| clock.ended) => return,
            None => {
                CLOCK.with_borrow_mut(|clock| clock.idle = Some(here()));
                wait::block();
            }
        }
    }
}

/// Ends the thread that advances the clock, when no thread waits for a deadline any more.
pub(super) fn end() {
    CLOCK.with_borrow_mut(|clock| clock.ended = true);
    wake_clock();
}

fn wake_clock() {
    if let Some(clock) = CLOCK.with_borrow_mut(|clock| clock.idle.take()) {
        wait::unblock(clock);
    }
}

/// The clock wakes this thread at this moment.
pub(super) fn wake_at(deadline: Instant, task: TaskId) {
    CLOCK.with_borrow_mut(|clock| clock.deadlines.insert((deadline.0, task.into())));
    wake_clock();
}

pub(super) fn forget(deadline: Instant, task: TaskId) {
    CLOCK.with_borrow_mut(|clock| clock.deadlines.remove(&(deadline.0, task.into())));
}

/// Waits for so long.
pub(super) fn sleep(long: Duration) {
    let (until, me) = (Instant::now() + long, here());
    wake_at(until, me);
    wait::block();
    forget(until, me);
}

impl Instant {
    /// The present moment of the execution's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(CLOCK.with_borrow(|clock| clock.now))
    }

    /// How long ago this was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    /// The time from `earlier` until this; zero if it is later.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// The time from `earlier` until this; zero if it is later.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment, so much later; none if the clock cannot express it.
    #[must_use]
    pub fn checked_add(&self, long: Duration) -> Option<Self> {
        self.0.checked_add(long).map(Self)
    }

    /// This moment, so much earlier; none if the clock cannot express it.
    #[must_use]
    pub fn checked_sub(&self, long: Duration) -> Option<Self> {
        self.0.checked_sub(long).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, long: Duration) -> Self {
        Self(self.0 + long)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, long: Duration) {
        self.0 += long;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, long: Duration) -> Self {
        Self(self.0 - long)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}
