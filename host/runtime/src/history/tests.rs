//! Tests of the history with real files: which files stay, which are removed, and which are read. The submodule tests the
//! folder, and its use by a later process.

mod folder;
mod power;

use super::{
    Artifact, Content, History, NewEntry,
    VersionStatus::{self, Confirmed, KnownBad, Unconfirmed},
};
use reslot_artifact::ContentHash;
use reslot_report::HistoryError;
use reslot_stage::{HISTORY, StagingFolder};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

const SLOT: &str = "counter";

fn begins(history: &History, slot: &str, bytes: &[u8]) -> Result<ContentHash, HistoryError> {
    let hash = ContentHash::of(bytes);
    let entry = NewEntry {
        slot,
        hash,
        version: "1.2.3",
        schema: Some(7),
        file: Path::new("/plugins/libcounter.so"),
    };
    history.begins(&entry, content_of(bytes), false).map(|()| hash)
}

fn content_of(bytes: &[u8]) -> Content<'_> {
    Content {
        bytes,
        hash: ContentHash::of(bytes),
        file: None,
    }
}

fn begun(history: &History, bytes: &[u8]) -> ContentHash {
    begins(history, SLOT, bytes).unwrap()
}

fn good(history: &History, bytes: &[u8]) -> ContentHash {
    let hash = begun(history, bytes);
    history.confirm(SLOT, &hash).unwrap();
    hash
}

fn opened(folder: &Path, keep: usize) -> History {
    let (history, problems) = History::persistent(folder, keep).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    history
}

/// Newest first.
fn entries(history: &History) -> Vec<(ContentHash, VersionStatus)> {
    let entries = history.entries(SLOT).into_iter();
    entries.map(|kept| (kept.hash, kept.condition)).collect()
}

/// Every file below a folder, by its path in it, with its bytes; without the lock.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn below(folder: &Path, base: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for inside in fs::read_dir(folder).into_iter().flatten() {
            let path = inside.unwrap().path();
            if path.is_dir() {
                below(&path, base, found);
            } else if path.file_name().unwrap() != ".lock" {
                found.insert(path.strip_prefix(base).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    below(folder, folder, &mut found);
    found
}

fn artifacts(folder: &Path) -> Vec<Vec<u8>> {
    let artifacts = files(folder)
        .into_iter()
        .filter(|(path, _)| path.extension().unwrap() == "so");
    let mut contents: Vec<_> = artifacts.map(|(_, bytes)| bytes).collect();
    contents.sort();
    contents
}

fn flip_a_byte(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[0] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn file_of(folder: &Path, hash: &ContentHash) -> PathBuf {
    folder.join(SLOT).join(format!("{hash}.so"))
}

#[test]
fn the_confirmed_one_and_as_many_earlier_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let [one, two, three] = [b"one", b"two", b"333"].map(|bytes| good(&history, bytes));
    let superseded = begun(&history, b"superseded");
    let four = begun(&history, b"four");
    assert_eq!(artifacts(folder.path()).len(), 5);
    assert_eq!(history.unconfirmed(SLOT), Some(four));
    history.confirm(SLOT, &four).unwrap();
    assert_eq!(history.unconfirmed(SLOT), None);
    let stay = [four, three, two].map(|hash| (hash, Confirmed));
    assert_eq!(entries(&history), stay);
    assert_eq!(artifacts(folder.path()), [&b"333"[..], b"four", b"two"]);
    for gone in [one, superseded] {
        let error = history.read(SLOT, &gone).unwrap_err();
        assert!(
            matches!(&error, HistoryError::Unknown { known, .. } if *known == [four, three, two]),
            "{error}"
        );
    }

    let kept = &history.entries(SLOT)[0];
    assert_eq!((kept.version.as_str(), kept.schema, kept.bytes), ("1.2.3", Some(7), 4));
    let artifact = Artifact {
        bytes: b"two".to_vec(),
        copy: two,
        file: "/plugins/libcounter.so".into(),
        version: "1.2.3".into(),
        schema: Some(7),
    };
    assert_eq!(history.read(SLOT, &two).unwrap(), artifact);
    // A rollback to a version makes it the newest; it stays good.
    begun(&history, b"two");
    let order = [two, four, three].map(|hash| (hash, Confirmed));
    assert_eq!(entries(&history), order);
    assert_eq!(history.unconfirmed(SLOT), None);
}

#[test]
fn publishing_faster_than_the_probation_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 1);
    let good = good(&history, b"good");
    for number in 0..20_u8 {
        begun(&history, &[number]);
    }
    assert_eq!(artifacts(folder.path()), [&[17][..], &[18], &[19], b"good"]);
    assert_eq!(history.good_before(SLOT, None, false).0.unwrap().0, good);
}

#[test]
fn forgotten_version_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let [one, two] = [b"one", b"two"].map(|bytes| good(&history, bytes));
    let bad = begun(&history, b"bad");
    history.mark_bad(SLOT, &bad, "it panicked").unwrap();
    let before = (history.entries(SLOT), files(folder.path()));

    for candidate in [b"new", b"one", b"two", b"bad"] {
        let candidate = begun(&history, candidate);
        assert_eq!(entries(&history)[0].0, candidate);
        history.forget(SLOT, &ContentHash::of(b"never seen"));
        history.forget(SLOT, &candidate);
        history.forget(SLOT, &candidate);
        assert_eq!((history.entries(SLOT), files(folder.path())), before);
    }
    // A slot without entries keeps no folder either.
    let first = begins(&history, "other", b"first").unwrap();
    history.forget("other", &first);
    assert_eq!(
        (history.slots(), folder.path().join("other").exists()),
        (vec![SLOT.into()], false)
    );
    // `forget` does not affect a settled version.
    begun(&history, b"one");
    history.confirm(SLOT, &one).unwrap();
    history.forget(SLOT, &one);
    assert_eq!(entries(&history)[0].0, one);
    assert_eq!(history.read(SLOT, &two).unwrap().bytes, b"two");
}

#[test]
fn candidates_that_overtake_each_other_are_each_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    good(&history, b"one");
    let before = (history.entries(SLOT), files(folder.path()));
    let [first, second] = [b"first", b"later"].map(|bytes| begun(&history, bytes));
    history.forget(SLOT, &first);
    assert_eq!(entries(&history).len(), 2);
    history.forget(SLOT, &second);
    assert_eq!((history.entries(SLOT), files(folder.path())), before);
}

#[test]
fn bad_version_is_bad_at_once_and_its_file_is_removed_after_the_index_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    good(&history, b"one");
    let two = good(&history, b"two");
    history.mark_bad_in_memory(SLOT, &two, "it panicked");
    assert_eq!(history.known_bad(SLOT, &two).as_deref(), Some("it panicked"));
    assert_eq!(artifacts(folder.path()).len(), 2, "no file was touched");
    history.mark_bad(SLOT, &two, "it panicked").unwrap();
    assert_eq!(artifacts(folder.path()), [b"one"]);
}

#[test]
fn rolled_back_version_is_remembered_until_it_is_requested() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let fine = good(&history, b"fine");
    let bad = begun(&history, b"bad");
    history.mark_bad(SLOT, &bad, "it panicked").unwrap();
    assert_eq!(history.known_bad(SLOT, &bad).as_deref(), Some("it panicked"));
    assert_eq!(
        (history.known_bad(SLOT, &fine), history.known_bad("other", &bad)),
        (None, None)
    );
    assert_eq!(artifacts(folder.path()), [b"fine"]);
    assert_eq!(history.unconfirmed(SLOT), None, "what was tried is known to be bad");
    let (found, passed_over) = history.good_before(SLOT, Some(&bad), false);
    assert_eq!((found.unwrap().0, passed_over.len()), (fine, 0));
    let error = history.read(SLOT, &bad).unwrap_err();
    assert!(
        matches!(&error, HistoryError::KnownBad { why, .. } if why == "it panicked"),
        "{error}"
    );
    let kept = &history.entries(SLOT)[0];
    assert_eq!(
        (&kept.condition, kept.bytes, kept.version.as_str()),
        (&KnownBad("it panicked".into()), 0, "1.2.3")
    );

    drop(history);
    let history = opened(folder.path(), 2);
    assert_eq!(history.known_bad(SLOT, &bad).as_deref(), Some("it panicked"));
    history.unblock(SLOT, &bad).unwrap();
    history.unblock(SLOT, &fine).unwrap();
    assert_eq!(entries(&history), [(fine, Confirmed)]);
    assert_eq!(history.known_bad(SLOT, &bad), None);
}

#[test]
fn bad_ones_are_remembered_in_numbers_and_words_that_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 1);
    let first = begun(&history, b"the oldest place");
    let others: Vec<_> = (0..70_u8).map(|number| ContentHash::of(&[number])).collect();
    for hash in &others {
        history.mark_bad(SLOT, hash, &"é".repeat(5000)).unwrap();
    }
    history.mark_bad(SLOT, &first, "late").unwrap();
    assert_eq!(history.known_bad(SLOT, &first).as_deref(), Some("late"));
    assert_eq!(history.entries(SLOT).len(), 64);
    assert_eq!(history.known_bad(SLOT, &others[6]), None);
    assert_eq!(history.known_bad(SLOT, &others[7]).unwrap(), "é".repeat(1024));
}

#[test]
fn a_changed_file_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 4);
    let [one, two, three, four] = [b"one", b"two", b"333", b"444"].map(|bytes| good(&history, bytes));
    flip_a_byte(&file_of(folder.path(), &three));
    fs::remove_file(file_of(folder.path(), &two)).unwrap();
    let (found, passed_over) = history.good_before(SLOT, Some(&four), false);
    let (hash, artifact) = found.unwrap();
    assert_eq!((hash, artifact.bytes.as_slice()), (one, &b"one"[..]));
    let [
        HistoryError::Changed {
            file, expected, found, ..
        },
        HistoryError::Missing { file: gone, .. },
    ] = &passed_over[..]
    else {
        panic!("{passed_over:?}")
    };
    assert_eq!(file, &file_of(folder.path(), &three));
    assert_eq!((expected, found), (&three, &ContentHash::of(b"233")));
    assert_eq!(gone, &file_of(folder.path(), &two));
    let words = passed_over[0].to_string();
    assert!(
        [SLOT, &expected.to_string(), &found.to_string(), file.to_str().unwrap()]
            .iter()
            .all(|word| words.contains(word)),
        "{words}"
    );
    assert_eq!(entries(&history), [four, one].map(|hash| (hash, Confirmed)));
    assert_eq!(artifacts(folder.path()), [b"444", b"one"]);
    assert!(history.good_before(SLOT, Some(&one), false).0.is_none());
    drop(history);
    opened(folder.path(), 4);
}

#[test]
fn a_link_or_a_pipe_in_place_of_a_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 4);
    let [one, two] = [b"one", b"two"].map(|bytes| good(&history, bytes));
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, b"one").unwrap();
    fs::remove_file(file_of(folder.path(), &one)).unwrap();
    symlink(&elsewhere, file_of(folder.path(), &one)).unwrap();
    fs::remove_file(file_of(folder.path(), &two)).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(file_of(folder.path(), &two))
            .status()
            .unwrap()
            .success()
    );
    let (found, passed_over) = history.good_before(SLOT, None, false);
    assert!(found.is_none());
    assert!(
        passed_over
            .iter()
            .all(|error| matches!(error, HistoryError::Io { doing: "read", .. })),
        "{passed_over:?}"
    );
    // Publishing the same content again repairs the entry.
    good(&history, b"two");
    assert_eq!(history.read(SLOT, &two).unwrap().bytes, b"two");
}

#[test]
fn history_keeps_a_copy_with_its_own_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let entry = |content: &[u8]| {
        let entry = NewEntry {
            slot: SLOT,
            hash: ContentHash::of(b"as read"),
            version: "",
            schema: None,
            file: Path::new("a.so"),
        };
        history.begins(&entry, content_of(content), false).unwrap();
        entry.hash
    };
    let hash = entry(b"as linted");
    history.confirm(SLOT, &hash).unwrap();
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"as linted");
    // The same artifact with other stored bytes: `forget` keeps the former bytes, `confirm` removes them.
    entry(b"otherwise");
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"otherwise");
    history.forget(SLOT, &hash);
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"as linted");
    entry(b"otherwise");
    history.confirm(SLOT, &hash).unwrap();
    assert_eq!(artifacts(folder.path()), [b"otherwise"]);
    // Two artifacts that differ only in bytes that the lint clears share a file.
    let same = begun(&history, b"otherwise");
    history.mark_bad(SLOT, &same, "").unwrap();
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"otherwise");
}

#[test]
fn bytes_that_are_put_away_later_are_kept_as_long_as_the_entry_is() {
    let base = tempfile::tempdir().unwrap();
    let private = StagingFolder::create(base.path(), None).unwrap();
    let folder = private.path().join(HISTORY);
    let history = History::of_process(private, 1);
    assert!(history.archives_in_background());
    let begins_later = |bytes: &[u8]| {
        let (slot, hash, file) = (SLOT, ContentHash::of(bytes), Path::new("plugin.so"));
        let entry = NewEntry {
            slot,
            hash,
            version: "",
            schema: None,
            file,
        };
        history.begins(&entry, content_of(bytes), true).unwrap();
        hash
    };
    let good = begins_later(b"good");
    assert!(!folder.exists());
    history.keep(SLOT, &good, content_of(b"good")).unwrap();
    assert_eq!(history.read(SLOT, &good).unwrap().bytes, b"good");

    // If a version is settled before its bytes are stored, they are not stored at all.
    for end in [
        (|history: &History, hash: &ContentHash| history.forget(SLOT, hash)) as fn(&History, &ContentHash),
        |history, hash| history.mark_bad(SLOT, hash, "bad").unwrap(),
    ] {
        let bad = begins_later(b"bad");
        end(&history, &bad);
        history.keep(SLOT, &bad, content_of(b"bad")).unwrap();
        assert_eq!(files(&folder).into_values().collect::<Vec<_>>(), [b"good"]);
    }
}
