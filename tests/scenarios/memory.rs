//! A plugin's allocations: they are counted to the byte, reported when it is unloaded, and freed with `allocator = freeing`.

use crate::support::{assert_nothing_left, wait_for, wait_for_unmapped};
use fixture_interfaces::{Alignment, Deed, Keeper, Leaving, Probe};
use reslot::{Event, Events, Host, Outcome, RetireReport, Slot, UnloadReport};
use reslot_tests::{Fixture, Folder};
use std::{sync::mpsc, thread};

struct Kept {
    folder: Folder,
    host: Host,
    events: Events,
    fixture: &'static str,
    builds: u64,
}

/// A host with one of the keepers.
fn keeper(fixture: &'static str) -> (Kept, Slot<dyn Keeper>) {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let events = host.events();
    let mut kept = Kept {
        folder,
        host,
        events,
        fixture,
        builds: 0,
    };
    kept.load();
    let slot = kept.host.slot("keeper").unwrap();
    (kept, slot)
}

impl Kept {
    /// The next build takes over.
    fn load(&mut self) {
        self.builds += 1;
        let bytes = Fixture::build(self.fixture).stamped(self.builds);
        self.host.load(self.folder.publish("a.so", &bytes)).unwrap();
    }

    /// Loads the next build and waits until the former one is gone. Returns what that left.
    fn replace(&mut self) -> (UnloadReport, String) {
        self.load();
        let report = wait_for_unmapped(&mut self.events, "keeper", self.builds - 1);
        let words = Event::Retired(report.clone()).to_string();
        (left(report), words)
    }

    fn live(&self) -> u64 {
        self.host.slots()[0].live_bytes.expect("it counts")
    }
}

fn left(report: RetireReport) -> UnloadReport {
    match report.outcome {
        Outcome::Unmapped(left) => left,
        other => panic!("{other:?}"),
    }
}

const BOTH: [&str; 2] = ["fx-keeps", "fx-keeps-freeing"];

#[test]
fn live_bytes_follow_every_allocation_to_the_byte() {
    for fixture in BOTH {
        let (kept, slot) = keeper(fixture);
        let plugin = slot.load();
        let before = kept.live();
        let mut expected = before;
        for (place, bytes, alignment) in [
            (0, 1, Alignment::One),
            (1, 1_001, Alignment::One),
            (2, 300_000, Alignment::One),
            (3, 64, Alignment::Line),
            (4, 6_400, Alignment::Line),
            (5, 4_096, Alignment::Page),
            (6, 409_600, Alignment::Page),
            (7, 0, Alignment::One),
        ] {
            plugin.keep(place, bytes, alignment).unwrap();
            expected += bytes;
            assert_eq!(kept.live(), expected, "{fixture}: {bytes} more");
        }
        for (place, from, to) in [
            (0, 1, 77),
            (1, 1_001, 200_000),
            (2, 300_000, 10),
            (3, 64, 64_000),
            (4, 6_400, 128),
            (5, 4_096, 40_960),
            (6, 409_600, 4_096),
            (7, 0, 8),
            (0, 77, 0),
        ] {
            plugin.resize(place, to).unwrap();
            expected = expected - from + to;
            assert_eq!(kept.live(), expected, "{fixture}: {from} resized to {to}");
        }
        (0..8).for_each(|place| plugin.free(place).unwrap());
        assert_eq!(kept.live(), before, "{fixture}");
    }
}

#[test]
fn memory_of_one_thread_may_be_freed_by_another() {
    for fixture in BOTH {
        let (kept, slot) = keeper(fixture);
        slot.load().stamp().unwrap();
        let before = kept.live();
        let (send, places) = mpsc::channel();
        thread::scope(|scope| {
            let (slot, kept) = (&slot, &kept);
            scope.spawn(move || {
                for place in 0..32 {
                    slot.load().keep(place, 1_000 + u64::from(place), Alignment::One).unwrap();
                    send.send(place).unwrap();
                }
            });
            for place in places {
                assert!(kept.live() >= before + 1_000);
                match place % 3 {
                    0 => slot.load().resize(place, 5_000).unwrap(),
                    1 => slot.load().resize(place, 10).unwrap(),
                    _ => {}
                }
                slot.load().free(place).unwrap();
            }
        });
        assert_eq!(kept.live(), before, "{fixture}");
    }
}

#[test]
fn leaked_memory_is_reported_and_stays() {
    let (mut kept, slot) = keeper("fx-keeps");
    // The memory that std itself keeps.
    let (nothing, _) = kept.replace();
    let own = nothing.live_bytes_left.expect("it counts");
    let mut expected = own;
    for how in [Leaving::Leak, Leaving::LazyLock, Leaving::Leak] {
        expected += slot.load().leave(how).unwrap();
    }
    // This thread waits for the end, which is a safe point; the other thread reaches none.
    slot.load().leave(Leaving::ThreadLocal).unwrap();
    let (end, ends) = mpsc::channel::<()>();
    let (called, calls) = mpsc::channel();
    let thread = thread::spawn({
        let slot = slot.clone();
        move || {
            called.send(slot.load().leave(Leaving::ThreadLocal).unwrap()).unwrap();
            let _ = ends.recv();
        }
    });
    expected += calls.recv().unwrap();
    let (report, words) = kept.replace();
    assert_eq!((report.thread_locals_run, report.thread_locals_skipped), (1, 1), "{report:?}");
    let left = report.live_bytes_left.unwrap();
    assert_eq!(left, expected, "beside {own} that std always leaves");
    assert_eq!((report.bytes_freed, report.blocks_freed), (0, 0));
    assert!(words.contains("; left 6") && words.contains(" KB on its heap"), "{words}");
    drop(end);
    thread.join().unwrap();
    assert_nothing_left(&kept.host, 1);
}

#[test]
fn leaked_memory_is_freed_if_the_plugin_asks_for_that() {
    let (mut kept, slot) = keeper("fx-keeps-freeing");
    let (nothing, _) = kept.replace();
    assert_eq!(Some(nothing.bytes_freed), nothing.live_bytes_left);
    let mut expected = nothing.bytes_freed;
    for how in [Leaving::Leak, Leaving::LazyLock] {
        expected += slot.load().leave(how).unwrap();
    }
    slot.load().keep(3, 8_192, Alignment::Page).unwrap();
    slot.load().keep(4, 64, Alignment::Line).unwrap();
    slot.load().resize(4, 6_400).unwrap();
    let (report, words) = kept.replace();
    assert_eq!(report.live_bytes_left, Some(expected));
    assert_eq!(report.bytes_freed, expected);
    assert_eq!(
        report.blocks_freed,
        nothing.blocks_freed + 2,
        "what the instance kept went with it: only the leaks are left"
    );
    assert!(words.contains(" KB of its heap freed"), "{words}");
    assert_nothing_left(&kept.host, 1);
}

#[test]
fn plugin_that_prints_leaves_no_more_than_one_that_does_not() {
    let folder = Folder::new();
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    for (build, deed) in [(1, Deed::Print), (2, Deed::PrintLine), (3, Deed::HashMap), (4, Deed::HashMap)] {
        host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(build)))
            .unwrap();
        host.slot::<dyn Probe>("probe").unwrap().load().act(deed).unwrap();
        if build > 1 {
            let left = left(wait_for_unmapped(&mut events, "probe", build - 1));
            assert_eq!((left.live_bytes_left, left.blocks_freed), (Some(0), 0), "{left:?}");
        }
    }
}

#[test]
fn static_destructors_that_free_and_allocate_while_the_image_is_closed_are_heard() {
    let folder = Folder::new();
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    for build in 1..=20 {
        let bytes = Fixture::build("fx-frees-at-the-end").stamped(build);
        host.load(folder.publish("a.so", &bytes)).unwrap();
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        slot.load().act(Deed::LazyLock).unwrap();
        if build > 1 {
            let left = left(wait_for_unmapped(&mut events, "probe", build - 1));
            let at_close = left.live_bytes_left.unwrap();
            assert!(at_close >= 3_000, "{left:?}");
            assert_eq!(left.bytes_freed, at_close - 3_000 + 20_000, "{left:?}");
            assert!(left.blocks_freed >= 2_000, "{left:?}");
        }
    }
}

#[test]
fn threads_that_hammer_the_allocator_lose_nothing_over_reloads() {
    for fixture in BOTH {
        let (mut kept, slot) = keeper(fixture);
        let (nothing, _) = kept.replace();
        thread::scope(|scope| {
            let (begun, begin) = mpsc::channel();
            for _ in 0..3 {
                let (slot, begun) = (slot.clone(), begun.clone());
                scope.spawn(move || {
                    // Continues until the test has ended or failed.
                    while let Ok(()) = begun.send(()) {
                        slot.load().churn(60).unwrap();
                    }
                });
            }
            drop(begun);
            for _ in 0..20 {
                // Each build gets some calls, and some of them are running at the next swap.
                (0..6).for_each(|_| begin.recv().unwrap());
                let (report, _) = kept.replace();
                assert_eq!(report.live_bytes_left, nothing.live_bytes_left, "{fixture}: {report:?}");
                match fixture {
                    "fx-keeps" => assert_eq!(report.bytes_freed, 0),
                    _ => assert_eq!(Some(report.bytes_freed), report.live_bytes_left),
                }
            }
            drop(begin);
        });
        assert_nothing_left(&kept.host, 1);
    }
}

#[test]
fn image_that_stays_keeps_its_memory_until_it_goes() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(std::time::Duration::from_millis(20))
        .build()
        .unwrap();
    let mut events = host.events();
    host.load(folder.publish("a.so", Fixture::build("fx-lingers-on-its-heap").bytes()))
        .unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    slot.load().echo(path.to_str().unwrap()).unwrap();
    let socket = listener.accept().unwrap().0;
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(2)))
        .unwrap();
    let report = crate::support::wait_for_retired(&mut events, "probe", 1);
    assert!(matches!(report.outcome, Outcome::Quarantined(_)), "{report:?}");
    // Its thread still uses its allocations; after the thread has ended, they are freed.
    drop(socket);
    let released = wait_for(&mut events, |event| match event {
        Event::Released { report, .. } => Some(report.clone()),
        _ => None,
    });
    assert_eq!(Some(released.bytes_freed), released.live_bytes_left);
    assert!(released.bytes_freed >= 12_345, "{released:?}");
}

#[test]
fn plugin_with_an_allocator_of_its_own_is_not_counted() {
    let (mut kept, slot) = keeper("fx-keeps-own");
    assert_eq!(kept.host.slots()[0].live_bytes, None);
    slot.load().keep(0, 100_000, Alignment::One).unwrap();
    slot.load().leave(Leaving::Leak).unwrap();
    let (report, words) = kept.replace();
    assert_eq!(
        (report.live_bytes_left, report.bytes_freed, report.blocks_freed),
        (None, 0, 0)
    );
    assert!(!words.contains("heap"), "{words}");
    assert_eq!(slot.load().stamp().unwrap(), 2);
    assert_nothing_left(&kept.host, 1);
}
