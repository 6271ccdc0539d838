//! Exclusive plugins: here they hold a file that must not exist before. Two generations cannot hold it at once, so the tests
//! check the order of the hooks, and the result when a step fails.

use crate::{
    moody::{LATE, Place, on_probation},
    support::{assert_nothing_left, wait_for_unmapped},
};
use fixture_interfaces::{Hook, How, Moody};
use reslot::{Cause, Claim, Event, HookError, Lifecycle, Policy, RollbackError, RollbackTarget, SlotError, SyncOutcome};
use std::thread;

/// The lifecycle moves of all generations that concern the held file.
fn order(place: &Place) -> Vec<(u64, Lifecycle)> {
    let moves = place.told().into_iter().filter_map(|event| match event {
        Event::Lifecycle { generation, to, .. } => Some((generation, to)),
        _ => None,
    });
    moves
        .filter(|(_, to)| matches!(to, Lifecycle::Stopped | Lifecycle::Starting | Lifecycle::Started))
        .collect()
}

#[test]
fn old_one_stops_before_the_new_one_starts() {
    use Lifecycle::{Started, Starting, Stopped};
    let mut place = Place::new(Policy::without_probation());
    place.load("fx-moody-only", 1);
    assert!(place.lock().exists());
    let slot = place.slot();
    slot.load().add(5).unwrap();
    place.load("fx-moody-only", 2);
    assert_eq!(
        order(&place)[..5],
        [(1, Starting), (1, Started), (1, Stopped), (2, Starting), (2, Started)]
    );
    wait_for_unmapped(&mut place.events, "moody", 1);
    assert!(place.lock().exists(), "the old one's end does not take it from the new one");
    assert_eq!((place.build(), slot.load().total().unwrap()), (2, 5));
    drop(slot);
    assert_nothing_left(&place.host, 1);
    let lock = place.lock();
    drop(place);
    assert!(!lock.exists());
}

#[test]
fn callers_wait_while_it_changes_hands() {
    let place = Place::new(Policy::without_probation());
    place.load("fx-moody-only", 1);
    let slot = place.slot();
    let path = place.publish_moody("fx-moody-only", 2, Hook::Start, How::Hangs);
    let gate = place.gate(2, Hook::Start);
    thread::scope(|scope| {
        let loading = scope.spawn(|| place.host.load(&path));
        gate.wait_until_reached();
        let calling = scope.spawn(|| slot.load().add(1));
        gate.open();
        loading.join().unwrap().unwrap();
        assert_eq!(calling.join().unwrap().unwrap(), 1);
    });
    assert_eq!(slot.load().total().unwrap(), 1);
}

#[test]
fn old_one_starts_again_if_the_new_one_cannot() {
    for policy in [Policy::without_probation(), on_probation()] {
        for how in [How::Refuses, How::Panics, How::Hangs] {
            let mut policy = policy.clone();
            policy.hook_deadline = LATE;
            let mut place = Place::new(policy);
            place.load("fx-moody-only", 1);
            let slot = place.slot();
            slot.load().add(5).unwrap();
            let gate = (how == How::Hangs).then(|| place.gate(2, Hook::Start));
            let refusal = place.load_moody("fx-moody-only", 2, Hook::Start, how).unwrap_err();
            assert_eq!(refusal.serving, Some(1));
            assert!(matches!(&*refusal.cause, Cause::Hook(reslot::Hook::Start, _)), "{refusal}");
            assert!(place.lock().exists());
            assert_eq!(slot.load().past().unwrap().starts, 2);
            assert_eq!(slot.load().add(1).unwrap(), 6);
            if let Some(gate) = gate {
                gate.open();
            }
            wait_for_unmapped(&mut place.events, "moody", 2);
            assert!(place.lock().exists());
            place.load("fx-moody-only", 3);
            assert_eq!(slot.load().total().unwrap(), 6);
            let _ = place.host.confirm("moody");
            drop(slot);
            assert_nothing_left(&place.host, 1);
        }
    }
}

#[test]
fn claim_gets_it_back_if_the_new_one_cannot() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(on_probation());
        place.load("fx-moody-owned-only", 1);
        let mut claim = place.claim();
        claim.add(5).unwrap();
        place.load_moody("fx-moody-owned-only", 2, Hook::Start, how).unwrap();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
        assert!(place.lock().exists());
        assert_eq!((claim.add(1).unwrap(), claim.past().unwrap().starts), (6, 2));
        wait_for_unmapped(&mut place.events, "moody", 2);
    }
}

#[test]
fn it_comes_back_with_a_rollback() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody-only", 1);
    let slot = place.slot();
    slot.load().add(5).unwrap();
    place.load("fx-moody-only", 2);
    slot.load().fail("it slipped").unwrap_err();
    let report = place.wait_for_rollback();
    assert_eq!((report.from, report.to), (2, 1));
    assert!(place.lock().exists());
    assert_eq!((place.build(), slot.load().total().unwrap()), (1, 6));
    assert!(!place.told().iter().any(|event| matches!(event, Event::RestartFailed { .. })));
    wait_for_unmapped(&mut place.events, "moody", 2);
    assert!(place.lock().exists());
    place.load("fx-moody-only", 3);
    assert_eq!(slot.load().total().unwrap(), 6);
    assert!(place.host.confirm("moody").unwrap());
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn it_comes_back_with_a_claims_rollback() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody-owned-only", 1);
    let mut claim = place.claim();
    claim.add(5).unwrap();
    place.load("fx-moody-owned-only", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    claim.fail("it slipped").unwrap_err();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert!(place.lock().exists());
    assert_eq!(claim.total().unwrap(), 6);
    assert!(!place.told().iter().any(|event| matches!(event, Event::RestartFailed { .. })));
    wait_for_unmapped(&mut place.events, "moody", 2);
}

#[test]
fn stop_that_fails_is_recorded_and_the_update_goes_on() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(Policy::without_probation());
        place.load_moody("fx-moody-only", 1, Hook::Stop, how).unwrap();
        place.load("fx-moody-only", 2);
        let error = place.wait(|event| match event {
            Event::StopFailed {
                generation: 1, error, ..
            } => Some(error.clone()),
            _ => None,
        });
        assert!(error.to_string().contains("(Stop)"), "{error}");
        assert!(place.lock().exists());
        assert_eq!(place.build(), 2);
        wait_for_unmapped(&mut place.events, "moody", 1);
    }
}

#[test]
fn stop_that_hangs_does_not_keep_the_new_one_from_trying() {
    // The old generation still holds the file, so the new one cannot start; and the old one cannot be called any more.
    let policy = Policy::without_probation().hook_deadline(LATE);
    let mut place = Place::new(policy);
    place.load_moody("fx-moody-only", 1, Hook::Stop, How::Hangs).unwrap();
    let slot = place.slot();
    let gate = place.gate(1, Hook::Stop);
    let refusal = place.load_moody("fx-moody-only", 2, Hook::None, How::Refuses).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::Hook(reslot::Hook::Start, HookError::Refused(words)) if words.contains("is taken")),
        "{refusal}"
    );
    place.wait(|event| matches!(event, Event::SlotEmptied { generation: 1, .. }).then_some(()));
    slot.load().add(1).unwrap_err();
    // The slot exists, so the error does not suggest a similar name.
    let error = place.host.slot::<dyn Moody>("moody").map(drop).unwrap_err();
    assert!(matches!(error, SlotError::Vacant { .. }), "{error}");
    let words = error.to_string();
    assert!(
        words.starts_with("slot \"moody\" is empty: the `stop` of generation 1 did not return in time"),
        "{words}"
    );
    assert!(
        !words.contains("there are") && !words.contains("nothing is loaded"),
        "{words}"
    );
    let error = place.host.rollback("moody", RollbackTarget::Previous).unwrap_err();
    assert!(matches!(error, RollbackError::Slot(SlotError::Vacant { .. })), "{error}");
    gate.open();
    drop(gate);
    let report = wait_for_unmapped(&mut place.events, "moody", 1);
    assert!(report.served);
    // A later build can be loaded.
    place.load("fx-moody-only", 3);
    assert_eq!(slot.load().add(1).unwrap(), 1);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn claim_whose_plugin_is_lost_gets_the_next_one() {
    let policy = Policy::without_probation().hook_deadline(LATE);
    let mut place = Place::new(policy);
    place.load_moody("fx-moody-owned-only", 1, Hook::Stop, How::Hangs).unwrap();
    let mut claim = place.claim();
    let gate = place.gate(1, Hook::Stop);
    place.load("fx-moody-owned-only", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    claim.add(1).unwrap_err();
    gate.open();
    drop(gate);
    wait_for_unmapped(&mut place.events, "moody", 1);
    place.load("fx-moody-owned-only", 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!(claim.add(1).unwrap(), 1);
}

#[test]
fn failed_restart_is_reported_and_the_generation_keeps_serving() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(Policy::without_probation());
        place.load_moody("fx-moody-only", 1, Hook::Restart, how).unwrap();
        place.load_moody("fx-moody-only", 2, Hook::Start, How::Refuses).unwrap_err();
        place.wait(|event| matches!(event, Event::RestartFailed { generation: 1, .. }).then_some(()));
        assert_eq!(place.slot().load().add(1).unwrap(), 1);
        assert!(!place.lock().exists());
    }
}

#[test]
fn hanging_restart_leaves_nothing_and_blocks_no_caller() {
    let policy = Policy::without_probation().hook_deadline(LATE);
    let mut place = Place::new(policy);
    place.load_moody("fx-moody-only", 1, Hook::Restart, How::Hangs).unwrap();
    let slot = place.slot();
    let gate = place.gate(1, Hook::Restart);
    place.load_moody("fx-moody-only", 2, Hook::Start, How::Refuses).unwrap_err();
    place.wait(|event| matches!(event, Event::SlotEmptied { generation: 1, .. }).then_some(()));
    slot.load().add(1).unwrap_err();
    place.load("fx-moody-only", 3);
    assert_eq!(slot.load().add(1).unwrap(), 1);
    gate.open();
    wait_for_unmapped(&mut place.events, "moody", 1);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn host_goes_while_it_changes_hands() {
    for how in [How::Refuses, How::Panics, How::Hangs] {
        let policy = on_probation().hook_deadline(LATE);
        let place = Place::new(policy);
        place.load("fx-moody-only", 1);
        let gate = (how == How::Hangs).then(|| place.gate(2, Hook::Start));
        let path = place.publish_moody("fx-moody-only", 2, Hook::Start, how);
        let lock = place.lock();
        thread::scope(|scope| {
            let loading = scope.spawn(|| place.host.load(&path));
            if let Some(gate) = &gate {
                gate.wait_until_reached();
            }
            loading.join().unwrap().unwrap_err();
        });
        drop(place);
        assert!(!lock.exists(), "it was given back");
        if let Some(gate) = gate {
            gate.open();
        }
    }
}
