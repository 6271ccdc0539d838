//! Sets with claimed slots: they wait for the owner, who adopts them with all of his claims at once.

use super::{Place, builder, serving};
use crate::support::{assert_nothing_left, wait_for, wait_for_refused, wait_for_swapped};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{Claim, Event, Events, GenerationStatus, LoadOutcome, Policy, RollbackTarget, SyncOutcome};
use reslot_tests::Fixture;
use std::time::Duration;

const SET: [&str; 2] = ["fx-counter", "fx-shared-counter"];

/// A place with two claims, one with 5 and one with 7.
struct Owner {
    place: Place,
    a: Claim<dyn Counter>,
    b: Claim<dyn SharedCounter>,
    events: Events,
}

impl Owner {
    fn new() -> Self {
        Self::of(Place::new())
    }

    fn of(place: Place) -> Self {
        place.load(&["fx-counter", "fx-shared-counter", "fx-probe"], 1).unwrap();
        let mut a = place.host.claim::<dyn Counter>("counter").unwrap();
        let b = place.host.claim::<dyn SharedCounter>("shared-counter").unwrap();
        assert_eq!((a.add(5).unwrap(), b.add(7).unwrap()), (5, 7));
        let events = place.host.events();
        Self { place, a, b, events }
    }

    fn sync(&mut self) -> Vec<SyncOutcome> {
        self.place.host.sync_together(&mut [&mut self.a, &mut self.b])
    }

    fn generations(&self) -> (u64, u64) {
        let (a, b) = (Claim::generation(&self.a), Claim::generation(&self.b));
        (a.expect("a generation serves"), b.expect("a generation serves"))
    }

    fn has_staged(&self) -> (bool, bool) {
        (Claim::has_staged(&self.a), Claim::has_staged(&self.b))
    }

    /// The totals and stamps of the two.
    fn holds(&self) -> [(u64, u64); 2] {
        let a = self.a.report().unwrap();
        [(a.total, a.stamp), (self.b.total().unwrap(), self.b.stamp().unwrap())]
    }

    fn superseded(&mut self, slot: &str) -> u64 {
        wait_for(&mut self.events, |event| match event {
            Event::Superseded { slot: of, generation } if &**of == slot => Some(*generation),
            _ => None,
        })
    }
}

fn assert_staged(outcomes: &[LoadOutcome], how_many: usize) {
    let staged = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, LoadOutcome::Staged { .. }));
    assert_eq!((staged.count(), outcomes.len()), (how_many, how_many), "{outcomes:?}");
}

#[test]
fn two_claims_adopt_together_and_none_alone() {
    let mut owner = Owner::new();
    assert_staged(&owner.place.load(&SET, 2).unwrap(), 2);
    assert_eq!(owner.has_staged(), (true, true));
    let staged = |slot: &str| {
        owner
            .place
            .host
            .slots()
            .into_iter()
            .find(|info| info.name == slot)
            .unwrap()
            .staged
    };
    assert_eq!((staged("counter"), staged("shared-counter")), (Some(2), Some(2)));
    let held = owner.place.host.who_holds("counter");
    assert_eq!(
        held.iter().map(|held| held.condition.clone()).collect::<Vec<_>>(),
        [GenerationStatus::Serving, GenerationStatus::Staged]
    );
    assert!(
        owner.place.host.wait_until_retired(Duration::ZERO),
        "what waits for its owner is not on its way out"
    );
    for _ in 0..3 {
        assert_eq!(
            (Claim::sync(&mut owner.a), Claim::sync(&mut owner.b)),
            (SyncOutcome::Unchanged, SyncOutcome::Unchanged)
        );
        assert_eq!(owner.holds(), [(5, 1), (7, 1)]);
    }
    // A sync of only one claim does not adopt the set.
    assert_eq!(owner.place.host.sync_together(&mut [&mut owner.b]), [SyncOutcome::Unchanged]);
    assert_eq!(owner.sync(), [SyncOutcome::Adopted { generation: 2 }; 2]);
    assert_eq!(owner.holds(), [(5, 2), (7, 2)]);
    assert_eq!(owner.sync(), [SyncOutcome::Unchanged; 2]);
    assert_eq!(owner.has_staged(), (false, false));
    assert_eq!((owner.a.add(1).unwrap(), owner.b.add(1).unwrap()), (6, 8));
    assert_nothing_left(&owner.place.host, 3);
}

#[test]
fn hundred_sets_one_after_the_other_keep_both_states() {
    let mut owner = Owner::new();
    for n in 2..=101 {
        owner.place.load(&SET, n).unwrap();
        assert_eq!(owner.sync(), [SyncOutcome::Adopted { generation: n }; 2]);
        owner.a.add(1).unwrap();
        assert_eq!(owner.holds(), [(5 + n - 1, n), (7, n)]);
    }
    assert_nothing_left(&owner.place.host, 3);
}

#[test]
fn one_claimed_and_one_open_slot_are_adopted_by_sync() {
    let Owner { place, mut a, b, .. } = Owner::new();
    drop(b);
    let probe = place.probe();
    assert_staged(&place.load(&["fx-probe", "fx-counter"], 2).unwrap(), 2);
    assert_eq!(probe.load().stamp().unwrap(), 1, "the open one waits with the other");
    assert_eq!(Claim::sync(&mut a), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((probe.load().stamp().unwrap(), a.report().unwrap().stamp), (2, 2));
    // A set with a plugin with state as well.
    place.load(&["fx-shared-counter", "fx-counter"], 3).unwrap();
    assert_eq!(Claim::sync(&mut a), SyncOutcome::Adopted { generation: 3 });
    let counter = place.counter();
    assert_eq!((counter.load().total().unwrap(), counter.load().stamp().unwrap()), (7, 3));
    assert_eq!(a.add(1).unwrap(), 6);
    drop((counter, probe));
    assert_nothing_left(&place.host, 3);
}

#[test]
fn claim_that_is_dropped_while_the_set_waits_leaves_it_to_the_other() {
    let Owner {
        place,
        mut a,
        b,
        mut events,
    } = Owner::new();
    place.load(&SET, 2).unwrap();
    drop(b);
    // Even if the reload thread has not noticed the free slot yet, the set is adopted by the remaining owner.
    assert_eq!(Claim::sync(&mut a), SyncOutcome::Adopted { generation: 2 });
    let counter = place.counter();
    assert_eq!((counter.load().total().unwrap(), counter.load().stamp().unwrap()), (7, 2));
    // Without an owner the set is loaded at once.
    place.load(&SET, 3).unwrap();
    assert_eq!(counter.load().stamp().unwrap(), 2);
    drop(a);
    wait_for(&mut events, |event| match event {
        Event::Swapped(report) if &*report.slot == "counter" && report.generation == 3 => Some(()),
        _ => None,
    });
    assert_eq!((counter.load().total().unwrap(), counter.load().stamp().unwrap()), (7, 3));
    assert_eq!(place.host.claim::<dyn Counter>("counter").unwrap().report().unwrap().total, 5);
    drop(counter);
    assert_nothing_left(&place.host, 3);
}

#[test]
fn owner_that_has_synced_already_adopts_the_set_when_the_other_claim_is_dropped() {
    let Owner {
        place,
        mut a,
        b,
        mut events,
    } = Owner::new();
    place.load(&SET, 2).unwrap();
    // One of two cannot adopt it.
    assert_eq!(Claim::sync(&mut a), SyncOutcome::Unchanged);
    drop(b);
    // The reload thread has looked at the slot that is free now when it has done this.
    place.load(&["fx-probe"], 2).unwrap();
    assert_eq!(Claim::sync(&mut a), SyncOutcome::Adopted { generation: 2 });
    for slot in ["counter", "shared-counter"] {
        wait_for_swapped(&mut events, slot, 2);
    }
    drop(a);
    assert_nothing_left(&place.host, 3);
}

#[test]
fn open_member_that_is_claimed_meanwhile_is_waited_for_as_well() {
    let Owner { place, mut a, b, .. } = Owner::new();
    drop(b);
    place.load(&SET, 2).unwrap();
    let mut b = place.host.claim::<dyn SharedCounter>("shared-counter").unwrap();
    assert_eq!(
        (Claim::sync(&mut a), Claim::sync(&mut b)),
        (SyncOutcome::Unchanged, SyncOutcome::Unchanged)
    );
    let adopted = place.host.sync_together(&mut [&mut b, &mut a]);
    assert_eq!(adopted, [SyncOutcome::Adopted { generation: 2 }; 2]);
    assert_eq!((b.total().unwrap(), a.report().unwrap().total), (7, 5));
    drop((a, b));
    assert_nothing_left(&place.host, 3);
}

#[test]
fn newer_artifact_for_one_slot_takes_the_place_of_the_set() {
    let mut owner = Owner::new();
    owner.place.load(&SET, 2).unwrap();
    let path = owner.place.publish(&["fx-counter"], 3).remove(0);
    assert!(matches!(
        owner.place.host.load(path),
        Ok(LoadOutcome::Staged { generation: 3, .. })
    ));
    assert_eq!((owner.superseded("counter"), owner.superseded("shared-counter")), (2, 2));
    assert_eq!(owner.has_staged(), (true, false), "nothing waits for the other one any more");
    assert_eq!(Claim::sync(&mut owner.b), SyncOutcome::Unchanged);
    assert_eq!(owner.sync(), [SyncOutcome::Adopted { generation: 3 }, SyncOutcome::Unchanged]);
    assert_eq!(owner.holds(), [(5, 3), (7, 1)]);
    assert_nothing_left(&owner.place.host, 3);
    let known = owner.place.host.history("shared-counter");
    assert_eq!(known.len(), 1, "what never served is not listed: {known:?}");
}

#[test]
fn set_takes_the_place_of_an_older_artifact_for_one_slot() {
    let mut owner = Owner::new();
    let path = owner.place.publish(&["fx-counter"], 2).remove(0);
    owner.place.host.load(path).unwrap();
    owner.place.load(&SET, 3).unwrap();
    assert_eq!(owner.superseded("counter"), 2);
    // A sync of one claim adopts neither the set nor an older candidate.
    assert_eq!(Claim::sync(&mut owner.a), SyncOutcome::Unchanged);
    assert_eq!(
        owner.sync(),
        [SyncOutcome::Adopted { generation: 3 }, SyncOutcome::Adopted { generation: 2 }]
    );
    for _ in 0..3 {
        // This load makes the host check all claimed slots again.
        owner.place.load(&["fx-probe"], 10).unwrap();
        owner.place.host.confirm("counter").unwrap();
        assert_eq!(owner.sync(), [SyncOutcome::Unchanged; 2]);
    }
    assert_eq!(owner.holds(), [(5, 3), (7, 3)]);
    assert_nothing_left(&owner.place.host, 3);
}

#[test]
fn newer_set_takes_the_place_of_an_older_one_also_where_they_overlap_in_part() {
    let mut owner = Owner::new();
    owner.place.load(&SET, 2).unwrap();
    assert_staged(&owner.place.load(&["fx-counter", "fx-probe"], 3).unwrap(), 2);
    assert_eq!((owner.superseded("counter"), owner.superseded("shared-counter")), (2, 2));
    assert_eq!(owner.sync(), [SyncOutcome::Adopted { generation: 3 }, SyncOutcome::Unchanged]);
    let probe = owner.place.host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!(probe.load().stamp().unwrap(), 3);
    assert_eq!(owner.holds(), [(5, 3), (7, 1)]);
    drop(probe);
    assert_nothing_left(&owner.place.host, 3);
}

#[test]
fn refused_set_leaves_both_claims_as_they_were() {
    let mut owner = Owner::new();
    let unwilling = owner
        .place
        .folder
        .publish("bad.so", Fixture::build("fx-refuses-start").bytes());
    let unfit = owner
        .place
        .folder
        .publish("unfit.so", Fixture::build("fx-other-shared-state").bytes());
    let good = owner.place.publish(&SET, 2);
    for (n, set) in [[unwilling, good[1].clone()], [unfit, good[0].clone()]]
        .into_iter()
        .enumerate()
    {
        assert_staged(&owner.place.host.load_together(set).unwrap(), 2);
        assert_eq!(owner.sync(), [SyncOutcome::Refused { serving: Some(1) }; 2]);
        let refusal = wait_for_refused(&mut owner.events);
        assert_eq!(refusal.serving, Some(1), "{refusal}");
        assert_eq!((owner.generations(), owner.has_staged()), ((1, 1), (false, false)));
        assert_eq!(owner.holds(), [(5, 1), (7, 1)]);
        assert_eq!((owner.a.add(0).unwrap(), owner.a.report().unwrap().calls), (5, n as u32 + 2));
        assert_eq!(owner.sync(), [SyncOutcome::Unchanged; 2]);
        assert_nothing_left(&owner.place.host, 3);
    }
    owner.place.host.load_together(good).unwrap();
    let adopted = owner.sync();
    assert!(
        adopted.iter().all(|synced| matches!(synced, SyncOutcome::Adopted { .. })),
        "{adopted:?}"
    );
    assert_eq!(owner.holds(), [(5, 2), (7, 2)]);
    assert_nothing_left(&owner.place.host, 3);
}

#[test]
fn host_that_goes_takes_a_waiting_set_with_it() {
    let Owner { place, a, b, mut events } = Owner::new();
    place.load(&SET, 2).unwrap();
    drop(place);
    // Both end at the same time, in either order.
    let mut waited_for = vec!["counter", "shared-counter"];
    while !waited_for.is_empty() {
        let record = events.recv().expect("the claims keep the stream open");
        if let Event::Retired(report) = &record.event
            && report.generation == 2
        {
            assert!(!report.served);
            waited_for.retain(|slot| **slot != *report.slot);
        }
    }
    assert_eq!((a.report().unwrap().total, b.total().unwrap()), (5, 7));
}

#[test]
fn set_of_which_the_owner_has_one_claim_twice_in_a_row_is_adopted_once() {
    let Owner { place, mut a, mut b, .. } = Owner::new();
    place.load(&SET, 2).unwrap();
    let other = Place::new();
    other.load(&["fx-probe"], 1).unwrap();
    let mut foreign = other.host.claim::<dyn Probe>("probe").unwrap();
    // Claims outside of the set are synced as usual.
    let synced = place.host.sync_together(&mut [&mut a, &mut foreign, &mut b]);
    let adopted = SyncOutcome::Adopted { generation: 2 };
    assert_eq!(synced, [adopted, SyncOutcome::Unchanged, adopted]);
    assert_eq!(serving(&place.host)["counter"], Some(2));
}

/// Who wants the version before wants nothing newer, also if that waits for two claims.
#[test]
fn set_that_waits_is_not_adopted_after_a_rollback_by_hand() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let mut owner = Owner::of(Place::with(builder().policy(policy)));
    owner.place.host.confirm("counter").unwrap();
    owner.place.load(&SET, 2).unwrap();
    assert_eq!(owner.sync(), [SyncOutcome::Adopted { generation: 2 }; 2]);
    owner.place.load(&SET, 3).unwrap();
    assert_eq!(owner.has_staged(), (true, true));
    let outcome = Claim::rollback(&mut owner.a, RollbackTarget::Previous).unwrap();
    assert_eq!(outcome, SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!((owner.superseded("counter"), owner.superseded("shared-counter")), (3, 3));
    assert_eq!(owner.has_staged(), (false, false));
    // The other one of the set follows.
    assert_eq!(Claim::sync(&mut owner.b), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!(owner.sync(), [SyncOutcome::Unchanged; 2]);
    assert_eq!(owner.holds(), [(5, 1), (7, 1)]);
    assert_nothing_left(&owner.place.host, 3);
}
