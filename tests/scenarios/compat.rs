//! An interface that has grown: older plugins and newer ones, on older hosts and newer ones.

use crate::support::{assert_nothing_left, host, wait_for_swapped};
use fixture_interfaces::SharedCounter;
use reslot::{Host, Policy, RollbackTarget};
use reslot_tests::{Fixture, Folder};
use std::time::Duration;

mod older {
    use reslot_plugin_api::interface;

    /// The old interface.
    #[interface]
    pub trait Grown {
        /// Says a number.
        fn number(&self) -> u64;
    }
}

mod newer {
    use reslot_plugin_api::interface;

    /// The new interface.
    #[interface]
    pub trait Grown {
        /// Says a number.
        fn number(&self) -> u64;
        /// Says twice that number.
        #[since("1.1")]
        fn twice(&self) -> u64 {
            self.number() * 2
        }
    }
}

fn folder(package: &str) -> Folder {
    let folder = Folder::new();
    folder.publish("libgrown.so", Fixture::build(package).bytes());
    folder
}

#[test]
fn older_plugin_on_a_newer_host_runs_the_default_body() {
    let folder = folder("fx-grown-older");
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn newer::Grown>("grown").unwrap();
    assert_eq!((slot.load().number().unwrap(), slot.load().twice().unwrap()), (10, 20));
    // Up to the newer build and down again: each build returns its own value.
    folder.publish("libgrown.so", Fixture::build("fx-grown-newer").bytes());
    wait_for_swapped(&mut events, "grown", 2);
    assert_eq!((slot.load().number().unwrap(), slot.load().twice().unwrap()), (11, 2_200));
    folder.publish("libgrown.so", Fixture::build("fx-grown-older").bytes());
    wait_for_swapped(&mut events, "grown", 3);
    assert_eq!((slot.load().number().unwrap(), slot.load().twice().unwrap()), (10, 20));
    assert_nothing_left(&host, 1);
}

#[test]
fn newer_plugin_serves_an_older_host() {
    let folder = folder("fx-grown-newer");
    let host = host(&folder);
    let slot = host.slot::<dyn older::Grown>("grown").unwrap();
    assert_eq!(slot.load().number().unwrap(), 11);
}

#[test]
fn claimed_older_plugin_runs_the_default_body() {
    let folder = folder("fx-grown-older");
    let host = host(&folder);
    let claim = host.claim::<dyn newer::Grown>("grown").unwrap();
    assert_eq!((claim.number().unwrap(), claim.twice().unwrap()), (10, 20));
}

#[test]
fn callers_of_both_ages_share_one_slot() {
    let folder = folder("fx-grown-newer");
    let host = host(&folder);
    let (old, new) = (
        host.slot::<dyn older::Grown>("grown").unwrap(),
        host.slot::<dyn newer::Grown>("grown").unwrap(),
    );
    let mut reader = host.reader();
    let view = reader.view();
    assert_eq!(
        (view.get(&old).number().unwrap(), view.get(&new).twice().unwrap()),
        (11, 2_200)
    );
}

/// The standby was loaded before a caller bound an interface that the standby does not have.
#[test]
fn standby_that_no_longer_fits_its_callers_is_not_used_for_a_rollback() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let (folder, host) = (Folder::new(), Host::builder().policy(policy).build().unwrap());
    let mut other = Fixture::build("fx-shared-counter").stamped(1);
    let (from, to) = (br#""name":"total""#, br#""name":"tatol""#);
    let at = other.windows(from.len()).position(|window| window == from);
    let at = at.expect("the manifest has its methods");
    other[at..at + to.len()].copy_from_slice(to);
    host.load(folder.publish("a.so", &other)).unwrap();
    host.confirm("shared-counter").unwrap();
    host.load(folder.publish("b.so", &Fixture::build("fx-shared-counter").stamped(2)))
        .unwrap();
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    slot.load().add(5).unwrap();
    assert_eq!(host.images().standby, 1);
    // Nor is the same version loaded anew.
    let error = host.rollback("shared-counter", RollbackTarget::Previous).unwrap_err();
    assert!(error.to_string().contains("`total`"), "{error}");
    assert_eq!((slot.load().stamp().unwrap(), slot.load().total().unwrap()), (2, 5));
    drop(slot);
    assert_nothing_left(&host, 1);
}
