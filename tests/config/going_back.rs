//! Configuration and rollback: the restored version gets the current settings, and the version that was rolled back is not
//! loaded again.

use crate::{
    Desk, settings,
    support::{Gate, wait_for, wait_for_staged, wait_for_swapped, wait_until},
    wait_for_config_applied, wait_for_config_refused,
};
use fixture_interfaces::{Lending, Tuned};
use reslot::{Claim, Event, Host, LoadOutcome, Policy, RestoredState, RollbackState, RollbackTarget, SyncOutcome};
use std::time::Duration;

/// A host whose probation does not end by itself.
fn host(desk: &Desk, state: RollbackState) -> Host {
    let policy = Policy::development()
        .probation(Duration::from_secs(3600))
        .rollback_state(state);
    desk.builder().policy(policy).build().unwrap()
}

/// Build, count, threshold, resource.
fn of_slot(host: &Host) -> (u64, u64, f64, String) {
    let slot = host.slot::<dyn Tuned>("tuned").unwrap();
    let view = slot.load();
    let (stamp, count) = (view.stamp().unwrap(), view.add(0).unwrap());
    (stamp, count, view.threshold().unwrap(), view.resource().unwrap())
}

fn add(host: &Host, n: u64) {
    host.slot::<dyn Tuned>("tuned").unwrap().load().add(n).unwrap();
}

fn go_back(host: &Host) -> RestoredState {
    match host.rollback("tuned", RollbackTarget::Previous).unwrap() {
        LoadOutcome::RolledBack(report) => report.state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn standby_that_gets_the_state_back_has_its_configuration_and_resources() {
    let desk = Desk::new(&settings(0.5));
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    add(&host, 5);
    assert!(matches!(go_back(&host), RestoredState::Carried { .. }));
    assert_eq!(of_slot(&host), (1, 5, 0.5, "easy".to_owned()));
    let told = host.slot::<dyn Tuned>("tuned").unwrap().load().told().unwrap();
    assert_eq!(told, "config levels/one.txt init", "in the order of every instance");
}

#[test]
fn standby_that_gets_the_state_back_has_changed_settings_at_once() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    desk.set(&settings(0.25));
    wait_for_config_applied(&mut events, "tuned");
    assert!(matches!(go_back(&host), RestoredState::Carried { .. }));
    assert_eq!(of_slot(&host), (1, 0, 0.25, String::new()));
    // The host knows that the plugin has these settings, so it renews nothing. The next change makes the next instance.
    desk.set(&settings(0.75));
    assert_eq!(wait_for_config_applied(&mut events, "tuned"), 4);
}

#[test]
fn second_object_beside_a_borrowed_one_has_the_current_settings() {
    let desk = Desk::new("[plugins.lending]\nthreshold = 5\n");
    desk.publish("lending", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    let slot = host.slot::<dyn Lending>("lending").unwrap();
    let kept = slot.load();
    let lent = kept.label().unwrap();
    assert_eq!(kept.threshold().unwrap(), 5);
    desk.publish("lending", 2);
    wait_for_swapped(&mut events, "lending", 2);
    slot.load().add(3).unwrap();
    desk.set("[plugins.lending]\nthreshold = 7\n");
    wait_for_config_applied(&mut events, "lending");
    let outcome = host.rollback("lending", RollbackTarget::Previous).unwrap();
    assert!(
        matches!(&outcome, LoadOutcome::RolledBack(report) if matches!(report.state, RestoredState::Carried { .. })),
        "{outcome:#?}"
    );
    let serving = slot.load();
    assert_eq!(
        (
            serving.stamp().unwrap(),
            serving.total().unwrap(),
            serving.threshold().unwrap()
        ),
        (1, 3, 7)
    );
    assert_eq!(
        (lent, serving.label().unwrap()),
        ("object 1 of generation 1", "object 2 of generation 1")
    );
    drop((kept, serving));
    // The next change makes the next instance.
    desk.set("[plugins.lending]\nthreshold = 9\n");
    assert_eq!(wait_for_config_applied(&mut events, "lending"), 4);
    assert_eq!((slot.load().total().unwrap(), slot.load().threshold().unwrap()), (3, 9));
}

#[test]
fn standby_that_refuses_the_current_settings_keeps_its_own() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    desk.set("[plugins.tuned]\nthreshold = 0.25\nmood = \"late-from-2\"\n");
    wait_for_config_applied(&mut events, "tuned");
    add(&host, 5);
    assert!(matches!(go_back(&host), RestoredState::Carried { .. }));
    assert_eq!(of_slot(&host), (1, 5, 0.5, String::new()));
    let (_, slot, words) = wait_for_config_refused(&mut events);
    assert!(slot.as_deref() == Some("tuned") && words.contains("newer builds"), "{words}");
    assert_eq!(of_slot(&host), (1, 5, 0.5, String::new()));
}

#[test]
fn standby_with_its_own_state_has_its_configuration() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = host(&desk, RollbackState::Snapshot);
    let mut events = host.events();
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    add(&host, 5);
    go_back(&host);
    assert_eq!(of_slot(&host), (1, 0, 0.5, String::new()));
}

#[test]
fn staged_reinstantiation_does_not_undo_a_rollback() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned").unwrap();
    desk.publish("tuned", 2);
    wait_for_staged(&mut events, "tuned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    desk.set(&settings(0.25));
    wait_for_staged(&mut events, "tuned", 3);
    host.rollback("tuned", RollbackTarget::Previous).unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!((claim.stamp().unwrap(), claim.threshold().unwrap()), (1, 0.25));
    assert!(!Claim::has_staged(&claim));
    wait_for(&mut events, |event| {
        matches!(event, Event::Superseded { generation: 3, .. }).then_some(())
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    assert_eq!(claim.threshold().unwrap(), 0.25);
}

#[test]
fn reinstantiation_under_way_does_not_undo_a_rollback() {
    let table = |threshold: f64, mood| format!("[plugins.tuned-open]\nthreshold = {threshold:?}\nmood = {mood:?}\n");
    let desk = Desk::new(&table(0.5, ""));
    desk.publish("tuned-open", 1);
    let host = host(&desk, RollbackState::KeepCurrent);
    let mut events = host.events();
    desk.publish("tuned-open", 2);
    wait_for_swapped(&mut events, "tuned-open", 2);
    let gate = Gate::new("given");
    desk.set(&table(0.25, "late-wait"));
    gate.wait_until_reached();
    host.rollback("tuned-open", RollbackTarget::Previous).unwrap();
    gate.open();
    drop(gate);
    wait_for(&mut events, |event| {
        matches!(event, Event::Superseded { generation: 3, .. }).then_some(())
    });
    let slot = host.slot::<dyn Tuned>("tuned-open").unwrap();
    wait_until(|| slot.load().threshold().unwrap() == 0.25, "the configuration");
    assert_eq!(slot.load().stamp().unwrap(), 1);
}
