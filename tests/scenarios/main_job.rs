//! The main job: a new build of a plugin is loaded with the state and without a lost call, and the old image is proven gone.

use crate::support::{host, wait_for_staged, wait_for_swapped, wait_for_unmapped};
use fixture_interfaces::{Counter, Listener, Probe, SharedCounter};
use reslot::{Claim, Host, LoadOutcome, SyncOutcome, mapped_copies};
use reslot_tests::{Fixture, Folder};

#[test]
fn claimed_plugin_is_adopted_in_sync_with_its_state() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    folder.publish("libcounter.so", &counter.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);

    folder.publish("libcounter.so", &counter.stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    // Until the owner's `sync`, the old code runs.
    assert_eq!(claim.report().unwrap().stamp, 1);
    assert_eq!(claim.add(1).unwrap(), 6);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let report = claim.report().unwrap();
    assert_eq!((report.total, report.stamp, report.calls), (6, 2, 0));
    wait_for_unmapped(&mut events, "counter", 1);
    assert_eq!(mapped_copies(host.private_folder()), 1);
}

#[test]
fn shared_plugin_moves_on_between_two_views() {
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    folder.publish("libprobe.so", &probe.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut reader = host.reader();
    let view = reader.view();
    folder.publish("libprobe.so", &probe.stamped(2));
    wait_for_swapped(&mut events, "probe", 2);
    assert_eq!(view.get(&slot).stamp().unwrap(), 1, "within a view nothing changes");
    assert_eq!(slot.load().stamp().unwrap(), 2);
    assert_eq!(reader.view().get(&slot).stamp().unwrap(), 2);
    wait_for_unmapped(&mut events, "probe", 1);
}

#[test]
fn shared_state_is_handed_over_and_old_views_find_it() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-shared-counter"));
    folder.publish("libcounter.so", &counter.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let mut reader = host.reader();
    let view = reader.view();
    assert_eq!(view.get(&slot).add(7).unwrap(), 7);
    let label = view.get(&slot).label().unwrap();
    folder.publish("libcounter.so", &counter.stamped(2));
    wait_for_swapped(&mut events, "shared-counter", 2);
    assert_eq!(view.get(&slot).add(1).unwrap(), 8, "a call through an old view is not lost");
    assert_eq!(label, "unnamed", "what was borrowed stays");
    assert_eq!(reader.view().get(&slot).total().unwrap(), 8);
    wait_for_unmapped(&mut events, "shared-counter", 1);
}

#[test]
fn panic_is_contained_and_reported() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    folder.publish("libcounter.so", counter.bytes());
    let host = host(&folder);
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let error = claim.fail("these words").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("these words") && text.contains("`fail`") && text.contains("fixtures/counter/src/lib.rs"),
        "{text}"
    );
    assert_eq!(claim.add(1).unwrap(), 2);
}

#[test]
fn panic_of_the_callers_own_object_comes_back_as_itself() {
    struct Bomb;
    impl Listener for Bomb {
        fn hear(&mut self, n: u64) -> u64 {
            std::panic::panic_any(n + 100)
        }
    }
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    folder.publish("libcounter.so", counter.bytes());
    let host = host(&folder);
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(3).unwrap();
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| claim.tell(&mut Bomb))).unwrap_err();
    assert_eq!(payload.downcast_ref::<u64>(), Some(&103));
    assert_eq!(claim.add(1).unwrap(), 4);
}

#[test]
fn identical_copy_is_not_reloaded() {
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    let path = folder.publish("libprobe.so", &probe.stamped(1));
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    assert!(matches!(host.load(&path), Ok(LoadOutcome::Swapped(report)) if report.generation == 1));
    assert!(matches!(host.load(&path), Ok(LoadOutcome::Unchanged { generation: 1, .. })));
}
