//! Helpers for tests with the moody counters: a host with a policy, a test's own builds, and common checks.

use crate::support::{Gate, wait_for};
use fixture_interfaces::{Hook, How, Lending, Mood, Moody, MoodyOwned};
use reslot::{Claim, Event, Events, Host, Lifecycle, LoadOutcome, Policy, Refusal, RollbackReport, Slot};
use reslot_tests::{Fixture, Folder};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Much longer than any test.
pub const FOR_EVER: Duration = Duration::from_secs(3600);
/// A short time, for deadlines that must pass.
pub const SHORT: Duration = Duration::from_millis(50);
/// A deadline that hanging code must reach, and that slow code on a busy machine must not reach.
pub const LATE: Duration = Duration::from_secs(1);

/// A probation that does not end by itself, without periodic health checks.
pub fn on_probation() -> Policy {
    Policy::development().probation(FOR_EVER).health_every(Duration::ZERO)
}

/// A host without a watched folder, a stream of its events, and a folder to load from.
pub struct Place {
    pub folder: Folder,
    pub events: Events,
    pub host: Host,
    test: u64,
}

impl Place {
    pub fn new(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).build().expect("the host starts");
        Self::with(host, Folder::new())
    }

    pub fn watched(policy: Policy) -> Self {
        let folder = Folder::new();
        let host = Host::builder().policy(policy).watch(folder.path()).build();
        Self::with(host.expect("the host starts"), folder)
    }

    pub fn with(host: Host, folder: Folder) -> Self {
        static TESTS: AtomicU64 = AtomicU64::new(1);
        Self {
            folder,
            events: host.events(),
            host,
            test: TESTS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn mood(&self, build: u64, hook: Hook, how: How) -> Mood {
        let test = self.test;
        Mood { hook, how, test, build }
    }

    pub fn publish_moody(&self, package: &str, build: u64, hook: Hook, how: How) -> PathBuf {
        let bytes = Fixture::build(package).stamped(self.mood(build, hook, how).stamp());
        self.folder.publish("libmoody.so", &bytes)
    }

    pub fn publish(&self, package: &str, build: u64) -> PathBuf {
        self.publish_moody(package, build, Hook::None, How::Refuses)
    }

    /// Loads a build without faults.
    pub fn load(&self, package: &str, build: u64) -> LoadOutcome {
        let outcome = self.host.load(self.publish(package, build));
        outcome.unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Loads a build with a fault in this hook.
    pub fn load_moody(&self, package: &str, build: u64, hook: Hook, how: How) -> Result<LoadOutcome, Refusal> {
        self.host.load(self.publish_moody(package, build, hook, how))
    }

    pub fn gate(&self, build: u64, hook: Hook) -> Gate {
        Gate::new(&self.mood(build, hook, How::Hangs).gate(hook))
    }

    /// The file that an exclusive build of this test holds.
    pub fn lock(&self) -> PathBuf {
        std::env::temp_dir().join(format!("reslot-only-{}-{}", std::process::id(), self.test))
    }

    pub fn slot(&self) -> Slot<dyn Moody> {
        self.host.slot("moody").expect("it serves")
    }

    pub fn lending(&self) -> Slot<dyn Lending> {
        self.host.slot("lending").expect("it serves")
    }

    pub fn claim(&self) -> Claim<dyn MoodyOwned> {
        self.host.claim("moody").expect("it serves")
    }

    pub fn wait<T>(&mut self, wanted: impl FnMut(&Event) -> Option<T>) -> T {
        wait_for(&mut self.events, wanted)
    }

    pub fn wait_for_rollback(&mut self) -> RollbackReport {
        self.wait(|event| match event {
            Event::RolledBack(report) => Some(report.clone()),
            _ => None,
        })
    }

    pub fn wait_for_confirmed(&mut self, number: u64) {
        self.wait(|event| match event {
            Event::Confirmed { generation, .. } if *generation == number => Some(()),
            _ => None,
        });
    }

    /// All events so far.
    pub fn told(&self) -> Vec<Event> {
        let mut events = self.host.events();
        std::iter::from_fn(|| events.try_recv())
            .map(|record| record.event.clone())
            .collect()
    }

    /// The lifecycle states of a generation so far.
    pub fn way(&self, number: u64) -> Vec<Lifecycle> {
        way(&self.told(), number)
    }

    /// The current build.
    pub fn build(&self) -> u64 {
        self.slot().load().stamp().expect("it answers") % 1000
    }
}

/// The lifecycle states of a generation. It checks that each move begins with the last state.
pub fn way(events: &[Event], number: u64) -> Vec<Lifecycle> {
    let mut way = vec![Lifecycle::Loading];
    for event in events {
        if let Event::Lifecycle {
            generation, from, to, ..
        } = event
            && *generation == number
        {
            assert_eq!(way.last(), Some(from), "{way:?} {to}");
            way.push(*to);
        }
    }
    way
}

/// All faults of the hooks that run before the swap.
pub fn all_ways(hooks: &[Hook]) -> impl Iterator<Item = (Hook, How)> {
    hooks
        .iter()
        .flat_map(|hook| [How::Refuses, How::Panics].map(|how| (*hook, how)))
        .filter(|way| *way != (Hook::Create, How::Refuses))
}
