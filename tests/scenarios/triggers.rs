//! Every documented fault causes a rollback under each ready-made policy, for claimed and shared slots. The tests change
//! only what the documentation tells users to set: the preflight's program, and a deadline for calls.

use crate::{
    moody::{LATE, Place},
    support::{PATIENCE, wait_for_unmapped},
};
use fixture_interfaces::{Feeling, Hook, Moody, MoodyOwned};
use reslot::{Claim, Event, Health, LoadOutcome, Policy, Preflight, RollbackReason, RollbackReport, Slot, SyncOutcome};
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

/// Sets up a second build on probation with a fault. On a busy machine the fault may come after the last check of the probation, and then it
/// proves nothing: `stage` is called again, with another place. It returns how long after the swap the fault came.
fn in_time<T>(policy: &Policy, mut stage: impl FnMut(Place) -> (Duration, T)) -> T {
    let most = match policy.probation.saturating_sub(policy.health_every) {
        // The one check is at the end.
        Duration::ZERO => policy.probation * 3 / 4,
        before_the_last_check => before_the_last_check,
    };
    for _ in 0..20 {
        let (took, staged) = stage(Place::new(policy.clone()));
        if took < most {
            return staged;
        }
        eprintln!("not in time: the fault came after {took:?}, and {most:?} are allowed");
    }
    panic!("the machine never came to it in time");
}

/// Loads a second build. Its probation began at the returned time or later.
fn second(place: &Place) -> (Slot<dyn Moody>, Instant) {
    place.load(SHARED, 1);
    let (slot, path) = (place.slot(), place.publish(SHARED, 2));
    let begun = Instant::now();
    let Ok(LoadOutcome::Swapped(report)) = place.host.load(path) else {
        panic!("the slot is open")
    };
    let until_the_swap: Duration = report.steps.iter().map(|(_, took)| *took).sum();
    (slot, begun + until_the_swap)
}

fn second_of_claim(place: &Place) -> (Claim<dyn MoodyOwned>, Instant) {
    place.load(OWNED, 1);
    let mut claim = place.claim();
    place.load(OWNED, 2);
    let begun = Instant::now();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    (claim, begun)
}

fn shared<T>(policy: Policy, fault: impl Fn(&Slot<dyn Moody>) -> T) -> Place {
    in_time(&policy, |place| {
        let (slot, begun) = second(&place);
        fault(&slot);
        (begun.elapsed(), place)
    })
}

fn claimed<T>(policy: Policy, fault: impl Fn(&mut Claim<dyn MoodyOwned>) -> T) -> (Place, Claim<dyn MoodyOwned>) {
    in_time(&policy, |place| {
        let (mut claim, begun) = second_of_claim(&place);
        fault(&mut claim);
        (begun.elapsed(), (place, claim))
    })
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
        let mut place = shared(policy(), |slot| slot.load().fail("it slipped").unwrap_err());
        let report = wait_for_rollback(&mut place);
        assert!(matches!(report.reason, RollbackReason::Panicked { .. }), "{report:#?}");
        assert_eq!(place.build(), 1);

        let (mut place, mut claim) = claimed(policy(), |claim| claim.fail("it slipped").unwrap_err());
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
        let mut place = shared(policy(), |slot| slot.load().feel(feeling).unwrap());
        unhealthy(&wait_for_rollback(&mut place));

        let (mut place, mut claim) = claimed(policy(), |claim| claim.feel(feeling).unwrap());
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
        let (mut place, gate) = in_time(&policy(), |place| {
            let gate = place.gate(2, Hook::Health);
            let (slot, begun) = second(&place);
            slot.load().feel(Feeling::Hangs).unwrap();
            (begun.elapsed(), (place, gate))
        });
        let verdict = wait_for_verdict(&mut place);
        gate.open();
        hung(&verdict.expect("it is no good one"));
        wait_for_unmapped(&mut place.events, "moody", 2);

        let (mut place, mut claim) = claimed(policy(), |claim| claim.feel(Feeling::Hangs).unwrap());
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
        let mut place = shared(policy(), |slot| slot.load().feel(Feeling::Leaks).unwrap());
        grows(&wait_for_rollback(&mut place));

        let (mut place, mut claim) = claimed(policy(), |claim| claim.feel(Feeling::Leaks).unwrap());
        grows(&syncs_until_it_goes_back(&mut place, &mut claim));
    }
}

#[test]
fn memory_that_grows_while_the_owner_calls_and_does_not_sync() {
    for policy in BOTH {
        let (mut place, mut claim) = claimed(policy(), |claim| claim.feel(Feeling::Leaks).unwrap());
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
        let (mut place, gate, hung) = in_time(&policy, |place| {
            let gate = place.gate(2, Hook::Call);
            let (slot, begun) = second(&place);
            let hung = thread::spawn(move || slot.load().hang());
            gate.wait_until_reached();
            (begun.elapsed(), (place, gate, hung))
        });
        let verdict = wait_for_verdict(&mut place);
        // The gate is opened in any case, because the thread is joined.
        gate.open();
        hung.join().unwrap().unwrap();
        overdue(&verdict.expect("it is no good one"));

        let (mut place, mut claim) = in_time(&policy, |place| {
            let gate = place.gate(2, Hook::Call);
            let (mut claim, begun) = second_of_claim(&place);
            let reached = thread::scope(|scope| {
                let reached = scope.spawn(move || {
                    gate.wait_until_reached();
                    let reached = begun.elapsed();
                    thread::sleep(deadline + LATE / 2);
                    gate.open();
                    reached
                });
                claim.hang().unwrap();
                reached.join().unwrap()
            });
            (reached, (place, claim))
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
            false => wait_for_rollback(&mut shared(policy, |slot| slot.load().feel(feeling).unwrap())),
            true => {
                let (mut place, mut claim) = claimed(policy, |claim| claim.feel(feeling).unwrap());
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
    let mut place = shared(development(), |slot| {
        slot.load().feel(Feeling::Leaks).unwrap();
        slot.load().add(1).unwrap();
        slot.load().feel(Feeling::Well).unwrap();
    });
    place.wait_for_confirmed(2);

    let (mut place, mut claim) = claimed(development(), |claim| {
        claim.feel(Feeling::Leaks).unwrap();
        claim.add(1).unwrap();
        claim.feel(Feeling::Well).unwrap();
    });
    let begun = Instant::now();
    while place.host.slots()[0].on_probation {
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        thread::sleep(FRAME);
    }
    place.wait_for_confirmed(2);
}

#[test]
fn owner_that_never_syncs_does_not_prolong_a_probation() {
    let policy = development().probation(LATE / 2).health_every(LATE / 4);
    let mut place = Place::new(policy);
    let (mut claim, _) = second_of_claim(&place);
    claim.add(1).unwrap();
    place.wait_for_confirmed(2);
}

#[test]
fn without_probation_no_fault_leads_back() {
    let mut place = Place::new(Policy::without_probation());
    let (slot, _) = second(&place);
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
