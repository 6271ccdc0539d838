//! Requests that only read hold no generation: a rollback carries the state, however often a client asks.

use super::{Place, overview};
use crate::moody::on_probation;
use fixture_interfaces::SharedCounter;
use reslot::{Event, RestoredState, RollbackState, RollbackTarget};
use reslot_tests::Fixture;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const ROLLBACKS: u64 = 200;

#[test]
fn looks_keep_no_rollback_from_carrying_the_state() {
    let policy = on_probation().rollback_state(RollbackState::KeepCurrent);
    let place = Place::with(policy);
    let counter = Fixture::build("fx-shared-counter");
    // The files are loaded by name, so that the watch is not involved.
    let elsewhere = reslot_tests::Folder::new();
    let load = |stamp| place.host.load(elsewhere.publish("counter.so", &counter.stamped(stamp)));
    load(1).unwrap();
    place.host.confirm("shared-counter").unwrap();
    let slot = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let (over, added, looked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // A caller with a view of an older generation might hold a borrow, so no thread keeps such a view here.
    let add = || {
        slot.load().add(1).unwrap();
        added.fetch_add(1, Ordering::Relaxed);
    };
    let goes_on = || !over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        // It ends the thread also if the test fails.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _ends = Ends(&over);
        scope.spawn(|| {
            while goes_on() {
                looked.fetch_add(place.host.who_holds("shared-counter").len() as u64, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while goes_on() {
                assert!(!overview(&place.socket).slots.is_empty());
            }
        });
        let mut events = place.host.events();
        for stamp in 2..ROLLBACKS + 2 {
            add();
            load(stamp).unwrap();
            add();
            assert_eq!(slot.load().label().unwrap(), "unnamed");
            // The supervisor may roll back first with the same result, so the test checks the event.
            place.host.rollback("shared-counter", RollbackTarget::Previous).unwrap();
            let report =
                std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(30))).find_map(|told| match &told.event {
                    Event::RolledBack(report) => Some(report.clone()),
                    _ => None,
                });
            let report = report.expect("it went back");
            assert!(matches!(report.state, RestoredState::Carried { .. }), "{stamp}: {report:#?}");
        }
    });
    assert!(looked.load(Ordering::Relaxed) > ROLLBACKS);
    assert_eq!(slot.load().stamp().unwrap(), 1);
    assert_eq!(
        slot.load().total().unwrap(),
        added.load(Ordering::Relaxed),
        "no call was lost"
    );
}
