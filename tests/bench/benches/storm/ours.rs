//! Reslot under calls: the work beside the callers, who use readers' views.

use crate::times::{Rounds, round};
use fixture_interfaces::{BenchReload, Counter};
use reslot::{Host, Policy, Slot};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What happens beside the callers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    /// A thread that wakes up as often as one that swaps, and does nothing.
    Wakes,
    Swaps,
    PacedReloads,
    Reloads,
}

/// How often, in a second, what is paced happens.
pub const SWAPS: u64 = 1_000;
pub const RELOADS: u64 = 200;

/// A host, and what it is given.
pub struct Ours {
    host: Host,
    folder: Folder,
    fixture: Fixture,
    stamp: AtomicU64,
}

impl Ours {
    pub fn new(policy: Policy, fixture: &Fixture) -> Self {
        let host = Host::builder().policy(policy).build().expect("the host starts");
        let folder = Folder::new();
        host.load(folder.publish("other.so", Fixture::build("fx-counter").bytes()))
            .expect("the fixture loads");
        let ours = Self {
            host,
            folder,
            fixture: fixture.clone(),
            stamp: AtomicU64::new(0),
        };
        ours.reload();
        ours
    }

    fn reload(&self) {
        let stamp = self.stamp.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.publish(self.fixture.file(), &self.fixture.stamped(stamp));
        self.host.load(path).expect("the fixture loads");
    }

    /// Two swaps of the host's view, of which the called slot's generation is not.
    fn swap_twice(&self) {
        drop(self.host.claim::<dyn Counter>("counter").expect("it is nobody's"));
    }

    /// One round of calls.
    pub fn round(&self, rounds: &mut Rounds, callers: usize, beside: Beside, length: Duration) {
        let slot: Slot<dyn BenchReload> = self.host.slot("bench-reload").expect("it serves");
        let caller = || {
            let (slot, mut reader) = (&slot, self.host.reader());
            move || black_box(reader.view().get(slot).stamp()).is_ok()
        };
        let (times, failed, changes) = round(callers, caller, || self.keep_busy(beside, length));
        rounds.push(&times, failed, changes);
        assert!(self.host.wait_until_retired(Duration::from_secs(30)), "old images stay");
    }

    /// Answers how many changes there were.
    fn keep_busy(&self, beside: Beside, length: Duration) -> u64 {
        let begun = Instant::now();
        let paced = |at_once: u64, a_second: u64, work: &dyn Fn()| {
            let mut done = 0;
            while begun.elapsed() < length {
                work();
                done += at_once;
                let next = begun + Duration::from_secs_f64(done as f64 / a_second as f64);
                // It is the pace: nothing is waited for.
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            done
        };
        match beside {
            Beside::Nothing => {
                thread::sleep(length);
                0
            }
            Beside::Wakes => {
                paced(2, SWAPS, &|| ());
                0
            }
            Beside::Swaps => paced(2, SWAPS, &|| self.swap_twice()),
            Beside::PacedReloads => paced(1, RELOADS, &|| self.reload()),
            Beside::Reloads => {
                let mut done = 0;
                while begun.elapsed() < length {
                    self.reload();
                    done += 1;
                }
                done
            }
        }
    }
}
