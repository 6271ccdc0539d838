//! Changed and removed files of the history, a full disk, and a folder that another host uses.

use super::{Place, SHARED, add, long_probation, shared, stamp};
use crate::support::{assert_nothing_left, wait_for};
use reslot::{
    BuildError, Cause, ContentHash, Event, Events, HistoryError, Host, LoadOutcome, RollbackError, RollbackTarget,
};
use reslot_tests::Folder;
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The kept files of all slots.
pub fn kept_files(place: &Place) -> Vec<PathBuf> {
    let folders = fs::read_dir(place.kept.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}

/// The kept file with this stamp.
fn kept_file(place: &Place, stamp: u64) -> PathBuf {
    let stamp = format!("RESLOT-FIXTURE-STAMP:{stamp:010}");
    let has = |path: &PathBuf| {
        fs::read(path)
            .unwrap()
            .windows(stamp.len())
            .any(|window| window == stamp.as_bytes())
    };
    kept_files(place).into_iter().find(has).expect("it is kept")
}

fn wait_for_history_failed(events: &mut Events) -> HistoryError {
    wait_for(events, |event| match event {
        Event::HistoryFailed { error, .. } => Some(error.clone()),
        _ => None,
    })
}

#[test]
fn kept_file_that_was_changed_is_passed_over_for_the_next_older_one() {
    for gone in [false, true] {
        let place = Place::new();
        let host = place.host();
        let hashes: Vec<_> = (1..=3).map(|n| place.good(&host, n)).collect();
        let mut events = host.events();
        let path = kept_file(&place, 2);
        match gone {
            true => fs::remove_file(&path).unwrap(),
            // A byte of code is changed, so the file still passes the lint.
            false => {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        assert_eq!(add(&host, 4), 4);
        host.rollback(SHARED, RollbackTarget::Previous).unwrap();
        let error = wait_for_history_failed(&mut events);
        match &error {
            HistoryError::Missing { slot, file } => assert!(gone && slot == SHARED && *file == path),
            HistoryError::Changed { slot, file, .. } => assert!(!gone && slot == SHARED && *file == path),
            _ => panic!("{error}"),
        }
        assert_eq!((stamp(&host), add(&host, 1)), (1, 5));
        let named = host.rollback(SHARED, RollbackTarget::Hash(hashes[1]));
        assert!(
            matches!(named, Err(RollbackError::Version { found: 0, .. })),
            "it is no longer listed"
        );
        assert_nothing_left(&host, 1);
    }
}

#[test]
fn bad_checksum() {
    let place = Place::new();
    let host = place.host();
    let hashes: Vec<_> = (1..=3).map(|n| place.good(&host, n)).collect();
    fs::write(kept_file(&place, 1), b"something else").unwrap();
    let error = host.rollback(SHARED, RollbackTarget::Hash(hashes[0])).unwrap_err();
    let RollbackError::Refused(refusal) = &error else {
        panic!("{error}")
    };
    let Cause::History(HistoryError::Changed { expected, found, .. }) = &*refusal.cause else {
        panic!("{error}")
    };
    assert!(expected != found && *found == ContentHash::of(b"something else"));
    let words = error.to_string();
    let told = format!("was changed: its hash should be {expected} and is {found}");
    assert!(words.contains(&told) && words.contains("what to do: "), "{words}");
    assert_eq!(stamp(&host), 3, "it keeps serving");
    assert_nothing_left(&host, 1);
}

#[test]
fn kept_file_that_was_changed_while_no_host_was_there_is_passed_over_at_the_start() {
    let place = Place::new();
    let host = place.host();
    place.good(&host, 1);
    place.good(&host, 2);
    place.load(&host, &shared(3));
    drop(host);
    fs::write(kept_file(&place, 2), b"something else").unwrap();
    let host = place.host();
    assert!(matches!(
        wait_for_history_failed(&mut host.events()),
        HistoryError::Changed { .. }
    ));
    assert_eq!(stamp(&host), 1);
}

#[test]
fn history_folder_belongs_to_one_host() {
    let place = Place::new();
    let first = place.host();
    let error = place.builder().history(place.kept.path()).build().unwrap_err();
    assert!(matches!(&error, BuildError::History(HistoryError::InUse { .. })), "{error}");
    let words = error.to_string();
    assert!(words.contains("is in use by another host\n  what to do: "), "{words}");
    place.good(&first, 1);
    drop(first);
    place.good(&place.host(), 2);
}

#[test]
fn full_disk_refuses_the_reload_and_nothing_else() {
    let (role, name) = (
        "RESLOT_TEST_FULL_HISTORY",
        "history::disk::full_disk_refuses_the_reload_and_nothing_else",
    );
    if let Some(base) = env::var_os(role) {
        return on_a_small_disk(Path::new(&base));
    }
    let folder = tempfile::tempdir().unwrap();
    // The fixtures are built here, because the child may have other mounts.
    for n in 1..=3 {
        fs::write(folder.path().join(n.to_string()), shared(n)).unwrap();
    }
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let size = shared(1).len() * 5 / 2;
    let script = format!("mount -t tmpfs -o size={size} none \"$0\" && exec \"$@\"");
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(&disk)
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(role, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("test result: ok. 1 passed"),
        "this needs `unshare --user --mount` to be permitted\n{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// The disk has room for two of the artifacts, and not for three.
fn on_a_small_disk(base: &Path) {
    let disk = base.join("disk");
    let build = |n: u64| base.join(n.to_string());
    let host = Host::builder()
        .policy(long_probation())
        .history(disk.join("history"))
        .build()
        .unwrap();
    host.load(build(1)).unwrap();
    host.confirm(SHARED).unwrap();
    assert_eq!(add(&host, 5), 5);
    let filler = disk.join("filler");
    // Fills the disk.
    fs::write(&filler, vec![0; 64 << 20]).unwrap_err();
    File::open(&filler).unwrap().sync_all().unwrap();
    for _ in 0..2 {
        let refusal = host.load(build(2)).unwrap_err();
        assert!(
            matches!(&*refusal.cause, Cause::History(HistoryError::Io { .. })),
            "{refusal}"
        );
        let words = refusal.to_string();
        for part in [
            "the history could not ",
            "No space left",
            "free some space",
            "generation 1 keeps serving",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!((stamp(&host), add(&host, 1) > 5), (1, true));
        assert_eq!(host.history(SHARED).len(), 1);
        assert_nothing_left(&host, 1);
    }
    fs::remove_file(&filler).unwrap();
    assert!(matches!(host.load(build(2)), Ok(LoadOutcome::Swapped(_))));
    assert_eq!((stamp(&host), add(&host, 0)), (2, 7));
    host.rollback(SHARED, RollbackTarget::Previous).unwrap();
    assert_eq!((stamp(&host), add(&host, 0)), (1, 7));
}

#[test]
fn history_in_a_place_that_cannot_be_written_is_no_host() {
    let folder = Folder::new();
    let file = folder.publish("a file", b"");
    let error = Host::builder().history(&file).build().unwrap_err();
    assert!(matches!(&error, BuildError::History(HistoryError::Io { .. })), "{error}");
    assert!(error.to_string().contains("what to do: "), "{error}");
}
