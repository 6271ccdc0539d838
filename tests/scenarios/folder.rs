//! The watched folder in practice: files written in place, folders that are removed and made again, links, polling, fast
//! changes.

use crate::support::{assert_nothing_left, host, publish, wait_for, wait_for_swapped};
use fixture_interfaces::{Counter, Probe};
use reslot::{Event, Events, Host};
use reslot_tests::{Fixture, Folder};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

fn stamp(host: &Host) -> u64 {
    host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap()
}

/// Waits for a swap of a slot; no refusal may happen before.
fn wait_for_clean_swap(events: &mut Events, generation: u64) {
    let swapped = wait_for(events, |event| match event {
        Event::Refused(refusal) => panic!("{refusal}"),
        Event::Swapped(report) => Some(report.generation),
        _ => None,
    });
    assert_eq!(swapped, generation);
}

#[test]
fn file_that_is_being_written_is_taken_when_it_is_closed() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &probe(1));
    let host = host(&folder);
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    // Like `cp`: the file is truncated, then written in place in pieces.
    let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    let new = probe(2);
    let (begin, end) = new.split_at(new.len() / 2);
    for piece in begin.chunks(16 << 10) {
        file.write_all(piece).unwrap();
    }
    let why = wait_for(&mut events, |event| match event {
        Event::Refused(refusal) => panic!("{refusal}"),
        Event::Waiting { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("still being written"), "{why}");
    assert_eq!(stamp(&host), 1);
    for piece in end.chunks(16 << 10) {
        file.write_all(piece).unwrap();
    }
    assert_eq!(stamp(&host), 1, "whole, but still open");
    drop(file);
    wait_for_clean_swap(&mut events, 2);
    assert_eq!(stamp(&host), 2);
    assert_nothing_left(&host, 1);
}

#[test]
fn new_file_that_is_written_slowly_is_taken_once_and_whole() {
    let folder = Folder::new();
    let host = host(&folder);
    let mut events = host.events();
    let mut file = File::create(folder.path().join("libprobe.so")).unwrap();
    let new = probe(1);
    file.write_all(&new[..100]).unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Waiting { .. }).then_some(()));
    assert!(host.slots().is_empty());
    for piece in new[100..].chunks(4 << 10) {
        file.write_all(piece).unwrap();
    }
    drop(file);
    wait_for_clean_swap(&mut events, 1);
    assert_eq!(stamp(&host), 1);
}

#[test]
fn folder_that_disappears_and_comes_back_is_taken_up_again() {
    let base = Folder::new();
    let folder = base.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    publish(&folder.join("libprobe.so"), &probe(1));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(&folder)
        .build()
        .unwrap();
    let mut events = host.events();
    fs::remove_dir_all(&folder).unwrap();
    let missing = wait_for(&mut events, |event| match event {
        Event::FolderMissing { path } => Some(path.clone()),
        _ => None,
    });
    assert_eq!(missing, folder);
    assert_eq!(stamp(&host), 1, "what serves does not need its file");
    fs::create_dir(&folder).unwrap();
    publish(&folder.join("libprobe.so"), &probe(2));
    wait_for(&mut events, |event| matches!(event, Event::FolderBack { .. }).then_some(()));
    wait_for_clean_swap(&mut events, 2);
    publish(&folder.join("libprobe.so"), &probe(3));
    wait_for_clean_swap(&mut events, 3);
    assert_nothing_left(&host, 1);
}

#[test]
fn folder_that_is_missing_at_the_start_is_waited_for() {
    let base = Folder::new();
    let folder = base.path().join("not/yet/there");
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(&folder)
        .build()
        .unwrap();
    let mut events = host.events();
    wait_for(&mut events, |event| {
        matches!(event, Event::FolderMissing { .. }).then_some(())
    });
    assert!(
        host.claim::<dyn Counter>("probe")
            .unwrap_err()
            .to_string()
            .contains("nothing is loaded")
    );
    fs::create_dir_all(&folder).unwrap();
    publish(&folder.join("libprobe.so"), &probe(1));
    wait_for_clean_swap(&mut events, 1);
    assert_eq!(stamp(&host), 1);
}

#[test]
fn polling_sees_renamed_and_rewritten_files() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &probe(1));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .poll(Duration::from_millis(10))
        .build()
        .unwrap();
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    folder.publish("libprobe.so", &probe(2));
    wait_for_clean_swap(&mut events, 2);
    fs::write(&path, probe(3)).unwrap();
    wait_for_clean_swap(&mut events, 3);
    assert_eq!(stamp(&host), 3);
}

#[test]
fn two_builds_in_one_second_both_seen() {
    let folder = Folder::new();
    let moment = SystemTime::now();
    let publish = |stamp| {
        let new = folder.path().join("new");
        fs::write(&new, probe(stamp)).unwrap();
        // The files have the same size and the same time, to the nanosecond.
        OpenOptions::new()
            .write(true)
            .open(&new)
            .unwrap()
            .set_modified(moment)
            .unwrap();
        fs::rename(new, folder.path().join("libprobe.so")).unwrap();
    };
    publish(1);
    let host = host(&folder);
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    for number in 2..=5 {
        publish(number);
        wait_for_clean_swap(&mut events, number);
        assert_eq!(stamp(&host), number);
    }
}

#[test]
fn build_that_is_replaced_while_it_is_loaded_is_overtaken() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &probe(1));
    let host = host(&folder);
    let mut events = host.events();
    for number in 2..=40 {
        folder.publish("libprobe.so", &probe(number));
    }
    let last = wait_for(&mut events, |event| match event {
        Event::Refused(refusal) => panic!("{refusal}"),
        Event::Swapped(report) if stamp(&host) == 40 => Some(report.generation),
        _ => None,
    });
    assert!(last <= 40);
    assert_nothing_left(&host, 1);
}

#[test]
fn symlinked_folder_that_is_swapped_is_followed() {
    let base = Folder::new();
    let link = base.path().join("current");
    for version in [1, 2] {
        let folder = base.path().join(format!("v{version}"));
        fs::create_dir(&folder).unwrap();
        publish(&folder.join("libprobe.so"), &probe(version));
    }
    symlink(base.path().join("v1"), &link).unwrap();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(&link)
        .build()
        .unwrap();
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    let next = base.path().join("next");
    symlink(base.path().join("v2"), &next).unwrap();
    fs::rename(next, &link).unwrap();
    wait_for_clean_swap(&mut events, 2);
    assert_eq!(stamp(&host), 2);
    // A build in the new folder is noticed.
    publish(&base.path().join("v2/libprobe.so"), &probe(3));
    wait_for_clean_swap(&mut events, 3);
}

#[test]
fn hard_link_and_symlink_to_a_build_are_taken() {
    let base = Folder::new();
    let (build, folder) = (base.path().join("build.so"), base.path().join("plugins"));
    fs::create_dir(&folder).unwrap();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(&folder)
        .build()
        .unwrap();
    let mut events = host.events();
    fs::write(&build, probe(1)).unwrap();
    fs::hard_link(&build, folder.join("libprobe.so")).unwrap();
    wait_for_clean_swap(&mut events, 1);
    let other: &Path = &base.path().join("other.so");
    fs::write(other, probe(2)).unwrap();
    symlink(other, folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("libprobe.so")).unwrap();
    wait_for_clean_swap(&mut events, 2);
    assert_eq!(stamp(&host), 2);
}

#[test]
fn file_that_is_deleted_leaves_its_code_serving() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &probe(1));
    let host = host(&folder);
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    fs::remove_file(&path).unwrap();
    // Events are processed in order: after the next file is loaded, the deletion is known.
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    wait_for_swapped(&mut events, "counter", 1);
    assert_eq!(stamp(&host), 1);
    folder.publish("libprobe.so", &probe(1));
    let serves = wait_for(&mut events, |event| match event {
        Event::Refused(refusal) => panic!("{refusal}"),
        Event::Unchanged { slot, generation, .. } if &**slot == "probe" => Some(*generation),
        _ => None,
    });
    assert_eq!(serves, 1);
    assert_nothing_left(&host, 2);
}

#[test]
fn same_plugin_under_two_names_is_one_slot() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &probe(1));
    let host = host(&folder);
    let mut events = host.events();
    wait_for_clean_swap(&mut events, 1);
    folder.publish("another.so", &probe(2));
    wait_for_clean_swap(&mut events, 2);
    assert_eq!((host.slots().len(), stamp(&host)), (1, 2));
}
