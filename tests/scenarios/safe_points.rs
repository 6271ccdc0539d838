//! Thread-locals of running threads: they are dropped on their own threads at safe points, or skipped and counted.

use crate::support::{assert_nothing_left, wait_for_swapped, wait_for_unmapped, wait_until};
use fixture_interfaces::{Deed, Probe};
use reslot::{Claim, GenerationStatus, Host, Outcome, Slot, SyncOutcome, UnloadReport};
use reslot_tests::{Fixture, Folder};
use std::{
    os::unix::net::UnixListener,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Longer than any test, so the test fails if a thread-local is not dropped at a safe point.
const LONG: Duration = Duration::from_secs(600);

/// Sets a flag when it is dropped, also after a panic, because a thread that waits for the flag would keep the test from
/// failing.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Scene {
    folder: Folder,
    host: Host,
}

impl Scene {
    fn new(thread_locals: Duration) -> Self {
        let folder = Folder::new();
        let host = Host::builder()
            .policy(reslot::Policy::without_probation())
            .thread_local_deadline(thread_locals)
            .build()
            .unwrap();
        let scene = Self { folder, host };
        scene.reload(1);
        scene
    }

    fn reload(&self, stamp: u64) {
        let bytes = Fixture::build("fx-probe").stamped(stamp);
        self.host.load(self.folder.publish("libprobe.so", &bytes)).unwrap();
    }

    fn slot(&self) -> Slot<dyn Probe> {
        self.host.slot("probe").unwrap()
    }

    /// The unload report of generation 1. A thread that waits here is at a safe point.
    fn left(&self) -> UnloadReport {
        match wait_for_unmapped(&mut self.host.events(), "probe", 1).outcome {
            Outcome::Unmapped(left) => left,
            Outcome::Quarantined(_) => unreachable!(),
            _ => unreachable!(),
        }
    }
}

/// Each thread has one registration: the plugin's copy of std keeps its own list of thread-locals.
fn assert_dropped(left: &UnloadReport, how_many: u64) {
    assert_eq!(
        (left.thread_locals_run, left.thread_locals_skipped),
        (how_many, 0),
        "{left:?}"
    );
    assert!(left.skipped_threads.is_empty());
}

#[test]
fn thread_that_waits_for_events_drops_its_own() {
    let scene = Scene::new(LONG);
    scene.slot().load().act(Deed::ThreadLocal).unwrap();
    scene.reload(2);
    assert_dropped(&scene.left(), 1);
    assert_nothing_left(&scene.host, 1);
}

#[test]
fn thread_that_waits_for_the_end_drops_its_own() {
    let scene = Scene::new(LONG);
    scene.slot().load().act(Deed::ThreadLocal).unwrap();
    scene.reload(2);
    assert_nothing_left(&scene.host, 1);
    assert_dropped(&scene.left(), 1);
}

#[test]
fn readers_drop_theirs_when_they_look() {
    let scene = Scene::new(LONG);
    let (slot, done) = (scene.slot(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (called, calls) = mpsc::channel();
        for _ in 0..3 {
            let (mut reader, called) = (scene.host.reader(), called.clone());
            let (slot, done) = (&slot, &done);
            scope.spawn(move || {
                reader.view().get(slot).act(Deed::ThreadLocal).unwrap();
                called.send(()).unwrap();
                while !done.load(Ordering::Relaxed) {
                    reader.view().get(slot).stamp().unwrap();
                }
            });
        }
        (0..3).for_each(|_| calls.recv().unwrap());
        scene.reload(2);
        let left = scene.left();
        done.store(true, Ordering::Relaxed);
        assert_dropped(&left, 3);
    });
}

#[test]
fn reader_drops_its_own_also_when_a_thread_of_the_plugin_ends_later() {
    let scene = Scene::new(LONG);
    let lingering = scene
        .folder
        .publish("libprobe.so", &Fixture::build("fx-lingering").stamped(2));
    scene.host.load(lingering).unwrap();
    let path = scene.folder.path().join("socket");
    let (listener, path) = (UnixListener::bind(&path).unwrap(), path.to_str().unwrap());
    let (slot, done, mut reader) = (scene.slot(), AtomicBool::new(false), scene.host.reader());
    thread::scope(|scope| {
        scope.spawn(|| {
            // Spawning a thread leaves a thread-local.
            reader.view().get(&slot).echo(path).unwrap();
            while !done.load(Ordering::Relaxed) {
                reader.view().get(&slot).stamp().unwrap();
            }
        });
        let _ends = Sets(&done);
        let socket = listener.accept().unwrap().0;
        scene.reload(3);
        let is_ending = || {
            let held = scene.host.who_holds("probe").into_iter();
            held.filter(|held| held.generation == 2)
                .any(|held| held.condition == GenerationStatus::Ending)
        };
        wait_until(is_ending, "the end of the instance");
        drop(socket);
        let report = wait_for_unmapped(&mut scene.host.events(), "probe", 2);
        let Outcome::Unmapped(left) = report.outcome else {
            unreachable!()
        };
        assert_eq!(left.thread_locals_skipped, 0, "{left:?}");
    });
}

#[test]
fn thread_locals_that_start_leaves_on_the_hosts_thread_are_dropped() {
    let scene = Scene::new(LONG);
    for stamp in 2..=3 {
        let spawning = Fixture::build("fx-workers").stamped(stamp);
        scene.host.load(scene.folder.publish("libprobe.so", &spawning)).unwrap();
    }
    let report = wait_for_unmapped(&mut scene.host.events(), "probe", 2);
    assert!(
        matches!(&report.outcome, Outcome::Unmapped(left) if left.thread_locals_run > 0 && left.thread_locals_skipped == 0),
        "{report:#?}"
    );
}

#[test]
fn loads_drop_theirs() {
    let scene = Scene::new(LONG);
    let (slot, done) = (scene.slot(), AtomicBool::new(false));
    let (called, calls) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            slot.load().act(Deed::ThreadLocal).unwrap();
            called.send(()).unwrap();
            while !done.load(Ordering::Relaxed) {
                slot.load().stamp().unwrap();
            }
        });
        calls.recv().unwrap();
        scene.reload(2);
        let left = scene.left();
        done.store(true, Ordering::Relaxed);
        assert_dropped(&left, 1);
    });
}

#[test]
fn owner_drops_its_own_when_it_syncs() {
    let scene = Scene::new(LONG);
    let mut claim = scene.host.claim::<dyn Probe>("probe").unwrap();
    claim.act(Deed::ThreadLocal).unwrap();
    scene.reload(2);
    let mut events = scene.host.events();
    let owner = thread::current().id();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let gone = thread::scope(|scope| {
        // Another thread waits for the end; this one only calls `sync`.
        let waiting = scope.spawn(move || {
            assert_ne!(thread::current().id(), owner);
            wait_for_unmapped(&mut events, "probe", 1)
        });
        while !waiting.is_finished() {
            assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        }
        waiting.join().unwrap()
    });
    let Outcome::Unmapped(left) = gone.outcome else {
        unreachable!()
    };
    assert_dropped(&left, 1);
}

#[test]
fn thread_that_has_no_other_safe_point_can_say_so() {
    let scene = Scene::new(LONG);
    let slot = scene.slot();
    let (called, calls) = mpsc::channel();
    let (swapped, swaps) = mpsc::channel::<()>();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            slot.load().act(Deed::ThreadLocal).unwrap();
            drop(slot);
            called.send(()).unwrap();
            let _ = swaps.recv();
            while !done.load(Ordering::Relaxed) {
                reslot::safe_point();
            }
        });
        calls.recv().unwrap();
        scene.reload(2);
        wait_for_swapped(&mut scene.host.events(), "probe", 2);
        drop(swapped);
        let left = scene.left();
        done.store(true, Ordering::Relaxed);
        assert_dropped(&left, 1);
    });
}

#[test]
fn thread_that_ends_drops_its_own() {
    let scene = Scene::new(LONG);
    let slot = scene.slot();
    let (called, calls) = mpsc::channel();
    let (swapped, swaps) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        slot.load().act(Deed::ThreadLocal).unwrap();
        drop(slot);
        called.send(()).unwrap();
        let _ = swaps.recv();
    });
    calls.recv().unwrap();
    scene.reload(2);
    drop(swapped);
    assert_dropped(&scene.left(), 1);
    thread.join().unwrap();
}

#[test]
fn thread_without_a_safe_point_is_named_and_skipped() {
    let scene = Scene::new(Duration::from_millis(20));
    let slot = scene.slot();
    let (called, calls) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let sleeper = thread::Builder::new().name("sleeper".to_owned()).spawn(move || {
        slot.load().act(Deed::ThreadLocal).unwrap();
        drop(slot);
        called.send(()).unwrap();
        let _ = ends.recv();
        // Its image is gone, so nothing is left to do.
        reslot::safe_point();
    });
    calls.recv().unwrap();
    scene.reload(2);
    let left = scene.left();
    assert_eq!((left.thread_locals_run, left.thread_locals_skipped), (0, 1), "{left:?}");
    assert!(left.skipped_threads[0].contains("sleeper"), "{left:?}");
    assert!(left.to_string().contains("sleeper"), "{left}");
    assert!(left.settle >= Duration::from_millis(20), "{left:?}");
    drop(end);
    sleeper.unwrap().join().unwrap();
    assert_nothing_left(&scene.host, 1);
}

#[test]
fn deadlines_may_be_for_ever() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(Duration::MAX)
        .thread_local_deadline(Duration::MAX)
        .build()
        .unwrap();
    let scene = Scene { folder, host };
    scene.reload(1);
    scene.slot().load().act(Deed::ThreadLocal).unwrap();
    scene.reload(2);
    assert!(scene.host.wait_until_retired(Duration::MAX));
    assert_dropped(&scene.left(), 1);
}

#[test]
fn image_that_is_called_again_keeps_its_thread_locals() {
    let scene = Scene::new(LONG);
    let (slot, mut reader) = (scene.slot(), scene.host.reader());
    // This thread holds generation 1 while others end around it.
    assert_eq!(reader.view().get(&slot).act(Deed::ThreadLocal).unwrap(), 1);
    let view = reader.view();
    for stamp in 2..12 {
        scene.reload(stamp);
        assert_eq!(slot.load().act(Deed::ThreadLocal).unwrap(), 1);
        assert_eq!(view.get(&slot).act(Deed::ThreadLocal).unwrap(), stamp);
    }
    reader.release();
    assert_dropped(&scene.left(), 1);
}
