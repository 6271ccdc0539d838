//! Claimed slots are rolled back only in their owner's `sync`.

use super::{Place, asked, long_probation, told, wait_for_rolled_back};
use crate::support::{assert_nothing_left, copies, wait_for_staged, wait_for_unmapped, wait_until};
use fixture_interfaces::Counter;
use reslot::{Claim, Event, Host, LoadOutcome, Preflight, RestoredState, RollbackTarget, SyncOutcome, VersionStatus};
use reslot_tests::{Fixture, Folder, preflight_program};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// A claimed counter with the total 7 in its second version, of schema 3; the first had 5 and schema 1.
fn claimed(place: &Place, host: &Host, confirmed: bool) -> Claim<dyn Counter> {
    let mut events = host.events();
    place.load(host, &Fixture::build("fx-counter").stamped(1));
    host.confirm("counter").unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    place.load(host, &Fixture::build("fx-counter-schema-3").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!(claim.add(2).unwrap(), 7);
    if confirmed {
        assert!(host.confirm("counter").unwrap());
        wait_for_unmapped(&mut events, "counter", 1);
    }
    claim
}

#[test]
fn claimed_slot_goes_back_in_sync_across_schemas() {
    for (confirmed, back) in [(false, 1), (true, 3)] {
        let place = Place::new();
        let host = place.host();
        let mut claim = claimed(&place, &host, confirmed);
        let outcome = host.rollback("counter", RollbackTarget::Previous).unwrap();
        assert!(
            matches!(outcome, LoadOutcome::Staged { generation, .. } if generation == back),
            "{outcome:?}"
        );
        assert_eq!(claim.report().unwrap().stamp, 2, "until the owner says so");
        let expected = SyncOutcome::RolledBack {
            from: 2,
            generation: back,
        };
        assert_eq!(Claim::sync(&mut claim), expected);
        let report = claim.report().unwrap();
        assert_eq!((report.total, report.stamp), (7, 1));
        assert_eq!(claim.add(1).unwrap(), 8);
        assert_eq!(
            (Claim::sync(&mut claim), Claim::generation(&claim)),
            (SyncOutcome::Unchanged, Some(back))
        );
        let told = wait_for_rolled_back(&mut host.events());
        assert!(matches!(told.state, RestoredState::Carried { .. }), "{told:?}");
        wait_for_unmapped(&mut host.events(), "counter", 2);
        assert_nothing_left(&host, 1);
        let thought = || version_statuses(&host);
        wait_until(|| thought().contains(&asked()), "what is told of the versions");
    }
}

fn version_statuses(host: &Host) -> Vec<VersionStatus> {
    told(host, "counter").into_iter().map(|(_, thought)| thought).collect()
}

#[test]
fn owner_that_goes_instead_of_syncing_leaves_a_slot_that_goes_back() {
    for confirmed in [false, true] {
        let place = Place::new();
        // Without health checks the supervisor acts only on messages.
        let policy = long_probation().health_every(Duration::ZERO);
        let host = Host::builder().policy(policy).build().unwrap();
        let claim = claimed(&place, &host, confirmed);
        host.rollback("counter", RollbackTarget::Previous).unwrap();
        drop(claim);
        assert_eq!(wait_for_rolled_back(&mut host.events()).from, 2);
        let claim = host.claim::<dyn Counter>("counter").unwrap();
        assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (7, 1));
        drop(claim);
        assert_nothing_left(&host, 1);
    }
}

/// The supervisor is busy with another slot. It must not conclude that a slot has no earlier version while its owner is
/// rolling it back.
#[test]
fn rollback_by_the_owner_happens_once_even_if_others_check_meanwhile() {
    let place = Place::new();
    let host = place.builder().build().unwrap();
    let other = Folder::new();
    place.load(&host, &Fixture::build("fx-counter").stamped(1));
    host.confirm("counter").unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let probe = Fixture::build("fx-probe");
            for n in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                host.load(other.publish("probe.so", &probe.stamped(n))).unwrap();
            }
        });
        for n in 2..=60 {
            place.load(&host, &Fixture::build("fx-counter").stamped(n));
            assert!(matches!(Claim::sync(&mut claim), SyncOutcome::Adopted { .. }));
            assert_eq!(claim.add(1).unwrap(), n - 1);
            host.rollback("counter", RollbackTarget::Previous).unwrap();
            assert!(matches!(
                Claim::sync(&mut claim),
                SyncOutcome::RolledBack { generation: 1, .. }
            ));
        }
        done.store(true, Ordering::Relaxed);
    });
    // When this returns, all earlier requests have been processed.
    assert!(matches!(
        host.load(place.aside(&Fixture::build("fx-counter").stamped(1))),
        Ok(LoadOutcome::Unchanged { generation: 1, .. })
    ));
    let mut events = host.events();
    let told = std::iter::from_fn(|| events.try_recv());
    let hopeless: Vec<_> = told
        .filter(|record| matches!(record.event, Event::NoFallback { .. }))
        .collect();
    assert!(hopeless.is_empty(), "{hopeless:#?}");
    assert_eq!(
        (Claim::sync(&mut claim), claim.report().unwrap().total),
        (SyncOutcome::Unchanged, 59)
    );
    let slots = host.slots();
    assert!(slots.iter().all(|slot| slot.staged.is_none()), "{slots:?}");
}

#[test]
fn owner_rolls_back_at_once_to_the_standby_or_a_kept_version() {
    for (confirmed, back) in [(false, 1), (true, 3)] {
        let place = Place::new();
        let host = place.host();
        let mut claim = claimed(&place, &host, confirmed);
        let expected = SyncOutcome::RolledBack {
            from: 2,
            generation: back,
        };
        assert_eq!(Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap(), expected);
        let report = claim.report().unwrap();
        assert_eq!((report.total, report.stamp), (7, 1));
        wait_for_unmapped(&mut host.events(), "counter", 2);
        let nothing = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap_err();
        assert!(nothing.to_string().contains("counter"), "{nothing}");
        assert_eq!(claim.add(1).unwrap(), 8);
        assert_nothing_left(&host, 1);
    }
}

#[test]
fn owner_that_rolls_back_answers_a_preflights_request_for_the_state() {
    let place = Place::new();
    let mut policy = long_probation();
    policy.preflight = Some(Preflight {
        program: Some(preflight_program().to_owned()),
        // The preflight and the owner would wait for each other this long.
        timeout: Duration::from_secs(3600),
    });
    let host = Host::builder().policy(policy).history(place.kept.path()).build().unwrap();
    let counter = Fixture::build("fx-counter");
    place.load(&host, &counter.stamped(1));
    host.confirm("counter").unwrap();
    let first = host.history("counter")[0].hash;
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(7).unwrap(), 7);
    for round in 0..10 {
        let (second, third) = (counter.stamped(2 * round + 2), counter.stamped(2 * round + 3));
        load_beside(&host, place.aside(&second), &mut claim, &mut |_| {});
        assert_eq!(claim.report().unwrap().stamp, 2 * round + 2);
        assert!(host.confirm("counter").unwrap());
        let mut back = None;
        load_beside(&host, place.aside(&third), &mut claim, &mut |claim| {
            if back.is_none() {
                // The artifact of the preflight has been copied now.
                wait_until(|| copies(host.private_folder()).len() > 1, "the third");
                back = Some(Claim::rollback(claim, RollbackTarget::Hash(first)).unwrap());
            }
        });
        assert!(matches!(back, Some(SyncOutcome::RolledBack { .. })), "{back:?}");
        assert!([1, 2 * round + 3].contains(&claim.report().unwrap().stamp));
        assert_eq!(claim.report().unwrap().total, 7);
        host.confirm("counter").unwrap();
    }
    drop(claim);
    assert_nothing_left(&host, 1);
}

/// Loads it on another thread, while the owner runs this function and reaches his safe point repeatedly.
fn load_beside(host: &Host, path: PathBuf, claim: &mut Claim<dyn Counter>, owner: &mut dyn FnMut(&mut Claim<dyn Counter>)) {
    thread::scope(|scope| {
        let loading = scope.spawn(|| host.load(path));
        while !loading.is_finished() {
            owner(claim);
            let _ = Claim::sync(claim);
            thread::yield_now();
        }
        loading.join().unwrap().expect("it is good");
        let _ = Claim::sync(claim);
    });
}

#[test]
fn rollback_by_the_owner_does_not_adopt_a_newer_build() {
    for confirmed in [false, true] {
        let place = Place::new();
        let host = place.host();
        let mut events = host.events();
        let mut claim = claimed(&place, &host, confirmed);
        place.load(&host, &Fixture::build("fx-counter").stamped(3));
        assert!(Claim::has_staged(&claim));
        let back = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap();
        assert!(matches!(back, SyncOutcome::RolledBack { from: 2, .. }), "{back:?}");
        assert_eq!(claim.report().unwrap().stamp, 1);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged, "nothing comes after it");
        let superseded = |event: &Event| matches!(event, Event::Superseded { generation: 3, .. }).then_some(());
        crate::support::wait_for(&mut events, superseded);
        drop(claim);
        assert_nothing_left(&host, 1);
    }
}

#[test]
fn after_a_fault_the_slot_goes_back_first_and_then_adopts_the_waiting_build() {
    let place = Place::new();
    let host = place.host();
    let mut claim = claimed(&place, &host, false);
    place.load(&host, &Fixture::build("fx-counter").stamped(3));
    claim.fail("it slipped").unwrap_err();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!(
        claim.report().unwrap().stamp,
        1,
        "who called is answered by the version before"
    );
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!(claim.report().unwrap().stamp, 3);
}
