//! Plugins whose methods return borrows: a borrow stays valid during swaps and rollbacks, no rollback waits for it, and its
//! caller holds only the generation that it saw.

use crate::{
    moody::{LATE, Place, all_ways, on_probation},
    support::{Gate, assert_nothing_left, wait_for, wait_for_refused, wait_for_swapped, wait_for_unmapped, wait_until},
};
use fixture_interfaces::{Hook, How, Lending};
use reslot::{
    Cause, Claim, Event, Events, GenerationHolders, Holder, Host, LoadOutcome, Policy, RestoredState, RollbackReason,
    RollbackReport, RollbackTarget, Slot, SyncOutcome, mapped_copies,
};
use reslot_tests::{Fixture, Folder};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

fn place() -> Place {
    place_with(on_probation(), Hook::None, How::Refuses)
}

/// With a first build that misbehaves.
fn place_with(policy: Policy, hook: Hook, how: How) -> Place {
    let place = Place::new(policy);
    place.load_moody("fx-lending", 1, hook, how).unwrap();
    place
}

fn build(slot: &Slot<dyn Lending>) -> u64 {
    slot.load().stamp().unwrap() % 1000
}

/// Rolls the slot back, by a fault or by a request.
fn go_back(host: &Host, events: &mut Events, slot: &Slot<dyn Lending>, by_hand: bool) -> RollbackReport {
    match by_hand {
        // The supervisor may roll back before this thread does; the event has the result in both cases.
        true => match host.rollback("lending", RollbackTarget::Previous).unwrap() {
            LoadOutcome::RolledBack(_) | LoadOutcome::Staged { .. } => wait_for(events, |event| match event {
                Event::RolledBack(report) if report.reason == RollbackReason::Manual => Some(report.clone()),
                _ => None,
            }),
            other => panic!("{other:#?}"),
        },
        false => {
            slot.load().fail("it slipped").unwrap_err();
            wait_for(events, |event| match event {
                Event::RolledBack(report) if report.reason != RollbackReason::Manual => Some(report.clone()),
                _ => None,
            })
        }
    }
}

#[test]
fn rollback_does_not_wait_for_borrows_and_carries_the_state() {
    for by_hand in [false, true] {
        let mut place = place_with(on_probation(), Hook::Stop, How::Hangs);
        let slot = place.lending();
        slot.load().add(5).unwrap();
        // An idle reader, and a kept guard of `load`.
        let mut idle = place.host.reader();
        let lent = idle.view().get(&slot).label().unwrap();
        let kept = slot.load();
        let lent_too = kept.label().unwrap();
        place.load("fx-lending", 2);
        slot.load().add(2).unwrap();
        let report = go_back(&place.host, &mut place.events, &slot, by_hand);
        let sum = if by_hand { 7 } else { 8 };
        assert_eq!((report.from, report.to), (2, 1));
        assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
        assert_eq!((build(&slot), slot.load().total().unwrap()), (1, sum));
        assert_eq!(slot.load().label().unwrap(), "object 2 of generation 1");
        // Calls through the old view go to the generation that has the state.
        assert_eq!(kept.add(1).unwrap(), sum + 1);
        assert_eq!(slot.load().total().unwrap(), sum + 1);
        assert_eq!(kept.label().unwrap(), "object 2 of generation 1");
        // The borrowed values are unchanged.
        assert_eq!((lent, lent_too), ("object 1 of generation 1", "object 1 of generation 1"));
        // Only one image is mapped for both objects.
        wait_until(|| place.host.images().mapped == 1, "the end of generation 2");

        // The end of the old object does not affect the other one, whose thread continues.
        let stop = place.gate(1, Hook::Stop);
        drop(kept);
        idle.release();
        stop.wait_until_reached();
        let beats = slot.load().beats().unwrap();
        wait_until(|| slot.load().beats().unwrap() > beats + 2, "a beat of the serving object");
        stop.open();
        drop(stop);
        // It behaves like any other generation: it can be replaced, and it can be rolled back to.
        place.load("fx-lending", 3);
        let report = go_back(&place.host, &mut place.events, &slot, by_hand);
        assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn claim_with_an_idle_reader_beside_it_goes_back_with_its_state() {
    let place = place();
    let mut idle = place.host.reader();
    idle.view();
    let mut claim = place.host.claim::<dyn Lending>("lending").unwrap();
    claim.add(5).unwrap();
    place.load("fx-lending", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    claim.add(2).unwrap();
    claim.fail("it slipped").unwrap_err();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!((claim.stamp().unwrap() % 1000, claim.total().unwrap()), (1, 8));
    drop(claim);
    idle.release();
    assert_nothing_left(&place.host, 1);
}

/// Ends the callers, however the test ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_rollbacks_under_callers_lose_nothing() {
    for callers in [1, 8] {
        let mut place = place();
        let slot = place.lending();
        let mut idle = place.host.reader();
        let lent = idle.view().get(&slot).label().unwrap();
        let (added, longest, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let mut took = Vec::new();
        thread::scope(|scope| {
            let _done = Done(&done);
            for caller in 0..callers {
                let (slot, host, added, longest, done) = (&slot, &place.host, &added, &longest, &done);
                scope.spawn(move || {
                    let mut reader = host.reader();
                    while !done.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        match caller % 2 {
                            0 => reader.view().get(slot).add(1).expect("no call fails"),
                            _ => slot.load().add(1).expect("no call fails"),
                        };
                        longest.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                        added.fetch_add(1, Ordering::Relaxed);
                        // On a machine with few processors, other threads need a chance to run.
                        thread::yield_now();
                    }
                });
            }
            for round in 0..100 {
                place.load("fx-lending", 2 + round);
                let by_hand = round % 2 == 0;
                let report = go_back(&place.host, &mut place.events, &slot, by_hand);
                added.fetch_add(u64::from(!by_hand), Ordering::Relaxed);
                assert!(matches!(report.state, RestoredState::Carried { .. }), "{round}: {report:#?}");
                took.push(report.total);
            }
        });
        took.sort();
        eprintln!(
            "{callers} caller(s): the longest call took {longest:?} us, half of the rollbacks up to {:?}, the longest {:?}",
            took[50], took[99]
        );
        assert_eq!(slot.load().total().unwrap(), added.load(Ordering::Relaxed));
        assert_eq!(lent, "object 1 of generation 1");
        drop((idle, slot));
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn idle_reader_and_a_hanging_call_hold_only_the_generations_that_they_saw() {
    let place = Place::new(Policy::without_probation());
    place.load("fx-lending", 1);
    place.load("fx-moody-stateless", 1);
    let (slot, other) = (place.lending(), place.slot());
    let mut idle = place.host.reader();
    let lent = idle.view().get(&slot).label().unwrap();
    let gate: Gate = place.gate(1, Hook::Call);
    thread::scope(|scope| {
        let hangs = scope.spawn(|| {
            let mut reader = place.host.reader();
            let view = reader.view();
            view.get(&other).hang().unwrap();
            // The call continues with an old view, and its next call goes to the current generation.
            (view.get(&slot).add(1).unwrap(), view.get(&slot).stamp().unwrap() % 1000)
        });
        gate.wait_until_reached();
        for n in 2..=300 {
            place.load("fx-lending", n);
            slot.load().add(1).unwrap();
        }
        let mapped = place.host.images().mapped;
        gate.open();
        assert!(mapped < 10, "{mapped}, where two serve, and one is held by both");
        assert_eq!(hangs.join().unwrap(), (300, 300));
    });
    assert_eq!(lent, "object 1 of generation 1");
    drop((idle, slot, other));
    assert_nothing_left(&place.host, 2);
}

/// The first generation ends with all of its objects, and one event reports it.
fn ends_once(place: &mut Place) {
    assert!(wait_for_unmapped(&mut place.events, "lending", 1).served);
    assert_nothing_left(&place.host, 1);
    let ended = |event: &Event| matches!(event, Event::Retired(report) if report.generation == 1);
    assert_eq!(place.told().iter().filter(|event| ended(event)).count(), 1);
}

#[test]
fn standby_serves_unchanged_if_a_second_object_cannot_be_made() {
    for (hook, how) in
        all_ways(&[Hook::Restore, Hook::Restart]).chain([(Hook::Restore, How::Hangs), (Hook::Restart, How::Hangs)])
    {
        let policy = on_probation().hook_deadline(LATE);
        let mut place = place_with(policy, hook, how);
        let slot = place.lending();
        slot.load().add(5).unwrap();
        let kept = slot.load();
        let lent = kept.label().unwrap();
        place.load("fx-lending", 2);
        slot.load().add(2).unwrap();
        let gate = (how == How::Hangs).then(|| place.gate(1, hook));
        let report = go_back(&place.host, &mut place.events, &slot, true);
        assert_eq!((report.from, report.to), (2, 1));
        let RestoredState::Snapshot { why: Some(why), .. } = &report.state else {
            panic!("{hook:?} {how:?}: {report:#?}")
        };
        let words = match how {
            How::Refuses => "it has no mind to",
            How::Panics => "it is nervous",
            How::Hangs => "did not return within",
        };
        assert!(why.contains(words), "{why}");
        // The former object is current again, with its state and its resources.
        assert_eq!((build(&slot), slot.load().total().unwrap()), (1, 5));
        assert_eq!(slot.load().label().unwrap(), "object 1 of generation 1");
        let beats = slot.load().beats().unwrap();
        wait_until(|| slot.load().beats().unwrap() > beats, "its own thread");
        assert_eq!(lent, "object 1 of generation 1");
        drop(kept);
        // It can be replaced like any other; if a hook still runs in its image, the report names it.
        place.load("fx-lending", 3);
        assert_eq!(slot.load().add(1).unwrap(), 6);
        place.host.confirm("lending").unwrap();
        if let Some(gate) = gate {
            let held = place.host.who_holds("lending");
            let holder = held.iter().find(|held| held.generation == 1).unwrap();
            assert!(
                holder.holders.iter().any(|holder| matches!(holder, Holder::Hook { .. })),
                "{held:#?}"
            );
            gate.open();
        }
        drop(slot);
        ends_once(&mut place);
        // A failed object does not count as a generation.
        place.way(1);
    }
}

#[test]
fn repeated_rollbacks_while_each_object_is_borrowed_from() {
    let mut place = place();
    let slot = place.lending();
    let mut held = vec![slot.load()];
    for round in 0..5 {
        place.load("fx-lending", 2 + round);
        let report = go_back(&place.host, &mut place.events, &slot, false);
        assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:#?}");
        held.push(slot.load());
    }
    let lent: Vec<_> = held.iter().map(|held| held.label().unwrap()).collect();
    // All of them reach the object that has the state.
    assert!(lent.iter().all(|lent| *lent == "object 6 of generation 1"), "{lent:?}");
    assert_eq!(held[0].total().unwrap(), 5);
    wait_until(|| place.host.images().mapped == 1, "the end of those that were left");
    // One event reports the generation's end, when the last of its objects is dropped.
    place.load("fx-lending", 9);
    place.host.confirm("lending").unwrap();
    assert_eq!(lent[0], "object 6 of generation 1");
    drop(held);
    drop(slot);
    ends_once(&mut place);
    place.way(1);
}

/// Whether the holder is a thread of the plugin, or a thread with thread-locals of the plugin.
fn is_own(holder: &Holder) -> bool {
    matches!(holder, Holder::PluginThread { .. } | Holder::ThreadLocals { .. })
}

#[test]
fn borrow_through_an_old_view_keeps_its_lender_and_no_other() {
    let place = Place::new(Policy::without_probation());
    place.load("fx-lending", 1);
    let slot = place.lending();
    let mut idle = place.host.reader();
    let view = idle.view();
    place.load("fx-lending", 2);
    place.load("fx-lending", 3);
    let lent = view.get(&slot).label().unwrap();
    for n in 4..20 {
        place.load("fx-lending", n);
        // A call that returns no borrow holds nothing.
        view.get(&slot).add(1).unwrap();
    }
    wait_until(|| place.host.images().mapped == 3, "the end of those that nobody holds");
    let held = place.host.who_holds("lending");
    let kept_by = |held: &GenerationHolders| {
        let holders = held.holders.iter().filter(|holder| !is_own(holder)).cloned();
        (held.generation, holders.collect::<Vec<_>>())
    };
    let holders: Vec<_> = held.iter().map(kept_by).collect();
    let holders: Vec<_> = holders
        .iter()
        .map(|(generation, holders)| (*generation, &holders[..]))
        .collect();
    assert!(
        matches!(
            &holders[..],
            [
                (1, [Holder::Reader { .. }]),
                (3, [Holder::Predecessor { generation: 1 }]),
                (19, [Holder::Slot])
            ]
        ),
        "{held:#?}"
    );
    assert_eq!(lent, "object 1 of generation 3");
    idle.release();
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

/// The interface as a newer host knows it: the fixture was built before `title`.
mod newer {
    use reslot_plugin_api::interface;

    #[interface(version = "1.1")]
    pub trait Lending {
        fn add(&self, n: u64) -> u64;
        fn total(&self) -> u64;
        fn stamp(&self) -> u64;
        fn fail(&self, words: &str);
        fn hang(&self);
        fn label(&self) -> &str;
        fn beats(&self) -> u64;
        fn threshold(&self) -> u64;
        #[since("1.1")]
        fn title(&self) -> &str {
            self.label()
        }
    }
}

#[test]
fn borrow_through_a_default_body_keeps_its_lender() {
    let place = Place::new(Policy::without_probation());
    place.load("fx-lending", 1);
    let slot = place.host.slot::<dyn newer::Lending>("lending").unwrap();
    let mut idle = place.host.reader();
    let view = idle.view();
    place.load("fx-lending", 2);
    let lent = view.get(&slot).title().unwrap();
    for n in 3..6 {
        place.load("fx-lending", n);
    }
    wait_until(|| place.host.images().mapped == 3, "the end of those that nobody holds");
    assert_eq!(lent, "object 1 of generation 2");
    idle.release();
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn old_view_goes_on_after_its_host() {
    let place = Place::with(
        Host::builder()
            .policy(on_probation())
            .drain_deadline(Duration::from_millis(20))
            .build()
            .unwrap(),
        Folder::new(),
    );
    place.load("fx-lending", 1);
    let slot = place.lending();
    let (oldest, mut idle) = (slot.load(), place.host.reader());
    place.load("fx-lending", 2);
    let old = idle.view().get(&slot);
    place.load("fx-lending", 3);
    oldest.add(1).unwrap();
    let Place { host, mut events, .. } = place;
    let private = host.private_folder().to_owned();
    drop(host);
    // Both reach the last generation, which they keep alive.
    assert_eq!((oldest.add(1).unwrap(), old.add(1).unwrap()), (2, 3));
    let lent = old.label().unwrap();
    assert_eq!(lent, "object 1 of generation 3");
    assert!(old.fail("contained").is_err());
    assert_eq!(oldest.total().unwrap(), 4);
    drop(oldest);
    assert_eq!((lent, old.total().unwrap()), ("object 1 of generation 3", 4));
    idle.release();
    while events.recv().is_some() {}
    assert_eq!(mapped_copies(&private), 0);
}

#[test]
fn generation_held_for_too_long_counts_as_quarantined() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .drain_deadline(Duration::from_millis(10))
        .quarantine_cap(2)
        .build()
        .unwrap();
    let mut events = host.events();
    let lending = Fixture::build("fx-lending");
    folder.publish("liblending.so", &lending.stamped(1));
    wait_for_swapped(&mut events, "lending", 1);
    let mut readers = Vec::new();
    for n in 2..=3 {
        let mut reader = host.reader();
        reader.view();
        readers.push(reader);
        folder.publish("liblending.so", &lending.stamped(n));
        wait_for_swapped(&mut events, "lending", n);
        wait_for(&mut events, |event| {
            matches!(event, Event::DrainTimeout { generation, .. } if *generation == n - 1).then_some(())
        });
    }
    assert_eq!((host.images().mapped, host.images().held_past_deadline), (3, 2));
    folder.publish("liblending.so", &lending.stamped(4));
    let refusal = wait_for_refused(&mut events);
    let Cause::QuarantineFull {
        quarantined,
        held,
        cap: 2,
        ..
    } = &*refusal.cause
    else {
        panic!("{refusal:#?}")
    };
    assert!(quarantined.is_empty(), "{refusal:#?}");
    assert!(
        matches!(&held[..], [(1, first), (2, second)]
            if matches!(&first[..], [Holder::Reader { .. }]) && matches!(&second[..], [Holder::Reader { .. }])),
        "{refusal:#?}"
    );
    let words = refusal.to_string();
    assert!(
        words.contains("generation 1 is held by the reader of thread") && words.contains("takes a new view"),
        "{words}"
    );
    let slot = host.slot::<dyn Lending>("lending").unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 3);
    // One of them releases its generation, and the refused file is loaded.
    readers.pop();
    wait_for_swapped(&mut events, "lending", 4);
    assert_eq!((slot.load().stamp().unwrap(), host.images().held_past_deadline), (4, 1));
    drop((readers, slot));
    assert_nothing_left(&host, 1);
    assert_eq!(host.images().held_past_deadline, 0);
}
