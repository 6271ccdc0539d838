//! An interface that has grown: older plugins and newer ones, on older hosts and newer ones.

use crate::support::{assert_nothing_left, host, wait_for_swapped};
use reslot_tests::{Fixture, Folder};

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
fn newer_plugin_on_an_older_host_answers_what_that_knows() {
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
