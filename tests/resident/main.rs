//! What a process holds after many reloads and many panics. It is a test binary of its own, whose tests run one after the other,
//! because each looks at what the whole process holds.
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

/// Before the first look: the allocator's own beginnings.
const WARM_UP: u64 = 50;
const RELOADS: u64 = 500;
/// The least of so many looks counts: what stays is in each of them, an artifact that a thread of the host just holds (a debug one
/// has more than 5 MB) only in some.
const LOOKS: usize = 50;
/// Far more than one unloading takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far less than the 26 MB and more that would stay otherwise, and more than the host's history of events takes.
const SLACK_KIB: usize = 6 << 10;

/// Held by the test that looks at the process just now.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin that never frees its 64 KB: each build is gone, and its memory with it.
#[test]
fn what_five_hundred_builds_leave_is_freed() {
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
            // Without what libc only keeps for later: that is a debug artifact or two, more or less.
            resident.push(Footprint::trimmed().resident_kib);
        }
    }
    let least = |looks: &[usize]| *looks.iter().min().unwrap();
    let (first, last) = (least(&resident[..LOOKS]), least(&resident[resident.len() - LOOKS..]));
    eprintln!("{first} KiB after {WARM_UP} builds, {last} KiB after {RELOADS}");
    assert!(last <= first + SLACK_KIB, "{first} KiB grew to {last} KiB");
}
