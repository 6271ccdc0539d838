//! Unloading: which holders keep a version, how long, and what is left afterwards.

use crate::support::{PATIENCE, assert_nothing_left, wait_for, wait_for_unmapped, wait_until};
use fixture_interfaces::{Deed, Probe, SharedCounter};
use reslot::{Event, Fault, GenerationStatus, Host, Outcome, Policy, Slot, SlotError, mapped_copies, safe_point};
use reslot_tests::{Fixture, Folder};
use std::{sync::mpsc, thread, time::Duration};

struct Place {
    folder: Folder,
    host: Host,
}

impl Place {
    /// A place with a loaded probe.
    fn new() -> Self {
        let host = Host::builder()
            .policy(Policy::without_probation())
            .drain_deadline(Duration::from_millis(50))
            .thread_local_deadline(PATIENCE)
            .build()
            .unwrap();
        let place = Self {
            folder: Folder::new(),
            host,
        };
        place.load(1);
        place
    }

    fn load(&self, stamp: u64) {
        let bytes = Fixture::build("fx-probe").stamped(stamp);
        self.host.load(self.folder.publish("libprobe.so", &bytes)).unwrap();
    }

    fn slot(&self) -> Slot<dyn Probe> {
        self.host.slot("probe").unwrap()
    }

    fn mapped(&self) -> usize {
        mapped_copies(self.host.private_folder())
    }
}

/// The host reports correctly whether a version is gone, and does not force holders to release it.
#[test]
fn soft_unload_refused_while_used() {
    let place = Place::new();
    let slot = place.slot();
    let mut reader = place.host.reader();
    let view = reader.view();
    place.load(2);
    for _ in 0..2 {
        assert!(!place.host.wait_until_retired(Duration::from_millis(1)), "it is used");
        assert_eq!((view.get(&slot).stamp().unwrap(), place.mapped()), (1, 2));
    }
    reader.release();
    assert!(place.host.wait_until_retired(PATIENCE));
    assert_nothing_left(&place.host, 1);
    // A shared slot cannot be claimed.
    assert!(matches!(
        place.host.claim::<dyn Probe>("probe"),
        Err(SlotError::Shared { handles: 1, .. })
    ));
    drop(slot);
    place.host.claim::<dyn Probe>("probe").unwrap();
}

#[test]
fn unload_with_1000_users() {
    let place = Place::new();
    let mut events = place.host.events();
    let slot = place.slot();
    let users_of = |stamp| {
        let users: Vec<_> = (0..1000).map(|_| slot.load()).collect();
        assert!(users.iter().all(|user| user.stamp().unwrap() == stamp));
        users
    };
    let mut first = users_of(1);
    place.load(2);
    let second = users_of(2);
    place.load(3);
    let third = users_of(3);
    assert_eq!(place.mapped(), 3);
    let last = first.pop();
    drop(first);
    assert_eq!(place.mapped(), 3, "one user is enough");
    assert_eq!(last.as_ref().unwrap().stamp().unwrap(), 1);
    drop(last);
    wait_for_unmapped(&mut events, "probe", 1);
    // No other holder was affected.
    assert_eq!(place.mapped(), 2);
    assert!(second.iter().all(|user| user.stamp().unwrap() == 2));
    assert!(third.iter().all(|user| user.stamp().unwrap() == 3));
    drop(second);
    wait_for_unmapped(&mut events, "probe", 2);
    assert!(third.iter().all(|user| user.stamp().unwrap() == 3));
    drop(third);
    assert_nothing_left(&place.host, 1);
}

/// The result of a call is a copy in the host's memory, or a borrow that keeps the image.
#[test]
fn constants_survive_unload() {
    let place = Place::new();
    let mut events = place.host.events();
    let slot = place.slot();
    let text = "a text of some length, so that it lies on a heap".repeat(50);
    let (answer, error) = (
        slot.load().echo(&text).unwrap(),
        slot.load().fail("its last words").unwrap_err(),
    );
    place.load(2);
    wait_for_unmapped(&mut events, "probe", 1);
    assert_eq!(answer, text);
    let words = format!("{error:#}");
    assert!(
        words.contains("its last words") && words.contains("fixtures/probe/src/lib.rs"),
        "{words}"
    );
    assert_eq!((error.slot(), error.method()), ("probe", "fail"));

    let counter = |stamp| {
        let bytes = Fixture::build("fx-shared-counter").stamped(stamp);
        place.host.load(place.folder.publish("libcounter.so", &bytes)).unwrap();
    };
    counter(1);
    let shared = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let guard = shared.load();
    let label = guard.label().unwrap();
    counter(2);
    // The text is a constant of the first image.
    assert!(!place.host.wait_until_retired(Duration::from_millis(1)));
    assert_eq!(label, "unnamed");
    drop(guard);
    assert_nothing_left(&place.host, 2);
}

/// A handle of a dropped host never works again, even if another host loads the same plugin.
#[test]
fn stale_handle_fails_for_ever() {
    let place = Place::new();
    let slot = place.slot();
    assert_eq!(slot.load().stamp().unwrap(), 1);
    let Place { host, folder } = place;
    drop(host);
    let fails = |slot: &Slot<dyn Probe>| {
        let error = slot.load().stamp().unwrap_err();
        assert!(matches!(error.fault(), Fault::HostEnded), "{error}");
        assert!(error.to_string().contains("host was dropped"), "{error}");
    };
    fails(&slot);
    let again = Place::new();
    assert_eq!(again.slot().load().stamp().unwrap(), 1);
    for n in 2..5 {
        again.load(n);
        fails(&slot);
        // It does not work through the other host's views, either.
        let error = again.host.reader().view().get(&slot).stamp().unwrap_err();
        assert!(matches!(error.fault(), Fault::Vacant | Fault::HostEnded), "{error}");
    }
    drop(folder);
    fails(&slot);
}

#[test]
fn strong_reference_blocks_then_releases() {
    let place = Place::new();
    let mut events = place.host.events();
    let slot = place.slot();
    let guard = slot.load();
    place.load(2);
    let (generation, holders) = wait_for(&mut events, |event| match event {
        Event::DrainTimeout { generation, holders, .. } => Some((*generation, holders.len())),
        _ => None,
    });
    assert_eq!((generation, holders > 0), (1, true));
    assert_eq!((guard.stamp().unwrap(), place.mapped()), (1, 2), "it is told, and not forced");
    drop(guard);
    let report = wait_for_unmapped(&mut events, "probe", 1);
    assert!(!report.late_holders.is_empty());
    assert_nothing_left(&place.host, 1);
}

#[test]
fn statics_and_thread_locals_freed() {
    let place = Place::new();
    let mut events = place.host.events();
    let (called, calls) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    // A running thread: it waits until the image has ended, and then reaches its safe point.
    let (slot, tells) = (place.slot(), called.clone());
    let living = thread::spawn(move || {
        slot.load().act(Deed::ThreadLocal).unwrap();
        drop(slot);
        tells.send(()).unwrap();
        let _ = ends.recv();
        safe_point();
    });
    // An ended thread.
    let slot = place.slot();
    thread::spawn(move || {
        slot.load().act(Deed::ThreadLocal).unwrap();
        called.send(()).unwrap();
    })
    .join()
    .unwrap();
    (0..2).for_each(|_| calls.recv().unwrap());
    place.slot().load().act(Deed::LazyLock).unwrap();
    place.slot().load().act(Deed::HashMap).unwrap();
    place.load(2);
    let ending = || {
        place
            .host
            .who_holds("probe")
            .iter()
            .any(|held| held.condition == GenerationStatus::Ending)
    };
    wait_until(ending, "the end of the first generation");
    drop(end);
    let Outcome::Unmapped(left) = wait_for_unmapped(&mut events, "probe", 1).outcome else {
        unreachable!()
    };
    living.join().unwrap();
    assert_eq!(left.thread_locals_skipped, 0, "{left:?}");
    assert!(left.thread_locals_run > 0, "{left:?}");
    // The plugin uses `allocator = freeing`, so the heap memory of its statics is freed as well.
    assert_eq!(left.live_bytes_left, Some(left.bytes_freed), "{left:?}");
    // The next image starts with new thread-locals.
    assert_eq!(place.slot().load().act(Deed::ThreadLocal).unwrap(), 1);
    safe_point();
    assert_nothing_left(&place.host, 1);
}
