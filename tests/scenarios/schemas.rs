//! A state with a changed schema: the newer build migrates it up, and down again for an older build.

use crate::support::{host, wait_for_refused, wait_for_staged};
use fixture_interfaces::Counter;
use reslot::{Cause, Claim, Events, Hook, HookError, Host, SyncOutcome};
use reslot_tests::{Fixture, Folder};

fn begin(folder: &Folder, package: &str) -> (Host, Events) {
    folder.publish("libcounter.so", &Fixture::build(package).stamped(1));
    let host = host(folder);
    let events = host.events();
    (host, events)
}

#[test]
fn newer_build_brings_the_state_up_and_down() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);

    folder.publish("libcounter.so", &Fixture::build("fx-counter-schema-3").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let report = claim.report().unwrap();
    assert_eq!((report.total, report.stamp), (5, 2));
    assert_eq!(report.calls, 50, "`init` comes after the state, and `start` after `init`");
    assert_eq!(claim.add(2).unwrap(), 7);

    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(3));
    wait_for_staged(&mut events, "counter", 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (7, 3));
}

#[test]
fn step_that_fails_leaves_everything_as_it_was() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(13).unwrap(), 13);
    folder.publish("libcounter.so", &Fixture::build("fx-counter-schema-3").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let text = wait_for_refused(&mut events).to_string();
    for words in [
        "was refused at migrate",
        "the step from schema 2 to 3: 13 brings bad luck",
        "`Plugin::migrate`",
        "generation 1 keeps serving",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(claim.add(1).unwrap(), 14);
}

#[test]
fn panic_on_the_way_down_is_the_serving_generations() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter-schema-3");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(4).unwrap(), 4);
    claim.fail("now they differ").unwrap_err();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let refusal = wait_for_refused(&mut events);
    assert!(
        matches!(&*refusal.cause, Cause::Hook(Hook::Migrate, HookError::Panicked { message, .. }) if message.contains("both were kept")),
        "{refusal}"
    );
    assert_eq!(claim.add(1).unwrap(), 5, "it keeps serving, with its own state");
}
