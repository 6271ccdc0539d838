//! What the next host does with the history: after an ordinary end, after SIGKILL, and with another file in the watched
//! folder.

use super::{Place, SHARED, long_probation, shared, stamp, told};
use crate::support::{assert_nothing_left, copies, wait_for};
use reslot::{Cause, ContentHash, Event, Host, LoadOutcome, VersionStatus};
use reslot_tests::{Fixture, Folder};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The slot, the version that is not loaded, and the one that is loaded instead.
fn reverted(host: &Host) -> Option<(String, ContentHash, Option<ContentHash>)> {
    let mut events = host.events();
    std::iter::from_fn(|| events.try_recv()).find_map(|record| match &record.event {
        Event::Reverted { slot, from, to } => Some((slot.to_string(), *from, *to)),
        _ => None,
    })
}

#[test]
fn confirmed_version_stays_over_a_restart() {
    let place = Place::new();
    let hash = place.good(&place.host(), 1);
    place.artifacts.publish("libcounter.so", &shared(1));
    let host = place.watching();
    assert_eq!((stamp(&host), reverted(&host)), (1, None));
    assert_eq!(told(&host, SHARED), [(hash, VersionStatus::Confirmed)]);
}

#[test]
fn unconfirmed_version_reverts_when_the_host_is_built_again() {
    let place = Place::new();
    place.artifacts.publish("libcounter.so", &shared(1));
    let host = place.watching();
    host.confirm(SHARED).unwrap();
    let path = place.artifacts.publish("libcounter.so", &shared(2));
    host.load(&path).unwrap();
    let hashes: Vec<_> = told(&host, SHARED).into_iter().map(|(hash, _)| hash).collect();
    drop(host);

    let host = place.watching();
    let [second, first] = &hashes[..] else { panic!("{hashes:?}") };
    assert_eq!(reverted(&host), Some((SHARED.to_owned(), *second, Some(*first))));
    assert_eq!(stamp(&host), 1);
    let words = "it had not passed its probation when the host ended".to_owned();
    assert!(told(&host, SHARED).contains(&(*second, VersionStatus::KnownBad(words))));
    assert_nothing_left(&host, 1);
    drop(host);

    // It is not reported again, and a better build is loaded at once.
    place.artifacts.publish("libcounter.so", &shared(3));
    let host = place.watching();
    assert_eq!((reverted(&host), stamp(&host)), (None, 3));
}

#[test]
fn host_without_a_folder_to_watch_reverts_as_well() {
    let place = Place::new();
    let host = place.host();
    place.good(&host, 1);
    place.load(&host, &shared(2));
    drop(host);
    let host = place.host();
    assert_eq!(stamp(&host), 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn first_version_ever_is_tried_again_and_reported() {
    let place = Place::new();
    place.artifacts.publish("libcounter.so", &shared(1));
    let first = told(&place.watching(), SHARED)[0].0;
    for _ in 0..2 {
        let host = place.watching();
        assert_eq!(reverted(&host), Some((SHARED.to_owned(), first, None)));
        assert_eq!(stamp(&host), 1);
        assert_eq!(told(&host, SHARED), [(first, VersionStatus::Unconfirmed)]);
    }
    let host = place.watching();
    host.confirm(SHARED).unwrap();
    drop(host);
    assert_eq!(reverted(&place.watching()), None);
}

#[test]
fn kept_good_version_is_loaded_if_the_published_one_is_refused() {
    let garbage: [&[u8]; 3] = [b"", b"no library at all", &shared(2)[..20_000]];
    let unwilling = Fixture::build("fx-moods").stamped(100);
    for bad in garbage.into_iter().chain([&unwilling[..]]) {
        let place = Place::new();
        place.artifacts.publish("libcounter.so", &shared(1));
        let host = place.watching();
        host.confirm(SHARED).unwrap();
        drop(host);
        place.artifacts.publish("libcounter.so", bad);
        let host = place.watching();
        let refusal = wait_for(&mut host.events(), |event| match event {
            Event::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        assert!(refusal.path.ends_with("libcounter.so"), "{refusal}");
        assert_eq!(stamp(&host), 1, "{refusal}");
        assert_nothing_left(&host, 1);
        // The watch continues: the next build is loaded.
        let mut events = host.events();
        place.artifacts.publish("libcounter.so", &shared(3));
        crate::support::wait_for_swapped(&mut events, SHARED, host.slots()[0].generation.unwrap() + 1);
        assert_eq!(stamp(&host), 3);
    }
}

#[test]
fn file_of_another_slot_that_is_bad_brings_nothing_back() {
    let place = Place::new();
    place.good(&place.host(), 1);
    place.artifacts.publish("libother.so", b"no library at all");
    let host = place.watching();
    assert!(
        host.slots().iter().all(|slot| slot.generation.is_none()),
        "{:?}",
        host.slots()
    );
}

/// Another process with a host: this test's own program, which runs only [`host_that_will_be_killed`].
pub struct Doomed {
    process: Child,
    private: PathBuf,
}

const MARK: &str = "the child says: ";

impl Doomed {
    /// Waits until the plugin is loaded.
    pub fn start(place: &Place, base: &Path, keeps: bool) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "history::restart::host_that_will_be_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("RESLOT_TEST_ARTIFACTS", place.artifacts.path())
            .env("RESLOT_TEST_BASE", base)
            .env("RESLOT_TEST_KEPT", if keeps { place.kept.path() } else { Path::new("") })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = lines.find_map(|line| Some(line.unwrap().split_once(MARK)?.1.to_owned()));
        let private = said.expect("the child lives").into();
        Self { process, private }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child: it loads published files, prints its private folder, and waits to be killed.
#[test]
#[ignore = "runs in a process that another test starts"]
fn host_that_will_be_killed() {
    let [Some(artifacts), Some(base), Some(kept)] =
        ["RESLOT_TEST_ARTIFACTS", "RESLOT_TEST_BASE", "RESLOT_TEST_KEPT"].map(env::var_os)
    else {
        return;
    };
    let mut builder = Host::builder().policy(long_probation()).watch(artifacts).private_base(base);
    if !kept.is_empty() {
        builder = builder.history(kept);
    }
    let host = builder.build().unwrap();
    assert_eq!(host.slots()[0].generation, Some(1));
    println!("{MARK}{}", host.private_folder().display());
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn unconfirmed_version_reverts_on_restart() {
    let (place, base) = (Place::new(), Folder::new());
    let first = place.good(&place.host(), 1);
    place.artifacts.publish("libcounter.so", &shared(2));
    let mut doomed = Doomed::start(&place, base.path(), true);
    doomed.kill();
    let host = place.watching();
    let (_, second, to) = reverted(&host).expect("it had not passed its probation");
    assert_eq!(to.as_ref(), Some(&first));
    assert_eq!(stamp(&host), 1);
    let refusal = wait_for(&mut host.events(), |event| match event {
        Event::Refused(refusal) => Some(refusal.clone()),
        _ => None,
    });
    assert!(matches!(&*refusal.cause, Cause::KnownBad(_)), "{refusal}");
    // It can still be loaded by name.
    let path = place.artifacts.path().join("libcounter.so");
    assert!(matches!(host.load(path), Ok(LoadOutcome::Swapped(report)) if report.hash == second));
}

#[test]
fn private_folder_of_a_killed_process_is_swept_with_all_its_files() {
    let (place, base) = (Place::new(), Folder::new());
    place.artifacts.publish("libcounter.so", &shared(1));
    let mut doomed = Doomed::start(&place, base.path(), false);
    doomed.kill();
    assert_eq!(copies(&doomed.private).len(), 1);
    let kept = fs::read_dir(doomed.private.join(".history").join(SHARED)).unwrap();
    assert_eq!(kept.count(), 1, "nobody has cleaned up after it");
    let host = place.builder().private_base(base.path()).build().unwrap();
    let left: Vec<_> = fs::read_dir(base.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [host.private_folder()]);
}
