//! Threads that a plugin starts with `Context::spawn`: the host ends them with the plugin.

use crate::{
    moody::LATE,
    support::{Gate, assert_nothing_left, wait_for, wait_for_retired, wait_for_unmapped, wait_until},
};
use fixture_interfaces::{Deed, Probe};
use reslot::{Event, Host, Outcome, QuarantineReason, Step};
use reslot_tests::{Fixture, Folder};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The fixture uses one gate with a fixed name, so the tests take turns.
fn gate() -> (MutexGuard<'static, ()>, Gate) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, Gate::new("workers"))
}

fn load(host: &Host, folder: &Folder, stamp: u64) -> Result<reslot::LoadOutcome, reslot::Refusal> {
    host.load(folder.publish("a.so", &Fixture::build("fx-workers").stamped(stamp)))
}

#[test]
fn workers_end_when_their_plugin_is_stopped() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    for n in 1..=20 {
        load(&host, &folder, n).unwrap();
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        wait_until(|| slot.load().act(Deed::Receive).unwrap() > 0, "the worker's work");
        if n > 1 {
            let report = wait_for_unmapped(&mut events, "probe", n - 1);
            assert_eq!(report.stop_error, None);
        }
    }
    assert_nothing_left(&host, 1);
}

#[test]
fn worker_that_does_not_end_in_time_is_named_and_keeps_its_image_until_it_does() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(LATE)
        .build()
        .unwrap();
    let mut events = host.events();
    let (_turn, gate) = gate();
    load(&host, &folder, 100).unwrap();
    load(&host, &folder, 1).unwrap();
    let report = wait_for_retired(&mut events, "probe", 1);
    let words = report.stop_error.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(words.contains("\"counts\"") && !words.contains("\"waits\""), "{words:?}");
    assert!(
        matches!(&report.outcome, Outcome::Quarantined(QuarantineReason::ThreadsRunning(names))
            if names.len() == 1 && names[0].contains("counts")),
        "{report:#?}"
    );
    gate.open();
    wait_for(&mut events, |event| {
        matches!(event, Event::Released { generation: 1, .. }).then_some(())
    });
    assert_nothing_left(&host, 1);
}

#[test]
fn worker_that_takes_its_time_delays_no_other_plugin() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    let (_turn, gate) = gate();
    load(&host, &folder, 100).unwrap();
    load(&host, &folder, 1).unwrap();
    gate.wait_until_reached();
    let counter = Fixture::build("fx-counter");
    for stamp in 1..=2 {
        host.load(folder.publish("b.so", &counter.stamped(stamp))).unwrap();
    }
    // Meanwhile the first plugin's worker waits at the gate.
    wait_for_unmapped(&mut events, "counter", 1);
    assert_eq!(host.images().mapped, 3);
    gate.open();
    let report = wait_for_unmapped(&mut events, "probe", 1);
    assert_eq!(report.stop_error, None);
    assert_nothing_left(&host, 2);
}

#[test]
fn workers_of_a_candidate_that_refuses_to_start_end_with_it() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    load(&host, &folder, 1).unwrap();
    let refusal = load(&host, &folder, 300).unwrap_err();
    assert_eq!(refusal.step, Step::Start);
    let report = wait_for_unmapped(&mut events, "probe", 2);
    assert!(!report.served);
    assert_nothing_left(&host, 1);
}

#[test]
fn panic_of_a_worker_is_reported_and_keeps_nothing() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    load(&host, &folder, 200).unwrap();
    let message = wait_for(&mut events, |event| match event {
        Event::ThreadPanicked { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(message.contains("a worker may panic"), "{message}");
    load(&host, &folder, 1).unwrap();
    assert_eq!(wait_for_unmapped(&mut events, "probe", 1).stop_error, None);
    assert_nothing_left(&host, 1);
}
