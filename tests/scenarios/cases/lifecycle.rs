//! Loading, and the events of a generation's life.

use crate::{
    moody::{Place, all_ways, on_probation, way},
    support::{assert_nothing_left, wait_for, wait_for_unmapped},
};
use fixture_interfaces::{Deed, Hook, How, Probe};
use reslot::{Event, HookError, Host, Lifecycle, LoadOutcome, Policy};
use reslot_tests::{Fixture, Folder};
use std::thread;

#[test]
fn load_failure_keeps_current() {
    for (at, how) in all_ways(&[Hook::Create, Hook::Restore, Hook::Init, Hook::Start, Hook::Health]) {
        let mut place = Place::new(on_probation());
        place.load("fx-moody", 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        let before = (place.host.slots()[0].clone(), slot.load().past().unwrap());
        let refusal = place.load_moody("fx-moody", 2, at, how).unwrap_err();
        assert_eq!((refusal.serving, refusal.candidate), (Some(1), Some(2)), "{at:?} {how:?}");
        let after = (place.host.slots()[0].clone(), slot.load().past().unwrap());
        assert_eq!(
            (before.0.generation, before.0.standby, before.1),
            (after.0.generation, after.0.standby, after.1)
        );
        assert_eq!((place.build(), slot.load().total().unwrap()), (1, 5), "{at:?} {how:?}");
        wait_for_unmapped(&mut place.events, "moody", 2);
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn callers_during_slow_init() {
    for package in ["fx-moody", "fx-moody-stateless"] {
        let place = Place::new(on_probation());
        place.load(package, 1);
        let slot = place.slot();
        let path = place.publish_moody(package, 2, Hook::Init, How::Hangs);
        let gate = place.gate(2, Hook::Init);
        thread::scope(|scope| {
            let loading = scope.spawn(|| place.host.load(&path));
            gate.wait_until_reached();
            let calling = scope.spawn(|| (slot.load().add(1), slot.load().stamp()));
            if package == "fx-moody-stateless" {
                // No reload has to be waited for.
                while !calling.is_finished() {
                    thread::yield_now();
                }
            }
            gate.open();
            loading.join().unwrap().unwrap();
            let (added, stamp) = calling.join().unwrap();
            assert_eq!(added.unwrap(), 1);
            let build = stamp.unwrap() % 1000;
            assert!(build == 1 || (build == 2 && package == "fx-moody"), "{build}");
        });
    }
}

#[test]
fn second_load_during_pending_init() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slow = place.publish_moody("fx-moody", 2, Hook::Init, How::Hangs);
    let gate = place.gate(2, Hook::Init);
    thread::scope(|scope| {
        let first = scope.spawn(|| place.host.load(&slow));
        gate.wait_until_reached();
        let next = place.publish("fx-moody", 3);
        let second = scope.spawn(|| place.host.load(next));
        gate.open();
        assert!(matches!(first.join().unwrap(), Ok(LoadOutcome::Swapped(report)) if report.generation == 2));
        assert!(matches!(second.join().unwrap(), Ok(LoadOutcome::Swapped(report)) if report.generation == 3));
    });
    let order = [2, 3].map(|_| {
        place.wait(|event| match event {
            Event::Swapped(report) if report.generation > 1 => Some(report.generation),
            _ => None,
        })
    });
    assert_eq!(order, [2, 3]);
}

#[test]
fn failed_init_thread_reclaimed() {
    // For stamps from 300 on, `start` fails after it has started its threads.
    let (folder, workers) = (Folder::new(), Fixture::build("fx-workers"));
    let host = Host::builder().build().unwrap();
    let mut events = host.events();
    host.load(folder.publish("libprobe.so", &workers.stamped(1))).unwrap();
    host.load(folder.publish("libprobe.so", &workers.stamped(300))).unwrap_err();
    let report = wait_for_unmapped(&mut events, "probe", 2);
    assert_eq!((report.served, report.stop_error), (false, None));
    assert!(host.slot::<dyn Probe>("probe").unwrap().load().act(Deed::HashMap).is_ok());
    assert_nothing_left(&host, 1);
}

#[test]
fn start_fails_rolls_back() {
    for package in ["fx-moody", "fx-moody-only"] {
        for how in [How::Refuses, How::Panics] {
            let mut place = Place::new(on_probation());
            place.load(package, 1);
            place.slot().load().add(5).unwrap();
            place.load_moody(package, 2, Hook::Start, how).unwrap_err();
            assert_eq!((place.build(), place.slot().load().total().unwrap()), (1, 5));
            wait_for_unmapped(&mut place.events, "moody", 2);
            assert_nothing_left(&place.host, 1);
        }
    }
}

#[test]
fn stop_fails_is_recorded_and_the_update_goes_on() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(Policy::without_probation());
        place.load_moody("fx-moody", 1, Hook::Stop, how).unwrap();
        place.slot().load().add(5).unwrap();
        place.load("fx-moody", 2);
        let report = wait_for_unmapped(&mut place.events, "moody", 1);
        match (report.stop_error, how) {
            (Some(HookError::Refused(words)), How::Refuses) => assert!(words.contains("no mind"), "{words}"),
            (Some(HookError::Panicked { message, .. }), How::Panics) => assert!(message.contains("nervous"), "{message}"),
            other => panic!("{other:?}"),
        }
        assert_eq!((place.build(), place.slot().load().total().unwrap()), (2, 5));
        assert!(place.way(1).contains(&Lifecycle::Failed));
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn event_order() {
    use Lifecycle::*;
    let whole = [
        Loading,
        Loaded,
        Initializing,
        Initialized,
        Starting,
        Started,
        Stopping,
        Stopped,
        Destroying,
        Unloaded,
    ];
    for policy in [Policy::without_probation(), on_probation()] {
        let mut place = Place::new(policy);
        for build in 1..=5 {
            place.load("fx-moody", build);
            let _ = place.host.confirm("moody");
        }
        wait_for_unmapped(&mut place.events, "moody", 4);
        let told = place.told();
        for number in 1..=4 {
            assert_eq!(way(&told, number), whole);
            let at = |wanted: &dyn Fn(&Event) -> bool| told.iter().position(wanted).expect("it was told");
            let started =
                at(&|event| matches!(event, Event::Lifecycle { generation, to: Started, .. } if *generation == number));
            let swapped = at(&|event| matches!(event, Event::Swapped(report) if report.generation == number));
            let next = at(&|event| matches!(event, Event::Swapped(report) if report.generation == number + 1));
            let stopping =
                at(&|event| matches!(event, Event::Lifecycle { generation, to: Stopping, .. } if *generation == number));
            let unloaded =
                at(&|event| matches!(event, Event::Lifecycle { generation, to: Unloaded, .. } if *generation == number));
            let retired = at(&|event| matches!(event, Event::Retired(report) if report.generation == number));
            let order = [started, swapped, next, stopping, unloaded, retired];
            assert!(order.is_sorted(), "{order:?}");
        }
        let mut events = place.host.events();
        for sequence in 0..told.len() as u64 {
            assert_eq!(events.try_recv().unwrap().sequence, sequence);
        }
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn event_order_of_candidates_that_fail() {
    use Lifecycle::*;
    for (at, how) in all_ways(&[Hook::Create, Hook::Restore, Hook::Init, Hook::Start, Hook::Health]) {
        let mut place = Place::new(on_probation());
        place.load("fx-moody", 1);
        place.load_moody("fx-moody", 2, at, how).unwrap_err();
        wait_for(&mut place.events, |event| match event {
            Event::Retired(report) if report.generation == 2 => Some(()),
            _ => None,
        });
        let begun = [Loading, Loaded, Initializing];
        let middle: &[Lifecycle] = match at {
            Hook::Create => &[Failed, Unloaded],
            Hook::Restore | Hook::Init => &[Failed, Destroying, Unloaded],
            Hook::Start => &[Initialized, Starting, Failed, Destroying, Unloaded],
            _ => &[
                Initialized,
                Starting,
                Started,
                Failed,
                Stopping,
                Stopped,
                Destroying,
                Unloaded,
            ],
        };
        assert_eq!(place.way(2), [&begun, middle].concat(), "{at:?} {how:?}");
    }
}
