//! Claimed slots go back in their owner's `sync`, and nowhere else.

use super::{Place, asked, long_probation, told, wait_for_rolled_back};
use crate::support::{assert_nothing_left, wait_for_staged, wait_for_unmapped, wait_until};
use fixture_interfaces::Counter;
use reslot::{Claim, Event, Host, KeptCondition, LoadOutcome, StateBack, Synced, To};
use reslot_tests::{Fixture, Folder};
use std::{
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
    assert_eq!(claim.sync(), Synced::Adopted { generation: 2 });
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
        let outcome = host.rollback("counter", To::Previous).unwrap();
        assert!(
            matches!(outcome, LoadOutcome::Staged { generation, .. } if generation == back),
            "{outcome:?}"
        );
        assert_eq!(claim.report().unwrap().stamp, 2, "until the owner says so");
        let expected = Synced::RolledBack {
            from: 2,
            generation: back,
        };
        assert_eq!(claim.sync(), expected);
        let report = claim.report().unwrap();
        assert_eq!((report.total, report.stamp), (7, 1));
        assert_eq!(claim.add(1).unwrap(), 8);
        assert_eq!((claim.sync(), Claim::generation(&claim)), (Synced::Unchanged, back));
        let told = wait_for_rolled_back(&mut host.events());
        assert!(matches!(told.state, StateBack::Carried { .. }), "{told:?}");
        wait_for_unmapped(&mut host.events(), "counter", 2);
        assert_nothing_left(&host, 1);
        let thought = || told_conditions(&host);
        wait_until(|| thought().contains(&asked()), "what is told of the versions");
    }
}

fn told_conditions(host: &Host) -> Vec<KeptCondition> {
    told(host, "counter").into_iter().map(|(_, thought)| thought).collect()
}

#[test]
fn owner_that_goes_instead_of_syncing_leaves_a_slot_that_goes_back() {
    for confirmed in [false, true] {
        let place = Place::new();
        // Nobody looks by the way: what has to happen is told.
        let mut policy = long_probation();
        policy.health_every = Duration::ZERO;
        let host = Host::builder().policy(policy).build().unwrap();
        let claim = claimed(&place, &host, confirmed);
        host.rollback("counter", To::Previous).unwrap();
        drop(claim);
        assert_eq!(wait_for_rolled_back(&mut host.events()).from, 2);
        let claim = host.claim::<dyn Counter>("counter").unwrap();
        assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (7, 1));
        drop(claim);
        assert_nothing_left(&host, 1);
    }
}

/// The supervisor, kept busy by another slot, must not take a slot whose owner is just going back for one that has nothing to
/// go back to.
#[test]
fn owner_who_goes_back_does_so_once_whoever_looks_meanwhile() {
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
            assert!(matches!(claim.sync(), Synced::Adopted { .. }));
            assert_eq!(claim.add(1).unwrap(), n - 1);
            host.rollback("counter", To::Previous).unwrap();
            assert!(matches!(claim.sync(), Synced::RolledBack { generation: 1, .. }));
        }
        done.store(true, Ordering::Relaxed);
    });
    // All that was asked for before has been done when this is answered.
    assert!(matches!(
        host.load(place.aside(&Fixture::build("fx-counter").stamped(1))),
        Ok(LoadOutcome::Unchanged { generation: 1, .. })
    ));
    let mut events = host.events();
    let told = std::iter::from_fn(|| events.try_recv());
    let hopeless: Vec<_> = told
        .filter(|record| matches!(record.event, Event::NoWayBack { .. }))
        .collect();
    assert!(hopeless.is_empty(), "{hopeless:#?}");
    assert_eq!((claim.sync(), claim.report().unwrap().total), (Synced::Unchanged, 59));
    let slots = host.slots();
    assert!(slots.iter().all(|slot| slot.staged.is_none()), "{slots:?}");
}
