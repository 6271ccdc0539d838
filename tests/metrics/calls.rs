//! Counted calls: each call is counted once, over all generations and kinds of callers; nothing is counted by default.

use fixture_interfaces::{Counter, Listener, Probe};
use reslot::{Claim, Host, Policy, SlotInfo};
use reslot_tests::{Fixture, Folder};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

fn host(count: bool) -> Host {
    let host = Host::builder().policy(Policy::without_probation()).count_calls(count);
    host.build().unwrap()
}

fn slot(host: &Host) -> SlotInfo {
    host.slots().remove(0)
}

#[test]
fn are_counted_over_generations_and_threads() {
    let (folder, host) = (Folder::new(), host(true));
    let probe = Fixture::build("fx-probe");
    host.load(folder.publish("a.so", &probe.stamped(1))).unwrap();
    assert_eq!((slot(&host).calls, slot(&host).faults), (Some(0), 0));
    let handle = host.slot::<dyn Probe>("probe").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut reader = host.reader();
                for _ in 0..1000 {
                    reader.view().get(&handle).stamp().unwrap();
                    handle.load().stamp().unwrap();
                }
            });
        }
    });
    assert_eq!(slot(&host).calls, Some(8000));
    let mut reader = host.reader();
    let old = reader.view();
    host.load(folder.publish("a.so", &probe.stamped(2))).unwrap();
    // Calls through an old view are counted too.
    assert_eq!(old.get(&handle).stamp().unwrap(), 1);
    assert_eq!(handle.load().stamp().unwrap(), 2);
    handle.load().fail("a fault").unwrap_err();
    assert_eq!((slot(&host).calls, slot(&host).faults), (Some(8003), 1));
    host.load(folder.publish("a.so", &probe.stamped(3))).unwrap();
    assert_eq!(
        (slot(&host).calls, slot(&host).faults),
        (Some(8003), 1),
        "a reload is no call"
    );
}

#[test]
fn of_a_claim_are_counted_and_go_on_being_so_after_its_sync() {
    let (folder, host) = (Folder::new(), host(true));
    let counter = Fixture::build("fx-counter");
    host.load(folder.publish("a.so", &counter.stamped(1))).unwrap();
    let name = slot(&host).name;
    let mut claim = host.claim::<dyn Counter>(&name).unwrap();
    claim.add(1).unwrap();
    host.load(folder.publish("a.so", &counter.stamped(2))).unwrap();
    let _ = Claim::sync(&mut claim);
    assert_eq!(claim.add(1).unwrap(), 2);
    assert_eq!(claim.report().unwrap().stamp, 2);
    claim.fail("a fault").unwrap_err();
    assert_eq!((slot(&host).calls, slot(&host).faults), (Some(4), 1));
    // A panic of a lent object belongs to the caller.
    struct Panics;
    impl Listener for Panics {
        fn hear(&mut self, _: u64) -> u64 {
            panic!("the caller's own")
        }
    }
    catch_unwind(AssertUnwindSafe(|| claim.tell(&mut Panics))).unwrap_err();
    assert_eq!((slot(&host).calls, slot(&host).faults), (Some(5), 1));
}

#[test]
fn are_counted_from_probation_into_peace() {
    let policy = Policy::development().probation_calls(2);
    let host = Host::builder().policy(policy).count_calls(true).build().unwrap();
    let folder = Folder::new();
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    let handle = host.slot::<dyn Probe>("probe").unwrap();
    handle.load().stamp().unwrap();
    assert!(slot(&host).on_probation);
    host.confirm("probe").unwrap();
    assert!(!slot(&host).on_probation);
    handle.load().stamp().unwrap();
    assert_eq!(slot(&host).calls, Some(2));
}

#[test]
fn are_not_counted_unless_asked_for_and_faults_are() {
    let (folder, host) = (Folder::new(), host(false));
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    let handle = host.slot::<dyn Probe>("probe").unwrap();
    handle.load().stamp().unwrap();
    handle.load().fail("a fault").unwrap_err();
    assert_eq!((slot(&host).calls, slot(&host).faults), (None, 1));
}
