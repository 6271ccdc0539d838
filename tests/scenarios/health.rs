//! Results of health checks, and their consequences.

use crate::{
    moody::{Place, on_probation},
    support::{assert_nothing_left, wait_for_unmapped},
};
use fixture_interfaces::{Feeling, Hook, How};
use reslot::{Cause, Claim, Event, Health, HookError, Policy, RollbackReason, Step, SyncOutcome};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(10);

fn attentive() -> Policy {
    on_probation().health_every(EVERY)
}

fn wait_for_health(place: &mut Place, number: u64, wanted: impl Fn(&Health) -> bool) -> Health {
    place.wait(|event| match event {
        Event::Health { generation, health, .. } if *generation == number && wanted(health) => Some(health.clone()),
        _ => None,
    })
}

#[test]
fn unhealthy_candidate_never_serves() {
    for how in [How::Refuses, How::Panics] {
        let mut place = Place::new(attentive());
        place.load("fx-moody", 1);
        let refusal = place.load_moody("fx-moody", 2, Hook::Health, how).unwrap_err();
        assert_eq!(refusal.step, Step::Health);
        assert!(
            match (&*refusal.cause, how) {
                (Cause::Unhealthy(Health::Critical(words)), How::Refuses) => words.contains("no mind"),
                (Cause::Unhealthy(Health::CheckFailed(words)), _) => words.contains("it is nervous"),
                _ => false,
            },
            "{refusal}"
        );
        wait_for_unmapped(&mut place.events, "moody", 2);
        assert_eq!(place.build(), 1);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn three_failed_checks_take_it_back() {
    for (package, feeling) in [
        ("fx-moody", Feeling::Critical),
        ("fx-moody", Feeling::Panics),
        ("fx-moody-stateless", Feeling::Critical),
    ] {
        let mut place = Place::new(attentive());
        place.load(package, 1);
        place.load(package, 2);
        let slot = place.slot();
        slot.load().feel(feeling).unwrap();
        let report = place.wait_for_rollback();
        let RollbackReason::Unhealthy { failures: 3, last } = &report.reason else {
            panic!("{report:#?}")
        };
        match feeling {
            Feeling::Critical => assert_eq!(*last, Health::Critical("it is ill".to_owned())),
            _ => assert!(
                matches!(last, Health::CheckFailed(words) if words.contains("too ill to say")),
                "{last}"
            ),
        }
        assert_eq!(place.build(), 1);
        // The result is reported once, not for each check.
        let told = place.told();
        let ill = |event: &&Event| matches!(event, Event::Health { health, .. } if !matches!(health, Health::Ok));
        assert_eq!(told.iter().filter(ill).count(), 1);
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn claim_is_asked_in_its_sync_and_taken_back() {
    let mut place = Place::new(attentive());
    place.load("fx-moody-owned", 1);
    let mut claim = place.claim();
    claim.add(5).unwrap();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    claim.feel(Feeling::Critical).unwrap();
    let synced = loop {
        match Claim::sync(&mut claim) {
            SyncOutcome::Unchanged => std::thread::yield_now(),
            synced => break synced,
        }
    };
    assert_eq!(synced, SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!((claim.stamp().unwrap() % 1000, claim.total().unwrap()), (1, 5));
    let report = place.wait_for_rollback();
    assert!(
        matches!(report.reason, RollbackReason::Unhealthy { failures: 3, .. }),
        "{report:#?}"
    );
}

#[test]
fn warning_is_healthy_and_reported() {
    let policy = attentive().probation(EVERY).probation_calls(2);
    let mut place = Place::new(policy);
    place.load("fx-moody", 1);
    let slot = place.slot();
    slot.load().feel(Feeling::Warns).unwrap();
    wait_for_health(&mut place, 1, |health| *health == Health::Warn("it warns".to_owned()));
    slot.load().total().unwrap();
    place.wait_for_confirmed(1);
    assert_eq!(place.host.slots()[0].health, Some(Health::Warn("it warns".to_owned())));
}

#[test]
fn temporarily_unavailable_plugin_is_neither_confirmed_nor_rolled_back() {
    let policy = attentive().probation(EVERY).probation_calls(2);
    let mut place = Place::new(policy);
    place.load("fx-moody", 1);
    place.host.confirm("moody").unwrap();
    place.load("fx-moody", 2);
    let slot = place.slot();
    slot.load().feel(Feeling::Unavailable).unwrap();
    wait_for_health(&mut place, 2, |health| matches!(health, Health::TemporarilyUnavailable(_)));
    // Its time is over and it has enough calls; only its health keeps the probation open.
    slot.load().total().unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < EVERY * 60 {
        let told = place.events.recv_timeout(EVERY);
        assert!(
            !told.is_some_and(|record| matches!(record.event, Event::Confirmed { .. } | Event::RolledBack(_))),
            "while it is away"
        );
    }
    slot.load().feel(Feeling::Well).unwrap();
    place.wait_for_confirmed(2);
}

#[test]
fn check_that_hangs_has_failed_each_time_again_and_its_image_goes_when_it_is_back() {
    let policy = attentive().health_timeout(EVERY * 50);
    let mut place = Place::new(policy);
    place.load("fx-moody", 1);
    place.load("fx-moody", 2);
    let gate = place.gate(2, Hook::Health);
    let slot = place.slot();
    slot.load().feel(Feeling::Hangs).unwrap();
    let report = place.wait_for_rollback();
    assert!(
        matches!(&report.reason, RollbackReason::Unhealthy { failures: 3, last: Health::CheckFailed(words) } if words.contains("did not return")),
        "{report:#?}"
    );
    assert_eq!((place.build(), place.host.images().mapped), (1, 2));
    // Other plugins are checked as before.
    slot.load().feel(Feeling::Warns).unwrap();
    wait_for_health(&mut place, 1, |health| matches!(health, Health::Warn(_)));
    gate.open();
    wait_for_unmapped(&mut place.events, "moody", 2);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn memory_that_grows_without_end_takes_it_back() {
    let mut place = Place::new(attentive());
    place.load("fx-moody", 1);
    place.load("fx-moody", 2);
    place.slot().load().feel(Feeling::Leaks).unwrap();
    let report = place.wait_for_rollback();
    assert!(
        matches!(report.reason, RollbackReason::Growing { bytes_a_second, limit: 10_000_000 } if bytes_a_second > 10_000_000),
        "{report:#?}"
    );
    assert_nothing_left(&place.host, 1);
}

#[test]
fn health_that_turns_bad_after_probation_is_only_reported() {
    let mut place = Place::new(attentive());
    place.load("fx-moody", 1);
    place.load("fx-moody", 2);
    place.host.confirm("moody").unwrap();
    place.slot().load().feel(Feeling::Critical).unwrap();
    wait_for_health(&mut place, 2, |health| matches!(health, Health::Critical(_)));
    place.slot().load().feel(Feeling::Well).unwrap();
    wait_for_health(&mut place, 2, |health| *health == Health::Ok);
    assert_eq!(place.build(), 2);
}

#[test]
fn refusals_words_are_the_hooks() {
    let place = Place::new(attentive());
    let refusal = place.load_moody("fx-moody", 1, Hook::Init, How::Panics).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::Hook(reslot::Hook::Init, HookError::Panicked { message, .. }) if message.contains("nervous")),
        "{refusal}"
    );
}
