//! One artifact in several slots: each slot has its own state, versions and refusals, and a new build of the file reloads
//! all of them. Also two files with one plugin, for two slots or for one.

use crate::support::{assert_nothing_left, wait_for, wait_for_refused, wait_for_staged};
use fixture_interfaces::{Counter, Moody, SharedCounter};
use reslot::{
    BuildError, Cause, Claim, Event, Events, Host, HostBuilder, InstancesError, LoadOutcome, Policy, RollbackTarget, Slot,
    SyncOutcome,
};
use reslot_tests::{Fixture, Folder};
use std::{fs, time::Duration};

const EUR: &str = "momentum-eurusd";
const GBP: &str = "momentum-gbpusd";

fn counter(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-shared-counter").stamped(stamp)
}

fn builder() -> HostBuilder {
    Host::builder().policy(Policy::without_probation())
}

fn both() -> HostBuilder {
    builder().instances("shared-counter", [EUR, GBP])
}

fn slot(host: &Host, name: &str) -> Slot<dyn SharedCounter> {
    host.slot(name).unwrap()
}

fn stamp(host: &Host, name: &str) -> u64 {
    slot(host, name).load().stamp().unwrap()
}

fn total(host: &Host, name: &str) -> u64 {
    slot(host, name).load().total().unwrap()
}

fn names(host: &Host) -> Vec<String> {
    host.slots().into_iter().map(|slot| slot.name).collect()
}

/// Waits until all of these slots have swapped to a generation.
fn wait_for_all(events: &mut Events, slots: &[&str], generation: u64) {
    let mut missing: Vec<_> = slots.to_vec();
    wait_for(events, |event| {
        match event {
            Event::Swapped(report) if report.generation == generation => missing.retain(|slot| **slot != *report.slot),
            Event::Refused(refusal) => panic!("{refusal}"),
            _ => {}
        }
        missing.is_empty().then_some(())
    });
}

#[test]
fn file_is_loaded_into_each_of_its_slots_and_a_build_reloads_all_with_their_own_states() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &counter(1));
    let host = both().watch(folder.path()).build().unwrap();
    assert_eq!(names(&host), [EUR, GBP], "there is no slot of the plugin's own name");
    slot(&host, EUR).load().add(5).unwrap();
    slot(&host, GBP).load().add(7).unwrap();
    let mut events = host.events();
    folder.publish("libcounter.so", &counter(2));
    wait_for_all(&mut events, &[EUR, GBP], 2);
    for (name, wanted) in [(EUR, 5), (GBP, 7)] {
        assert_eq!((stamp(&host, name), total(&host, name)), (2, wanted), "{name}");
        assert_eq!(host.history(name).len(), 2, "each slot has its own versions");
    }
    assert_nothing_left(&host, 2);
    // The same bytes published again cause no reload.
    folder.publish("libcounter.so", &counter(2));
    let mut unchanged = Vec::new();
    wait_for(&mut events, |event| {
        if let Event::Unchanged { slot, generation: 2, .. } = event {
            unchanged.push(slot.to_string());
        }
        (unchanged.len() == 2).then_some(())
    });
    assert_eq!(unchanged, [EUR, GBP]);
    assert_nothing_left(&host, 2);
}

#[test]
fn load_of_a_file_with_several_slots_answers_for_each() {
    let (folder, host) = (Folder::new(), both().build().unwrap());
    let path = folder.publish("any.so", &counter(1));
    let outcome = host.load(&path).unwrap();
    let LoadOutcome::Instances(outcomes) = outcome else {
        panic!("{outcome:?}")
    };
    let swapped = |outcome: &LoadOutcome| match outcome {
        LoadOutcome::Swapped(report) => (report.slot.to_string(), report.generation),
        other => panic!("{other:?}"),
    };
    let swapped: Vec<_> = outcomes.iter().map(swapped).collect();
    assert_eq!(swapped, [(EUR.to_owned(), 1), (GBP.to_owned(), 1)]);
    let again = host.load(&path).unwrap();
    let unchanged = |outcome: &LoadOutcome| matches!(outcome, LoadOutcome::Unchanged { generation: 1, .. });
    assert!(
        matches!(&again, LoadOutcome::Instances(all) if all.len() == 2 && all.iter().all(unchanged)),
        "{again:?}"
    );
}

#[test]
fn artifact_is_loaded_into_any_slot_by_name_also_if_it_serves_in_another() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    let path = folder.publish("libcounter.so", &counter(1));
    for name in [EUR, GBP, "shared-counter"] {
        let outcome = host.load_as(name, &path).unwrap();
        assert!(
            matches!(&outcome, LoadOutcome::Swapped(report) if &*report.slot == name && report.generation == 1),
            "{outcome:?}"
        );
    }
    slot(&host, EUR).load().add(1).unwrap();
    assert_eq!((total(&host, EUR), total(&host, GBP)), (1, 0));
    // Another file with this plugin is only for the slot of the plugin's name.
    let newer = folder.publish("newer.so", &counter(2));
    host.load(newer).unwrap();
    assert_eq!([EUR, GBP, "shared-counter"].map(|name| stamp(&host, name)), [1, 1, 2]);
    let known = host.load_as(EUR, &path).unwrap();
    assert!(matches!(known, LoadOutcome::Unchanged { generation: 1, .. }), "{known:?}");
    assert_nothing_left(&host, 3);
}

#[test]
fn slot_that_was_loaded_by_name_follows_its_file_in_the_watched_folder() {
    let folder = Folder::new();
    let path = folder.publish("libcounter.so", &counter(1));
    let host = builder().watch(folder.path()).build().unwrap();
    host.load_as(EUR, path).unwrap();
    slot(&host, EUR).load().add(3).unwrap();
    let mut events = host.events();
    folder.publish("libcounter.so", &counter(2));
    wait_for_all(&mut events, &["shared-counter", EUR], 2);
    assert_eq!((stamp(&host, EUR), total(&host, EUR)), (2, 3));
    // Another file of the same plugin is for the slot of the plugin's name.
    folder.publish("another.so", &counter(3));
    wait_for_all(&mut events, &["shared-counter"], 3);
    assert_eq!(stamp(&host, EUR), 2);
}

#[test]
fn slot_keeps_its_plugin_and_no_other_gets_its_state() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    host.load_as(EUR, folder.publish("counter.so", &counter(1))).unwrap();
    let probe = folder.publish("probe.so", &Fixture::build("fx-probe").stamped(1));
    let refusal = host.load_as(EUR, &probe).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::OtherPlugin { serving, candidate } if serving == "shared-counter" && candidate == "probe"),
        "{refusal}"
    );
    assert_eq!((refusal.slot.as_deref(), refusal.serving), (Some(EUR), Some(1)));
    // Only that slot refused it; the file can be loaded elsewhere.
    host.load_as("other", &probe).unwrap();
    let bad = host.load_as("eur usd", &probe).unwrap_err();
    assert!(matches!(&*bad.cause, Cause::SlotName(name) if name == "eur usd"), "{bad}");
    assert_eq!(stamp(&host, EUR), 1);
    assert_nothing_left(&host, 2);
}

#[test]
fn two_files_with_one_plugin_are_two_slots_if_the_files_are_named() {
    let folder = Folder::new();
    folder.publish("stable.so", &counter(1));
    folder.publish("canary.so", &counter(2));
    let host = builder()
        .instances("shared-counter", [EUR])
        .instances("canary.so", ["momentum-canary"])
        .watch(folder.path())
        .build()
        .unwrap();
    assert_eq!((stamp(&host, EUR), stamp(&host, "momentum-canary")), (1, 2));
    let mut events = host.events();
    folder.publish("canary.so", &counter(3));
    wait_for_all(&mut events, &["momentum-canary"], 2);
    assert_eq!((stamp(&host, EUR), stamp(&host, "momentum-canary")), (1, 3));
    assert_nothing_left(&host, 2);
}

#[test]
fn two_files_with_one_plugin_are_one_slot_and_that_is_reported() {
    let folder = Folder::new();
    let first = folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    let host = builder().watch(folder.path()).build().unwrap();
    let mut events = host.events();
    let second = folder.publish("another.so", &Fixture::build("fx-probe").stamped(2));
    let told = wait_for(&mut events, |event| match event {
        Event::SameSlot { slot, path, other } => Some((slot.to_string(), path.clone(), other.clone())),
        _ => None,
    });
    assert_eq!(told, ("probe".to_owned(), second.clone(), first.clone()));
    // If each build has its version in its file name, the former file may be removed without an event.
    fs::remove_file(&first).unwrap();
    let third = folder.path().join("third.so");
    fs::rename(&second, &third).unwrap();
    fs::write(folder.path().join(".new"), Fixture::build("fx-probe").stamped(3)).unwrap();
    fs::rename(folder.path().join(".new"), &third).unwrap();
    wait_for(&mut events, |event| match event {
        Event::SameSlot { .. } => panic!("{event}"),
        Event::Swapped(report) => (report.generation == 3).then_some(()),
        _ => None,
    });
}

#[test]
fn one_of_the_slots_goes_back_alone_and_only_it_remembers_that() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &counter(1));
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let host = both().policy(policy).watch(folder.path()).build().unwrap();
    host.confirm(EUR).unwrap();
    host.confirm(GBP).unwrap();
    let mut events = host.events();
    folder.publish("libcounter.so", &counter(2));
    wait_for_all(&mut events, &[EUR, GBP], 2);
    slot(&host, EUR).load().add(4).unwrap();
    let outcome = host.rollback(EUR, RollbackTarget::Previous).unwrap();
    assert!(matches!(outcome, LoadOutcome::RolledBack(_)), "{outcome:?}");
    assert_eq!((stamp(&host, EUR), total(&host, EUR), stamp(&host, GBP)), (1, 4, 2));
    // It is published again: one slot refuses it, and the other has it already.
    folder.publish("libcounter.so", &counter(2));
    let (mut refused, mut unchanged) = (None, None);
    wait_for(&mut events, |event| {
        match event {
            Event::StillRefused { refusal, .. } => refused = Some(refusal.slot.as_deref().unwrap().to_owned()),
            Event::Unchanged { slot, .. } => unchanged = Some(slot.to_string()),
            Event::Swapped(report) => panic!("{report}"),
            _ => {}
        }
        refused.clone().zip(unchanged.clone())
    });
    assert_eq!((refused.as_deref(), unchanged.as_deref()), (Some(EUR), Some(GBP)));
    assert_eq!((stamp(&host, EUR), stamp(&host, GBP)), (1, 2));
    // Loading it by name tries it again in that slot.
    host.load_as(EUR, folder.path().join("libcounter.so")).unwrap();
    assert_eq!((stamp(&host, EUR), total(&host, EUR)), (2, 4));
}

#[test]
fn bytes_that_are_no_artifact_are_refused_for_each_slot_that_serves_from_the_file() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &counter(1));
    let host = both().watch(folder.path()).build().unwrap();
    let mut events = host.events();
    folder.publish("libcounter.so", b"no library");
    for name in [EUR, GBP] {
        let refusal = wait_for_refused(&mut events);
        assert_eq!((refusal.slot.as_deref(), refusal.serving), (Some(name), Some(1)), "{refusal}");
    }
    assert_eq!((stamp(&host, EUR), stamp(&host, GBP)), (1, 1));
}

#[test]
fn owner_of_one_slot_and_callers_of_the_other_move_on_each_in_their_way() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = builder()
        .instances("counter", [EUR, GBP])
        .watch(folder.path())
        .build()
        .unwrap();
    let mut claim = host.claim::<dyn Counter>(EUR).unwrap();
    claim.add(2).unwrap();
    let mut events = host.events();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(2));
    wait_for_staged(&mut events, EUR, 2);
    wait_for_all(&mut events, &[GBP], 2);
    assert_eq!(claim.report().unwrap().stamp, 1, "an owner decides when");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((claim.report().unwrap().stamp, claim.report().unwrap().total), (2, 2));
    drop(claim);
    assert_nothing_left(&host, 2);
}

#[test]
fn artifact_that_is_staged_already_is_reported_as_staged() {
    let folder = Folder::new();
    let path = folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = builder().build().unwrap();
    host.load(&path).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let new = folder.publish("new.so", &Fixture::build("fx-counter").stamped(2));
    let staged = |outcome: LoadOutcome| match outcome {
        LoadOutcome::Staged { slot, generation } => (slot.to_string(), generation),
        other => panic!("{other:?}"),
    };
    assert_eq!(staged(host.load(&new).unwrap()), ("counter".to_owned(), 2));
    let mut events = host.events();
    assert_eq!(
        staged(host.load(&new).unwrap()),
        ("counter".to_owned(), 2),
        "the same candidate waits on"
    );
    let told = wait_for(&mut events, |event| match event {
        Event::Unchanged { .. } => panic!("{event}"),
        Event::AlreadyStaged { slot, generation, .. } => Some((slot.to_string(), *generation, event.to_string())),
        _ => None,
    });
    assert_eq!((&*told.0, told.1), ("counter", 2));
    assert!(told.2.contains("waits for its owner's `sync`"), "{}", told.2);
    assert_eq!(host.images().mapped, 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let served = host.load(&new).unwrap();
    assert!(matches!(served, LoadOutcome::Unchanged { generation: 2, .. }), "{served:?}");
}

#[test]
fn one_artifact_is_in_a_set_for_two_slots_if_they_are_named() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    let path = folder.publish("libcounter.so", &counter(1));
    let outcomes = host.load_together_as([(EUR, &path), (GBP, &path)]).unwrap();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert_eq!((stamp(&host, EUR), stamp(&host, GBP)), (1, 1));
    let newer = folder.publish("newer.so", &counter(2));
    let twice = host.load_together_as([(EUR, &newer), (EUR, &newer)]).unwrap_err();
    assert!(matches!(&*twice.cause, Cause::DuplicateSlot(_)), "{twice}");
    assert_eq!(stamp(&host, EUR), 1);
    drop(host);
    // If the slots are named for the plugin, the file alone is enough.
    let host = both().build().unwrap();
    let outcomes = host.load_together([&newer]).unwrap();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert_eq!((stamp(&host, EUR), stamp(&host, GBP)), (2, 2));
    assert_nothing_left(&host, 2);
}

#[test]
fn versions_of_each_slot_are_known_to_the_next_host() {
    let (folder, kept) = (Folder::new(), Folder::new());
    let host = |folder: &Folder| {
        let policy = Policy::development().probation(Duration::from_secs(3600));
        both()
            .policy(policy)
            .history(kept.path())
            .watch(folder.path())
            .build()
            .unwrap()
    };
    folder.publish("libcounter.so", &counter(1));
    let first = host(&folder);
    first.confirm(EUR).unwrap();
    first.confirm(GBP).unwrap();
    let mut events = first.events();
    folder.publish("libcounter.so", &counter(2));
    wait_for_all(&mut events, &[EUR, GBP], 2);
    first.confirm(GBP).unwrap();
    drop(first);
    // A version that has not passed its probation in one slot is confirmed in the other.
    let second = host(&folder);
    assert_eq!((stamp(&second, EUR), stamp(&second, GBP)), (1, 2));
}

#[test]
fn shadow_of_a_named_slot_is_a_build_of_its_plugin() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    let path = folder.publish("libcounter.so", &counter(1));
    host.load_as(EUR, &path).unwrap();
    slot(&host, EUR).load().add(6).unwrap();
    let newer = folder.publish("newer.so", &counter(2));
    let shadow = host.shadow::<dyn SharedCounter>(EUR, &newer).unwrap();
    assert_eq!((shadow.stamp().unwrap(), shadow.total().unwrap()), (2, 6));
    drop(shadow);
    assert_nothing_left(&host, 1);
}

#[test]
fn invalid_instance_names_keep_the_host_from_starting() {
    let refused = |builder: HostBuilder| match builder.build() {
        Err(BuildError::Instances(error)) => error,
        other => panic!("{other:?}"),
    };
    let twice = refused(both().instances("probe", [EUR]));
    assert!(matches!(&twice, InstancesError::Twice { slot, .. } if slot == EUR), "{twice}");
    let none = refused(builder().instances("probe", Vec::<String>::new()));
    assert!(none.to_string().contains("what to do"), "{none}");
}

#[test]
fn file_is_loaded_before_those_that_call_one_of_its_slots() {
    let folder = Folder::new();
    folder.publish("a-caller.so", &Fixture::build("fx-caller").stamped(1));
    folder.publish("b-counter.so", &counter(1));
    let host = builder()
        .instances("shared-counter", ["another", "shared-counter"])
        .watch(folder.path())
        .build()
        .unwrap();
    let mut events = host.events();
    let mut swapped = Vec::new();
    while let Some(record) = events.try_recv() {
        match &record.event {
            Event::Swapped(report) => swapped.push(report.slot.to_string()),
            Event::Refused(refusal) => panic!("{refusal}"),
            _ => {}
        }
    }
    assert_eq!(swapped, ["another", "shared-counter", "caller"]);
}

#[test]
fn each_slot_has_an_image_of_its_own_so_that_statics_are_not_shared() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    let path = folder.publish("libmoody.so", Fixture::build("fx-moody").bytes());
    for name in [EUR, GBP] {
        host.load_as(name, &path).unwrap();
    }
    assert_eq!(host.images().mapped, 2);
    let of = |name| host.slot::<dyn Moody>(name).unwrap();
    assert_eq!(of(EUR).load().calls().unwrap(), 1);
    assert_eq!(of(EUR).load().calls().unwrap(), 2);
    assert_eq!(of(GBP).load().calls().unwrap(), 1);
}
