//! Every documented fault causes a rollback under each ready-made policy, for claimed and shared slots. The tests change
//! only what the documentation tells users to set: the preflight's program, and a deadline for calls.

use crate::{
    moody::{LATE, Place},
    support::{PATIENCE, wait_for_unmapped},
};
use fixture_interfaces::{Feeling, Hook, MoodyOwned};
use reslot::{Claim, Event, Health, Policy, Preflight, RollbackReason, RollbackReport, SyncOutcome};
use reslot_tests::preflight_program;
use std::{
    thread,
    time::{Duration, Instant},
};

const SHARED: &str = "fx-moody";
const OWNED: &str = "fx-moody-owned";
/// How often a busy owner calls `sync`.
const FRAME: Duration = Duration::from_millis(5);

fn development() -> Policy {
    Policy::development()
}

fn production() -> Policy {
    let mut policy = Policy::production();
    policy.preflight = Some(Preflight {
        program: Some(preflight_program().to_owned()),
        timeout: PATIENCE,
    });
    policy
}

const BOTH: [fn() -> Policy; 2] = [development, production];

/// A place with a second build on probation.
fn shared(policy: Policy) -> Place {
    let place = Place::new(policy);
    place.load(SHARED, 1);
    place.load(SHARED, 2);
    place
}

fn claimed(policy: Policy) -> (Place, Claim<dyn MoodyOwned>) {
    let place = Place::new(policy);
    place.load(OWNED, 1);
    let mut claim = place.claim();
    place.load(OWNED, 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    (place, claim)
}

/// Waits for the rollback of the second build; none if it passed its probation.
fn wait_for_verdict(place: &mut Place) -> Option<RollbackReport> {
    place.wait(|event| match event {
        Event::RolledBack(report) => Some(Some(report.clone())),
        Event::Confirmed { generation: 2, .. } => Some(None),
        _ => None,
    })
}

fn wait_for_rollback(place: &mut Place) -> RollbackReport {
    wait_for_verdict(place).expect("it is no good one")
}

/// Calls `sync` until the rollback.
fn syncs_until_it_goes_back(place: &mut Place, claim: &mut Claim<dyn MoodyOwned>) -> RollbackReport {
    let begun = Instant::now();
    while Claim::sync(claim) != (SyncOutcome::RolledBack { from: 2, generation: 1 }) {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", place.told());
        thread::sleep(FRAME);
    }
    wait_for_rollback(place)
}

#[test]
fn panic() {
    for policy in BOTH {
        let mut place = shared(policy());
        place.slot().load().fail("it slipped").unwrap_err();
        let report = wait_for_rollback(&mut place);
        assert!(matches!(report.reason, RollbackReason::Panicked { .. }), "{report:#?}");
        assert_eq!(place.build(), 1);

        let (mut place, mut claim) = claimed(policy());
        claim.fail("it slipped").unwrap_err();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
        let report = wait_for_rollback(&mut place);
        assert!(matches!(report.reason, RollbackReason::Panicked { .. }), "{report:#?}");
    }
}

fn failed_checks(feeling: Feeling) {
    let unhealthy = |report: &RollbackReport| {
        assert!(
            matches!(report.reason, RollbackReason::Unhealthy { failures: 3, .. }),
            "{report:#?}"
        );
    };
    for policy in BOTH {
        let mut place = shared(policy());
        place.slot().load().feel(feeling).unwrap();
        unhealthy(&wait_for_rollback(&mut place));

        let (mut place, mut claim) = claimed(policy());
        claim.feel(feeling).unwrap();
        unhealthy(&syncs_until_it_goes_back(&mut place, &mut claim));
    }
}

#[test]
fn checks_that_fail() {
    failed_checks(Feeling::Critical);
}

#[test]
fn checks_that_panic() {
    failed_checks(Feeling::Panics);
}

#[test]
fn checks_that_hang() {
    let hung = |report: &RollbackReport| {
        assert!(
            matches!(
                &report.reason,
                RollbackReason::Unhealthy {
                    last: Health::CheckFailed(_),
                    ..
                }
            ),
            "{report:#?}"
        );
    };
    for policy in BOTH {
        let mut place = shared(policy());
        let gate = place.gate(2, Hook::Health);
        place.slot().load().feel(Feeling::Hangs).unwrap();
        let verdict = wait_for_verdict(&mut place);
        gate.open();
        hung(&verdict.expect("it is no good one"));
        wait_for_unmapped(&mut place.events, "moody", 2);

        let (mut place, mut claim) = claimed(policy());
        claim.feel(Feeling::Hangs).unwrap();
        let begun = Instant::now();
        // Each round is one check that hangs on the owner's thread, until three checks have failed.
        let mut synced = SyncOutcome::Unchanged;
        while synced == SyncOutcome::Unchanged {
            assert!(begun.elapsed() < PATIENCE, "{:#?}", place.told());
            let gate = place.gate(2, Hook::Health);
            thread::scope(|scope| {
                let holds = scope.spawn(move || {
                    gate.wait_until_reached();
                    thread::sleep(LATE * 3);
                    gate.open();
                });
                while synced == SyncOutcome::Unchanged && !holds.is_finished() {
                    thread::sleep(FRAME);
                    synced = Claim::sync(&mut claim);
                }
            });
        }
        assert_eq!(synced, SyncOutcome::RolledBack { from: 2, generation: 1 });
        hung(&wait_for_rollback(&mut place));
    }
}

fn grows(report: &RollbackReport) {
    assert!(
        matches!(report.reason, RollbackReason::Growing { bytes_a_second, limit: 10_000_000 } if bytes_a_second > 10_000_000),
        "{report:#?}"
    );
}

#[test]
fn memory_that_grows() {
    for policy in BOTH {
        let mut place = shared(policy());
        place.slot().load().feel(Feeling::Leaks).unwrap();
        grows(&wait_for_rollback(&mut place));

        let (mut place, mut claim) = claimed(policy());
        claim.feel(Feeling::Leaks).unwrap();
        grows(&syncs_until_it_goes_back(&mut place, &mut claim));
    }
}

#[test]
fn memory_that_grows_while_the_owner_calls_and_does_not_sync() {
    for policy in BOTH {
        let (mut place, mut claim) = claimed(policy());
        claim.feel(Feeling::Leaks).unwrap();
        let mut synced = SyncOutcome::Unchanged;
        let mut rounds = 0;
        while synced == SyncOutcome::Unchanged {
            rounds += 1;
            assert!(rounds < 6, "{:#?}", place.told());
            // Longer than three measurements, and longer than the probation of `development`.
            let begun = Instant::now();
            while begun.elapsed() < LATE * 5 {
                claim.add(1).unwrap();
                thread::sleep(FRAME * 10);
            }
            synced = Claim::sync(&mut claim);
        }
        assert_eq!(synced, SyncOutcome::RolledBack { from: 2, generation: 1 });
        grows(&wait_for_rollback(&mut place));
    }
}

fn overdue(report: &RollbackReport) {
    assert!(
        matches!(report.reason, RollbackReason::CallTimeout { method: "hang", .. }),
        "{report:#?}"
    );
}

#[test]
fn call_that_takes_too_long() {
    // The second deadline is longer than the probation of `development`: the probation does not end before the call or its
    // deadline.
    for (policy, deadline) in [
        (development as fn() -> Policy, LATE / 2),
        (development, LATE * 3),
        (production, LATE / 2),
    ] {
        let policy = policy().call_deadline(deadline);
        let mut place = shared(policy.clone());
        let (slot, gate) = (place.slot(), place.gate(2, Hook::Call));
        thread::scope(|scope| {
            let hung = scope.spawn(|| slot.load().hang());
            gate.wait_until_reached();
            let verdict = wait_for_verdict(&mut place);
            // The gate is opened in any case, because the thread is joined.
            gate.open();
            hung.join().unwrap().unwrap();
            overdue(&verdict.expect("it is no good one"));
        });

        let (mut place, mut claim) = claimed(policy);
        let gate = place.gate(2, Hook::Call);
        thread::scope(|scope| {
            scope.spawn(move || {
                gate.wait_until_reached();
                thread::sleep(deadline + LATE / 2);
                gate.open();
            });
            claim.hang().unwrap();
        });
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 1 });
        overdue(&wait_for_rollback(&mut place));
    }
}

#[test]
fn checks_that_are_rarer_than_the_probation_is_long() {
    for (feeling, is_owned) in [
        (Feeling::Critical, false),
        (Feeling::Critical, true),
        (Feeling::Leaks, false),
        (Feeling::Leaks, true),
    ] {
        let policy = development().probation(LATE / 4).health_every(LATE / 2);
        let report = match is_owned {
            false => {
                let mut place = shared(policy);
                place.slot().load().feel(feeling).unwrap();
                wait_for_rollback(&mut place)
            }
            true => {
                let (mut place, mut claim) = claimed(policy);
                claim.feel(feeling).unwrap();
                syncs_until_it_goes_back(&mut place, &mut claim)
            }
        };
        let is_right = match feeling {
            Feeling::Leaks => matches!(report.reason, RollbackReason::Growing { .. }),
            _ => matches!(report.reason, RollbackReason::Unhealthy { .. }),
        };
        assert!(is_right, "{report:#?}");
    }
}

#[test]
fn plugin_that_grows_once_passes() {
    let mut place = shared(development());
    let slot = place.slot();
    slot.load().feel(Feeling::Leaks).unwrap();
    slot.load().add(1).unwrap();
    slot.load().feel(Feeling::Well).unwrap();
    place.wait_for_confirmed(2);

    let (mut place, mut claim) = claimed(development());
    claim.feel(Feeling::Leaks).unwrap();
    claim.add(1).unwrap();
    claim.feel(Feeling::Well).unwrap();
    let begun = Instant::now();
    while place.host.slots()[0].on_probation {
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        thread::sleep(FRAME);
    }
    place.wait_for_confirmed(2);
}

#[test]
fn owner_who_never_syncs_keeps_nobody_on_probation_for_ever() {
    let policy = development().probation(LATE / 2).health_every(LATE / 4);
    let (mut place, mut claim) = claimed(policy);
    claim.add(1).unwrap();
    place.wait_for_confirmed(2);
}

#[test]
fn without_probation_no_fault_leads_back() {
    let mut place = shared(Policy::without_probation());
    let slot = place.slot();
    slot.load().fail("it slipped").unwrap_err();
    slot.load().feel(Feeling::Critical).unwrap();
    wait_for_unmapped(&mut place.events, "moody", 1);
    place.wait(|event| {
        let ill = matches!(
            event,
            Event::Health {
                generation: 2,
                health: Health::Critical(_),
                ..
            }
        );
        ill.then_some(())
    });
    assert!(!place.host.slots()[0].on_probation);
    assert_eq!(place.build(), 2);
}
