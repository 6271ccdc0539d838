//! Unloading a slot without a successor: the effect on callers, the owner and other slots, the state, and later loads.
//! `deleted` tests deleted files.

mod deleted;

use crate::{
    moody::{Place as Moods, on_probation},
    support::{assert_nothing_left, wait_for, wait_for_staged, wait_for_unmapped, wait_until},
};
use fixture_interfaces::{Caller, Counter, Hook, How, Probe, SharedCounter};
use reslot::{
    Cause, Claim, Event, Events, Fault, Host, LoadOutcome, Policy, RollbackTarget, SavedStateError, SlotError, SyncOutcome,
    UnloadError, UnloadOutcome, UnloadReason, Unloaded, VersionStatus,
};
use reslot_tests::{Fixture, Folder};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// A host without a watched folder, and a folder to load from.
struct Place {
    folder: Folder,
    host: Host,
    events: Events,
}

impl Place {
    fn new() -> Self {
        Self::with(Policy::without_probation())
    }

    fn with(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).build().unwrap();
        let (folder, events) = (Folder::new(), host.events());
        Self { folder, host, events }
    }

    fn publish(&self, package: &str, stamp: u64) -> PathBuf {
        let bytes = Fixture::build(package).stamped(stamp);
        self.folder.publish(&format!("lib{package}.so"), &bytes)
    }

    fn load(&self, package: &str, stamp: u64) -> LoadOutcome {
        let outcome = self.host.load(self.publish(package, stamp));
        outcome.unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn unload(&self, slot: &str) -> Unloaded {
        done(self.host.unload(slot))
    }
}

fn done(outcome: Result<UnloadOutcome, UnloadError>) -> Unloaded {
    match outcome {
        Ok(UnloadOutcome::Unloaded(unloaded)) => unloaded,
        other => panic!("{other:?}"),
    }
}

/// Waits until a slot was unloaded, and returns the generation, the size of its state, and the reason.
fn wait_for_unloaded(events: &mut Events, wanted: &str) -> (u64, Option<usize>, UnloadReason) {
    wait_for(events, |event| match event {
        Event::Unloaded {
            slot,
            generation,
            state_bytes,
            reason,
        } if &**slot == wanted => Some((*generation, *state_bytes, reason.clone())),
        _ => None,
    })
}

fn was_unloaded<T: std::fmt::Debug>(answer: Result<T, reslot::CallError>) -> bool {
    let error = answer.unwrap_err();
    assert!(error.to_string().contains("was unloaded"), "{error}");
    matches!(error.fault(), Fault::Unloaded)
}

#[test]
fn open_slot_goes_with_proof_and_calls_say_why() {
    let mut place = Place::new();
    place.load("fx-probe", 1);
    let slot = place.host.slot::<dyn Probe>("probe").unwrap();
    let mut reader = place.host.reader();
    let view = reader.view();
    let unloaded = place.unload("probe");
    assert_eq!((&*unloaded.slot, unloaded.generation), ("probe", 1));
    assert!(unloaded.state.is_none());
    assert_eq!(view.get(&slot).stamp().unwrap(), 1, "within a view nothing changes");
    assert!(was_unloaded(slot.load().stamp()));
    assert!(was_unloaded(reader.view().get(&slot).stamp()));
    let told = wait_for_unloaded(&mut place.events, "probe");
    assert_eq!(told, (1, None, UnloadReason::Requested));
    assert!(place.host.wait_until_unmapped("probe", 1, Duration::from_secs(30)));
    let report = wait_for_unmapped(&mut place.events, "probe", 1);
    assert!(report.served);
    assert_nothing_left(&place.host, 0);
    let info = place.host.slots().remove(0);
    assert!(
        info.unloaded && info.generation.is_none() && info.plugin.is_none(),
        "{info:?}"
    );
    let none = place.host.slot::<dyn Probe>("probe").unwrap_err();
    assert!(matches!(&none, SlotError::Unloaded { name, .. } if name == "probe"), "{none}");
    // The handle works again after the next load, without a trace of the unload.
    place.load("fx-probe", 2);
    assert_eq!(slot.load().stamp().unwrap(), 2);
    assert_eq!(reader.view().get(&slot).stamp().unwrap(), 2);
    let info = place.host.slots().remove(0);
    assert_eq!((info.unloaded, info.plugin.as_deref()), (false, Some("probe")));
    drop(slot);
    // Without callers another plugin can be loaded into the slot.
    let view = reader.view();
    place.unload("probe");
    let path = place.publish("fx-shared-counter", 1);
    place.host.load_as("probe", path).unwrap();
    assert_eq!(place.host.slots()[0].plugin.as_deref(), Some("shared-counter"));
    // An old view still has the probe, which a counter's handle must not call.
    let counter = place.host.slot::<dyn SharedCounter>("probe").unwrap();
    let error = view.get(&counter).total().unwrap_err();
    assert!(matches!(error.fault(), Fault::Unloaded), "{error}");
    assert_eq!(reader.view().get(&counter).total().unwrap(), 0);
    drop((reader, counter));
    assert_nothing_left(&place.host, 1);
}

#[test]
fn empty_slot_cannot_be_unloaded() {
    let place = Place::new();
    let none = place.host.unload("probe").unwrap_err();
    assert!(
        matches!(&none, UnloadError::Slot(error) if matches!(&**error, SlotError::Unknown { .. })),
        "{none}"
    );
    place.load("fx-probe", 1);
    place.unload("probe");
    for again in [place.host.unload("probe"), place.host.force_unload("probe")] {
        let again = again.unwrap_err();
        assert!(
            matches!(&again, UnloadError::Slot(error) if matches!(&**error, SlotError::Unloaded { .. })),
            "{again}"
        );
    }
    assert_nothing_left(&place.host, 0);
}

#[test]
fn no_call_is_lost_when_its_state_is_taken() {
    let place = Place::new();
    place.load("fx-shared-counter", 1);
    let path = place.folder.path().join("libfx-shared-counter.so");
    let slot = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let (mut host_total, counted) = (0, AtomicU64::new(0));
    for _ in 0..20 {
        let started = AtomicU64::new(0);
        let unloaded = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut reader = place.host.reader();
                    // One thread uses the newest view, and one always the first.
                    let first = reader.view();
                    while first.get(&slot).add(1).is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                        started.fetch_add(1, Ordering::Relaxed);
                        if slot.load().add(1).is_err() {
                            break;
                        }
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(was_unloaded(first.get(&slot).add(1)), "also through an old view");
                });
            }
            wait_until(|| started.load(Ordering::Relaxed) > 40, "calls");
            place.unload("shared-counter")
        });
        let state = unloaded.state.unwrap();
        assert_eq!((state.plugin(), state.schema()), ("shared-counter", 1));
        let outcome = place.host.load_from("shared-counter", &path, state).unwrap();
        assert!(
            matches!(&outcome, LoadOutcome::Swapped(report) if report.state_bytes.is_some()),
            "{outcome:?}"
        );
        host_total = slot.load().total().unwrap();
        assert_eq!(host_total, counted.load(Ordering::Relaxed));
    }
    assert!(host_total > 20 * 40);
    assert_nothing_left(&place.host, 1);
    // Without the saved state it starts with a new one.
    place.unload("shared-counter");
    place.host.load(&path).unwrap();
    assert_eq!(slot.load().total().unwrap(), 0);
}

#[test]
fn state_goes_only_to_an_empty_slot_of_its_plugin() {
    let place = Place::new();
    place.load("fx-shared-counter", 1);
    let path = place.folder.path().join("libfx-shared-counter.so");
    let slot = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    slot.load().add(9).unwrap();
    let state = place.unload("shared-counter").state.unwrap();
    assert_eq!(place.host.left_state("shared-counter").unwrap().bytes(), state.bytes());
    let refused = |slot: &str, path: PathBuf| {
        let refusal = place.host.load_from(slot, path, state.clone()).unwrap_err();
        match &*refusal.cause {
            Cause::SavedState(error) => error.clone(),
            other => panic!("{other}"),
        }
    };
    let other = refused("third", place.publish("fx-probe", 1));
    assert!(matches!(other, SavedStateError::OtherPlugin { .. }), "{other}");
    place.host.load(&path).unwrap();
    assert!(place.host.left_state("shared-counter").is_none(), "something serves again");
    let serves = refused("shared-counter", path.clone());
    assert_eq!(serves, SavedStateError::Serves { generation: 2 });
    assert_eq!(slot.load().total().unwrap(), 0);
    // The saved state can also be loaded into another slot.
    place.host.load_from("another", &path, state.clone()).unwrap();
    let another = place.host.slot::<dyn SharedCounter>("another").unwrap();
    assert_eq!(another.load().total().unwrap(), 9);
    assert_nothing_left(&place.host, 2);
}

#[test]
fn state_of_a_newer_schema_is_refused_by_an_older_version() {
    let place = Place::new();
    place.load("fx-counter-schema-3", 1);
    let state = place.unload("counter").state.unwrap();
    let refusal = place
        .host
        .load_from("counter", place.publish("fx-counter", 1), state)
        .unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::SavedState(SavedStateError::Schema { saved: 3, .. })),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("accepts this schema"), "{refusal}");
    assert_nothing_left(&place.host, 0);
}

#[test]
fn claimed_slot_is_unloaded_by_its_owner_only() {
    let mut place = Place::new();
    place.load("fx-counter", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    claim.add(3).unwrap();
    let outcome = place.host.unload("counter").unwrap();
    assert!(
        matches!(&outcome, UnloadOutcome::Staged { slot, generation: 1 } if &**slot == "counter"),
        "{outcome:?}"
    );
    wait_for(&mut place.events, |event| {
        matches!(event, Event::UnloadStaged { generation: 1, .. }).then_some(())
    });
    assert_eq!(claim.add(1).unwrap(), 4, "until then it serves");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
    assert!(was_unloaded(claim.add(1)));
    assert_eq!(Claim::generation(&claim), None);
    assert_eq!(wait_for_unloaded(&mut place.events, "counter").0, 1);
    wait_for_unmapped(&mut place.events, "counter", 1);
    assert_nothing_left(&place.host, 0);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    // The next build waits for the same owner, with the saved state if it is requested.
    let state = place.host.left_state("counter").unwrap();
    let path = place.folder.path().join("libfx-counter.so");
    let staged = place.host.load_from("counter", path, state).unwrap();
    assert!(matches!(staged, LoadOutcome::Staged { generation: 2, .. }), "{staged:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!(claim.add(1).unwrap(), 5);
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn owner_unloads_its_slot_and_gets_the_state() {
    let place = Place::new();
    place.load("fx-counter", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    claim.add(3).unwrap();
    let newer = place.load("fx-counter", 2);
    assert!(matches!(newer, LoadOutcome::Staged { generation: 2, .. }), "{newer:?}");
    let unloaded = Claim::unload(&mut claim).unwrap();
    assert_eq!(unloaded.generation, 1);
    assert!(unloaded.state.is_some());
    assert!(was_unloaded(claim.report()));
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged, "what waited goes as well");
    let again = Claim::unload(&mut claim).unwrap_err();
    assert!(matches!(&again, UnloadError::Slot(_)), "{again}");
    assert_nothing_left(&place.host, 0);
    drop(claim);
    assert!(matches!(
        place.host.claim::<dyn Counter>("counter"),
        Err(SlotError::Unloaded { .. })
    ));
}

#[test]
fn claim_that_is_dropped_leaves_the_unloading_to_the_host() {
    let mut place = Place::new();
    place.load("fx-counter", 1);
    let claim = place.host.claim::<dyn Counter>("counter").unwrap();
    let _ = place.host.unload("counter").unwrap();
    drop(claim);
    wait_for_unloaded(&mut place.events, "counter");
    wait_for_unmapped(&mut place.events, "counter", 1);
    assert_nothing_left(&place.host, 0);
}

#[test]
fn artifact_staged_before_an_unload_is_superseded_and_a_later_one_starts_anew() {
    let mut place = Place::new();
    place.load("fx-counter", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    claim.add(3).unwrap();
    place.load("fx-counter", 2);
    let _ = place.host.unload("counter").unwrap();
    wait_for(&mut place.events, |event| {
        matches!(event, Event::Superseded { generation: 2, .. }).then_some(())
    });
    // Even the content that will be unloaded can be staged again.
    let outcome = place.load("fx-counter", 1);
    assert!(matches!(outcome, LoadOutcome::Staged { generation: 3, .. }), "{outcome:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    let report = claim.report().unwrap();
    assert_eq!((report.stamp, report.total), (1, 0));
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn claim_dropped_with_both_before_it_ends_with_the_newer_build() {
    let mut place = Place::new();
    place.load("fx-counter", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    claim.add(3).unwrap();
    let _ = place.host.unload("counter").unwrap();
    place.load("fx-counter", 2);
    drop(claim);
    wait_for_unloaded(&mut place.events, "counter");
    wait_for(&mut place.events, |event| match event {
        Event::Swapped(report) => {
            assert_eq!(report.generation, 2);
            Some(())
        }
        _ => None,
    });
    let claim = place.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!((claim.report().unwrap().stamp, claim.report().unwrap().total), (2, 0));
    drop(claim);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn version_on_probation_goes_with_its_standby_and_is_not_bad_for_that() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let (folder, kept) = (Folder::new(), Folder::new());
    let host = || {
        let builder = Host::builder().policy(policy.clone()).history(kept.path());
        builder.watch(folder.path()).build().unwrap()
    };
    let counter = |stamp| Fixture::build("fx-shared-counter").stamped(stamp);
    folder.publish("libcounter.so", &counter(1));
    let first = host();
    first.confirm("shared-counter").unwrap();
    let mut events = first.events();
    folder.publish("libcounter.so", &counter(2));
    crate::support::wait_for_swapped(&mut events, "shared-counter", 2);
    assert_eq!(first.images().standby, 1);
    done(first.unload("shared-counter"));
    assert_nothing_left(&first, 0);
    assert!(
        first
            .history("shared-counter")
            .iter()
            .all(|kept| !matches!(kept.condition, VersionStatus::KnownBad(_))),
        "{:#?}",
        first.history("shared-counter")
    );
    let none = first.rollback("shared-counter", RollbackTarget::Previous).unwrap_err();
    assert!(none.to_string().contains("was unloaded"), "{none}");
    drop(first);
    // The next host loads the files in the folder.
    let next = host();
    let slot = next.slot::<dyn SharedCounter>("shared-counter").unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 2);
}

#[test]
fn exclusive_resource_is_free_although_a_reader_keeps_a_view() {
    let mut place = Moods::new(on_probation());
    place.load("fx-moody-only", 1);
    let slot = place.slot();
    let mut reader = place.host.reader();
    assert_eq!(reader.view().get(&slot).add(2).unwrap(), 2);
    assert!(place.lock().exists());
    let unloaded = done(place.host.unload("moody"));
    assert!(!place.lock().exists(), "its `stop` is done");
    assert!(unloaded.state.is_some());
    reader.release();
    drop(slot);
    wait_for_unmapped(&mut place.events, "moody", 1);
    let report = place.load("fx-moody-only", 2);
    assert!(matches!(report, LoadOutcome::Swapped(_)), "{report:?}");
    assert!(place.lock().exists());
    assert_nothing_left(&place.host, 1);
}

#[test]
fn slot_that_others_use_is_not_taken_from_them_unless_by_force() {
    let place = Place::new();
    for package in ["fx-shared-counter", "fx-probe", "fx-caller"] {
        place.load(package, 1);
    }
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    let used = place.host.unload("shared-counter").unwrap_err();
    assert!(matches!(&used, UnloadError::Used { by, .. } if *by == ["caller"]), "{used}");
    assert!(used.to_string().contains("--force"), "{used}");
    assert_eq!(caller.load().add(1).unwrap().unwrap(), 1);
    done(place.host.force_unload("shared-counter"));
    let error = caller.load().add(1).unwrap().unwrap_err();
    assert!(error.contains("was unloaded"), "{error}");
    assert_nothing_left(&place.host, 2);
    // The slot's file is still known.
    place.load("fx-shared-counter", 2);
    assert_eq!(caller.load().add(1).unwrap().unwrap(), 1);
    // Without callers no force is needed.
    place.unload("caller");
    place.unload("shared-counter");
    drop(caller);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn slot_that_is_used_by_the_time_of_its_unload_stays() {
    let place = Place::new();
    let mut events = place.host.events();
    for package in ["fx-shared-counter", "fx-probe", "fx-counter"] {
        place.load(package, 1);
    }
    let mut counter = place.host.claim::<dyn Counter>("counter").unwrap();
    counter.add(2).unwrap();
    assert!(matches!(place.host.unload("counter"), Ok(UnloadOutcome::Staged { .. })));
    // It names the slot in `uses`, and is loaded between the request and the owner's `sync`.
    place.load("fx-caller", 1);
    assert_eq!(Claim::sync(&mut counter), SyncOutcome::Unchanged);
    let refused = wait_for(&mut events, |event| match event {
        Event::UnloadRefused { slot, error, .. } if &**slot == "counter" => Some(error.clone()),
        _ => None,
    });
    assert!(
        matches!(&refused, UnloadError::Used { by, .. } if *by == ["caller"]),
        "{refused}"
    );
    assert_eq!(counter.add(1).unwrap(), 3);
    place.unload("caller");
    assert!(Claim::unload(&mut counter).unwrap().state.is_some());
    drop(counter);
    assert_nothing_left(&place.host, 2);
}

#[test]
fn call_that_does_not_come_back_keeps_the_slot_unless_by_force() {
    let builder = Host::builder()
        .policy(on_probation())
        .drain_deadline(Duration::from_millis(50));
    let mut place = Moods::with(builder.build().unwrap(), Folder::new());
    place.load("fx-moody", 1);
    let slot = place.slot();
    let gate = place.gate(1, Hook::Call);
    thread::scope(|scope| {
        let inside = scope.spawn(|| slot.load().hang());
        gate.wait_until_reached();
        let busy = place.host.unload("moody").unwrap_err();
        assert!(
            matches!(&busy, UnloadError::State { generation: 1, cause, .. } if matches!(&**cause, Cause::Busy(_))),
            "{busy}"
        );
        assert_eq!(slot.load().add(1).unwrap(), 1, "it keeps serving");
        let unloaded = done(place.host.force_unload("moody"));
        assert!(unloaded.state.is_none(), "somebody is inside, who may change it");
        assert!(was_unloaded(slot.load().total()));
        assert!(!place.host.wait_until_unmapped("moody", 1, Duration::ZERO));
        gate.open();
        inside.join().unwrap().unwrap();
    });
    wait_for_unmapped(&mut place.events, "moody", 1);
    drop(slot);
    assert_nothing_left(&place.host, 0);
}

#[test]
fn state_that_cannot_be_encoded_is_not_lost_unless_by_force() {
    for how in [How::Refuses, How::Panics] {
        let place = Moods::new(on_probation());
        place.load_moody("fx-moody", 1, Hook::Snapshot, how).unwrap();
        let lost = place.host.unload("moody").unwrap_err();
        assert!(
            matches!(&lost, UnloadError::State { cause, .. } if matches!(&**cause, Cause::Hook(reslot::Hook::Snapshot, _))),
            "{lost}"
        );
        assert_eq!(place.slot().load().add(2).unwrap(), 2);
        assert!(done(place.host.force_unload("moody")).state.is_none());
        assert_nothing_left(&place.host, 0);
    }
}

#[test]
fn owner_gets_an_error_if_the_state_cannot_be_taken_and_keeps_its_generation() {
    let mut place = Place::new();
    place.load("fx-unsnapshotable", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    claim.add(2).unwrap();
    let _ = place.host.unload("counter").unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    let error = wait_for(&mut place.events, |event| match event {
        Event::UnloadRefused {
            error, generation: 1, ..
        } => Some(error.clone()),
        _ => None,
    });
    assert!(matches!(error, UnloadError::State { .. }), "{error}");
    assert_eq!(claim.add(1).unwrap(), 3);
    assert!(matches!(Claim::unload(&mut claim), Err(UnloadError::State { .. })));
    let _ = place.host.force_unload("counter").unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
    drop(claim);
    assert_nothing_left(&place.host, 0);
}

#[test]
fn file_that_lies_there_still_is_loaded_only_when_it_is_published_anew_or_by_name() {
    let folder = Folder::new();
    let probe = || Fixture::build("fx-probe").stamped(1);
    let path = folder.publish("libprobe.so", &probe());
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .build()
        .unwrap();
    let mut events = host.events();
    done(host.unload("probe"));
    let looked = host.rescan();
    assert!(
        matches!(&looked[..], [Ok(LoadOutcome::StillUnloaded { slot })] if &**slot == "probe"),
        "{looked:?}"
    );
    wait_for(&mut events, |event| {
        matches!(event, Event::StillUnloaded { .. }).then_some(())
    });
    assert_nothing_left(&host, 0);
    // The same bytes are published again.
    folder.publish("libprobe.so", &probe());
    crate::support::wait_for_swapped(&mut events, "probe", 2);
    done(host.unload("probe"));
    host.load(&path).unwrap();
    assert_nothing_left(&host, 1);
}

#[test]
fn one_of_a_set_goes_and_the_others_are_judged_without_it() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let place = Place::with(policy);
    let set = |stamp| ["fx-probe", "fx-shared-counter"].map(|package| place.publish(package, stamp));
    place.host.load_together(set(1)).unwrap();
    place.host.confirm("probe").unwrap();
    place.host.load_together(set(2)).unwrap();
    place.unload("probe");
    let counter = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    assert_eq!(counter.load().stamp().unwrap(), 2);
    place.host.rollback("shared-counter", RollbackTarget::Previous).unwrap();
    assert_eq!(counter.load().stamp().unwrap(), 1);
    assert!(matches!(
        place.host.slot::<dyn Probe>("probe"),
        Err(SlotError::Unloaded { .. })
    ));
    drop(counter);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn set_that_waits_for_an_owner_goes_with_the_slot() {
    let place = Place::new();
    place.load("fx-counter", 1);
    place.load("fx-probe", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    let set = [place.publish("fx-counter", 2), place.publish("fx-probe", 2)];
    place.host.load_together(set).unwrap();
    let _ = place.host.unload("counter").unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    let probe = place.host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!(probe.load().stamp().unwrap(), 1);
    drop((claim, probe));
    assert_nothing_left(&place.host, 1);
}

#[test]
fn shadow_is_its_owners_and_stays() {
    let place = Place::new();
    place.load("fx-shared-counter", 1);
    let slot = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    slot.load().add(4).unwrap();
    let newer = place.publish("fx-shared-counter", 2);
    let shadow = place.host.shadow::<dyn SharedCounter>("shared-counter", newer).unwrap();
    place.unload("shared-counter");
    assert_eq!((shadow.total().unwrap(), shadow.stamp().unwrap()), (4, 2));
    drop((shadow, slot));
    assert_nothing_left(&place.host, 0);
}

#[test]
fn loading_rolling_back_and_unloading_at_random_leave_nothing_and_lose_no_caller() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let place = Place::with(policy);
    let paths: Vec<_> = (1..=3)
        .map(|stamp| {
            let bytes = Fixture::build("fx-shared-counter").stamped(stamp);
            place.folder.publish(&format!("{stamp}.so"), &bytes)
        })
        .collect();
    place.host.load(&paths[0]).unwrap();
    let slot = place.host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reader = place.host.reader();
                while !ended.load(Ordering::Relaxed) {
                    for answer in [slot.load().add(1), reader.view().get(&slot).add(1)] {
                        if let Err(error) = answer {
                            assert!(matches!(error.fault(), Fault::Unloaded), "{error}");
                        }
                    }
                }
            });
        }
        let movers: Vec<_> = (0..3)
            .map(|mover| {
                let (host, paths) = (&place.host, &paths);
                scope.spawn(move || {
                    for round in 0..60_usize {
                        match (round + mover) % 4 {
                            0 => drop(host.unload("shared-counter")),
                            1 => drop(host.rollback("shared-counter", RollbackTarget::Previous)),
                            2 => drop(host.confirm("shared-counter")),
                            _ => drop(host.load(&paths[(round / 4 + mover) % 3])),
                        }
                    }
                })
            })
            .collect();
        for mover in movers {
            mover.join().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
    let _ = place.host.unload("shared-counter");
    drop(slot);
    assert_nothing_left(&place.host, 0);
}

#[test]
fn staged_build_of_an_empty_slot_is_adopted_by_its_owner() {
    let mut place = Place::new();
    place.load("fx-counter", 1);
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    Claim::unload(&mut claim).unwrap();
    place.load("fx-counter", 2);
    wait_for_staged(&mut place.events, "counter", 2);
    // A staged candidate is not unloaded.
    let none = place.host.unload("counter").unwrap_err();
    assert!(matches!(none, UnloadError::Slot(_)), "{none}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!(claim.report().unwrap().stamp, 2);
    drop(claim);
    assert_nothing_left(&place.host, 1);
}
