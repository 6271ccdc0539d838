//! Manual rollbacks and the history: to the standby and to a kept artifact, with the state, and the fate of the rolled-back
//! version. `restart` tests the next process, `disk` lost files and failed writes.

mod artifact;
mod claims;
mod disk;
mod restart;

use crate::support::{assert_nothing_left, wait_for, wait_for_refused, wait_for_unmapped, wait_until};
use fixture_interfaces::SharedCounter;
use reslot::{
    Cause, ContentHash, Event, Events, HashPrefix, Host, HostBuilder, LoadOutcome, Policy, RestoredState, RollbackError,
    RollbackReason, RollbackState, RollbackTarget, SlotError, VersionStatus,
};
use reslot_tests::{Fixture, Folder};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

const SHARED: &str = "shared-counter";

/// A probation that ends only by `confirm`.
fn long_probation() -> Policy {
    Policy::development().probation(Duration::from_secs(3600))
}

fn shared(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-shared-counter").stamped(stamp)
}

/// A folder of artifacts, and a folder for the history.
struct Place {
    artifacts: Folder,
    kept: Folder,
}

impl Place {
    fn new() -> Self {
        Self {
            artifacts: Folder::new(),
            kept: Folder::new(),
        }
    }

    fn builder(&self) -> HostBuilder {
        Host::builder().policy(long_probation())
    }

    /// A host that keeps its history in the folder.
    fn host(&self) -> Host {
        self.builder().history(self.kept.path()).build().expect("the host starts")
    }

    /// The same, which also watches the folder of artifacts.
    fn watching(&self) -> Host {
        let builder = self.builder().history(self.kept.path());
        builder.watch(self.artifacts.path()).build().expect("the host starts")
    }

    /// Writes it under a name that the watch ignores.
    fn aside(&self, bytes: &[u8]) -> PathBuf {
        self.kept.publish("aside.artifact", bytes)
    }

    fn load(&self, host: &Host, bytes: &[u8]) -> LoadOutcome {
        host.load(self.aside(bytes)).expect("it is good")
    }

    /// Loads a shared counter, and confirms it. Returns its hash.
    fn good(&self, host: &Host, stamp: u64) -> ContentHash {
        let LoadOutcome::Swapped(report) = self.load(host, &shared(stamp)) else {
            panic!("it is open")
        };
        assert!(host.confirm(SHARED).unwrap());
        report.hash
    }
}

/// The status of each version, newest first.
fn told(host: &Host, slot: &str) -> Vec<(ContentHash, VersionStatus)> {
    let kept = host.history(slot);
    kept.into_iter().map(|kept| (kept.hash, kept.condition)).collect()
}

/// Two builds whose hashes begin with the same digit, that digit, and a digit with which no hash begins.
fn two_that_begin_alike() -> ([u64; 2], HashPrefix, HashPrefix) {
    let mut begun = BTreeMap::new();
    // There are sixteen digits, so two of seventeen hashes begin with the same one.
    for stamp in 1..=17 {
        let digit = ContentHash::of(&shared(stamp)).to_string()[..1].to_owned();
        if let Some(before) = begun.insert(digit.clone(), stamp) {
            let other = if digit == "0" { "1" } else { "0" };
            return ([before, stamp], digit.parse().unwrap(), other.parse().unwrap());
        }
    }
    unreachable!("two begin alike");
}

fn stamp(host: &Host) -> u64 {
    host.slot::<dyn SharedCounter>(SHARED).unwrap().load().stamp().unwrap()
}

fn add(host: &Host, n: u64) -> u64 {
    host.slot::<dyn SharedCounter>(SHARED).unwrap().load().add(n).unwrap()
}

fn asked() -> VersionStatus {
    VersionStatus::KnownBad(RollbackReason::Manual.to_string())
}

/// Another thread than the one that rolled back records that a version is bad.
fn wait_for_history(host: &Host, slot: &str, expected: &[(&ContentHash, VersionStatus)]) {
    let expected: Vec<_> = expected.iter().map(|(hash, thought)| (**hash, thought.clone())).collect();
    wait_until(|| told(host, slot) == expected, "what is told of the versions");
}

fn wait_for_rolled_back(events: &mut Events) -> reslot::RollbackReport {
    wait_for(events, |event| match event {
        Event::RolledBack(report) => Some(report.clone()),
        _ => None,
    })
}

#[test]
fn open_slot_goes_back_to_its_standby_with_the_state() {
    let place = Place::new();
    for host in [place.builder().build().unwrap(), place.host()] {
        let mut events = host.events();
        let first = place.good(&host, 1);
        assert!(!host.confirm(SHARED).unwrap(), "it is confirmed already");
        assert_eq!(add(&host, 5), 5);
        let LoadOutcome::Swapped(second) = place.load(&host, &shared(2)) else {
            panic!("it is open")
        };
        assert_eq!((host.slots()[0].standby, host.slots()[0].on_probation), (Some(1), true));
        assert_eq!(told(&host, SHARED)[0], (second.hash, VersionStatus::Unconfirmed));
        assert_eq!(add(&host, 2), 7);

        let slot = host.slot::<dyn SharedCounter>(SHARED).unwrap();
        let mut reader = host.reader();
        let view = reader.view();
        let LoadOutcome::RolledBack(report) = host.rollback(SHARED, RollbackTarget::Previous).unwrap() else {
            panic!("it stood by")
        };
        assert_eq!((report.from, report.to, &report.reason), (2, 1, &RollbackReason::Manual));
        assert!(
            matches!(report.state, RestoredState::Carried { bytes } if bytes > 0),
            "{report:?}"
        );
        assert_eq!(wait_for_rolled_back(&mut events).from, 2, "and it is told");
        assert_eq!((stamp(&host), add(&host, 1)), (1, 8));
        assert_eq!(view.get(&slot).add(1).unwrap(), 9, "a call through an old view is not lost");
        reader.release();
        wait_for_unmapped(&mut events, SHARED, 2);
        assert_nothing_left(&host, 1);
        assert_eq!(host.slots()[0].standby, None);
        wait_for_history(&host, SHARED, &[(&second.hash, asked()), (&first, VersionStatus::Confirmed)]);
    }
}

#[test]
fn rollback_restores_the_snapshot_if_the_policy_says_so() {
    let place = Place::new();
    let policy = long_probation().rollback_state(RollbackState::Snapshot);
    let host = Host::builder().policy(policy).build().unwrap();
    place.good(&host, 1);
    assert_eq!(add(&host, 5), 5);
    place.load(&host, &shared(2));
    assert_eq!(add(&host, 2), 7);
    let LoadOutcome::RolledBack(report) = host.rollback(SHARED, RollbackTarget::Previous).unwrap() else {
        panic!("it stood by")
    };
    assert!(
        matches!(report.state, RestoredState::Snapshot { why: None, .. }),
        "{report:?}"
    );
    assert_eq!(add(&host, 0), 5);
    assert_nothing_left(&host, 1);
}

#[test]
fn open_slot_goes_back_two_versions_with_the_state() {
    let place = Place::new();
    for host in [place.builder().build().unwrap(), place.host()] {
        let mut events = host.events();
        let first = place.good(&host, 1);
        let second = place.good(&host, 2);
        let third = place.good(&host, 3);
        assert_eq!(add(&host, 5), 5);
        assert_nothing_left(&host, 1);

        let typed = first.to_string()[..12].parse().unwrap();
        host.rollback(SHARED, RollbackTarget::Prefix(typed)).unwrap();
        let report = wait_for_rolled_back(&mut events);
        assert_eq!((report.from, report.to, &report.reason), (3, 4, &RollbackReason::Manual));
        assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:?}");
        assert_eq!((stamp(&host), add(&host, 1)), (1, 6));
        wait_for_unmapped(&mut events, SHARED, 3);
        assert_nothing_left(&host, 1);
        let good = VersionStatus::Confirmed;
        wait_for_history(&host, SHARED, &[(&first, good.clone()), (&third, asked()), (&second, good)]);
    }
}

#[test]
fn previous_again_and_again_walks_through_all_that_are_kept() {
    let place = Place::new();
    let host = place.host();
    for n in 1..=3 {
        place.good(&host, n);
    }
    for n in [2, 1] {
        host.rollback(SHARED, RollbackTarget::Previous).unwrap();
        assert_eq!(stamp(&host), n);
        assert_eq!(add(&host, 1), 3 - n, "the state goes with it");
    }
    let mut events = host.events();
    let error = host.rollback(SHARED, RollbackTarget::Previous).unwrap_err();
    let RollbackError::Refused(refusal) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(&*refusal.cause, Cause::NothingToGoBackTo(RollbackReason::Manual)),
        "{error}"
    );
    assert!(
        error.to_string().contains("the history has no earlier good version"),
        "{error}"
    );
    wait_for(&mut events, |event| matches!(event, Event::NoFallback { .. }).then_some(()));
    assert_eq!(stamp(&host), 1, "it keeps serving");
    assert_nothing_left(&host, 1);
}

#[test]
fn ambiguous_and_missing_versions_are_named() {
    let place = Place::new();
    let host = place.host();
    assert!(matches!(
        host.rollback("nobody", RollbackTarget::Previous),
        Err(RollbackError::Slot(SlotError::Unknown { .. }))
    ));
    assert!(matches!(host.confirm("nobody"), Err(SlotError::Unknown { .. })));
    assert!(host.history("nobody").is_empty());
    let ([first, second], alike, other) = two_that_begin_alike();
    let (first, second) = (place.good(&host, first), place.good(&host, second));
    let (many, none) = ("2 kept versions begin with", "no kept version begins with");
    for (asked, fits, words) in [(alike, 2, many), (other, 0, none)] {
        let error = host.rollback(SHARED, RollbackTarget::Prefix(asked)).unwrap_err();
        let RollbackError::Version {
            prefix, found, known, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((*prefix, *found, &known[..]), (Some(asked), fits, &[second, first][..]));
        let told = error.to_string();
        assert!(
            told.contains(&first.to_string()) && told.contains(&format!("{words} \"{asked}\"")),
            "{told}"
        );
    }
    assert_eq!(host.slots()[0].generation, Some(2));
}

#[test]
fn version_that_serves_already_is_nothing_to_go_back_to() {
    let place = Place::new();
    let host = place.host();
    let (first, second) = (place.good(&host, 1), place.good(&host, 2));
    let outcome = host.rollback(SHARED, RollbackTarget::Hash(second)).unwrap();
    assert!(matches!(outcome, LoadOutcome::Unchanged { generation: 2, .. }), "{outcome:?}");
    let good = VersionStatus::Confirmed;
    assert_eq!(told(&host, SHARED), [(second, good.clone()), (first, good)]);
    assert_nothing_left(&host, 1);
}

#[test]
fn rolled_back_version_is_refused_by_every_watch_until_it_is_loaded_by_name() {
    let place = Place::new();
    place.artifacts.publish("libcounter.so", &shared(1));
    let host = place.watching();
    let mut events = host.events();
    host.confirm(SHARED).unwrap();
    let path = place.artifacts.publish("libcounter.so", &shared(2));
    crate::support::wait_for_swapped(&mut events, SHARED, 2);
    let left = told(&host, SHARED)[0].0;
    host.rollback(SHARED, RollbackTarget::Previous).unwrap();
    wait_for_unmapped(&mut events, SHARED, 2);
    // A build server may publish the same file again.
    place.artifacts.publish("libcounter.so", &shared(2));
    let again = wait_for(&mut events, |event| match event {
        Event::StillRefused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    });
    assert!(matches!(&*again.cause, Cause::RolledBack(RollbackReason::Manual)), "{again}");
    drop(host);

    for _ in 0..2 {
        let host = place.watching();
        let refusal = wait_for_refused(&mut host.events());
        assert!(
            matches!(&*refusal.cause, Cause::KnownBad(why) if why.contains("requested")),
            "{refusal}"
        );
        assert_eq!(stamp(&host), 1, "the last good one is there instead");
        assert!(matches!(
            host.rollback(SHARED, RollbackTarget::Hash(left)),
            Err(RollbackError::Version { found: 0, .. })
        ));
        assert_nothing_left(&host, 1);
    }

    let host = place.watching();
    assert!(matches!(host.load(&path), Ok(LoadOutcome::Swapped(_))));
    assert_eq!(stamp(&host), 2);
    assert!(host.confirm(SHARED).unwrap());
    drop(host);
    let host = place.watching();
    assert_eq!(stamp(&host), 2, "it was pardoned, also for the next host");
}

#[test]
fn as_many_good_versions_are_kept_as_the_policy_says() {
    for keep in [0, 1, 2] {
        let place = Place::new();
        let policy = long_probation().history(keep);
        let host = Host::builder().policy(policy).history(place.kept.path()).build().unwrap();
        let mut hashes: Vec<_> = (1..=5).map(|n| place.good(&host, n)).collect();
        hashes.reverse();
        // The current version, and this many earlier ones.
        let most = if keep == 0 { 0 } else { keep + 1 };
        let expected: Vec<_> = hashes
            .into_iter()
            .take(most)
            .map(|hash| (hash, VersionStatus::Confirmed))
            .collect();
        assert_eq!(told(&host, SHARED), expected);
        assert_eq!(disk::kept_files(&place).len(), most);
        let sizes = host.history(SHARED).into_iter().map(|kept| kept.bytes);
        assert!(sizes.into_iter().all(|bytes| bytes > 10_000));
        // With a history of 0, only the standby is left.
        place.load(&host, &shared(6));
        host.rollback(SHARED, RollbackTarget::Previous).unwrap();
        assert_eq!(stamp(&host), 5);
        let further = host.rollback(SHARED, RollbackTarget::Previous);
        assert_eq!(further.is_ok(), keep > 0, "{further:?}");
        assert_nothing_left(&host, 1);
    }
}
