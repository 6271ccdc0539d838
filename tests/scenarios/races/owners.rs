//! What an owner's `sync` does after several requests, or after one that comes from inside of an adoption. The last request counts.

use super::requests::{hash_of, place};
use crate::{
    moody::{LATE, Place, on_probation},
    support::assert_nothing_left,
};
use fixture_interfaces::{Hook, How};
use reslot::{
    Claim, Event, Host, LoadOutcome, RollbackTarget, SyncOutcome,
    surface::{HostHandle, Setup, Surface, SurfaceError},
};
use reslot_tests::Folder;
use std::sync::{Arc, Mutex, OnceLock, mpsc};

/// Asks once for the previous version, on the thread of an event, as an embedder's `tracing` subscriber could.
struct AsksAt {
    event: fn(&Event) -> bool,
    answer: Mutex<Option<mpsc::Sender<LoadOutcome>>>,
    host: Arc<OnceLock<HostHandle>>,
}

impl Surface for AsksAt {
    type Running = ();

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let (event, host) = (self.event, self.host.clone());
        let answer = Mutex::new(self.answer.lock().unwrap().take());
        setup.on_event(move |told| {
            let Some(answer) = event(told).then(|| answer.lock().unwrap().take()).flatten() else {
                return;
            };
            let host = host.get().unwrap().steer().unwrap();
            answer
                .send(host.rollback("moody", RollbackTarget::Previous).unwrap())
                .unwrap();
        });
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<(), SurfaceError> {
        assert!(self.host.set(host).is_ok(), "it starts once");
        Ok(())
    }
}

/// A place with such a subscriber, whose first build is confirmed.
fn asks_at(event: fn(&Event) -> bool) -> (Place, mpsc::Receiver<LoadOutcome>) {
    let (answer, answered) = mpsc::channel();
    let asks = AsksAt {
        event,
        answer: Mutex::new(Some(answer)),
        host: Arc::default(),
    };
    let host = Host::builder().policy(on_probation()).attach(asks).build().unwrap();
    let place = Place::with(host, Folder::new());
    place.load("fx-moody-owned", 1);
    assert!(place.host.confirm("moody").unwrap());
    (place, answered)
}

#[test]
fn rollback_that_a_subscriber_asks_for_at_the_swap_on_the_owners_thread_is_answered_at_once() {
    let (place, answered) = asks_at(|event| matches!(event, Event::Swapped(report) if report.generation == 3));
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    place.load("fx-moody-owned", 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    let answer = answered.try_recv().unwrap();
    assert!(matches!(answer, LoadOutcome::Staged { generation: 2, .. }), "{answer:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 3, generation: 2 });
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn rollback_that_a_subscriber_asks_for_at_a_refusal_on_the_owners_thread_is_answered_at_once() {
    let (place, answered) = asks_at(|event| matches!(event, Event::Refused(_)));
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    place.load_moody("fx-moody-owned", 3, Hook::Start, How::Refuses).unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(2) });
    let answer = answered.try_recv().unwrap();
    assert!(matches!(answer, LoadOutcome::Staged { generation: 1, .. }), "{answer:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

/// Which request is done if the standby's own hook hangs: an older version from the history, and never the newer one that waited.
#[test]
fn rollback_whose_standby_hangs_does_not_end_at_the_build_that_waits() {
    let mut policy = on_probation();
    policy.hook_deadline = LATE;
    let mut place = Place::new(policy);
    let gate = place.gate(1, Hook::Restore);
    place.load_moody("fx-moody-owned", 1, Hook::Restore, How::Hangs).unwrap();
    assert!(place.host.confirm("moody").unwrap());
    let mut claim = place.claim();
    claim.add(5).unwrap();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    place.load("fx-moody-owned", 3);
    let refused = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap();
    assert_eq!(refused, SyncOutcome::Refused { serving: Some(2) });
    // From now on its hook returns.
    gate.open();
    drop(gate);
    place.wait(|event| matches!(event, Event::Superseded { generation: 3, .. }).then_some(()));
    place.wait(|event| matches!(event, Event::Staged { generation: 4, .. }).then_some(()));
    let synced = Claim::sync(&mut claim);
    assert_eq!(
        synced,
        SyncOutcome::RolledBack { from: 2, generation: 4 },
        "{:#?}",
        place.told()
    );
    assert_eq!((claim.stamp().unwrap() % 1000, claim.total().unwrap()), (1, 5));
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn rollback_to_the_current_version_discards_waiting_builds_and_earlier_requests() {
    let place = place("fx-moody-owned");
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let second = place.host.history("moody")[0].hash;
    place.load("fx-moody-owned", 3);
    let staged = place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    assert!(matches!(staged, LoadOutcome::Staged { generation: 1, .. }), "{staged:?}");
    let back = Claim::rollback(&mut claim, RollbackTarget::Hash(second)).unwrap();
    assert_eq!((back, Claim::generation(&claim)), (SyncOutcome::Unchanged, Some(2)));
    assert!(!Claim::has_staged(&claim));
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    assert_eq!(claim.stamp().unwrap() % 1000, 2);
    assert!(place.host.confirm("moody").unwrap(), "no rollback waits any more");
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn last_of_two_requested_rollbacks_counts() {
    let place = place("fx-moody-owned");
    let first = hash_of(&place, "fx-moody-owned", 1);
    let mut claim = place.claim();
    for generation in [2, 3] {
        place.load("fx-moody-owned", generation);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation });
        if generation == 2 {
            assert!(place.host.confirm("moody").unwrap());
        }
    }
    let previous = || place.host.rollback("moody", RollbackTarget::Previous).unwrap();
    let to_first = || place.host.rollback("moody", RollbackTarget::Hash(first)).unwrap();
    let (one, other) = (previous(), to_first());
    assert!(matches!(one, LoadOutcome::Staged { generation: 2, .. }), "{one:?}");
    assert!(matches!(other, LoadOutcome::Staged { generation: 4, .. }), "{other:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 3, generation: 4 });
    assert_eq!(claim.stamp().unwrap() % 1000, 1);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    // The other way round.
    for generation in [5, 6] {
        place.load("fx-moody-owned", generation);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation });
        if generation == 5 {
            assert!(place.host.confirm("moody").unwrap());
        }
    }
    let (one, other) = (to_first(), previous());
    assert!(matches!(one, LoadOutcome::Staged { generation: 7, .. }), "{one:?}");
    assert!(matches!(other, LoadOutcome::Staged { generation: 5, .. }), "{other:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 6, generation: 5 });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    drop(claim);
    assert_nothing_left(&place.host, 1);
}
