//! The history held to what it promises, with real files: what stays, what goes, and what a next process finds.

use super::{Artifact, Content, History, HistoryError, KeptCondition, NewEntry};
use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

const SLOT: &str = "counter";

fn begins(history: &History, slot: &str, bytes: &[u8]) -> Result<blake3::Hash, HistoryError> {
    let hash = blake3::hash(bytes);
    let entry = NewEntry {
        slot,
        hash,
        version: "1.2.3",
        schema: Some(7),
        file: Path::new("/plugins/libcounter.so"),
    };
    history.begins(&entry, Content::Bytes(bytes)).map(|()| hash)
}

fn begun(history: &History, bytes: &[u8]) -> blake3::Hash {
    begins(history, SLOT, bytes).unwrap()
}

fn good(history: &History, bytes: &[u8]) -> blake3::Hash {
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
fn told(history: &History) -> Vec<(String, KeptCondition)> {
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

fn file_of(folder: &Path, hash: &blake3::Hash) -> PathBuf {
    folder.join(SLOT).join(format!("{hash}.so"))
}

use KeptCondition::{Condemned, Confirmed, Unconfirmed};

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
    let stay = [four, three, two].map(|hash| (hash.to_string(), Confirmed));
    assert_eq!(told(&history), stay);
    assert_eq!(artifacts(folder.path()), [&b"333"[..], b"four", b"two"]);
    for gone in [one, superseded] {
        let error = history.read(SLOT, &gone).unwrap_err();
        assert!(
            matches!(&error, HistoryError::Unknown { known, .. } if *known == [four, three, two].map(|hash| hash.to_string())),
            "{error}"
        );
    }

    let kept = &history.entries(SLOT)[0];
    assert_eq!((kept.version.as_str(), kept.schema, kept.bytes), ("1.2.3", Some(7), 4));
    let artifact = Artifact {
        bytes: b"two".to_vec(),
        file: "/plugins/libcounter.so".into(),
        version: "1.2.3".into(),
        schema: Some(7),
    };
    assert_eq!(history.read(SLOT, &two).unwrap(), artifact);
    // Going back to one makes it the newest; it is good as before.
    begun(&history, b"two");
    let order = [two, four, three].map(|hash| (hash.to_string(), Confirmed));
    assert_eq!(told(&history), order);
    assert_eq!(history.unconfirmed(SLOT), None);
}

#[test]
fn who_publishes_faster_than_the_probation_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 1);
    let good = good(&history, b"good");
    for number in 0..20_u8 {
        begun(&history, &[number]);
    }
    assert_eq!(artifacts(folder.path()), [&[17][..], &[18], &[19], b"good"]);
    assert_eq!(history.good_before(SLOT, None).0.unwrap().0, good);
}

#[test]
fn what_is_forgotten_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let [one, two] = [b"one", b"two"].map(|bytes| good(&history, bytes));
    let bad = begun(&history, b"bad");
    history.condemn(SLOT, &bad, "it panicked").unwrap();
    let before = (history.entries(SLOT), files(folder.path()));

    for candidate in [b"new", b"one", b"two", b"bad"] {
        let candidate = begun(&history, candidate);
        assert_eq!(told(&history)[0].0, candidate.to_string());
        history.forget(SLOT, &one.as_bytes().map(|byte| !byte).into());
        history.forget(SLOT, &candidate);
        history.forget(SLOT, &candidate);
        assert_eq!((history.entries(SLOT), files(folder.path())), before);
    }
    // Not even a folder stays of a slot that had nothing.
    let first = begins(&history, "other", b"first").unwrap();
    history.forget("other", &first);
    assert_eq!(
        (history.slots(), folder.path().join("other").exists()),
        (vec![SLOT.into()], false)
    );
    // What was settled is not forgotten.
    begun(&history, b"one");
    history.confirm(SLOT, &one).unwrap();
    history.forget(SLOT, &one);
    assert_eq!(told(&history)[0].0, one.to_string());
    assert_eq!(history.read(SLOT, &two).unwrap().bytes, b"two");
}

#[test]
fn what_was_rolled_back_is_remembered_until_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let fine = good(&history, b"fine");
    let bad = begun(&history, b"bad");
    history.condemn(SLOT, &bad, "it panicked").unwrap();
    assert_eq!(history.condemned(SLOT, &bad).as_deref(), Some("it panicked"));
    assert_eq!(
        (history.condemned(SLOT, &fine), history.condemned("other", &bad)),
        (None, None)
    );
    assert_eq!(artifacts(folder.path()), [b"fine"]);
    assert_eq!(history.unconfirmed(SLOT), None, "what was tried is known to be bad");
    let (found, passed_over) = history.good_before(SLOT, Some(&bad));
    assert_eq!((found.unwrap().0, passed_over.len()), (fine, 0));
    let error = history.read(SLOT, &bad).unwrap_err();
    assert!(
        matches!(&error, HistoryError::Condemned { why, .. } if why == "it panicked"),
        "{error}"
    );
    let kept = &history.entries(SLOT)[0];
    assert_eq!(
        (&kept.condition, kept.bytes, kept.version.as_str()),
        (&Condemned("it panicked".into()), 0, "1.2.3")
    );

    drop(history);
    let history = opened(folder.path(), 2);
    assert_eq!(history.condemned(SLOT, &bad).as_deref(), Some("it panicked"));
    history.pardon(SLOT, &bad).unwrap();
    history.pardon(SLOT, &fine).unwrap();
    assert_eq!(told(&history), [(fine.to_string(), Confirmed)]);
    assert_eq!(history.condemned(SLOT, &bad), None);
}

#[test]
fn the_condemned_are_remembered_in_numbers_and_words_that_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 1);
    let first = begun(&history, b"the oldest place");
    let others: Vec<_> = (0..70_u8).map(|number| blake3::hash(&[number])).collect();
    for hash in &others {
        history.condemn(SLOT, hash, &"é".repeat(5000)).unwrap();
    }
    history.condemn(SLOT, &first, "late").unwrap();
    assert_eq!(history.condemned(SLOT, &first).as_deref(), Some("late"));
    assert_eq!(history.entries(SLOT).len(), 64);
    assert_eq!(history.condemned(SLOT, &others[6]), None);
    assert_eq!(history.condemned(SLOT, &others[7]).unwrap(), "é".repeat(1024));
}

#[test]
fn a_changed_file_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 4);
    let [one, two, three, four] = [b"one", b"two", b"333", b"444"].map(|bytes| good(&history, bytes));
    flip_a_byte(&file_of(folder.path(), &three));
    fs::remove_file(file_of(folder.path(), &two)).unwrap();
    let (found, passed_over) = history.good_before(SLOT, Some(&four));
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
    assert_eq!((expected, found), (&three.to_string(), &blake3::hash(b"233").to_string()));
    assert_eq!(gone, &file_of(folder.path(), &two));
    let words = passed_over[0].to_string();
    assert!(
        [SLOT, expected, found, file.to_str().unwrap()]
            .iter()
            .all(|word| words.contains(word)),
        "{words}"
    );
    assert_eq!(told(&history), [four, one].map(|hash| (hash.to_string(), Confirmed)));
    assert_eq!(artifacts(folder.path()), [b"444", b"one"]);
    assert!(history.good_before(SLOT, Some(&one)).0.is_none());
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
    let (found, passed_over) = history.good_before(SLOT, None);
    assert!(found.is_none());
    assert!(
        passed_over
            .iter()
            .all(|error| matches!(error, HistoryError::Io { doing: "read", .. })),
        "{passed_over:?}"
    );
    // Publishing the same content again mends it.
    good(&history, b"two");
    assert_eq!(history.read(SLOT, &two).unwrap().bytes, b"two");
}

#[test]
fn a_copy_with_bytes_of_its_own_is_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let history = opened(folder.path(), 2);
    let entry = |content: &[u8]| {
        let entry = NewEntry {
            slot: SLOT,
            hash: blake3::hash(b"as read"),
            version: "",
            schema: None,
            file: Path::new("a.so"),
        };
        history.begins(&entry, Content::Bytes(content)).unwrap();
        entry.hash
    };
    let hash = entry(b"as linted");
    history.confirm(SLOT, &hash).unwrap();
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"as linted");
    // Another way of linting it: taken back, the former bytes are still there; confirmed, they go.
    entry(b"otherwise");
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"otherwise");
    history.forget(SLOT, &hash);
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"as linted");
    entry(b"otherwise");
    history.confirm(SLOT, &hash).unwrap();
    assert_eq!(artifacts(folder.path()), [b"otherwise"]);
    // Two artifacts that differ in what the lint clears share a file.
    let same = begun(&history, b"otherwise");
    history.condemn(SLOT, &same, "").unwrap();
    assert_eq!(history.read(SLOT, &hash).unwrap().bytes, b"otherwise");
}

#[test]
fn the_next_process_finds_what_was_tried_and_what_was_good() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("made/on/the/way");
    let history = opened(&folder, 2);
    let fine = good(&history, b"fine");
    let tried = begun(&history, b"tried");
    let before = history.entries(SLOT);
    drop(history);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o077, 0);
    assert!(
        files(&folder)
            .keys()
            .all(|file| fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o077 == 0)
    );
    // What a process leaves that ended between two steps, and what is none of ours.
    fs::write(folder.join(".reslot-new-abc"), b"half").unwrap();
    fs::write(folder.join(SLOT).join(".reslot-new-abc"), b"half").unwrap();
    fs::write(file_of(&folder, &blake3::hash(b"unlisted")), b"unlisted").unwrap();
    fs::write(folder.join(SLOT).join("notes.txt"), b"mine").unwrap();

    let history = opened(&folder, 2);
    assert_eq!(history.entries(SLOT), before);
    assert_eq!(history.unconfirmed(SLOT), Some(tried));
    let (found, passed_over) = history.good_before(SLOT, Some(&tried));
    assert_eq!(
        (found.unwrap().0, passed_over.len(), history.slots()),
        (fine, 0, vec![SLOT.to_owned()])
    );
    let left: Vec<_> = files(&folder).into_keys().collect();
    let names = [file_of(Path::new(""), &fine), file_of(Path::new(""), &tried)];
    let mut expected = vec![PathBuf::from(SLOT).join("notes.txt"), "index.json".into()];
    expected.extend(names);
    expected.sort();
    assert_eq!(left, expected);

    drop(history);
    fs::remove_file(file_of(&folder, &fine)).unwrap();
    let (history, problems) = History::persistent(&folder, 2).unwrap();
    assert!(
        matches!(&problems[..], [HistoryError::Missing { file, .. }] if *file == file_of(&folder, &fine)),
        "{problems:?}"
    );
    assert_eq!(told(&history), [(tried.to_string(), Unconfirmed)]);
}

#[test]
fn a_path_that_is_no_text_comes_back() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(std::ffi::OsStr::from_bytes(b"/odd/\xff.so"));
    let entry = NewEntry {
        slot: SLOT,
        hash: blake3::hash(b""),
        version: "",
        schema: None,
        file,
    };
    opened(folder.path(), 1).begins(&entry, Content::Bytes(b"")).unwrap();
    assert_eq!(opened(folder.path(), 1).entries(SLOT)[0].file, file);
}

#[test]
fn a_folder_has_one_host() {
    let folder = tempfile::tempdir().unwrap();
    let first = opened(folder.path(), 1);
    let error = History::persistent(folder.path(), 1).unwrap_err();
    assert!(
        matches!(&error, HistoryError::InUse { folder: named } if named == folder.path()),
        "{error}"
    );
    drop(first);
    opened(folder.path(), 1);
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(
        History::persistent(&file, 1),
        Err(HistoryError::Io { doing: "make", .. })
    ));
}

#[test]
fn a_broken_index_is_put_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.json");
    let fine = good(&opened(folder.path(), 1), b"fine");
    let whole = fs::read_to_string(&index).unwrap();
    let breaks = [
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        whole.replace("\"version\": 1,", "\"version\": 0,"),
        whole.replace(&fine.to_string(), "../../../etc/passwd"),
    ];
    for broken in breaks {
        fs::write(&index, &broken).unwrap();
        let (history, problems) = History::persistent(folder.path(), 1).unwrap();
        let [HistoryError::Index { path, aside, .. }] = &problems[..] else {
            panic!("{problems:?}")
        };
        assert_eq!((path, aside), (&index, &folder.path().join("index.json.broken")));
        assert_eq!(fs::read_to_string(aside).unwrap(), broken);
        assert!(history.slots().is_empty() && !index.exists());
    }
    // Until the index that was put aside is deleted, so do the artifacts stay that it may name.
    drop(opened(folder.path(), 1));
    assert_eq!(artifacts(folder.path()), [b"fine"]);
    fs::remove_file(folder.path().join("index.json.broken")).unwrap();
    drop(opened(folder.path(), 1));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn what_a_newer_host_wrote_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    good(&opened(folder.path(), 1), b"fine");
    fs::write(folder.path().join("index.json"), br#"{"version":2,"slots":"otherwise"}"#).unwrap();
    let before = files(folder.path());
    let error = History::persistent(folder.path(), 1).unwrap_err();
    assert!(
        matches!(
            error,
            HistoryError::Newer {
                version: 2,
                newest: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(files(folder.path()), before);
}

#[test]
fn odd_slot_names_stay_in_the_folder_and_apart() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("history");
    let long = ["ä", "ö"].map(|letter| letter.repeat(300));
    let odd = [
        "", ".", "..", "../../x", "/etc", "a/b", "a%2fb", "a%b", "%", "a b", "a.b", "ü", "\0", &long[0], &long[1],
    ];
    let history = opened(&folder, 1);
    for slot in odd {
        let hash = begins(&history, slot, slot.as_bytes()).unwrap();
        history.confirm(slot, &hash).unwrap();
    }
    drop(history);
    let history = opened(&folder, 1);
    for slot in odd {
        let (found, _) = history.good_before(slot, None);
        assert_eq!(found.unwrap().1.bytes, slot.as_bytes());
    }
    assert_eq!(history.slots().len(), odd.len());
    let entries = fs::read_dir(&folder).unwrap().count();
    assert_eq!((entries, fs::read_dir(base.path()).unwrap().count()), (odd.len() + 2, 1));
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    let base = tempfile::tempdir().unwrap();
    let persistent = base.path().join("persistent");
    let of_process = base.path().join("of_process");
    for history in [opened(&persistent, 0), History::of_process(&of_process, 0)] {
        let hash = good(&history, b"fine");
        history.forget(SLOT, &hash);
        assert!(history.entries(SLOT).is_empty() && history.good_before(SLOT, None).0.is_none());
        let bad = begun(&history, b"bad");
        history.condemn(SLOT, &bad, "it panicked").unwrap();
        assert_eq!(history.condemned(SLOT, &bad).as_deref(), Some("it panicked"));
        assert_eq!(history.entries(SLOT)[0].version, "1.2.3");
        assert!(artifacts(base.path()).is_empty() && !of_process.exists());
    }
}

#[test]
fn the_process_kind_leaves_files_only_and_then_nothing() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("history");
    let history = History::of_process(&folder, 1);
    assert!(!folder.exists());
    let entry = |bytes: &[u8], content: &Path| {
        let entry = NewEntry {
            slot: SLOT,
            hash: blake3::hash(bytes),
            version: "",
            schema: None,
            file: content,
        };
        history.begins(&entry, Content::File(content)).unwrap();
        history.confirm(SLOT, &entry.hash).unwrap();
        entry.hash
    };
    let private = base.path().join("counter-1.so");
    fs::write(&private, b"copy").unwrap();
    let linked = entry(b"copy", &private);
    assert_eq!(fs::metadata(&private).unwrap().nlink(), 2);
    fs::remove_file(&private).unwrap();
    // A copy in memory is a link, which leads nowhere when it is closed.
    let memory = base.path().join("counter-2.so");
    fs::write(base.path().join("memory"), b"in memory").unwrap();
    symlink(base.path().join("memory"), &memory).unwrap();
    let copied = entry(b"in memory", &memory);
    fs::remove_file(base.path().join("memory")).unwrap();

    assert_eq!(history.read(SLOT, &linked).unwrap().bytes, b"copy");
    assert_eq!(history.read(SLOT, &copied).unwrap().bytes, b"in memory");
    let mut names = [linked, copied].map(|hash| file_of(Path::new(""), &hash));
    names.sort();
    assert!(files(&folder).into_keys().eq(names));
    drop(history);
    assert!(!folder.exists());
}

#[test]
fn a_persistent_history_shares_no_bytes_with_a_private_copy() {
    let base = tempfile::tempdir().unwrap();
    let history = opened(&base.path().join("history"), 1);
    let private = base.path().join("counter-1.so");
    fs::write(&private, b"copy").unwrap();
    let entry = NewEntry {
        slot: SLOT,
        hash: blake3::hash(b"copy"),
        version: "",
        schema: None,
        file: &private,
    };
    history.begins(&entry, Content::File(&private)).unwrap();
    flip_a_byte(&private);
    assert_eq!(history.read(SLOT, &entry.hash).unwrap().bytes, b"copy");
    fs::remove_file(&private).unwrap();
    let error = history.begins(&entry, Content::File(&private)).unwrap_err();
    assert!(
        matches!(&error, HistoryError::Io { path, doing: "read", .. } if *path == private),
        "{error}"
    );
}

#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let (role, name) = ("RESLOT_TEST_FULL_DISK", "history::tests::a_full_disk_leaves_all_as_it_was");
    if let Some(folder) = env::var_os(role) {
        return on_a_small_disk(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k none \"$0\" && exec \"$@\"";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(folder.path())
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

/// With each amount of free space there is: the bytes do not fit, then they do and the index does not, then all does.
fn on_a_small_disk(disk: &Path) {
    let (folder, filler) = (disk.join("history"), disk.join("filler"));
    let history = opened(&folder, 2);
    let fine = good(&history, b"fine");
    let candidate = vec![7; 40_000];
    let full = |error: &HistoryError| matches!(error, HistoryError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let before = (history.entries(SLOT), files(&folder));
    let (mut of_bytes, mut of_index) = (0, 0);
    for free in 0.. {
        fs::write(&filler, vec![0; 256 << 10]).unwrap_err();
        let most = fs::metadata(&filler).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(most - free * 4096)
            .unwrap();
        let tried = begins(&history, SLOT, &candidate);
        let Err(error) = tried else { break };
        assert!(full(&error) && error.remedy().contains("free some space"), "{error}");
        let HistoryError::Io { path, .. } = &error else {
            unreachable!()
        };
        let index = path.ends_with("index.json");
        (of_bytes, of_index) = (of_bytes + usize::from(!index), of_index + usize::from(index));
        assert_eq!((history.entries(SLOT), files(&folder)), before, "{free} pages were free");
        fs::remove_file(&filler).unwrap();
    }
    assert!(of_bytes >= 9 && of_index >= 1, "{of_bytes}, {of_index}");

    // What happened has happened, also if it cannot be written down; its bytes go when it can.
    let tried = blake3::hash(&candidate);
    fs::write(&filler, vec![0; 256 << 10]).unwrap_err();
    assert!(full(&history.condemn(SLOT, &tried, "it panicked").unwrap_err()));
    assert_eq!(history.condemned(SLOT, &tried).as_deref(), Some("it panicked"));
    assert_eq!(artifacts(&folder).len(), 2);
    fs::remove_file(&filler).unwrap();
    history.pardon(SLOT, &tried).unwrap();
    assert_eq!(
        (artifacts(&folder), told(&history)),
        (vec![b"fine".to_vec()], vec![(fine.to_string(), Confirmed)])
    );
}
