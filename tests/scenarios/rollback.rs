//! Rollbacks: to the standby, to older versions, and on request; with the promised state.

use crate::{
    moody::{Place, SHORT, on_probation},
    support::assert_nothing_left,
};
use fixture_interfaces::{Feeling, Hook, How};
use reslot::{
    Cause, Claim, ContentHash, Event, LoadOutcome, Policy, RestoredState, RollbackReason, RollbackState, RollbackTarget,
    SyncOutcome,
};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

fn with_snapshot() -> Policy {
    on_probation().rollback_state(RollbackState::Snapshot)
}

#[test]
fn panic_takes_a_shared_plugin_back_with_its_state() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    assert_eq!(slot.load().add(5).unwrap(), 5);
    place.load("fx-moody", 2);
    assert_eq!(slot.load().add(2).unwrap(), 7);
    slot.load().fail("it slipped").unwrap_err();
    let report = place.wait_for_rollback();
    assert_eq!((report.from, report.to), (2, 1));
    assert!(
        matches!(&report.reason, RollbackReason::Panicked { panics: 1, limit: 0, last } if last.to_string().contains("it slipped")),
        "{report:#?}"
    );
    assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
    assert_eq!(place.build(), 1);
    // Changes of the panicking call before the panic are part of the state.
    assert_eq!(slot.load().total().unwrap(), 8);
    let past = slot.load().past().unwrap();
    assert!(
        past.inits >= 1 && past.starts >= 1,
        "what came from outside goes through `init` and `start`: {past:?}"
    );
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn panic_takes_a_shared_plugin_back_to_its_snapshot() {
    let mut place = Place::new(with_snapshot());
    place.load("fx-moody", 1);
    let slot = place.slot();
    slot.load().add(5).unwrap();
    place.load("fx-moody", 2);
    slot.load().add(2).unwrap();
    slot.load().fail("it slipped").unwrap_err();
    let report = place.wait_for_rollback();
    assert!(
        matches!(report.state, RestoredState::Snapshot { why: None, .. }),
        "{report:#?}"
    );
    assert_eq!((place.build(), slot.load().total().unwrap()), (1, 5));
    assert_eq!(slot.load().past().unwrap().starts, 1);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn panic_takes_a_stateless_plugin_back() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody-stateless", 1);
    let slot = place.slot();
    slot.load().add(5).unwrap();
    place.load("fx-moody-stateless", 2);
    assert_eq!(slot.load().add(1).unwrap(), 1);
    slot.load().fail("it slipped").unwrap_err();
    let report = place.wait_for_rollback();
    assert_eq!((report.from, report.to, &report.state), (2, 1, &RestoredState::None));
    assert_eq!((place.build(), slot.load().total().unwrap()), (1, 5), "it was never gone");
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn panic_takes_a_claim_back_in_its_next_sync() {
    for (policy, total) in [(on_probation(), 8), (with_snapshot(), 5)] {
        let mut place = Place::new(policy);
        place.load("fx-moody-owned", 1);
        let mut claim = place.claim();
        claim.add(5).unwrap();
        place.load("fx-moody-owned", 2);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
        claim.add(2).unwrap();
        claim.fail("it slipped").unwrap_err();
        assert_eq!(claim.stamp().unwrap() % 1000, 2, "until the owner says so");
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
        assert_eq!((claim.stamp().unwrap() % 1000, claim.total().unwrap()), (1, total));
        assert!(claim.past().unwrap().starts >= 1);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (2, 1));
        // No further rollback was attempted.
        assert!(!place.told().iter().any(|event| matches!(event, Event::NoFallback { .. })));
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn claim_is_rolled_back_once_however_often_it_is_checked() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody-owned", 1);
    place.host.confirm("moody").unwrap();
    let mut claim = place.claim();
    for build in 2..60 {
        place.load("fx-moody-owned", build);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: build });
        claim.fail("it slipped").unwrap_err();
        assert_eq!(
            Claim::sync(&mut claim),
            SyncOutcome::RolledBack {
                from: build,
                generation: 1
            }
        );
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (build, 1));
    }
    assert_eq!(claim.total().unwrap(), 58);
    assert!(
        !place
            .told()
            .iter()
            .any(|event| matches!(event, Event::NoFallback { .. } | Event::Staged { generation: 60.., .. }))
    );
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn hanging_check_of_the_standby_is_not_waited_for() {
    let policy = on_probation().health_every(SHORT);
    let mut place = Place::new(policy);
    place.load("fx-moody", 1);
    let slot = place.slot();
    slot.load().add(5).unwrap();
    let gate = place.gate(1, Hook::Health);
    slot.load().feel(Feeling::Hangs).unwrap();
    gate.wait_until_reached();
    place.load("fx-moody", 2);
    slot.load().add(2).unwrap();
    slot.load().fail("it slipped").unwrap_err();
    // The check still runs in the former object.
    let report = place.wait_for_rollback();
    assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
    assert_eq!((place.build(), slot.load().total().unwrap()), (1, 8));
    gate.open();
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn state_goes_down_again_to_an_older_schema() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    slot.load().add(5).unwrap();
    place.load("fx-moody-newer", 2);
    assert_eq!(slot.load().past().unwrap().ups, 1);
    slot.load().add(2).unwrap();
    slot.load().fail("it slipped").unwrap_err();
    let report = place.wait_for_rollback();
    assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
    let past = slot.load().past().unwrap();
    assert_eq!((past.ups, past.downs, slot.load().total().unwrap()), (1, 1, 8));
}

#[test]
fn state_that_cannot_go_down_is_the_snapshot() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(on_probation());
        place.load("fx-moody", 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        // Its state cannot be encoded, so it cannot be carried over.
        place.load_moody("fx-moody", 2, Hook::Snapshot, how).unwrap();
        slot.load().add(2).unwrap();
        slot.load().fail("it slipped").unwrap_err();
        let report = place.wait_for_rollback();
        assert!(
            matches!(&report.state, RestoredState::Snapshot { why: Some(why), .. } if why.contains("could not be encoded")),
            "{report:#?}"
        );
        assert_eq!((place.build(), slot.load().total().unwrap()), (1, 5));
        assert_eq!(slot.load().past().unwrap().starts, 1);
    }
}

#[test]
fn second_fault_goes_back_two_versions() {
    for (policy, total) in [(on_probation(), 10), (with_snapshot(), 3)] {
        let mut place = Place::new(policy);
        place.load("fx-moody", 1);
        place.host.confirm("moody").unwrap();
        let slot = place.slot();
        slot.load().add(3).unwrap();
        place.load("fx-moody", 2);
        slot.load().add(4).unwrap();
        place.load("fx-moody", 3);
        slot.load().fail("the third").unwrap_err();
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (3, 2));
        assert_eq!(place.build(), 2);
        slot.load().add(1).unwrap();
        slot.load().fail("the second").unwrap_err();
        let report = place.wait_for_rollback();
        // The kept artifact was loaded as a new generation.
        assert_eq!((report.from, report.to), (2, 4));
        assert_eq!((place.build(), slot.load().total().unwrap()), (1, total));
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn snapshot_policy_never_forgets_everything() {
    // After confirmation there is no snapshot: a manual rollback carries the current state.
    let place = Place::new(with_snapshot());
    place.load("fx-moody", 1);
    place.host.confirm("moody").unwrap();
    place.load("fx-moody", 2);
    place.host.confirm("moody").unwrap();
    let slot = place.slot();
    slot.load().add(9).unwrap();
    place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    assert_eq!((place.build(), slot.load().total().unwrap()), (1, 9));
}

#[test]
fn rolled_back_content_is_refused_by_the_watch_and_taken_by_name() {
    let mut place = Place::watched(on_probation());
    place.load("fx-moody-stateless", 1);
    let path = place.publish("fx-moody-stateless", 2);
    place.wait(|event| matches!(event, Event::Swapped(report) if report.generation == 2).then_some(()));
    let slot = place.slot();
    slot.load().fail("it slipped").unwrap_err();
    place.wait_for_rollback();
    // The same content is published again.
    place.publish("fx-moody-stateless", 2);
    let refusal = place.wait(|event| match event {
        Event::StillRefused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    });
    assert!(
        matches!(&*refusal.cause, Cause::RolledBack(RollbackReason::Panicked { .. })),
        "{refusal}"
    );
    assert_eq!(place.build(), 1);
    assert!(matches!(place.host.load(&path), Ok(LoadOutcome::Swapped(_))));
    assert_eq!(place.build(), 2);
    // It was requested by name, so it is not marked as bad any more.
    place.host.confirm("moody").unwrap();
    place.load("fx-moody-stateless", 3);
    place.publish("fx-moody-stateless", 2);
    place.wait(|event| matches!(event, Event::Swapped(report) if report.generation == 5).then_some(()));
    assert_eq!(place.build(), 2);
}

#[test]
fn manual_rollback_to_the_standby_and_beyond() {
    let place = Place::new(on_probation());
    for build in 1..=3 {
        place.load("fx-moody", build);
        place.host.confirm("moody").unwrap();
    }
    place.load("fx-moody", 4);
    let slot = place.slot();
    slot.load().add(4).unwrap();
    let outcome = place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    assert!(
        matches!(&outcome, LoadOutcome::RolledBack(report) if (report.from, report.to) == (4, 3) && report.reason == RollbackReason::Manual),
        "{outcome:#?}"
    );
    let outcome = place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    assert!(
        matches!(&outcome, LoadOutcome::Swapped(report) if report.replaced == Some(3)),
        "{outcome:#?}"
    );
    assert_eq!((place.build(), slot.load().total().unwrap()), (2, 4));
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn newer_build_during_a_probation_goes_back_to_the_one_that_it_replaced() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    place.load("fx-moody", 2);
    slot.load().add(2).unwrap();
    place.load("fx-moody", 3);
    // The standby of the second generation is unloaded; the second is now the standby of the third.
    crate::support::wait_for_unmapped(&mut place.events, "moody", 1);
    slot.load().fail("the third").unwrap_err();
    let report = place.wait_for_rollback();
    assert_eq!((report.from, report.to), (3, 2));
    assert_eq!((place.build(), slot.load().total().unwrap()), (2, 3));
}

#[test]
fn calls_through_a_view_follow_the_state_there_and_back_and_there() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    // Each thread keeps the view of its time.
    let mut held = Vec::new();
    for round in 0..6 {
        held.push(slot.load());
        place.load("fx-moody", 2 + round);
        let faulty = slot.load();
        faulty.fail("it slipped").unwrap_err();
        held.push(faulty);
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (2 + round, 1));
    }
    for (at, view) in (1..).zip(&held) {
        assert_eq!(
            view.stamp().unwrap() % 1000,
            1,
            "it is answered by what the state has come to"
        );
        assert_eq!(view.add(1).unwrap(), 6 + at);
    }
    assert_eq!(slot.load().total().unwrap(), 6 + 12);
    // The oldest views are dropped first; they hold all the others.
    drop(held);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn nothing_is_lost_in_two_hundred_reloads_and_fifty_rollbacks() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    let (added, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut reader = place.host.reader();
                let view_of_old = &slot;
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..16 {
                        reader.view().get(view_of_old).add(1).expect("no call fails");
                        added.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::yield_now();
                }
            });
        }
        let mut build = 1;
        for round in 0..200 {
            build = 1 + (build + 1) % 900;
            place.load("fx-moody", 2 + build);
            if round % 4 == 0 {
                slot.load().fail("on purpose").unwrap_err();
                added.fetch_add(1, Ordering::Relaxed);
                let report = crate::support::wait_for(&mut place.events, |event| match event {
                    Event::RolledBack(report) => Some(report.clone()),
                    _ => None,
                });
                assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
            }
        }
    });
    assert_eq!(slot.load().total().unwrap(), added.load(Ordering::Relaxed));
    drop(slot);
    assert!(place.host.confirm("moody").unwrap());
    assert_nothing_left(&place.host, 1);
}

/// Ends the callers, however the test ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// If two threads request a rollback at once, one of them does it. The result for the other one must not be `Staged`,
/// because there is no owner.
#[test]
fn manual_rollback_of_an_open_slot_is_done_before_it_answers() {
    let place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let barrier = Barrier::new(2);
    for round in 0..60 {
        place.load("fx-moody", 2);
        let to = ContentHash::of(&std::fs::read(place.publish("fx-moody", 1)).unwrap());
        let ask = || {
            barrier.wait();
            place.host.rollback("moody", RollbackTarget::Hash(to)).unwrap()
        };
        let outcomes = thread::scope(|scope| {
            let other = scope.spawn(ask);
            [ask(), other.join().unwrap()]
        });
        let done = |outcome: &&LoadOutcome| matches!(outcome, LoadOutcome::RolledBack(_));
        let unchanged = |outcome: &&LoadOutcome| matches!(outcome, LoadOutcome::Unchanged { .. });
        assert_eq!(outcomes.iter().filter(done).count(), 1, "round {round}: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(unchanged).count(), 1, "round {round}: {outcomes:?}");
        assert_eq!(place.build(), 1);
    }
    assert_nothing_left(&place.host, 1);
}
