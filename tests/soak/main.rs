//! 5,000 reloads in one process, with calls from three threads all along, one of which ends and is replaced. It is a test
//! binary of its own, with one test, because it looks at what the whole process holds.
#![forbid(unsafe_code)]

use fixture_interfaces::{Counter, Deed, Probe, SharedCounter};
use reslot::{Event, Host, LoadOutcome, Outcome, mapped_copies};
use reslot_tests::{Fixture, Folder, Footprint};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const RELOADS: u64 = 5_000;
/// Reloads before the first look: allocator arenas, thread-local blocks and the like are made once.
const WARM_UP: u64 = 50;

const DEEDS: [Deed; 9] = [
    Deed::ThreadLocal,
    Deed::CurrentThread,
    Deed::SpawnJoin,
    Deed::Scope,
    Deed::Receive,
    Deed::HashMap,
    Deed::LazyLock,
    Deed::CatchPanic,
    Deed::ThreadLocal,
];

struct Shared {
    done: AtomicBool,
    calls: AtomicU64,
    failed: AtomicU64,
    added: AtomicU64,
    threads: AtomicU64,
}

impl Shared {
    fn count<T, E: std::fmt::Display>(&self, answer: Result<T, E>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = answer {
            self.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("{error}");
        }
    }
}

#[test]
fn five_thousand_reloads_leave_nothing() {
    let folder = Folder::new();
    let (probe, counter, shared) = (
        Fixture::build("fx-probe"),
        Fixture::build("fx-counter"),
        Fixture::build("fx-shared-counter"),
    );
    let host = Host::builder().build().unwrap();
    let mut events = host.events();
    for (name, fixture) in [("probe", &probe), ("counter", &counter), ("shared", &shared)] {
        host.load(folder.publish(&format!("{name}.so"), &fixture.stamped(0))).unwrap();
    }
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let probe_slot = host.slot::<dyn Probe>("probe").unwrap();
    let shared_slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let state = Shared {
        done: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        added: AtomicU64::new(0),
        threads: AtomicU64::new(0),
    };

    let (before, after, claimed) = thread::scope(|scope| {
        // The owner of the claimed counter.
        let owner = scope.spawn(|| {
            let mut sum = 0;
            while !state.done.load(Ordering::Relaxed) {
                claim.sync();
                sum += 1;
                let answer = claim.add(1);
                assert_eq!(answer.as_ref().ok(), Some(&sum), "the state came along");
                state.count(answer);
            }
            claim.sync();
            sum
        });
        // A thread that lives all along, with a reader.
        scope.spawn(|| {
            let mut reader = host.reader();
            for n in 0.. {
                if state.done.load(Ordering::Relaxed) {
                    break;
                }
                let view = reader.view();
                state.count(view.get(&probe_slot).act(DEEDS[n % DEEDS.len()]));
                state.count(view.get(&shared_slot).add(1).inspect(|_| {
                    state.added.fetch_add(1, Ordering::Relaxed);
                }));
            }
        });
        // Threads that come and go, each of which leaves thread-locals behind.
        scope.spawn(|| {
            while !state.done.load(Ordering::Relaxed) {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        state.threads.fetch_add(1, Ordering::Relaxed);
                        for deed in DEEDS {
                            state.count(probe_slot.load().act(deed));
                        }
                        state.count(shared_slot.load().add(1).inspect(|_| {
                            state.added.fetch_add(1, Ordering::Relaxed);
                        }));
                    });
                });
            }
        });

        let reload = |n: u64| {
            let (name, fixture) = match n % 3 {
                0 => ("probe", &probe),
                1 => ("counter", &counter),
                _ => ("shared", &shared),
            };
            match host.load(folder.publish(&format!("{name}.so"), &fixture.stamped(n))) {
                Ok(LoadOutcome::Swapped(_) | LoadOutcome::Staged { .. }) => {}
                other => panic!("reload {n}: {other:?}"),
            }
        };
        (1..=WARM_UP).for_each(reload);
        assert!(host.wait_until_retired(Duration::from_secs(60)));
        let before = Footprint::now();
        (WARM_UP + 1..=RELOADS).for_each(reload);
        assert!(host.wait_until_retired(Duration::from_secs(60)), "{:?}", host.images());
        let after = Footprint::now();
        state.done.store(true, Ordering::Relaxed);
        (before, after, owner.join().unwrap())
    });

    assert_eq!(state.failed.load(Ordering::Relaxed), 0, "no call fails");
    assert_eq!(claim.report().unwrap().total, claimed, "no addition of the owner's is lost");
    let total = shared_slot.load().total().unwrap();
    assert_eq!(total, state.added.load(Ordering::Relaxed), "no addition of anybody's is lost");

    assert!(host.wait_until_retired(Duration::from_secs(60)));
    assert_eq!(mapped_copies(host.private_folder()), 3, "only what serves is mapped");
    assert_eq!(host.images().quarantined, 0);
    let mut unmapped = 0;
    while let Some(record) = events.try_recv() {
        match &record.event {
            Event::Retired(report) => {
                assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:#?}");
                unmapped += 1;
            }
            Event::Refused(refusal) => panic!("{refusal}"),
            Event::Straggling { .. } | Event::ThreadPanicked { .. } => panic!("{:?}", record.event),
            _ => {}
        }
    }
    eprintln!(
        "{RELOADS} reloads, {} calls, {} short-lived threads, the last {unmapped} retirements seen; before {before:?}, after {after:?}",
        state.calls.load(Ordering::Relaxed),
        state.threads.load(Ordering::Relaxed),
    );
    // A short-lived thread may just exist or not, with its stack, its thread-locals' block and, if it has just begun, its
    // descriptor of nothing at all.
    assert_eq!(after.free_keys, before.free_keys, "no key is lost");
    assert_eq!(after.descriptors, before.descriptors, "no descriptor is lost");
    assert!(after.threads <= before.threads + 3, "no thread stays: {before:?} {after:?}");
    assert!(
        after.executable_mappings <= before.executable_mappings,
        "no code stays: {before:?} {after:?}"
    );
    assert!(
        after.mappings <= before.mappings + 16,
        "no mapping stays: {before:?} {after:?}"
    );
}
