//! Hooks that do not return: the candidate is refused in time, the current generation keeps serving, and nothing of the
//! candidate stays after the hook has returned.

use crate::{
    moody::{LATE, Place, SHORT, on_probation},
    support::{Gate, assert_nothing_left, wait_for_retired, wait_for_unmapped},
};
use fixture_interfaces::{Hook as Where, How, MoodyOwned};
use reslot::{Cause, Claim, Event, Hook, HookError, Lifecycle, Outcome, Policy, QuarantineReason, Step, SyncOutcome};
use std::{sync::mpsc, thread, time::Instant};

fn impatient() -> Policy {
    Policy::without_probation()
        .hook_deadline(LATE)
        .health_every(crate::moody::FOR_EVER)
}

/// The hooks of a candidate of a shared plugin, with their package and the host's name for them.
const CANDIDATES: [(Where, &str, Hook); 6] = [
    (Where::Create, "fx-moody", Hook::Create),
    (Where::Migrate, "fx-moody-newer", Hook::Migrate),
    (Where::Restore, "fx-moody", Hook::Restore),
    (Where::Init, "fx-moody", Hook::Init),
    (Where::Start, "fx-moody", Hook::Start),
    (Where::Health, "fx-moody", Hook::Health),
];

fn assert_took_too_long(cause: &Cause, hook: Hook) {
    assert!(
        matches!(cause, Cause::Hook(of, HookError::TookTooLong(after)) if *of == hook && *after == LATE),
        "{cause}"
    );
    assert!(cause.remedy().contains("raise `Policy::hook_deadline`"), "{}", cause.remedy());
}

#[test]
fn hung_hook_of_a_candidate_is_refused_in_time_and_leaves_nothing() {
    for (at, package, hook) in CANDIDATES {
        let mut place = Place::new(impatient());
        place.load("fx-moody", 1);
        let slot = place.slot();
        slot.load().add(5).unwrap();
        let gate = place.gate(2, at);
        let refusal = place.load_moody(package, 2, at, How::Hangs).unwrap_err();
        assert_took_too_long(&refusal.cause, hook);
        assert_eq!(refusal.serving, Some(1));
        // The hook still runs, and the host reports it.
        gate.wait_until_reached();
        let images = place.host.images();
        assert_eq!((images.mapped, images.quarantined), (2, 1), "{at:?}");
        assert_eq!(slot.load().add(1).unwrap(), 6, "{at:?}");
        // The slot loads another build meanwhile.
        place.load("fx-moody", 3);
        assert_eq!(slot.load().add(1).unwrap(), 7, "{at:?}");
        gate.open();
        let report = wait_for_unmapped(&mut place.events, "moody", 2);
        assert!(!report.served);
        assert_eq!(slot.load().past().unwrap().starts, 1);
        let way = place.way(2);
        assert_eq!(way.last(), Some(&Lifecycle::Unloaded), "{at:?}: {way:?}");
        assert!(way.contains(&Lifecycle::Failed), "{at:?}: {way:?}");
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn hung_hook_of_a_claims_candidate_is_refused_in_time() {
    let owned = CANDIDATES.into_iter().filter(|(at, ..)| *at != Where::Create);
    for (at, package, hook) in owned {
        let package = package.replace("moody", "moody-owned");
        let mut place = Place::new(impatient());
        place.load("fx-moody-owned", 1);
        let mut claim = place.claim();
        claim.add(5).unwrap();
        let gate = place.gate(2, at);
        place.load_moody(&package, 2, at, How::Hangs).unwrap();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
        let refusal = crate::support::wait_for_refused(&mut place.events);
        assert_took_too_long(&refusal.cause, hook);
        assert_eq!(claim.add(1).unwrap(), 6);
        gate.open();
        wait_for_unmapped(&mut place.events, "moody", 2);
        drop(claim);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn hung_snapshot_of_the_current_generation_refuses_the_candidate() {
    let mut place = Place::new(impatient());
    place.load_moody("fx-moody", 1, Where::Snapshot, How::Hangs).unwrap();
    let slot = place.slot();
    let gate = place.gate(1, Where::Snapshot);
    let refusal = place.load_moody("fx-moody", 2, Where::None, How::Refuses).unwrap_err();
    assert_took_too_long(&refusal.cause, Hook::Snapshot);
    assert_eq!(refusal.step, Step::Snapshot);
    assert_eq!(slot.load().add(1).unwrap(), 1);
    gate.open();
    drop(gate);
    wait_for_unmapped(&mut place.events, "moody", 2);
    place.load("fx-moody", 3);
    assert_eq!(slot.load().add(1).unwrap(), 2);
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

/// The plugin is not `Sync`, so nobody may claim it as long as the hook runs.
#[test]
fn hung_snapshot_of_an_owned_plugin_that_nobody_claims_keeps_no_other_slot_waiting() {
    let mut place = Place::new(impatient());
    place.load_moody("fx-moody-owned", 1, Where::Snapshot, How::Hangs).unwrap();
    let gate = place.gate(1, Where::Snapshot);
    for build in [2, 3] {
        // While the hook runs it is not called a second time.
        let refusal = place
            .load_moody("fx-moody-owned", build, Where::None, How::Refuses)
            .unwrap_err();
        assert_took_too_long(&refusal.cause, Hook::Snapshot);
        assert_eq!((refusal.step, refusal.serving), (Step::Snapshot, Some(1)));
    }
    let unloaded = place.host.unload("moody").unwrap_err();
    assert!(unloaded.to_string().contains("did not return within"), "{unloaded}");
    let probe = reslot_tests::Fixture::build("fx-probe");
    for stamp in [1, 2] {
        place
            .host
            .load(place.folder.publish("libprobe.so", &probe.stamped(stamp)))
            .unwrap();
    }
    let (claimed, wait) = mpsc::channel();
    let host = &place.host;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut claim: Claim<dyn MoodyOwned> = host.claim("moody").unwrap();
            claimed.send(()).unwrap();
            assert_eq!(claim.add(1).unwrap(), 1);
        });
        assert_eq!(wait.recv_timeout(SHORT), Err(mpsc::RecvTimeoutError::Timeout));
        gate.open();
    });
    drop(gate);
    place.load("fx-moody-owned", 4);
    assert_eq!(place.claim().add(1).unwrap(), 2);
    for number in [2, 3, 1] {
        wait_for_unmapped(&mut place.events, "moody", number);
    }
}

#[test]
fn hung_end_of_a_retired_generation_holds_up_no_other() {
    for at in [Where::Stop, Where::Drop] {
        let mut place = Place::new(impatient());
        place.load_moody("fx-moody", 1, at, How::Hangs).unwrap();
        let probe = reslot_tests::Fixture::build("fx-probe");
        place
            .host
            .load(place.folder.publish("libprobe.so", &probe.stamped(1)))
            .unwrap();
        let gate = place.gate(1, at);
        place.load("fx-moody", 2);
        gate.wait_until_reached();
        // Before and after the hanging candidate was given up.
        place
            .host
            .load(place.folder.publish("libprobe.so", &probe.stamped(2)))
            .unwrap();
        wait_for_unmapped(&mut place.events, "probe", 1);
        let report = wait_for_retired(&mut place.host.events(), "moody", 1);
        assert!(
            matches!(report.outcome, Outcome::Quarantined(QuarantineReason::HookRunning(_))),
            "{report:#?}"
        );
        place
            .host
            .load(place.folder.publish("libprobe.so", &probe.stamped(3)))
            .unwrap();
        wait_for_unmapped(&mut place.events, "probe", 2);
        place.load("fx-moody", 3);
        wait_for_unmapped(&mut place.events, "moody", 2);
        assert_eq!(place.host.images().quarantined, 1);
        gate.open();
        place.wait(|event| matches!(event, Event::Released { generation: 1, .. }).then_some(()));
        assert_nothing_left(&place.host, 2);
    }
}

#[test]
fn after_a_hung_rollback_the_slot_gets_a_version_from_the_history() {
    // The standby hangs when it is started again, so it is given up, and its artifact is loaded again from the history.
    for at in [Where::Restart, Where::Stop] {
        let policy = on_probation().hook_deadline(LATE);
        let mut place = Place::new(policy);
        place.load_moody("fx-moody", 1, at, How::Hangs).unwrap();
        place.host.confirm("moody").unwrap();
        let slot = place.slot();
        slot.load().add(5).unwrap();
        place.load("fx-moody", 2);
        let gate = place.gate(1, at);
        slot.load().fail("it slipped").unwrap_err();
        let report = place.wait_for_rollback();
        assert_eq!((report.from, report.to), (2, 3));
        assert_eq!((place.build(), slot.load().total().unwrap()), (1, 6), "{at:?}");
        gate.open();
        drop(gate);
        wait_for_unmapped(&mut place.events, "moody", 1);
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

/// Drops a host on another thread, so that a hang is noticed.
fn drop_host(place: Place) -> reslot::Events {
    let Place {
        host, events, folder, ..
    } = place;
    let (done, dropped) = mpsc::channel();
    let thread = thread::spawn(move || {
        drop(host);
        let _ = done.send(());
    });
    let begun = Instant::now();
    dropped
        .recv_timeout(crate::support::PATIENCE)
        .unwrap_or_else(|_| panic!("the host hangs while it is dropped, since {:?}", begun.elapsed()));
    thread.join().expect("it is dropped");
    drop(folder);
    events
}

fn open(gate: Gate) {
    gate.open();
}

#[test]
fn host_goes_while_a_candidates_hook_hangs() {
    for (at, package, _) in CANDIDATES {
        let place = Place::new(impatient());
        place.load("fx-moody", 1);
        let gate = place.gate(2, at);
        place.load_moody(package, 2, at, How::Hangs).unwrap_err();
        gate.wait_until_reached();
        let mut events = drop_host(place);
        open(gate);
        // The stream ends, because the host does not wait for the hanging hook.
        while events.recv_timeout(crate::support::PATIENCE).is_some() {}
    }
}

#[test]
fn host_goes_while_a_load_waits_for_a_hook() {
    let policy = impatient().hook_deadline(crate::moody::FOR_EVER);
    let place = Place::new(policy);
    place.load("fx-moody", 1);
    let gate = place.gate(2, Where::Start);
    let path = place.publish_moody("fx-moody", 2, Where::Start, How::Hangs);
    thread::scope(|scope| {
        let loading = scope.spawn(|| place.host.load(&path));
        gate.wait_until_reached();
        gate.open();
        loading.join().unwrap().unwrap();
    });
    drop_host(place);
}

#[test]
fn host_goes_while_an_end_hangs() {
    for at in [Where::Stop, Where::Drop] {
        let place = Place::new(impatient());
        place.load_moody("fx-moody", 1, at, How::Hangs).unwrap();
        let gate = place.gate(1, at);
        place.load("fx-moody", 2);
        gate.wait_until_reached();
        drop_host(place);
        gate.open();
        // The same for the current generation when the host is dropped.
        let place = Place::new(impatient());
        place.load_moody("fx-moody", 1, at, How::Hangs).unwrap();
        let gate = place.gate(1, at);
        drop_host(place);
        gate.open();
    }
}

#[test]
fn host_goes_while_a_check_hangs() {
    let policy = on_probation().health_every(SHORT);
    let place = Place::new(policy);
    place.load("fx-moody", 1);
    let gate = place.gate(1, Where::Health);
    place.slot().load().feel(fixture_interfaces::Feeling::Hangs).unwrap();
    gate.wait_until_reached();
    let mut events = drop_host(place);
    gate.open();
    wait_for_unmapped(&mut events, "moody", 1);
}

#[test]
fn host_goes_on_probation_with_something_standing_by() {
    for package in ["fx-moody", "fx-moody-stateless", "fx-moody-only"] {
        let place = Place::new(on_probation());
        place.load(package, 1);
        place.load(package, 2);
        assert_eq!(place.host.images().standby, 1);
        let mut events = drop_host(place);
        wait_for_unmapped(&mut events, "moody", 2);
    }
}

#[test]
fn claim_that_outlives_its_host_is_left_alone_by_probation() {
    let place = Place::new(on_probation());
    place.load("fx-moody-owned", 1);
    let mut claim = place.claim();
    place.load("fx-moody-owned", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    claim.fail("it slipped").unwrap_err();
    let mut events = drop_host(place);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    assert_eq!(claim.add(1).unwrap(), 2);
    drop(claim);
    wait_for_unmapped(&mut events, "moody", 2);
}
