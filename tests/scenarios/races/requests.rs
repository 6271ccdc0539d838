//! Two requests for one slot at the same moment: both are answered with what happened, in one order or the other.

use crate::{
    moody::{Place, SHORT, on_probation},
    support::assert_nothing_left,
};
use fixture_interfaces::{Hook, How, MoodyOwned};
use reslot::{
    Claim, ContentHash, Event, Fault, LoadOutcome, RollbackError, RollbackTarget, SlotError, SyncOutcome, UnloadError,
    UnloadOutcome,
};
use std::{
    fs,
    sync::{
        Barrier,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
};

const ROUNDS: u64 = 60;

/// Does both at the same moment.
fn at_once<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            barrier.wait();
            other()
        });
        barrier.wait();
        (one(), other.join().unwrap())
    })
}

/// A place in which the first build has passed its probation.
pub(super) fn place(package: &str) -> Place {
    let place = Place::new(on_probation());
    place.load(package, 1);
    assert!(place.host.confirm("moody").unwrap());
    place
}

pub(super) fn hash_of(place: &Place, package: &str, build: u64) -> ContentHash {
    ContentHash::of(&fs::read(place.publish(package, build)).unwrap())
}

fn generation(place: &Place) -> u64 {
    place.host.slots()[0].generation.expect("a generation serves")
}

#[test]
fn two_rollbacks_to_the_previous_version_are_done_once_or_one_after_the_other() {
    let place = place("fx-moody");
    for round in 0..ROUNDS {
        // Three versions, of which the first is in the history and the second is the standby.
        place.load("fx-moody", 2);
        assert!(place.host.confirm("moody").unwrap());
        place.load("fx-moody", 3);
        let third = generation(&place);
        let ask = || place.host.rollback("moody", RollbackTarget::Previous).unwrap();
        let (one, other) = at_once(ask, ask);
        let build = place.build();
        match (&one, &other) {
            (LoadOutcome::RolledBack(report), LoadOutcome::Unchanged { generation, .. })
            | (LoadOutcome::Unchanged { generation, .. }, LoadOutcome::RolledBack(report)) => {
                assert_eq!((report.from, report.to, build), (third, *generation, 2), "round {round}");
                place.host.rollback("moody", RollbackTarget::Previous).unwrap();
            }
            (LoadOutcome::RolledBack(first), LoadOutcome::Swapped(second))
            | (LoadOutcome::Swapped(second), LoadOutcome::RolledBack(first)) => {
                assert_eq!(
                    (first.from, second.replaced, build),
                    (third, Some(first.to), 1),
                    "round {round}"
                );
            }
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(place.build(), 1);
        assert!(place.host.confirm("moody").unwrap());
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn rollback_to_a_version_never_ends_at_another_one_because_something_newer_was_loaded() {
    let place = place("fx-moody");
    let to = hash_of(&place, "fx-moody", 1);
    for round in 0..ROUNDS {
        place.load("fx-moody", 2);
        let newer = place.publish("fx-moody", 3);
        let first = place.host.slots()[0].standby.expect("the first build stands by");
        let (back, loaded) = at_once(
            || place.host.rollback("moody", RollbackTarget::Hash(to)).unwrap(),
            || place.host.load(&newer).unwrap(),
        );
        let LoadOutcome::Swapped(loaded) = loaded else {
            panic!("round {round}: {loaded:?}")
        };
        match back {
            // Before the newer one came, which serves now.
            LoadOutcome::RolledBack(report) if loaded.replaced == Some(report.to) => {
                assert_eq!((report.to, place.build()), (first, 3), "round {round}");
                place.host.rollback("moody", RollbackTarget::Hash(to)).unwrap();
            }
            LoadOutcome::Swapped(report) => assert_eq!(report.replaced, Some(loaded.generation), "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(place.build(), 1, "round {round}");
        place.host.confirm("moody").unwrap();
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn generation_is_confirmed_or_rolled_back_and_never_both() {
    let place = place("fx-moody");
    let mut events = place.host.events();
    for round in 0..ROUNDS {
        place.load("fx-moody", 2);
        let second = generation(&place);
        while events.try_recv().is_some() {}
        let (back, confirmed) = at_once(
            || place.host.rollback("moody", RollbackTarget::Previous).unwrap(),
            || place.host.confirm("moody").unwrap(),
        );
        let mut told = Vec::new();
        while let Some(record) = events.try_recv() {
            match &record.event {
                Event::Confirmed { generation, .. } => told.push(*generation),
                Event::HistoryFailed { error, .. } => panic!("round {round}: {error}"),
                _ => {}
            }
        }
        match back {
            // Before it was confirmed; the generation that is current now may have been confirmed instead.
            LoadOutcome::RolledBack(report) => {
                assert_eq!(report.from, second);
                let expected = confirmed.then_some(report.to);
                assert_eq!(told, Vec::from_iter(expected), "round {round}");
            }
            // Afterwards: what stood by was gone.
            LoadOutcome::Swapped(_) => assert_eq!((confirmed, told), (true, vec![second]), "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(place.build(), 1);
        place.host.confirm("moody").unwrap();
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn rollback_of_a_slot_that_is_claimed_at_that_moment_is_done_or_left_to_the_owner() {
    let place = place("fx-moody-owned");
    for round in 0..ROUNDS {
        place.load("fx-moody-owned", 2);
        let second = generation(&place);
        let (back, mut claim) = at_once(
            || place.host.rollback("moody", RollbackTarget::Previous).unwrap(),
            || place.claim(),
        );
        let synced = Claim::sync(&mut claim);
        match back {
            LoadOutcome::RolledBack(report) => {
                assert_eq!((report.from, synced), (second, SyncOutcome::Unchanged), "round {round}");
            }
            LoadOutcome::Staged { generation, .. } => {
                let from = second;
                assert_eq!(synced, SyncOutcome::RolledBack { from, generation }, "round {round}");
            }
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(claim.stamp().unwrap() % 1000, 1);
        place.host.confirm("moody").unwrap();
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn unloading_of_a_slot_that_is_claimed_at_that_moment_is_done_or_left_to_the_owner() {
    let place = place("fx-moody-owned");
    for round in 0..ROUNDS {
        let (unloaded, claim) = at_once(|| place.host.unload("moody"), || place.host.claim::<dyn MoodyOwned>("moody"));
        match (unloaded.unwrap(), claim) {
            (UnloadOutcome::Unloaded(_), Err(SlotError::Unloaded { .. })) => {}
            (UnloadOutcome::Staged { generation, .. }, Ok(mut claim)) => {
                assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation }, "round {round}");
                assert!(matches!(claim.stamp().unwrap_err().fault(), Fault::Unloaded), "round {round}");
            }
            (unloaded, claim) => panic!("round {round}: {unloaded:?}, {claim:?}"),
        }
        place.load("fx-moody-owned", 1);
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn shadow_of_a_slot_that_is_claimed_at_that_moment_has_its_state_or_is_refused() {
    let place = place("fx-moody-owned");
    place.claim().add(5).unwrap();
    let other = place.publish("fx-moody-owned", 2);
    for round in 0..ROUNDS {
        let (shadow, claim) = at_once(|| place.host.shadow::<dyn MoodyOwned>("moody", &other), || place.claim());
        match shadow {
            Ok(shadow) => assert_eq!(shadow.total().unwrap(), 5, "round {round}"),
            Err(error) => assert!(
                matches!(error, RollbackError::Slot(SlotError::Claimed { .. })),
                "round {round}: {error}"
            ),
        }
        drop(claim);
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn slot_is_unloaded_once_however_many_ask_for_it() {
    let place = place("fx-moody");
    for round in 0..ROUNDS {
        let (one, other) = at_once(|| place.host.unload("moody"), || place.host.unload("moody"));
        let done = |unloaded: &Result<_, _>| matches!(unloaded, Ok(UnloadOutcome::Unloaded(_)));
        let finds_nothing = |unloaded: &Result<_, _>| matches!(unloaded, Err(UnloadError::Slot(why)) if matches!(**why, SlotError::Unloaded { .. }));
        assert!(
            (done(&one) && finds_nothing(&other)) || (done(&other) && finds_nothing(&one)),
            "round {round}: {one:?}, {other:?}"
        );
        place.load("fx-moody", 1);
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn slot_that_is_unloaded_while_it_is_rolled_back_is_empty() {
    let place = place("fx-moody");
    for round in 0..ROUNDS {
        place.load("fx-moody", 2);
        let (back, unloaded) = at_once(
            || place.host.rollback("moody", RollbackTarget::Previous),
            || place.host.unload("moody").unwrap(),
        );
        let UnloadOutcome::Unloaded(unloaded) = unloaded else {
            panic!("round {round}: {unloaded:?}")
        };
        let serves = place.host.slots()[0].generation;
        match back {
            Ok(LoadOutcome::RolledBack(report)) => {
                assert_eq!((report.to, serves), (unloaded.generation, None), "round {round}");
                place.load("fx-moody", 1);
            }
            // What was unloaded is in the history, so it comes back from there.
            Ok(LoadOutcome::Swapped(report)) => {
                assert_eq!((report.replaced, serves), (None, Some(report.generation)), "round {round}");
            }
            Err(RollbackError::Slot(SlotError::Unloaded { .. })) => {
                assert_eq!(serves, None, "round {round}");
                place.load("fx-moody", 1);
            }
            other => panic!("round {round}: {other:?}"),
        }
        if place.build() != 1 {
            place.load("fx-moody", 1);
        }
        place.host.confirm("moody").unwrap();
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn rollback_that_is_asked_for_while_the_owner_adopts_comes_after_that() {
    let place = place("fx-moody-owned");
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let gate = place.gate(3, Hook::Start);
    place.load_moody("fx-moody-owned", 3, Hook::Start, How::Hangs).unwrap();
    thread::scope(|scope| {
        let claim = &mut claim;
        let owner = scope.spawn(|| Claim::sync(claim));
        gate.wait_until_reached();
        let (answer, answered) = mpsc::channel();
        let host = &place.host;
        scope.spawn(move || {
            let rolled_back = host.rollback("moody", RollbackTarget::Previous).unwrap();
            answer.send(rolled_back).unwrap();
        });
        // The first build is not promised, because the owner leaves the second one at this moment.
        assert_eq!(answered.recv_timeout(SHORT).unwrap_err(), RecvTimeoutError::Timeout);
        gate.open();
        assert_eq!(owner.join().unwrap(), SyncOutcome::Adopted { generation: 3 });
        let staged = answered.recv().unwrap();
        assert!(matches!(staged, LoadOutcome::Staged { generation: 2, .. }), "{staged:?}");
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 3, generation: 2 });
    assert_nothing_left(&place.host, 1);
}

#[test]
fn generation_that_its_owner_is_to_roll_back_is_not_confirmed() {
    let place = place("fx-moody-owned");
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let back = place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    assert!(matches!(back, LoadOutcome::Staged { generation: 1, .. }), "{back:?}");
    assert!(!place.host.confirm("moody").unwrap(), "its owner is about to leave it");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert!(place.host.confirm("moody").unwrap());
    assert!(!place.host.confirm("moody").unwrap());
    assert_nothing_left(&place.host, 1);
}
