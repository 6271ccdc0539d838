//! Real folders and real events. Nothing sleeps to wait for something: what is expected is waited for, with a long limit,
//! and what must not come is followed by a file that must.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

struct Watched {
    base: tempfile::TempDir,
    folder: PathBuf,
    notices: Receiver<Notice>,
    _watch: Watch,
}

/// Watches `base/<folder>`, after `prepare` was called with the base.
fn watched(folder: &str, options: WatchOptions, prepare: impl Fn(&Path)) -> Watched {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join(folder);
    prepare(base.path());
    let (send, notices) = mpsc::channel();
    let watch = Watch::start(folder.clone(), options, move |notice| send.send(notice).unwrap_or(())).unwrap();
    Watched {
        base,
        folder,
        notices,
        _watch: watch,
    }
}

fn made(base: &Path) {
    fs::create_dir(base.join("in")).unwrap();
}

/// Nothing counts as deleted, however slow the machine is.
fn never_gone() -> WatchOptions {
    WatchOptions {
        gone_after: Duration::from_secs(3600),
        ..WatchOptions::default()
    }
}

/// Events only: no heartbeat comes to the rescue.
fn events_only() -> WatchOptions {
    WatchOptions {
        heartbeat: Duration::from_secs(3600),
        ..never_gone()
    }
}

impl Watched {
    fn next(&self) -> Notice {
        self.notices.recv_timeout(LIMIT).expect("a notice")
    }

    /// The next artifact's name, and whether it came complete.
    fn artifact(&self) -> (String, bool) {
        match self.next() {
            Notice::Artifact { path, complete, .. } => {
                assert_eq!(path.parent(), Some(&*self.folder));
                (path.file_name().unwrap().to_str().unwrap().to_owned(), complete)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Notices until the artifact `name`, which must come.
    fn until(&self, name: &str) -> Vec<Notice> {
        let mut before = Vec::new();
        loop {
            let notice = self.next();
            if matches!(&notice, Notice::Artifact { path, .. } if path.ends_with(name)) {
                return before;
            }
            before.push(notice);
        }
    }

    /// The next notice about the folder itself.
    fn folder(&self) -> Notice {
        loop {
            match self.next() {
                Notice::Artifact { .. } => {}
                about_folder => return about_folder,
            }
        }
    }

    /// Everything that was done before is delivered, also what came twice because the machine was slow: a hard link is one
    /// event, and is debounced behind all earlier ones.
    fn until_quiet(&self) {
        let quiet = self.folder.join("quiet.so");
        fs::write(self.base.path().join("quiet"), b"").unwrap();
        fs::hard_link(self.base.path().join("quiet"), &quiet).unwrap();
        self.until("quiet.so");
        fs::remove_file(&quiet).unwrap();
    }

    fn rename_in(&self, name: &str, bytes: &[u8]) {
        let made = self.base.path().join(format!("{name}.tmp"));
        fs::write(&made, bytes).unwrap();
        fs::rename(made, self.folder.join(name)).unwrap();
    }
}

#[test]
fn a_rename_into_place_is_delivered_at_once() {
    // The debounce would take longer than the test waits.
    let options = WatchOptions {
        debounce: LIMIT * 10,
        ..events_only()
    };
    let watched = watched("in", options, made);
    for round in 0..20_u8 {
        watched.rename_in("a.so", &[round]);
        assert_eq!(watched.artifact(), ("a.so".into(), true));
    }
    // Within the folder: two names, one file, one notice.
    fs::write(watched.folder.join("b.tmp"), b"b").unwrap();
    fs::rename(watched.folder.join("b.tmp"), watched.folder.join("b.so")).unwrap();
    assert_eq!(watched.artifact(), ("b.so".into(), true));
    watched.rename_in("last.so", b"");
    assert_eq!(watched.artifact(), ("last.so".into(), true));
}

#[test]
fn writes_and_links_are_debounced() {
    let watched = watched("in", events_only(), made);
    let began = Instant::now();
    fs::write(watched.folder.join("a.so"), b"one").unwrap();
    assert_eq!(watched.artifact(), ("a.so".into(), false));
    assert!(began.elapsed() >= Duration::from_millis(4));

    // cargo's way: the old name goes, a hard link comes.
    fs::write(watched.base.path().join("deps.so"), b"two").unwrap();
    watched.until_quiet();
    fs::remove_file(watched.folder.join("a.so")).unwrap();
    fs::hard_link(watched.base.path().join("deps.so"), watched.folder.join("a.so")).unwrap();
    assert_eq!(watched.artifact(), ("a.so".into(), false));
}

#[test]
fn a_burst_collapses() {
    let options = WatchOptions {
        debounce: Duration::from_secs(1),
        ..events_only()
    };
    let watched = watched("in", options, made);
    let mut file = fs::File::create(watched.folder.join("a.so")).unwrap();
    for _ in 0..500 {
        file.write_all(b"piece").unwrap();
    }
    drop(file);
    fs::write(watched.folder.join("b.so"), b"after").unwrap();
    assert_eq!(watched.artifact(), ("a.so".into(), false));
    assert_eq!(watched.artifact(), ("b.so".into(), false));
}

#[test]
fn two_builds_within_a_second_are_both_seen() {
    let watched = watched("in", events_only(), made);
    for build in [b"one", b"two"] {
        // The same length, and for a coarse clock the same time.
        fs::write(watched.folder.join("a.so"), build).unwrap();
        assert_eq!(watched.artifact(), ("a.so".into(), false));
        watched.until_quiet();
    }
}

#[test]
fn other_names_folders_and_deletes_are_ignored() {
    let watched = watched("in", events_only(), made);
    for name in [".hidden.so", "a.so.tmp", "a.rlib", ".so", "so"] {
        fs::write(watched.folder.join(name), b"x").unwrap();
        watched.rename_in(name, b"y");
    }
    fs::create_dir(watched.folder.join("folder.so")).unwrap();
    fs::create_dir(watched.base.path().join("moved.so")).unwrap();
    fs::rename(watched.base.path().join("moved.so"), watched.folder.join("moved.so")).unwrap();
    fs::create_dir(watched.folder.join("sub")).unwrap();
    fs::write(watched.folder.join("sub/deep.so"), b"x").unwrap();
    watched.rename_in("a.so", b"x");
    assert_eq!(watched.artifact(), ("a.so".into(), true));
    fs::remove_file(watched.folder.join("a.so")).unwrap();
    fs::write(watched.folder.join("b.so"), b"x").unwrap();
    assert_eq!(watched.artifact(), ("b.so".into(), false));
}

#[test]
fn existing_files_are_known_and_scanned() {
    let watched = watched(
        "in",
        WatchOptions {
            heartbeat: Duration::from_millis(5),
            ..never_gone()
        },
        |base| {
            made(base);
            for name in ["b.so", "a.so", ".c.so", "d.txt"] {
                fs::write(base.join("in").join(name), b"x").unwrap();
            }
        },
    );
    assert_eq!(
        scan(&watched.folder),
        [watched.folder.join("a.so"), watched.folder.join("b.so")]
    );
    watched.rename_in("new.so", b"x");
    assert_eq!(watched.artifact(), ("new.so".into(), true));
    assert!(scan(Path::new("/no/such/folder")).is_empty());
}

#[test]
fn a_missing_folder_is_picked_up_when_it_appears() {
    let watched = watched("deep/er/in", events_only(), |_| {});
    assert!(matches!(watched.next(), Notice::FolderGone { .. }));
    fs::create_dir_all(&watched.folder).unwrap();
    fs::write(watched.folder.join("a.so"), b"x").unwrap();
    assert!(matches!(watched.next(), Notice::FolderBack { .. }));
    watched.until("a.so");
    watched.rename_in("b.so", b"x");
    watched.until("b.so");
}

#[test]
fn a_folder_made_step_by_step_is_never_missed() {
    // Each step of the way may be made while the watch looks for it.
    let watched = watched("deep/er/in", events_only(), |_| {});
    for _ in 0..100 {
        fs::create_dir_all(&watched.folder).unwrap();
        watched.rename_in("a.so", b"x");
        watched.until("a.so");
        fs::remove_dir_all(watched.base.path().join("deep")).unwrap();
    }
}

#[test]
fn a_folder_that_goes_and_comes_back_is_delivered_again() {
    let watched = watched("in", events_only(), |base| {
        made(base);
        fs::write(base.join("in/a.so"), b"x").unwrap();
    });
    for _ in 0..5 {
        fs::remove_dir_all(&watched.folder).unwrap();
        assert!(matches!(watched.folder(), Notice::FolderGone { .. }));
        fs::create_dir(&watched.folder).unwrap();
        fs::write(watched.folder.join("a.so"), b"x").unwrap();
        assert!(matches!(watched.folder(), Notice::FolderBack { .. }));
        watched.until("a.so");
        watched.until_quiet();
    }
    let away = watched.base.path().join("away");
    fs::rename(&watched.folder, &away).unwrap();
    assert!(matches!(watched.folder(), Notice::FolderGone { .. }));
    fs::rename(&away, &watched.folder).unwrap();
    assert!(matches!(watched.folder(), Notice::FolderBack { .. }));
    watched.until("a.so");
}

/// Swaps the link `name` to `target` in one step.
fn swap(base: &Path, name: &str, target: &Path) {
    symlink(target, base.join("new-link")).unwrap();
    fs::rename(base.join("new-link"), base.join(name)).unwrap();
}

fn releases(base: &Path) {
    for release in ["r1", "r2"] {
        fs::create_dir_all(base.join(release).join("plugins")).unwrap();
        fs::write(base.join(release).join("plugins/a.so"), release).unwrap();
    }
}

#[test]
fn a_swapped_link_to_the_folder_is_followed() {
    let watched = watched("now", events_only(), |base| {
        releases(base);
        symlink("r1/plugins", base.join("now")).unwrap();
    });
    for release in ["r2", "r1", "r2"] {
        swap(watched.base.path(), "now", &Path::new(release).join("plugins"));
        watched.until("a.so");
        watched.rename_in("b.so", b"x");
        watched.until("b.so");
    }
}

#[test]
fn a_swapped_link_above_the_folder_is_followed() {
    let watched = watched("now/plugins", events_only(), |base| {
        releases(base);
        symlink("r1", base.join("now")).unwrap();
    });
    swap(watched.base.path(), "now", Path::new("r2"));
    assert_eq!(watched.artifact(), ("a.so".into(), false));
}

#[test]
fn swapped_link_inside_the_folder_changes_the_paths_through_it() {
    // What Kubernetes does: a.so -> ..data/a.so, and ..data is swapped.
    let watched = watched("in", events_only(), |base| {
        made(base);
        releases(base);
        symlink("../r1/plugins", base.join("in/..data")).unwrap();
        symlink("..data/a.so", base.join("in/a.so")).unwrap();
    });
    swap(&watched.folder, "..data", Path::new("../r2/plugins"));
    assert_eq!(watched.artifact(), ("a.so".into(), false));
}

#[test]
fn heartbeat_finds_changes_without_an_event() {
    let options = WatchOptions {
        heartbeat: Duration::from_millis(20),
        ..never_gone()
    };
    let watched = watched("in", options, |base| {
        made(base);
        releases(base);
        symlink("../r1/plugins/a.so", base.join("in/a.so")).unwrap();
    });
    // The link's target, outside of the folder, in place and by rename.
    fs::write(watched.base.path().join("r1/plugins/a.so"), b"other").unwrap();
    assert_eq!(watched.artifact(), ("a.so".into(), false));
    fs::rename(
        watched.base.path().join("r2/plugins/a.so"),
        watched.base.path().join("r1/plugins/a.so"),
    )
    .unwrap();
    assert_eq!(watched.artifact(), ("a.so".into(), false));
}

#[test]
fn polling_sees_the_same_without_events() {
    let options = WatchOptions {
        polling: Some(Duration::from_millis(10)),
        ..never_gone()
    };
    let watched = watched("in", options, |_| {});
    assert!(matches!(watched.next(), Notice::FolderGone { .. }));
    made(watched.base.path());
    assert!(matches!(watched.next(), Notice::FolderBack { .. }));
    fs::write(watched.folder.join("a.so"), b"x").unwrap();
    watched.until("a.so");
    for round in 0..5_u8 {
        watched.rename_in("a.so", &[round]);
        assert_eq!(watched.artifact(), ("a.so".into(), false));
    }
    fs::remove_dir_all(&watched.folder).unwrap();
    assert!(matches!(watched.folder(), Notice::FolderGone { .. }));
}

#[test]
fn lost_events_deliver_everything() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().to_path_buf();
    for name in ["a.so", "b.so"] {
        fs::write(folder.join(name), b"x").unwrap();
    }
    let (send, notices) = mpsc::channel();
    let watch = Watch::start(folder, events_only(), move |notice| send.send(notice).unwrap()).unwrap();
    watch.signals.as_ref().unwrap().send(Signal::Overflow).unwrap();
    for name in ["a.so", "b.so"] {
        let notice = notices.recv_timeout(LIMIT).unwrap();
        assert!(
            matches!(&notice, Notice::Artifact { path, .. } if path.ends_with(name)),
            "{notice:?}"
        );
    }
}

/// What is gone counts as deleted at once, or when it has been looked for twice.
fn soon_gone(polling: Option<Duration>) -> WatchOptions {
    WatchOptions {
        gone_after: Duration::from_millis(20),
        polling,
        ..events_only()
    }
}

impl Watched {
    /// The next file that was deleted.
    fn deleted(&self) -> PathBuf {
        loop {
            match self.next() {
                Notice::Deleted { path, .. } => return path,
                Notice::Artifact { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn file_missing_for_a_while_is_reported_however_it_was_removed() {
    for polling in [None, Some(Duration::from_millis(5))] {
        let watched = watched("in", soon_gone(polling), made);
        let file = watched.folder.join("a.so");
        let away = watched.base.path().join("away");
        for round in 0..3_u8 {
            watched.rename_in("a.so", &[round]);
            watched.until("a.so");
            match round {
                0 => fs::remove_file(&file).unwrap(),
                1 => fs::rename(&file, &away).unwrap(),
                // Within the folder: the old name is gone, and a name that is none of an artifact's has come.
                _ => fs::rename(&file, watched.folder.join("a.so.old")).unwrap(),
            }
            assert_eq!(watched.deleted(), file, "round {round}, {polling:?}");
        }
    }
}

#[test]
fn file_replaced_by_deleting_it_is_not_reported_as_deleted() {
    // Only what is gone for good is gone for so long.
    let options = WatchOptions {
        gone_after: LIMIT / 10,
        ..events_only()
    };
    let watched = watched("in", options, made);
    let file = watched.folder.join("a.so");
    for round in 0..20_u8 {
        let made = watched.base.path().join("made");
        fs::write(&made, [round]).unwrap();
        let _ = fs::remove_file(&file);
        fs::hard_link(&made, &file).unwrap();
        fs::remove_file(&made).unwrap();
    }
    watched.rename_in("b.so", b"b");
    watched.until("b.so");
    fs::remove_file(watched.folder.join("b.so")).unwrap();
    assert_eq!(watched.deleted(), watched.folder.join("b.so"), "and nothing before it");
}

#[test]
fn a_folder_that_goes_deletes_none_of_its_files() {
    let watched = watched("in", soon_gone(None), made);
    watched.rename_in("a.so", b"a");
    watched.until("a.so");
    // All at once: nobody sees the file gone and the folder there.
    fs::rename(&watched.folder, watched.base.path().join("away")).unwrap();
    assert!(matches!(watched.next(), Notice::FolderGone { .. }));
    made(watched.base.path());
    assert!(matches!(watched.folder(), Notice::FolderBack { .. }));
    watched.rename_in("b.so", b"b");
    watched.until("b.so");
    fs::remove_file(watched.folder.join("b.so")).unwrap();
    assert_eq!(watched.deleted(), watched.folder.join("b.so"), "and nothing before it");
}

#[test]
fn dropping_ends_its_threads() {
    let base = tempfile::tempdir().unwrap();
    let (send, notices) = mpsc::channel::<Notice>();
    for _ in 0..20 {
        let send = send.clone();
        drop(Watch::start(base.path().into(), never_gone(), move |notice| {
            send.send(notice).unwrap()
        }));
    }
    drop(send);
    // All senders are gone, so all threads that held one are.
    assert_eq!(notices.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    let file = base.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(
        Watch::start(file, never_gone(), drop),
        Err(WatchError::NotAFolder { .. })
    ));
}
