//! Reading and copying with real files, real writers and real locks.

use reslot_artifact::ContentHash;
use reslot_report::StageError;
use std::fs::{self, File};
use std::io;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::folder::LOCK;
use super::*;

fn base() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Reads once nobody writes any more: a child that another test starts may hold a copy of any descriptor until it executes.
fn read_soon(path: &Path) -> Source {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match read_source(path, &StageLimits::default()) {
            Err(refused) if refused.is_transient() && std::time::Instant::now() < limit => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

fn left_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_source_is_read_whole_and_hashed() {
    let base = base();
    let path = base.path().join("a.so");
    let bytes: Vec<u8> = (0..500_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let link = base.path().join("link.so");
    symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let source = read_soon(path);
        assert_eq!((source.len, source.hash), (500_000, ContentHash::of(&bytes)));
        assert!(*source.bytes == bytes[..] && &source.path == path);
    }
    fs::write(&path, b"").unwrap();
    assert!(read_soon(&path).bytes.is_empty());
}

#[test]
fn a_slow_writer_is_noticed_until_it_closes() {
    let base = base();
    let path = base.path().join("a.so");
    let mut writer = File::create(&path).unwrap();
    for round in 0..3 {
        writer.write_all(b"half").unwrap();
        let refused = read_source(&path, &StageLimits::default()).unwrap_err();
        assert!(matches!(refused, StageError::BeingWritten { .. }), "{round}: {refused}");
        assert!(refused.is_transient());
    }
    // A hard link to a file that is being written is the same file.
    let linked = base.path().join("linked.so");
    fs::hard_link(&path, &linked).unwrap();
    assert!(matches!(
        read_source(&linked, &StageLimits::default()),
        Err(StageError::BeingWritten { .. })
    ));
    drop(writer);
    assert_eq!(read_soon(&path).len, 12);
}

#[test]
fn a_writer_in_another_process_is_noticed_too() {
    let base = base();
    let path = base.path().join("a.so");
    let mut writer = Command::new("sh")
        .args(["-c", "exec 3>\"$0\"; echo open; read line", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    assert!(matches!(
        read_source(&path, &StageLimits::default()),
        Err(StageError::BeingWritten { .. })
    ));
    drop(writer.stdin.take());
    writer.wait().unwrap();
    read_soon(&path);
}

#[test]
fn a_file_under_constant_change_is_never_read_mixed() {
    let base = base();
    let path = base.path().join("a.so");
    fs::write(&path, vec![0; 300_000]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..400_u32 {
                fs::write(&path, vec![value as u8; 300_000]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            match read_source(&path, &StageLimits::default()) {
                Ok(source) => assert!(source.bytes.iter().all(|byte| *byte == source.bytes[0])),
                Err(refused) => assert!(refused.is_transient(), "{refused:?}"),
            }
        }
    });
    assert_eq!(read_soon(&path).len, 300_000);
}

#[test]
fn file_that_is_no_artifact_is_refused_by_name() {
    let base = base();
    let read = |path: &Path| loop {
        let refused = read_source(path, &StageLimits { max_bytes: 10 << 20 }).unwrap_err();
        if !refused.is_transient() {
            break refused;
        }
    };
    assert!(matches!(read(base.path()), StageError::NotAFile { .. }));
    let missing = read(&base.path().join("missing.so"));
    assert!(matches!(&missing, StageError::Io { doing: "open", source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert!(!missing.is_transient());

    let pipe = base.path().join("pipe.so");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(read(&pipe), StageError::NotAFile { .. }));

    let large = base.path().join("large.so");
    File::create(&large).unwrap().set_len(11 << 20).unwrap();
    assert!(matches!(read(&large), StageError::TooLarge { len, .. } if len == 11 << 20));
    File::create(&large).unwrap().set_len(9 << 20).unwrap();
    assert!(matches!(read(&large), StageError::NotALibrary { found: [0, 0, 0, 0], .. }));
}

#[test]
fn a_full_disk_has_a_name() {
    let full = StageError::writing(Path::new("/x/a.so"), 7, io::Error::from_raw_os_error(libc::ENOSPC));
    assert!(matches!(&full, StageError::NoSpace { needed: 7, .. }));
    assert!(full.to_string().contains("/x/a.so"), "{full}");
}

#[test]
fn copies_are_private_unique_and_deleted() {
    let base = base();
    let folder = StagingFolder::create(base.path(), None).unwrap();
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let one = folder.write("momentum", b"code").unwrap();
    let two = folder.write("momentum", b"code").unwrap();
    assert_ne!(one.path(), two.path());
    assert_ne!(
        fs::metadata(one.path()).unwrap().ino(),
        fs::metadata(two.path()).unwrap().ino()
    );
    assert_eq!(fs::read(one.path()).unwrap(), b"code");
    assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o077, 0);
    let name = one.path().file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("momentum-") && name.ends_with(".so"), "{name}");
    let odd = folder.write("../..", b"").unwrap();
    assert_eq!(odd.path().parent(), Some(folder.path()));

    let gone = one.path().to_owned();
    drop(one);
    assert!(!gone.exists());
    assert_eq!(
        left_in(folder.path()),
        4,
        "the lock, two copies, and a file to be written over"
    );
    let path = folder.path().to_path_buf();
    drop((folder, odd));
    assert!(path.exists(), "a copy is still in use");
    drop(two);
    assert_eq!(left_in(base.path()), 0);
}

#[test]
fn a_file_that_is_never_dropped_keeps_its_folder_and_the_lock() {
    let base = base();
    let folder = StagingFolder::create(base.path(), None).unwrap();
    let stuck = folder.write("stuck", b"code").unwrap();
    let kept = stuck.path().to_owned();
    // What happens to the copy of an image that cannot be unmapped.
    std::mem::forget(stuck);
    drop(folder);
    assert_eq!(fs::read(&kept).unwrap(), b"code");
    assert!(sweep(base.path()).unwrap().is_empty());
    assert!(kept.exists());
}

#[test]
fn sweeping_removes_the_dead_and_leaves_the_living() {
    let base = base();
    let live = StagingFolder::create(base.path(), None).unwrap();
    let copy = live.write("live", b"code").unwrap();
    // What a killed process leaves: everything, unlocked. The pid is ours on purpose: it must not matter.
    let dead = base.path().join(format!("reslot-{}-deadbeef", std::process::id()));
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(LOCK), b"").unwrap();
    fs::write(dead.join("momentum-1.so"), b"code").unwrap();
    // What is none of ours, or not yet.
    let newborn = base.path().join("reslot-1-newborn");
    fs::create_dir(&newborn).unwrap();
    let notes = base.path().join("reslot-notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join(LOCK), b"").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join(LOCK), b"").unwrap();
    symlink(elsewhere.path(), base.path().join("reslot-1-link")).unwrap();

    assert_eq!(sweep(base.path()).unwrap(), std::slice::from_ref(&dead));
    assert!(!dead.exists() && copy.path().exists() && newborn.exists() && notes.join(LOCK).exists());
    assert!(elsewhere.path().join(LOCK).exists());
    assert!(sweep(base.path()).unwrap().is_empty());
}

#[test]
fn next_process_sweeps_the_files_of_a_killed_one() {
    let base = base();
    // A child that holds the lock as a host does, without running its destructors at the end.
    let dead = base.path().join("reslot-1-child");
    fs::create_dir(&dead).unwrap();
    let mut child = Command::new("flock")
        .args([dead.join(LOCK).to_str().unwrap(), "sh", "-c", "echo locked; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
    assert!(sweep(base.path()).unwrap().is_empty());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(sweep(base.path()).unwrap(), [dead]);
}

#[test]
fn hosts_and_sweepers_do_not_meet() {
    let base = base();
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| (0..300).map(|_| sweep(base.path()).unwrap().len()).sum::<usize>());
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..100 {
                    let folder = StagingFolder::create(base.path(), None).unwrap();
                    let copy = folder.write("a", b"code").unwrap();
                    assert!(copy.path().exists() && folder.path().join(LOCK).exists(), "{round}");
                }
            });
        }
        sweeper.join().unwrap();
    });
    sweep(base.path()).unwrap();
    assert_eq!(left_in(base.path()), 0);
}

#[test]
fn copies_in_memory_are_sealed_named_and_closed() {
    let base = base();
    let folder = StagingFolder::create(base.path(), Some(PrivateCopies::Memory)).unwrap();
    let one = folder.write("momentum", b"code").unwrap();
    let two = folder.write("momentum", b"other").unwrap();
    assert_eq!(
        (fs::read(one.path()).unwrap(), fs::read(two.path()).unwrap()),
        (b"code".into(), b"other".into())
    );
    let refused = fs::write(one.path(), b"evil").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
    assert_ne!(one.name_in_map(), two.name_in_map());
    let target = fs::read_link(one.path()).unwrap();
    let shown = fs::read_link(&target).unwrap();
    assert_eq!(shown.to_str().unwrap(), format!("{} (deleted)", one.name_in_map().display()));
    // A child that looks at the path finds the same; one that is started inherits nothing.
    let seen = Command::new("cat").arg(one.path()).output().unwrap();
    assert_eq!(seen.stdout, b"code");
    let inherited = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    assert!(!String::from_utf8(inherited.stdout).unwrap().contains("memfd"));

    drop(one);
    assert_ne!(fs::read_link(&target).ok(), Some(shown), "the descriptor is closed");
    assert_eq!(left_in(folder.path()), 2);
    drop((folder, two));
    assert_eq!(left_in(base.path()), 0);
}

#[test]
fn links_of_a_dead_process_are_swept_and_not_followed() {
    let base = base();
    let precious = base.path().join("precious");
    fs::write(&precious, b"data").unwrap();
    let dead = base.path().join("reslot-1-dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(LOCK), b"").unwrap();
    symlink(&precious, dead.join("momentum-1.so")).unwrap();
    symlink("/proc/1/fd/999", dead.join("momentum-2.so")).unwrap();
    assert_eq!(sweep(base.path()).unwrap(), [dead]);
    assert_eq!(fs::read(&precious).unwrap(), b"data");
}

#[test]
fn a_lent_copy_has_its_owners_name_and_stays() {
    let base = base();
    for copies in [PrivateCopies::Files, PrivateCopies::Memory] {
        let folder = StagingFolder::create(base.path(), Some(copies)).unwrap();
        let staged = folder.write("a", b"bytes").unwrap();
        let lent = StagedFile::lent(staged.path().to_owned()).unwrap();
        // The kernel's map has real paths only.
        let expected = match copies {
            PrivateCopies::Files => staged.name_in_map().canonicalize().unwrap(),
            PrivateCopies::Memory => staged.name_in_map(),
        };
        assert_eq!((lent.path(), lent.name_in_map()), (staged.path(), expected));
        drop(lent);
        assert_eq!(fs::read(staged.path()).unwrap(), b"bytes");
    }
}

#[test]
fn a_copy_is_written_over_one_that_is_not_needed_any_more() {
    let base = base();
    let folder = StagingFolder::create(base.path(), None).unwrap();
    let old = folder.write("old", &[1; 10_000]).unwrap();
    let (path, inode) = (old.path().to_owned(), fs::metadata(old.path()).unwrap().ino());
    drop(old);
    for bytes in [&[2; 5_000][..], &[3; 20_000]] {
        let new = folder.write("new", bytes).unwrap();
        assert_eq!(fs::metadata(new.path()).unwrap().ino(), inode, "the same file");
        assert!(new.path() != path && !path.exists(), "under another name");
        assert_eq!(fs::read(new.path()).unwrap(), bytes, "and nothing of the old one is left");
        assert_eq!(fs::metadata(new.path()).unwrap().permissions().mode() & 0o077, 0);
    }
}
