//! A host with preflights: an artifact that would crash the host is refused, and the preflight uses the current state.

use crate::support::{PATIENCE, assert_nothing_left, wait_for};
use fixture_interfaces::{Counter, SharedCounter};
use reslot::{
    Cause, Claim, Event, Host, LoadOutcome, Policy, Preflight, PreflightError, PreflightStep, Refusal, Step, SyncOutcome,
};
use reslot_tests::{Fixture, Folder, preflight_program};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// The stamps with which `fx-births` misbehaves.
const CRASHES_WHEN_OPENED: u64 = 1;
const CRASHES: u64 = 2;
const ABORTS: u64 = 3;
const EXITS: u64 = 4;
const HANGS: u64 = 5;
const PANICS: u64 = 6;

const SHARED: &str = "shared-counter";

struct Place {
    folder: Folder,
    host: Host,
}

impl Place {
    fn new(program: &Path, timeout: Duration) -> Self {
        let mut policy = Policy::without_probation();
        policy.preflight = Some(Preflight {
            program: Some(program.to_owned()),
            timeout,
        });
        let host = Host::builder().policy(policy).build().expect("the host starts");
        let folder = Folder::new();
        Self { folder, host }
    }

    fn patient() -> Self {
        Self::new(preflight_program(), PATIENCE)
    }

    fn publish(&self, package: &str, stamp: u64) -> PathBuf {
        self.folder.publish("plugin.so", &Fixture::build(package).stamped(stamp))
    }

    fn load(&self, package: &str, stamp: u64) -> Result<LoadOutcome, Refusal> {
        self.host.load(self.publish(package, stamp))
    }
}

fn preflight_error(refusal: &Refusal) -> &PreflightError {
    assert_eq!(refusal.step, Step::Preflight, "{refusal}");
    match &*refusal.cause {
        Cause::Preflight(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn good_one_is_taken_and_the_step_is_in_its_report() {
    let place = Place::patient();
    for n in 1..=2 {
        let Ok(LoadOutcome::Swapped(report)) = place.load("fx-shared-counter", n) else {
            panic!("it is good")
        };
        let took = report.steps.iter().find(|(step, _)| *step == Step::Preflight);
        assert!(took.is_some_and(|(_, took)| *took > Duration::ZERO), "{report:?}");
        let slot = place.host.slot::<dyn SharedCounter>(SHARED).unwrap();
        assert_eq!(slot.load().add(1).unwrap(), n);
    }
    assert_nothing_left(&place.host, 1);
}

#[test]
fn artifact_that_would_end_the_host_is_never_opened_in_it() {
    let place = Place::patient();
    place.load("fx-counter", 100).unwrap();
    let mut events = place.host.events();
    let mut claim = place.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    // The claim is dropped, because the preflight would wait for its owner.
    drop(claim);
    for (stamp, words) in [
        (CRASHES_WHEN_OPENED, "SIGSEGV"),
        (CRASHES, "SIGSEGV"),
        (ABORTS, "SIGABRT"),
        (EXITS, "code 0"),
        (PANICS, "no configuration to begin with"),
    ] {
        let refusal = place.load("fx-births", stamp).unwrap_err();
        let error = preflight_error(&refusal);
        let fits = match (stamp, error) {
            (CRASHES_WHEN_OPENED, PreflightError::Crashed { step, signal, .. }) => {
                (*step, *signal) == (PreflightStep::Open, libc::SIGSEGV)
            }
            (CRASHES, PreflightError::Crashed { step, signal, .. }) => {
                (*step, *signal) == (PreflightStep::Create, libc::SIGSEGV)
            }
            (ABORTS, PreflightError::Crashed { step, signal, .. }) => {
                (*step, *signal) == (PreflightStep::Create, libc::SIGABRT)
            }
            (EXITS, PreflightError::Exited { step, code, .. }) => (*step, *code) == (PreflightStep::Create, 0),
            (PANICS, PreflightError::Refused { step, .. }) => *step == PreflightStep::Create,
            _ => false,
        };
        assert!(fits, "{error:?}");
        let text = refusal.to_string();
        for part in [
            words,
            "refused at preflight: ",
            "  what to do: ",
            "generation 1 keeps serving",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        let told = wait_for(&mut events, |event| match event {
            Event::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        assert_eq!(told.step, Step::Preflight);
        let claim = place.host.claim::<dyn Counter>("counter").unwrap();
        assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (5, 100));
        assert_eq!(place.host.history("counter").len(), 1, "what never served is not listed");
        drop(claim);
        assert_nothing_left(&place.host, 1);
    }
    // The slot still works.
    place.load("fx-counter", 200).unwrap();
    assert_eq!(place.host.claim::<dyn Counter>("counter").unwrap().add(1).unwrap(), 6);
}

#[test]
fn hanging_preflight_is_given_up() {
    // With so much time that it comes to the place where it hangs, on however busy a machine.
    for timeout in [1, 5, 30].map(Duration::from_secs) {
        let place = Place::new(preflight_program(), timeout);
        let refusal = place.load("fx-births", HANGS).unwrap_err();
        let PreflightError::Hung { step, after, .. } = preflight_error(&refusal) else {
            panic!("{refusal}")
        };
        assert_eq!(*after, timeout);
        if *step == PreflightStep::Create {
            return assert_nothing_left(&place.host, 0);
        }
    }
    panic!("it did not come to its constructor");
}

#[test]
fn the_same_bad_file_is_not_tried_in_a_loop_but_when_asked() {
    let folder = Folder::new();
    let mut policy = Policy::without_probation();
    policy.preflight = Some(Preflight {
        program: Some(preflight_program().to_owned()),
        timeout: PATIENCE,
    });
    let bad = Fixture::build("fx-births").stamped(CRASHES);
    folder.publish("libcounter.so", &bad);
    let host = Host::builder().policy(policy).watch(folder.path()).build().unwrap();
    let mut events = host.events();
    let path = folder.publish("libcounter.so", &bad);
    wait_for(&mut events, |event| matches!(event, Event::StillRefused { .. }).then_some(()));
    let refusal = host.load(path).unwrap_err();
    assert!(matches!(preflight_error(&refusal), PreflightError::Crashed { .. }));
}

/// What `fx-moods` does with a total of 13, by its stamp.
const PANICS_IN_INIT: u64 = 200;
const CRASHES_IN_RESTORE: u64 = 300;

#[test]
fn state_of_an_open_slot_goes_along() {
    let place = Place::patient();
    place.load("fx-moods", 1).unwrap();
    let slot = place.host.slot::<dyn SharedCounter>(SHARED).unwrap();
    assert_eq!(slot.load().add(13).unwrap(), 13);

    let refusal = place.load("fx-moods", PANICS_IN_INIT).unwrap_err();
    let PreflightError::Refused { step, reason } = preflight_error(&refusal) else {
        panic!("{refusal}")
    };
    assert!(
        *step == PreflightStep::Init && reason.contains("13 brings bad luck"),
        "{refusal}"
    );

    let refusal = place.load("fx-moods", CRASHES_IN_RESTORE).unwrap_err();
    let PreflightError::Crashed { step, signal, .. } = preflight_error(&refusal) else {
        panic!("{refusal}")
    };
    assert_eq!((*step, *signal), (PreflightStep::Restore, libc::SIGSEGV));
    assert_eq!(slot.load().add(1).unwrap(), 14);
    // With another state they are accepted.
    place.load("fx-moods", PANICS_IN_INIT).unwrap();
    place.load("fx-moods", CRASHES_IN_RESTORE).unwrap();
    assert_eq!(slot.load().add(0).unwrap(), 14);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn calls_go_on_while_the_state_is_tried_and_none_is_lost() {
    let place = Place::patient();
    place.load("fx-shared-counter", 1).unwrap();
    let slot = place.host.slot::<dyn SharedCounter>(SHARED).unwrap();
    let done = AtomicBool::new(false);
    let added = thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let mut added = 0;
            while !done.load(Ordering::Relaxed) {
                slot.load().add(1).unwrap();
                added += 1;
            }
            added
        });
        for n in 2..=10 {
            place.load("fx-shared-counter", n).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        calling.join().unwrap()
    });
    assert_eq!(slot.load().total().unwrap(), added);
}

#[test]
fn state_of_a_claimed_slot_goes_along_when_its_owner_syncs() {
    let place = Place::patient();
    place.load("fx-moods", 1).unwrap();
    let mut claim = place.host.claim::<dyn SharedCounter>(SHARED).unwrap();
    assert_eq!(claim.add(13).unwrap(), 13);
    let done = AtomicBool::new(false);
    let mut claim = thread::scope(|scope| {
        let owner = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
            }
            claim
        });
        let panics = place.load("fx-moods", PANICS_IN_INIT);
        let crashes = place.load("fx-moods", CRASHES_IN_RESTORE);
        done.store(true, Ordering::Relaxed);
        let refusal = panics.unwrap_err();
        assert!(
            matches!(
                preflight_error(&refusal),
                PreflightError::Refused {
                    step: PreflightStep::Init,
                    ..
                }
            ),
            "{refusal}"
        );
        let refusal = crashes.unwrap_err();
        assert!(
            matches!(
                preflight_error(&refusal),
                PreflightError::Crashed {
                    step: PreflightStep::Restore,
                    ..
                }
            ),
            "{refusal}"
        );
        owner.join().unwrap()
    });
    assert_eq!((Claim::sync(&mut claim), claim.add(1).unwrap()), (SyncOutcome::Unchanged, 14));
    assert_nothing_left(&place.host, 1);
}

#[test]
fn without_a_sync_the_preflight_runs_without_the_state() {
    // The preflight waits this long for the owner.
    for timeout in [1, 5, 30].map(Duration::from_secs) {
        let place = Place::new(preflight_program(), timeout);
        if let Err(refusal) = place.load("fx-moods", 1) {
            // On a busy machine even a good artifact may be too slow.
            assert!(matches!(preflight_error(&refusal), PreflightError::Hung { .. }), "{refusal}");
            continue;
        }
        let mut claim = place.host.claim::<dyn SharedCounter>(SHARED).unwrap();
        assert_eq!(claim.add(13).unwrap(), 13);
        let staged = match place.load("fx-moods", PANICS_IN_INIT) {
            Ok(staged) => staged,
            Err(refusal) => {
                assert!(matches!(preflight_error(&refusal), PreflightError::Hung { .. }), "{refusal}");
                continue;
            }
        };
        assert!(matches!(staged, LoadOutcome::Staged { generation: 2, .. }), "{staged:?}");
        // The host refuses a fault that the child could not detect.
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
        assert_eq!(claim.add(1).unwrap(), 14);
        return assert_nothing_left(&place.host, 1);
    }
    panic!("no preflight was in time");
}

#[test]
fn owner_that_drops_its_claim_is_not_waited_for() {
    let place = Place::patient();
    place.load("fx-moods", 1).unwrap();
    let claim = place.host.claim::<dyn SharedCounter>(SHARED).unwrap();
    assert_eq!(claim.add(13).unwrap(), 13);
    let mut events = place.host.events();
    while events.try_recv().is_some() {}
    let begun = std::time::Instant::now();
    let refusal = thread::scope(|scope| {
        let loading = scope.spawn(|| place.load("fx-moods", PANICS_IN_INIT));
        // The next step of the preflight requests the state.
        wait_for(&mut events, |event| matches!(event, Event::Linted { .. }).then_some(()));
        drop(claim);
        loading.join().unwrap().unwrap_err()
    });
    assert!(
        matches!(
            preflight_error(&refusal),
            PreflightError::Refused {
                step: PreflightStep::Init,
                ..
            }
        ),
        "his state is there to be had: {refusal}"
    );
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn missing_preflight_program_is_reported_and_nothing_is_loaded_without_it() {
    let place = Place::new(Path::new("/nowhere/reslot-preflight"), PATIENCE);
    let refusal = place.load("fx-counter", 1).unwrap_err();
    assert!(matches!(preflight_error(&refusal), PreflightError::Program { .. }));
    let text = refusal.to_string();
    assert!(
        text.contains("/nowhere/reslot-preflight") && text.contains("--bin reslot-preflight"),
        "{text}"
    );
    assert_nothing_left(&place.host, 0);
}

#[test]
fn critical_in_the_child_is_refused_there() {
    let place = Place::patient();
    place.load("fx-moods", 1).unwrap();
    let refusal = place.load("fx-moods", 100).unwrap_err();
    let PreflightError::Unhealthy { message } = preflight_error(&refusal) else {
        panic!("{refusal}")
    };
    assert!(message.contains("in a bad mood"), "{message}");
    assert!(refusal.to_string().contains("generation 1 keeps serving"), "{refusal}");
    assert_nothing_left(&place.host, 1);
}

#[test]
fn member_that_fails_its_preflight_keeps_the_set_out() {
    let place = Place::patient();
    place.load("fx-probe", 1).unwrap();
    place.load("fx-moods", 1).unwrap();
    let probe = place.folder.publish("probe.so", &Fixture::build("fx-probe").stamped(2));
    let moody = place.folder.publish("moody.so", &Fixture::build("fx-moods").stamped(100));
    let refusal = place.host.load_together([probe, moody]).unwrap_err();
    assert!(
        matches!(preflight_error(&refusal), PreflightError::Unhealthy { .. }),
        "{refusal}"
    );
    let generations: Vec<_> = place.host.slots().into_iter().map(|slot| slot.generation).collect();
    assert_eq!(generations, [Some(1); 2]);
    assert_nothing_left(&place.host, 2);
}
