//! The history on the disk, while its host works and after it was killed.

use super::{Described, build, builder, end};
use crate::{
    artifacts::{fresh_folder, remove},
    engine::is_artifact,
    plugins::{Tally, left},
};
use reslot_runtime::{__history::read_folder, Host, Policy, RollbackTarget, Slot, VersionStatus};
use reslot_sync::thread;
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

pub(super) const MODELS: &[Described] = &[
    (
        "killed",
        "after a kill at any step the history is whole, and has what was confirmed before",
        killed,
    ),
    (
        "bad-version",
        "a version that was rolled back is not taken again by itself, by this host or the next",
        bad_version,
    ),
    (
        "next-host",
        "what was rolled back after its confirmation, or never confirmed, is not taken by the next host by itself",
        next_host,
    ),
];

fn host(folder: &Path) -> Host {
    builder(Policy::development()).history(folder).build().unwrap()
}

/// Nothing interrupts the copying of the folder, so a copy is what a killed process leaves.
fn killed() {
    let folder = fresh_folder();
    let host = host(&folder.join("history"));
    let [is_confirmed, is_done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let kills = {
        let (folder, is_confirmed, is_done) = (folder.clone(), is_confirmed.clone(), is_done.clone());
        thread::spawn(move || {
            // From one to the next the host does much or little, as the schedule has it.
            for pause in [0, 20, 50, 100, 200] {
                for _ in 0..pause {
                    if !is_done.load(Relaxed) {
                        thread::yield_now();
                    }
                }
                check_copy(&folder, is_confirmed.load(Relaxed));
            }
        })
    };
    for version in 1..3 {
        host.load(build(left::PLUGIN, version)).unwrap();
        host.confirm("left").unwrap();
        is_confirmed.store(version == 2, Relaxed);
    }
    host.load(build(left::PLUGIN, 3)).unwrap();
    host.rollback("left", RollbackTarget::Previous).unwrap();
    is_done.store(true, Relaxed);
    kills.join().unwrap();
    end(host);
    check_copy(&folder, true);
    remove(&folder);
}

/// Copies the history, and opens the copy as the next host would.
fn check_copy(folder: &Path, is_confirmed: bool) {
    let (from, to) = (folder.join("history"), folder.join("copy"));
    copy(&from, &to);
    let (versions, problems) = read_folder(&to, 2).unwrap();
    assert!(problems.is_empty(), "the history is whole after a kill: {problems:?}");
    let mut confirmed = 0;
    for (_, entry, bytes) in versions {
        match entry.condition {
            VersionStatus::KnownBad(_) => continue,
            VersionStatus::Confirmed => confirmed += 1,
            _ => {}
        }
        let bytes = bytes.unwrap_or_else(|error| panic!("the history has each version that it lists: {error}"));
        assert!(is_artifact(&bytes), "each version is whole");
    }
    assert!(!is_confirmed || confirmed == 2, "what was confirmed is in the history");
    remove(&to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn version(host: &Host) -> u64 {
    let slot: Slot<dyn Tally> = host.slot("left").unwrap();
    slot.load().version().unwrap()
}

fn bad_version() {
    let folder = fresh_folder();
    let first = Arc::new(host(&folder));
    first.load(build(left::PLUGIN, 1)).unwrap();
    first.confirm("left").unwrap();
    first.load(build(left::PLUGIN, 2)).unwrap();
    let notices = {
        let first = first.clone();
        // Before the rollback it serves, and after it it is bad.
        thread::spawn(move || first.notice(build(left::PLUGIN, 2)))
    };
    first.rollback("left", RollbackTarget::Previous).unwrap();
    notices.join().unwrap();
    let first = Arc::into_inner(first).unwrap();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(version(&first), 1, "a version that was rolled back is not taken again");
    end(first);
    check_next(&folder);
    remove(&folder);
}

/// The next host does not take the second version by itself.
fn check_next(folder: &Path) {
    let next = host(folder);
    next.load(build(left::PLUGIN, 1)).unwrap();
    next.notice(build(left::PLUGIN, 2));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(version(&next), 1, "nor by the next host");
    end(next);
}

fn next_host() {
    for is_confirmed in [true, false] {
        let folder = fresh_folder();
        let first = host(&folder);
        first.load(build(left::PLUGIN, 1)).unwrap();
        first.confirm("left").unwrap();
        first.load(build(left::PLUGIN, 2)).unwrap();
        if is_confirmed {
            first.confirm("left").unwrap();
            first.rollback("left", RollbackTarget::Previous).unwrap();
        }
        end(first);
        check_next(&folder);
        remove(&folder);
    }
}
