//! The memory of a process after many reloads and many panics. It is a separate test binary, whose tests run one after the
//! other, because each measures the whole process.
#![forbid(unsafe_code)]

mod flat;
mod panics;

use fixture_interfaces::{Keeper, Leaving};
use reslot::{Event, Host, Outcome};
use reslot_tests::{Fixture, Folder, Footprint};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Reloads before the first measurement, for the allocator's own start.
const WARM_UP: u64 = 50;
const RELOADS: u64 = 500;
/// The number of measurements, of which the smallest counts: a leak is in all of them, but an artifact that a host thread
/// holds for a moment (more than 5 MB in a debug build) only in some.
const LOOKS: usize = 50;
/// Much longer than one unload takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Much less than the leak of more than 26 MB that the test would find otherwise, and more than the host's log of events.
const SLACK_KIB: usize = 6 << 10;

/// The lock of the test that is measuring the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin that never frees its 64 KB: each build is unmapped, and its memory is freed with it.
#[test]
fn leaked_memory_of_five_hundred_builds_is_freed() {
    let _alone = alone();
    let (folder, fixture) = (Folder::new(), Fixture::build("fx-keeps-freeing"));
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    let mut resident = Vec::new();
    for build in 1..=RELOADS {
        host.load(folder.publish("a.so", &fixture.stamped(build))).unwrap();
        let slot = host.slot::<dyn Keeper>("keeper").unwrap();
        let left: u64 = [Leaving::LazyLock, Leaving::Leak]
            .map(|how| slot.load().leave(how).unwrap())
            .iter()
            .sum();
        if build > 1 {
            let retired = std::iter::from_fn(|| events.recv_timeout(PATIENCE)).find_map(|record| match &record.event {
                Event::Retired(report) => Some(report.outcome.clone()),
                _ => None,
            });
            assert!(
                matches!(&retired, Some(Outcome::Unmapped(report)) if report.bytes_freed >= left),
                "{retired:?}"
            );
        }
        if build >= WARM_UP {
            // Trimmed, so that memory that libc keeps for later does not count; that may be one or two debug artifacts.
            resident.push(Footprint::trimmed().resident_kib);
        }
    }
    let least = |looks: &[usize]| *looks.iter().min().unwrap();
    let (first, last) = (least(&resident[..LOOKS]), least(&resident[resident.len() - LOOKS..]));
    eprintln!("{first} KiB after {WARM_UP} builds, {last} KiB after {RELOADS}");
    assert!(last <= first + SLACK_KIB, "{first} KiB grew to {last} KiB");
}
