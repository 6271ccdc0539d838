//! The private folder is removed or replaced under a running host, as cleaners of temporary folders do: the host makes it
//! again, reports that once, and does not use anything that another user put at its path.

use crate::support::{PATIENCE, copies, wait_for_unmapped};
use fixture_interfaces::{Counter, Probe};
use reslot::{Claim, Event, Events, Host, HostBuilder, LoadOutcome, Policy, PrivateCopies, RollbackTarget, SyncOutcome};
use reslot_tests::{Fixture, Folder};
use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

fn in_base(base: &Path) -> HostBuilder {
    Host::builder().policy(Policy::without_probation()).private_base(base)
}

/// The lost and the new folder in each event so far.
fn told(events: &mut Events) -> Vec<(PathBuf, PathBuf)> {
    let mut told = Vec::new();
    while let Some(record) = events.try_recv() {
        if let Event::PrivateFolderRestored { was, now } = &record.event {
            told.push((was.clone(), now.clone()));
        }
    }
    told
}

/// Checks that only the owner may enter the folder, and that its lock is held.
fn assert_is_private(folder: &Path) {
    let found = fs::symlink_metadata(folder).unwrap();
    assert!(found.is_dir(), "{folder:?}");
    assert_eq!(found.permissions().mode() & 0o777, 0o700);
    let lock = File::open(folder.join(".lock")).unwrap();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)), "its lock is held");
}

/// A host with one plugin, whose private folder is about to be lost.
struct Losing {
    base: tempfile::TempDir,
    folder: Folder,
    counter: Fixture,
    host: Host,
    events: Events,
}

impl Losing {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(options: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let (base, folder, counter) = (tempfile::tempdir().unwrap(), Folder::new(), Fixture::build("fx-counter"));
        let host = options(in_base(base.path())).build().unwrap();
        host.load(folder.publish("libcounter.so", &counter.stamped(1))).unwrap();
        let events = host.events();
        Self {
            base,
            folder,
            counter,
            host,
            events,
        }
    }

    /// Reloads with state through a claim, from build `stamp` - 1, and sees the old image go.
    fn reload(&mut self, stamp: u64) {
        let mut claim = self.host.claim::<dyn Counter>("counter").unwrap();
        let total = claim.add(1).unwrap();
        let loaded = self
            .host
            .load(self.folder.publish("libcounter.so", &self.counter.stamped(stamp)));
        assert!(matches!(loaded, Ok(LoadOutcome::Staged { .. })), "{loaded:?}");
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: stamp });
        assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (total, stamp));
        wait_for_unmapped(&mut self.host.events(), "counter", stamp - 1);
    }

    /// Checks that the next reload makes the folder again at another path, and reports it once.
    fn expect_made_again(mut self, lost: &Path) -> PathBuf {
        told(&mut self.events);
        self.reload(2);
        let now = self.host.private_folder().to_owned();
        assert_ne!(now, lost);
        assert_eq!(now.parent(), Some(self.base.path()));
        assert_is_private(&now);
        assert_eq!(told(&mut self.events), [(lost.to_owned(), now.clone())]);
        self.reload(3);
        assert_eq!(told(&mut self.events), [], "it is told once");
        assert_eq!(copies(&now).len(), 1);
        let Self { base, host, events, .. } = self;
        drop(host);
        drop(events);
        assert!(!now.exists(), "it goes with its host");
        let left: Vec<_> = fs::read_dir(base.path()).unwrap().flatten().map(|left| left.path()).collect();
        assert_eq!(
            left.iter().filter(|left| **left != lost).collect::<Vec<_>>(),
            Vec::<&PathBuf>::new()
        );
        now
    }
}

#[test]
fn folder_that_is_removed_is_made_again() {
    for kind in [PrivateCopies::Files, PrivateCopies::Memory] {
        let losing = Losing::with(|builder| builder.private_copies(kind));
        let lost = losing.host.private_folder().to_owned();
        fs::remove_dir_all(&lost).unwrap();
        losing.expect_made_again(&lost);
        assert!(!lost.exists());
    }
}

#[test]
fn file_at_the_folders_path_is_not_touched() {
    // A file at its path.
    let losing = Losing::new();
    let lost = losing.host.private_folder().to_owned();
    fs::remove_dir_all(&lost).unwrap();
    fs::write(&lost, "somebody's").unwrap();
    losing.expect_made_again(&lost);

    // A link to a folder that has a file with a name that the host removes at its end.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join(".lock"), "somebody's").unwrap();
    let losing = Losing::new();
    let lost = losing.host.private_folder().to_owned();
    fs::remove_dir_all(&lost).unwrap();
    symlink(elsewhere.path(), &lost).unwrap();
    losing.expect_made_again(&lost);
    assert_eq!(fs::read_to_string(elsewhere.path().join(".lock")).unwrap(), "somebody's");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    // Another folder, which belongs to another user if this process may change the owner.
    let losing = Losing::new();
    let lost = losing.host.private_folder().to_owned();
    fs::remove_dir_all(&lost).unwrap();
    fs::create_dir(&lost).unwrap();
    fs::write(lost.join(".lock"), "somebody's").unwrap();
    if fs::metadata(&lost).unwrap().uid() == 0 {
        chown(&lost, Some(65534), Some(65534)).unwrap();
    }
    let base = losing.base.path().to_owned();
    let kept = elsewhere.path().join("kept");
    // The base is removed with the value, so the content of the folder is checked before.
    let Losing {
        host,
        folder,
        counter,
        base: held,
        ..
    } = losing;
    host.load(folder.publish("libcounter.so", &counter.stamped(2))).unwrap();
    assert_eq!(fs::read_dir(&lost).unwrap().count(), 1, "nothing was put there");
    drop(host);
    assert_eq!(fs::read_to_string(lost.join(".lock")).unwrap(), "somebody's");
    fs::rename(&lost, &kept).unwrap();
    assert_eq!(fs::read_dir(base).unwrap().count(), 0);
    drop(held);
}

#[test]
fn lock_that_is_removed_is_made_again() {
    let mut losing = Losing::new();
    let private = losing.host.private_folder().to_owned();
    fs::remove_file(private.join(".lock")).unwrap();
    told(&mut losing.events);
    losing.reload(2);
    assert_is_private(&private);
    assert_eq!(losing.host.private_folder(), private);
    assert_eq!(told(&mut losing.events), [(private.clone(), private.clone())]);
    // Another host's sweep does not remove the folder.
    let other = in_base(losing.base.path()).build().unwrap();
    drop(other);
    assert!(private.exists());
    losing.reload(3);
    assert_eq!(told(&mut losing.events), []);
    drop(losing.host);
    assert!(!private.exists());
}

#[test]
fn copy_that_is_removed_costs_the_names_of_a_backtrace_and_nothing_else() {
    let mut losing = Losing::new();
    let private = losing.host.private_folder().to_owned();
    let mut claim = losing.host.claim::<dyn Counter>("counter").unwrap();
    for copy in copies(&private) {
        fs::remove_file(copy).unwrap();
    }
    let error = claim.fail("contained").unwrap_err();
    let backtrace = format!("{}", error.backtrace().expect("it panicked"));
    assert!(
        backtrace.contains("names are missing")
            && backtrace.contains("private copy")
            && backtrace.contains("has been removed"),
        "{backtrace}"
    );
    drop(claim);
    losing.reload(2);
    assert_eq!(told(&mut losing.events), []);
    // A file at the path of a copy is not read.
    let copy = copies(&private).pop().unwrap();
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, "somebody's").unwrap();
    let mut claim = losing.host.claim::<dyn Counter>("counter").unwrap();
    let backtrace = claim.fail("contained").unwrap_err();
    let backtrace = format!("{}", backtrace.backtrace().expect("it panicked"));
    assert!(backtrace.contains("is not the file that is mapped"), "{backtrace}");
    drop(claim);
    losing.reload(3);
    drop(losing.host);
}

#[test]
fn versions_lost_with_the_folder_are_reported_and_new_ones_are_kept() {
    let (base, folder, probe) = (tempfile::tempdir().unwrap(), Folder::new(), Fixture::build("fx-probe"));
    let policy = Policy::without_probation().history(3);
    let host = Host::builder().policy(policy).private_base(base.path()).build().unwrap();
    let mut events = host.events();
    let load = |stamp| host.load(folder.publish("libprobe.so", &probe.stamped(stamp))).unwrap();
    for stamp in 1..=2 {
        load(stamp);
    }
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    // Reading the history waits until the artifacts are stored.
    let kept = |count| {
        let kept = host.history("probe");
        assert_eq!(kept.len(), count, "{kept:?}");
        kept.iter().for_each(|kept| drop(host.artifact("probe", kept.hash).unwrap()));
    };
    kept(2);
    let lost = host.private_folder().to_owned();
    fs::remove_dir_all(&lost).unwrap();
    load(3);
    let mut gone = Vec::new();
    while let Some(record) = events.try_recv() {
        if let Event::HistoryFailed { error, .. } = &record.event {
            gone.push(error.to_string());
        }
    }
    assert_eq!(gone.len(), 2, "each version that is lost is told once: {gone:#?}");
    let history = lost.join(".history").display().to_string();
    assert!(
        gone.iter().all(|gone| gone.contains(&history) && gone.contains("is gone")),
        "{gone:#?}"
    );
    kept(1);
    load(4);
    assert!(!lost.exists(), "nothing was made where the folder was");
    host.rollback("probe", RollbackTarget::Previous).unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 3);
    while let Some(record) = events.try_recv() {
        assert!(!matches!(record.event, Event::HistoryFailed { .. }), "{}", record.event);
    }
    assert!(host.wait_until_retired(PATIENCE));
}

#[test]
fn base_that_is_gone_is_named_and_taken_up_when_it_is_back() {
    let mut losing = Losing::new();
    let lost = losing.host.private_folder().to_owned();
    let base = losing.base.path().to_owned();
    let away = base.with_extension("away");
    fs::rename(&base, &away).unwrap();
    let build = losing.folder.publish("libcounter.so", &losing.counter.stamped(2));
    let refused = losing.host.load(&build).unwrap_err().to_string();
    for words in [
        &*base.display().to_string(),
        &*lost.display().to_string(),
        "No such file or directory",
        "private_base",
        "load the artifact again",
    ] {
        assert!(refused.contains(words), "{words:?} is not in {refused}");
    }
    // A file at the path of the base.
    fs::write(&base, "").unwrap();
    let refused = losing.host.load(&build).unwrap_err().to_string();
    assert!(
        refused.contains("Not a directory") && refused.contains("private_base"),
        "{refused}"
    );
    fs::remove_file(&base).unwrap();
    assert_eq!(told(&mut losing.events), []);
    fs::rename(&away, &base).unwrap();
    // The base was removed, and exists again.
    losing.reload(2);
    assert_eq!(losing.host.private_folder(), lost);
    fs::remove_dir_all(&lost).unwrap();
    losing.reload(3);
    assert_eq!(told(&mut losing.events).len(), 1);
}
