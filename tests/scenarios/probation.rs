//! Probation: a generation passes by time and by calls, or it is rolled back.

use crate::{
    moody::{LATE, Place, SHORT, on_probation},
    support::{assert_nothing_left, wait_for_unmapped},
};
use fixture_interfaces::Hook;
use reslot::{Claim, Event, Policy, RestoredState, RollbackReason, SyncOutcome};
use std::thread;

fn short() -> Policy {
    on_probation().probation(SHORT)
}

#[test]
fn probation_passes_by_time_and_the_standby_is_unloaded() {
    for package in ["fx-moody", "fx-moody-stateless"] {
        let mut place = Place::new(short());
        place.load(package, 1);
        place.wait_for_confirmed(1);
        place.load(package, 2);
        place.wait_for_confirmed(2);
        wait_for_unmapped(&mut place.events, "moody", 1);
        // After the probation a fault does not cause a rollback.
        let slot = place.slot();
        slot.load().fail("later").unwrap_err();
        assert!(!place.host.slots()[0].on_probation);
        assert_eq!(place.build(), 2);
        drop(slot);
        assert_nothing_left(&place.host, 1);
        assert!(
            !place
                .told()
                .iter()
                .any(|event| matches!(event, Event::RolledBack(_) | Event::NoFallback { .. }))
        );
    }
}

#[test]
fn no_traffic_is_not_failure() {
    for package in ["fx-moody", "fx-moody-stateless"] {
        let policy = short().probation_calls(3);
        let mut place = Place::new(policy);
        place.load(package, 1);
        let slot = place.slot();
        slot.load().total().unwrap();
        slot.load().total().unwrap();
        // Its time is over and checks continue: it is neither confirmed nor rolled back.
        let begun = std::time::Instant::now();
        while begun.elapsed() < SHORT * 8 {
            let early = place.events.recv_timeout(SHORT);
            assert!(
                !early.is_some_and(|record| matches!(record.event, Event::Confirmed { .. } | Event::RolledBack(_))),
                "without its calls"
            );
        }
        assert!(place.host.slots()[0].on_probation);
        slot.load().total().unwrap();
        place.wait_for_confirmed(1);
    }
}

#[test]
fn claims_calls_count_and_let_it_pass() {
    let policy = short().probation_calls(3);
    let mut place = Place::new(policy);
    place.load("fx-moody-owned", 1);
    let mut claim = place.claim();
    for _ in 0..3 {
        claim.add(1).unwrap();
    }
    place.wait_for_confirmed(1);
    let _ = Claim::sync(&mut claim);
    assert_eq!(claim.add(1).unwrap(), 4);
}

#[test]
fn so_many_panics_are_allowed() {
    let policy = on_probation().max_panics(2);
    let mut place = Place::new(policy);
    place.load("fx-moody", 1);
    place.load("fx-moody", 2);
    let slot = place.slot();
    for panic in 1..=2 {
        slot.load().fail("it slipped").unwrap_err();
        assert_eq!(place.build(), 2, "after {panic}");
    }
    slot.load().fail("for the last time").unwrap_err();
    let report = place.wait_for_rollback();
    assert!(
        matches!(&report.reason, RollbackReason::Panicked { panics: 3, limit: 2, last } if last.to_string().contains("for the last time")),
        "{report:#?}"
    );
}

#[test]
fn others_are_led_back_while_a_call_hangs() {
    for package in ["fx-moody", "fx-moody-stateless"] {
        let policy = on_probation().call_deadline(LATE);
        let mut place = Place::new(policy);
        place.load(package, 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        place.load(package, 2);
        let gate = place.gate(2, Hook::Call);
        thread::scope(|scope| {
            let hung = scope.spawn(|| slot.load().hang());
            gate.wait_until_reached();
            let report = place.wait_for_rollback();
            assert!(
                matches!(
                    report.reason,
                    RollbackReason::CallTimeout {
                        method: "hang",
                        limit: LATE,
                        ..
                    }
                ),
                "{report:#?}"
            );
            if package == "fx-moody" {
                assert!(matches!(report.state, RestoredState::Snapshot { .. }), "{report:#?}");
            }
            assert_eq!(place.build(), 1);
            assert_eq!(slot.load().add(1).unwrap(), 6);
            assert_eq!(place.host.images().mapped, 2, "it is still inside");
            gate.open();
            hung.join().unwrap().unwrap();
        });
        wait_for_unmapped(&mut place.events, "moody", 2);
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn call_of_a_claim_that_took_too_long_takes_it_back() {
    let policy = on_probation().call_deadline(LATE);
    let mut place = Place::new(policy);
    place.load("fx-moody-owned", 1);
    let mut claim = place.claim();
    claim.add(5).unwrap();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let gate = place.gate(2, Hook::Call);
    thread::scope(|scope| {
        scope.spawn(move || {
            gate.wait_until_reached();
            // Waits longer than the deadline.
            thread::sleep(LATE + SHORT);
            gate.open();
        });
        claim.hang().unwrap();
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!((claim.stamp().unwrap() % 1000, claim.total().unwrap()), (1, 5));
    let report = place.wait_for_rollback();
    assert!(
        matches!(report.reason, RollbackReason::CallTimeout { method: "hang", .. }),
        "{report:#?}"
    );
    assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
}

#[test]
fn fault_that_an_owner_left_is_the_hosts_to_act_on() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody-owned", 1);
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    claim.fail("it slipped").unwrap_err();
    drop(claim);
    let report = place.wait_for_rollback();
    assert_eq!((report.from, report.to), (2, 1));
    assert_eq!(place.claim().stamp().unwrap() % 1000, 1);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn confirmed_by_hand_is_over() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    place.load("fx-moody", 2);
    assert!(place.host.confirm("moody").unwrap());
    assert!(!place.host.confirm("moody").unwrap(), "there is nothing left to confirm");
    wait_for_unmapped(&mut place.events, "moody", 1);
    place.slot().load().fail("later").unwrap_err();
    assert_eq!(place.build(), 2);
}
