//! A file that is deleted from the watched folder: by default the current generation keeps serving, and an event reports it;
//! or the slot is unloaded. A file that is deleted and made again, and a removed folder, do not count as deletions.

use super::{done, wait_for_unloaded, was_unloaded};
use crate::support::{PATIENCE, assert_nothing_left, wait_for, wait_for_swapped};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{Claim, DeletedFile, Event, Events, Host, HostBuilder, Policy, SyncOutcome, UnloadError, UnloadReason};
use reslot_tests::{Fixture, Folder};
use std::{fs, path::Path, time::Duration};

fn policy(on_deleted_file: DeletedFile) -> Policy {
    Policy::without_probation().on_deleted_file(on_deleted_file)
}

fn builder(folder: &Path, on_deleted_file: DeletedFile) -> HostBuilder {
    Host::builder().policy(policy(on_deleted_file)).watch(folder)
}

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

fn wait_for_deleted(events: &mut Events, wanted: &str) -> u64 {
    wait_for(events, |event| match event {
        Event::FileDeleted { slot, generation, .. } if &**slot == wanted => Some(*generation),
        Event::Unloaded { .. } => panic!("{event}"),
        _ => None,
    })
}

#[test]
fn by_default_it_keeps_serving_and_that_is_reported() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &probe(1));
    for poll in [None, Some(Duration::from_millis(10))] {
        let mut builder = Host::builder().policy(Policy::without_probation()).watch(folder.path());
        if let Some(interval) = poll {
            builder = builder.poll(interval);
        }
        let host = builder.build().unwrap();
        let mut events = host.events();
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert_eq!(wait_for_deleted(&mut events, "probe"), 1);
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        assert_eq!(slot.load().stamp().unwrap(), 1);
        fs::rename(folder.path().join("away"), &path).unwrap();
        wait_for(&mut events, |event| {
            matches!(event, Event::Unchanged { generation: 1, .. }).then_some(())
        });
    }
}

#[test]
fn slot_is_unloaded_if_the_policy_says_so_and_loaded_when_the_file_comes_back() {
    let folder = Folder::new();
    let path = folder.publish("libcounter.so", &Fixture::build("fx-shared-counter").stamped(1));
    folder.publish("libprobe.so", &probe(1));
    let host = builder(folder.path(), DeletedFile::Unload)
        .instances("shared-counter", ["one", "two"])
        .build()
        .unwrap();
    let (one, two) = (
        host.slot::<dyn SharedCounter>("one").unwrap(),
        host.slot::<dyn SharedCounter>("two").unwrap(),
    );
    one.load().add(5).unwrap();
    let mut events = host.events();
    fs::remove_file(&path).unwrap();
    for name in ["one", "two"] {
        let (generation, state, reason) = wait_for_unloaded(&mut events, name);
        assert_eq!((generation, reason), (1, UnloadReason::FileDeleted { path: path.clone() }));
        assert!(state.is_some());
        assert!(host.wait_until_unmapped(name, 1, PATIENCE));
    }
    assert!(was_unloaded(one.load().total()) && was_unloaded(two.load().total()));
    assert_nothing_left(&host, 1);
    let state = host.left_state("one").unwrap();
    folder.publish("libcounter.so", &Fixture::build("fx-shared-counter").stamped(2));
    wait_for_swapped(&mut events, "one", 2);
    wait_for_swapped(&mut events, "two", 2);
    assert_eq!(one.load().total().unwrap(), 0, "it begins anew");
    done(host.unload("one"));
    host.load_from("one", folder.path().join("libcounter.so"), state).unwrap();
    assert_eq!(one.load().total().unwrap(), 5, "or goes on with what was left");
}

#[test]
fn file_deleted_and_made_again_is_replaced_and_not_deleted() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &probe(1));
    let host = builder(folder.path(), DeletedFile::Unload).build().unwrap();
    let mut events = host.events();
    let wait = |events: &mut Events, generation| {
        wait_for(events, |event| match event {
            Event::Unloaded { .. } | Event::FileDeleted { .. } => panic!("{event}"),
            Event::Swapped(report) => (report.generation == generation).then_some(()),
            _ => None,
        });
    };
    wait(&mut events, 1);
    for build in 2..=6 {
        // Like cargo: the name is removed, and made again as another link.
        let made = folder.path().join("made");
        fs::write(&made, probe(build)).unwrap();
        fs::remove_file(&path).unwrap();
        fs::hard_link(&made, &path).unwrap();
        fs::remove_file(&made).unwrap();
        wait(&mut events, build);
    }
    // A real deletion follows, and is the only one that is reported.
    fs::remove_file(&path).unwrap();
    assert_eq!(wait_for_unloaded(&mut events, "probe").0, 6);
    assert_nothing_left(&host, 0);
}

#[test]
fn folder_that_goes_or_is_switched_deletes_nothing() {
    let base = Folder::new();
    let at = |name: &str| base.path().join(name);
    for name in ["v1", "v2"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("v1").join("libprobe.so"), probe(1)).unwrap();
    std::os::unix::fs::symlink(at("v1"), at("current")).unwrap();
    let host = builder(&at("current"), DeletedFile::Unload).build().unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut events = host.events();
    // The new target does not have this file.
    std::os::unix::fs::symlink(at("v2"), at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    fs::write(at("new"), Fixture::build("fx-counter").stamped(1)).unwrap();
    fs::rename(at("new"), at("v2").join("libcounter.so")).unwrap();
    wait_for_swapped(&mut events, "counter", 1);
    fs::rename(at("v2"), at("away")).unwrap();
    wait_for(&mut events, |event| {
        matches!(event, Event::FolderMissing { .. }).then_some(())
    });
    fs::create_dir(at("v2")).unwrap();
    wait_for(&mut events, |event| matches!(event, Event::FolderBack { .. }).then_some(()));
    // A real deletion, which is noticed after all of these.
    fs::write(at("new"), Fixture::build("fx-shared-counter").stamped(1)).unwrap();
    let last = at("v2").join("libshared.so");
    fs::rename(at("new"), &last).unwrap();
    wait_for_swapped(&mut events, "shared-counter", 1);
    fs::remove_file(&last).unwrap();
    let unloaded = wait_for(&mut events, |event| match event {
        Event::Unloaded { slot, .. } => Some(slot.to_string()),
        _ => None,
    });
    assert_eq!(unloaded, "shared-counter");
    assert_eq!(slot.load().stamp().unwrap(), 1);
    drop(slot);
    assert_nothing_left(&host, 2);
}

#[test]
fn owner_unloads_the_slot_of_a_deleted_file() {
    let folder = Folder::new();
    let path = folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = builder(folder.path(), DeletedFile::Unload).build().unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(7).unwrap();
    let mut events = host.events();
    fs::remove_file(&path).unwrap();
    wait_for(&mut events, |event| matches!(event, Event::UnloadStaged { .. }).then_some(()));
    assert_eq!(claim.add(1).unwrap(), 8);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
    let (_, _, reason) = wait_for_unloaded(&mut events, "counter");
    assert_eq!(reason, UnloadReason::FileDeleted { path });
    assert!(host.left_state("counter").is_some());
    drop(claim);
    assert_nothing_left(&host, 0);
}

#[test]
fn slot_that_another_uses_waits_until_that_one_is_gone() {
    let folder = Folder::new();
    let counter = folder.publish("a-counter.so", &Fixture::build("fx-shared-counter").stamped(1));
    let caller = folder.publish("b-caller.so", &Fixture::build("fx-caller").stamped(1));
    let host = builder(folder.path(), DeletedFile::Unload).build().unwrap();
    let mut events = host.events();
    fs::remove_file(&counter).unwrap();
    let error = wait_for(&mut events, |event| match event {
        Event::UnloadRefused { slot, error, .. } => Some((slot.to_string(), error.clone())),
        Event::Unloaded { .. } => panic!("{event}"),
        _ => None,
    });
    assert!(
        matches!(&error, (slot, UnloadError::Used { by, .. }) if slot == "shared-counter" && *by == ["caller"]),
        "{error:?}"
    );
    fs::remove_file(&caller).unwrap();
    for name in ["caller", "shared-counter"] {
        wait_for_unloaded(&mut events, name);
    }
    assert_nothing_left(&host, 0);
}
