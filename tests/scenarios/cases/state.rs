//! State, and rollbacks with it.

use crate::{
    moody::{Place, all_ways, on_probation},
    support::{assert_nothing_left, wait_for_unmapped},
};
use fixture_interfaces::{Hook, How};
use reslot::{Cause, Claim, Event, RestoredState, RollbackState, Step, SyncOutcome};

#[test]
fn upgrade_downgrade_upgrade() {
    let place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    slot.load().add(1).unwrap();
    for round in 1..=3 {
        place.load("fx-moody-newer", 2 * round);
        assert_eq!(slot.load().add(1).unwrap(), 2 * round);
        place.load("fx-moody", 2 * round + 1);
        assert_eq!(slot.load().add(1).unwrap(), 2 * round + 1);
        let past = slot.load().past().unwrap();
        assert_eq!((u64::from(past.ups), u64::from(past.downs)), (round, round));
    }
}

#[test]
fn migration_failure_rolls_back() {
    for (at, how) in all_ways(&[Hook::Migrate, Hook::Restore]) {
        let mut place = Place::new(on_probation());
        place.load("fx-moody", 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        let refusal = place.load_moody("fx-moody-newer", 2, at, how).unwrap_err();
        assert_eq!(refusal.step, Step::Migrate);
        let hook = match at {
            Hook::Migrate => reslot::Hook::Migrate,
            _ => reslot::Hook::Restore,
        };
        assert!(matches!(&*refusal.cause, Cause::Hook(of, _) if *of == hook), "{refusal}");
        assert_eq!((place.build(), slot.load().add(1).unwrap()), (1, 6));
        wait_for_unmapped(&mut place.events, "moody", 2);
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn crash_in_load() {
    for (at, how) in all_ways(&[Hook::Create, Hook::Migrate, Hook::Restore, Hook::Init, Hook::Start]) {
        if how != How::Panics {
            continue;
        }
        let mut place = Place::new(on_probation());
        place.load("fx-moody-owned", 1);
        let mut claim = place.claim();
        claim.add(5).unwrap();
        let loaded = place.load_moody("fx-moody-owned-newer", 2, at, how);
        if loaded.is_ok() {
            assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
        }
        assert_eq!((claim.stamp().unwrap() % 1000, claim.add(1).unwrap()), (1, 6), "{at:?}");
        wait_for_unmapped(&mut place.events, "moody", 2);
        drop(claim);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn crash_in_call() {
    for (choice, total) in [(RollbackState::Snapshot, 5), (RollbackState::KeepCurrent, 8)] {
        let policy = on_probation().rollback_state(choice);
        let mut place = Place::new(policy);
        place.load("fx-moody", 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        place.load("fx-moody-newer", 2);
        slot.load().add(2).unwrap();
        slot.load().fail("a crash").unwrap_err();
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (2, 1));
        match choice {
            RollbackState::Snapshot => assert!(matches!(report.state, RestoredState::Snapshot { why: None, .. })),
            _ => assert!(matches!(report.state, RestoredState::Carried { .. })),
        }
        assert_eq!((place.build(), slot.load().total().unwrap()), (1, total));
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn crash_in_unload() {
    for at in [Hook::Stop, Hook::Drop] {
        let mut place = Place::new(reslot::Policy::without_probation());
        place.load_moody("fx-moody", 1, at, How::Panics).unwrap();
        place.slot().load().add(5).unwrap();
        place.load("fx-moody", 2);
        let report = wait_for_unmapped(&mut place.events, "moody", 1);
        assert!(report.stop_error.is_some() != report.destroy_error.is_some(), "{report:#?}");
        assert_eq!(place.slot().load().add(1).unwrap(), 6);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn first_version_fails() {
    for package in ["fx-moody", "fx-moody-stateless", "fx-moody-only"] {
        let mut place = Place::new(on_probation());
        place.load(package, 1);
        let slot = place.slot();
        for _ in 0..3 {
            slot.load().fail("from the beginning").unwrap_err();
        }
        place.wait(|event| matches!(event, Event::NoFallback { generation: Some(1), .. }).then_some(()));
        for _ in 0..3 {
            slot.load().fail("and again").unwrap_err();
        }
        assert_eq!(slot.load().stamp().unwrap() % 1000, 1, "it keeps serving");
        // When this load is done, the host has processed all earlier requests.
        place.load(package, 2);
        assert_eq!(place.build(), 2);
        let times = place
            .told()
            .iter()
            .filter(|event| matches!(event, Event::NoFallback { .. }))
            .count();
        assert_eq!(times, 1);
    }
}

#[test]
fn statics_reset_on_reload() {
    let place = Place::new(on_probation());
    for build in 1..=4 {
        place.load("fx-moody", build);
        let slot = place.slot();
        assert_eq!(slot.load().calls().unwrap(), 1);
        assert_eq!(slot.load().calls().unwrap(), 2);
    }
}

#[test]
fn host_state_kept() {
    let mut place = Place::new(on_probation());
    place.load("fx-moody", 1);
    let slot = place.slot();
    for build in 2..=6 {
        slot.load().add(1).unwrap();
        place.load("fx-moody", build);
    }
    assert_eq!(slot.load().total().unwrap(), 5);
    // The caller's handle, stream and numbers are unchanged.
    assert_eq!(slot.name(), "moody");
    place.wait(|event| matches!(event, Event::Swapped(report) if report.generation == 6).then_some(()));
}
