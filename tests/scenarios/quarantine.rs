//! Images that cannot be unmapped: counted, capped, unmapped when their reason ends, never forced.

use crate::support::{
    Gate, assert_nothing_left, start_lingering, wait_for, wait_for_retired, wait_for_swapped, wait_for_unmapped, wait_until,
};
use fixture_interfaces::Probe;
use reslot::{Cause, Event, GenerationStatus, Host, Outcome, QuarantineReason, Step, mapped_copies};
use reslot_tests::{Fixture, Folder};
use std::{os::unix::net::UnixStream, sync::mpsc, thread, time::Duration};

/// A host with short deadlines and quarantined `images` of a plugin, each kept by a thread that ends with its socket.
pub fn with_quarantined(folder: &Folder, images: u64) -> (Host, Vec<UnixStream>) {
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .drain_deadline(Duration::from_millis(10))
        .quarantine_cap(2)
        .build()
        .unwrap();
    let mut events = host.events();
    let lingering = Fixture::build("fx-lingering");
    let mut sockets = Vec::new();
    for n in 1..=images + 1 {
        folder.publish("libprobe.so", &lingering.stamped(n));
        wait_for_swapped(&mut events, "probe", n);
        if n > 1 {
            let retired = wait_for_retired(&mut events, "probe", n - 1);
            assert!(
                matches!(retired.outcome, Outcome::Quarantined(QuarantineReason::ThreadsRunning(_))),
                "{retired:#?}"
            );
        }
        if n <= images {
            sockets.push(start_lingering(&host, folder));
        }
    }
    (host, sockets)
}

#[test]
fn over_the_cap_reloads_are_refused_and_the_last_is_retried_when_an_image_is_gone() {
    let folder = Folder::new();
    let (host, mut sockets) = with_quarantined(&folder, 2);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!((host.images().mapped, host.images().quarantined), (3, 2));

    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(9));
    let refusal = wait_for(&mut events, |event| match event {
        Event::Refused(refusal) => Some(refusal.clone()),
        _ => None,
    });
    assert_eq!((refusal.step, refusal.serving), (Step::Open, Some(3)));
    assert!(
        matches!(&*refusal.cause, Cause::QuarantineFull { quarantined, cap: 2, .. } if quarantined.len() == 2),
        "{refusal:#?}"
    );
    let words = refusal.to_string();
    assert!(
        words.contains("generation 1") && words.contains("lingers") && words.contains("quarantine_cap"),
        "{words}"
    );
    // It keeps serving, and nothing was opened.
    assert_eq!(slot.load().stamp().unwrap(), 3);
    assert_eq!(mapped_copies(host.private_folder()), 3);

    drop(sockets.remove(0));
    wait_for_swapped(&mut events, "probe", 4);
    assert_eq!(slot.load().stamp().unwrap(), 9);
    drop(sockets);
    wait_for(&mut events, |event| {
        matches!(event, Event::Released { generation: 2, .. }).then_some(())
    });
    assert_nothing_left(&host, 1);
}

#[test]
fn cap_counts_images_that_are_still_waited_for() {
    let (folder, lingering) = (Folder::new(), Fixture::build("fx-lingering"));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .quarantine_cap(2)
        .build()
        .unwrap();
    let mut sockets = Vec::new();
    for stamp in 1..=3 {
        host.load(folder.publish("a.so", &lingering.stamped(stamp))).unwrap();
        sockets.push(start_lingering(&host, &folder));
    }
    // Two images are ending, and none is quarantined yet.
    let ending = || {
        host.who_holds("probe")
            .iter()
            .filter(|held| held.condition == GenerationStatus::Ending)
            .count()
    };
    wait_until(|| ending() == 2, "the ends of two generations");
    let refusal = host.load(folder.publish("a.so", &lingering.stamped(4))).unwrap_err();
    assert!(matches!(&*refusal.cause, Cause::QuarantineFull { .. }), "{refusal}");
    drop(sockets);
}

#[test]
fn file_that_waits_for_room_does_not_replace_a_newer_one() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (host, mut sockets) = with_quarantined(&folder, 2);
    let mut events = host.events();
    let (probe, waits) = (Fixture::build("fx-probe"), Fixture::build("fx-waits"));
    let older = elsewhere.publish("older.so", &probe.stamped(8));
    let newer = elsewhere.publish("newer.so", &probe.stamped(9));
    let counter = elsewhere.publish("counter.so", &waits.stamped(905));
    let refusal = host.load(&older).unwrap_err();
    assert!(matches!(&*refusal.cause, Cause::QuarantineFull { .. }), "{refusal}");
    let gate = Gate::new("start-905");
    thread::scope(|scope| {
        // The host is busy with another slot when the newer build is published and when there is room again.
        scope.spawn(|| host.load(&counter).unwrap());
        gate.wait_until_reached();
        let (asks, asked) = mpsc::channel();
        let (host, newer) = (&host, &newer);
        scope.spawn(move || {
            asks.send(()).unwrap();
            host.load(newer).unwrap();
        });
        asked.recv().unwrap();
        drop(sockets.remove(0));
        wait_for(&mut events, |event| matches!(event, Event::Released { .. }).then_some(()));
        gate.open();
    });
    // When this returns, all earlier requests have been processed.
    host.load(&newer).unwrap();
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 9);
    drop(sockets);
}

#[test]
fn cap_is_each_slots_own() {
    let folder = Folder::new();
    let (host, sockets) = with_quarantined(&folder, 2);
    host.load(folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1)))
        .unwrap();
    host.load(folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(9)))
        .unwrap_err();
    drop(sockets);
}

#[test]
fn host_may_go_while_images_are_quarantined() {
    let folder = Folder::new();
    let (host, sockets) = with_quarantined(&folder, 1);
    let (mut events, private) = (host.events(), host.private_folder().to_owned());
    drop(host);
    // The drain deadline is short, so the current generation may be unmapped after the host has ended.
    wait_for_unmapped(&mut events, "probe", 2);
    // The quarantined image outlives the host, with its thread.
    assert_eq!(mapped_copies(&private), 1);
    drop(sockets);
    while events.recv().is_some() {}
    assert_eq!(mapped_copies(&private), 1, "nobody is left who could unmap it");
}
