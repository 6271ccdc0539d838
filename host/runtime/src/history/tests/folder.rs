//! What stands in the folder, and what a next process makes of it: after an ordinary end, after damage, on a full disk.

use super::*;
use reslot_artifact::ContentHash;
use std::env;

#[test]
fn next_process_finds_the_tried_and_the_good_versions() {
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
    fs::write(file_of(&folder, &ContentHash::of(b"unlisted")), b"unlisted").unwrap();
    fs::write(folder.join(SLOT).join("notes.txt"), b"mine").unwrap();

    let history = opened(&folder, 2);
    assert_eq!(history.entries(SLOT), before);
    assert_eq!(history.unconfirmed(SLOT), Some(tried));
    let (found, passed_over) = history.good_before(SLOT, Some(&tried), false);
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
    assert_eq!(entries(&history), [(tried, Unconfirmed)]);
}

#[test]
fn a_path_that_is_no_text_comes_back() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(std::ffi::OsStr::from_bytes(b"/odd/\xff.so"));
    let entry = NewEntry {
        slot: SLOT,
        hash: ContentHash::of(b""),
        version: "",
        schema: None,
        file,
    };
    opened(folder.path(), 1).begins(&entry, content_of(b""), false).unwrap();
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
fn a_broken_index_is_put_aside_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.json");
    let fine = good(&opened(folder.path(), 1), b"fine");
    let whole = fs::read_to_string(&index).unwrap();
    let breaks = [
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        whole.replace("\"version\": 2,", "\"version\": 0,"),
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
fn history_of_an_older_host_is_not_touched_and_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    good(&opened(folder.path(), 1), b"fine");
    fs::write(folder.path().join("index.json"), br#"{"version":1,"slots":{}}"#).unwrap();
    let before = files(folder.path());
    let error = History::persistent(folder.path(), 1).unwrap_err();
    assert!(
        matches!(
            error,
            HistoryError::Older {
                version: 1,
                oldest: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.remedy().contains("rolled back"));
    assert_eq!(files(folder.path()), before);
}

#[test]
fn history_of_a_newer_host_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    good(&opened(folder.path(), 1), b"fine");
    fs::write(folder.path().join("index.json"), br#"{"version":3,"slots":"otherwise"}"#).unwrap();
    let before = files(folder.path());
    let error = History::persistent(folder.path(), 1).unwrap_err();
    assert!(
        matches!(
            error,
            HistoryError::Newer {
                version: 3,
                newest: 2,
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
        let (found, _) = history.good_before(slot, None, false);
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
    let private = StagingFolder::create(base.path(), None).unwrap();
    let of_process = private.path().join(HISTORY);
    for history in [opened(&persistent, 0), History::of_process(private, 0)] {
        let hash = good(&history, b"fine");
        history.forget(SLOT, &hash);
        assert!(history.entries(SLOT).is_empty() && history.good_before(SLOT, None, false).0.is_none());
        let bad = begun(&history, b"bad");
        history.mark_bad(SLOT, &bad, "it panicked").unwrap();
        assert_eq!(history.known_bad(SLOT, &bad).as_deref(), Some("it panicked"));
        assert_eq!(history.entries(SLOT)[0].version, "1.2.3");
        assert!(artifacts(base.path()).is_empty() && !of_process.exists());
    }
}

#[test]
fn the_process_kind_leaves_files_only_and_then_nothing() {
    let base = tempfile::tempdir().unwrap();
    let private = StagingFolder::create(base.path(), None).unwrap();
    let folder = private.path().join(HISTORY);
    let history = History::of_process(private, 1);
    assert!(!folder.exists());
    let entry = |bytes: &[u8], content: &Path| {
        let entry = NewEntry {
            slot: SLOT,
            hash: ContentHash::of(bytes),
            version: "",
            schema: None,
            file: content,
        };
        let file = Some(content);
        history
            .begins(
                &entry,
                Content {
                    file,
                    ..content_of(bytes)
                },
                false,
            )
            .unwrap();
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
        hash: ContentHash::of(b"copy"),
        version: "",
        schema: None,
        file: &private,
    };
    let file = Some(&*private);
    let content = Content {
        file,
        ..content_of(b"copy")
    };
    history.begins(&entry, content, false).unwrap();
    flip_a_byte(&private);
    assert_eq!(history.read(SLOT, &entry.hash).unwrap().bytes, b"copy");
}

#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let (role, name) = (
        "RESLOT_TEST_FULL_DISK",
        "history::tests::folder::a_full_disk_leaves_all_as_it_was",
    );
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
    let tried = ContentHash::of(&candidate);
    fs::write(&filler, vec![0; 256 << 10]).unwrap_err();
    assert!(full(&history.mark_bad(SLOT, &tried, "it panicked").unwrap_err()));
    assert_eq!(history.known_bad(SLOT, &tried).as_deref(), Some("it panicked"));
    assert_eq!(artifacts(&folder).len(), 2);
    fs::remove_file(&filler).unwrap();
    history.unblock(SLOT, &tried).unwrap();
    assert_eq!(
        (artifacts(&folder), entries(&history)),
        (vec![b"fine".to_vec()], vec![(fine, Confirmed)])
    );
}
