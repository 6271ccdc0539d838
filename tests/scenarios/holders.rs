//! `Host::who_holds`: the holders of each generation, and how long they hold it.

use crate::support::{assert_nothing_left, start_lingering, wait_for, wait_for_retired, wait_for_unmapped, wait_until};
use fixture_interfaces::{Deed, Probe, SharedCounter};
use reslot::{Claim, Event, GenerationHolders, GenerationStatus, Holder, Host, QuarantineReason};
use reslot_tests::{Fixture, Folder};
use std::{sync::mpsc, thread, time::Duration};

fn load(host: &Host, folder: &Folder, package: &str, stamp: u64) {
    let bytes = Fixture::build(package).stamped(stamp);
    host.load(folder.publish("plugin.so", &bytes)).unwrap();
}

fn conditions(held: &[GenerationHolders]) -> Vec<(u64, GenerationStatus)> {
    held.iter().map(|held| (held.generation, held.condition.clone())).collect()
}

#[test]
fn all_holders_of_a_generation_are_named() {
    let (folder, host) = (
        Folder::new(),
        Host::builder()
            .policy(reslot::Policy::without_probation())
            .track_guards(true)
            .build()
            .unwrap(),
    );
    assert!(host.who_holds("probe").is_empty());
    load(&host, &folder, "fx-probe", 1);
    let held = host.who_holds("probe");
    assert_eq!(conditions(&held), [(1, GenerationStatus::Serving)]);
    assert_eq!(held[0].holders, [Holder::Slot]);

    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut reader = host.reader();
    reader.view();
    let line = line!() + 1;
    let loaded = slot.load();
    load(&host, &folder, "fx-probe", 2);
    let held = host.who_holds("probe");
    assert_eq!(
        conditions(&held),
        [(1, GenerationStatus::Retired), (2, GenerationStatus::Serving)],
        "{held:#?}"
    );
    let here = thread::current().name().unwrap().to_owned();
    let [Holder::Reader { thread, .. }, Holder::Load { thread: loader, at, .. }] = &held[0].holders[..] else {
        panic!("{held:#?}")
    };
    assert_eq!((thread, loader, at.line()), (&here, &here, line));
    assert!(at.file().ends_with("holders.rs"));
    let words = held[0].to_string();
    assert!(words.contains("is retired") && words.contains("holders.rs") && words.contains("slot.load()"));

    assert!(held.iter().all(|held| held.live_bytes.is_some()), "{held:#?}");

    // The holders release it one after the other.
    drop(loaded);
    assert!(matches!(&host.who_holds("probe")[0].holders[..], [Holder::Reader { .. }]));
    reader.release();
    wait_for_unmapped(&mut host.events(), "probe", 1);
    assert_eq!(conditions(&host.who_holds("probe")), [(2, GenerationStatus::Serving)]);
}

#[test]
fn untracked_guard_is_reported_as_unknown() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    load(&host, &folder, "fx-probe", 1);
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let loaded = slot.load();
    load(&host, &folder, "fx-probe", 2);
    assert_eq!(host.who_holds("probe")[0].holders, [Holder::Unknown]);
    assert!(Holder::Unknown.to_string().contains("track_guards"));
    drop(loaded);
    wait_for_unmapped(&mut host.events(), "probe", 1);
}

#[test]
fn owner_and_the_build_that_waits_for_it_are_named() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    load(&host, &folder, "fx-probe", 1);
    let line = line!() + 1;
    let mut claim = host.claim::<dyn Probe>("probe").unwrap();
    load(&host, &folder, "fx-probe", 2);
    let held = host.who_holds("probe");
    assert_eq!(
        conditions(&held),
        [(1, GenerationStatus::Serving), (2, GenerationStatus::Staged)]
    );
    assert!(
        matches!(&held[0].holders[..], [Holder::Slot, Holder::Owner { at, .. }] if at.line() == line),
        "{held:#?}"
    );
    assert_eq!(held[1].holders, [Holder::Slot]);
    thread::scope(|scope| {
        let adopting = thread::Builder::new().name("adopts".to_owned());
        adopting.spawn_scoped(scope, || Claim::sync(&mut claim)).unwrap();
    });
    let held = host.who_holds("probe");
    let owner = held.iter().find(|held| held.generation == 2).unwrap();
    assert!(
        matches!(&owner.holders[..], [Holder::Slot, Holder::Owner { thread, .. }] if thread == "adopts"),
        "{held:#?}"
    );
    drop(claim);
    assert_nothing_left(&host, 1);
    assert_eq!(host.who_holds("probe")[0].holders, [Holder::Slot]);
}

#[test]
fn old_view_holds_only_the_generations_that_it_saw() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    load(&host, &folder, "fx-shared-counter", 1);
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let mut reader = host.reader();
    reader.view().get(&slot).add(1).unwrap();
    load(&host, &folder, "fx-shared-counter", 2);
    load(&host, &folder, "fx-shared-counter", 3);
    wait_for_unmapped(&mut host.events(), "shared-counter", 2);
    let held = host.who_holds("shared-counter");
    assert!(matches!(&held[0].holders[..], [Holder::Reader { .. }]), "{held:#?}");
    assert_eq!((held[1].generation, &held[1].holders[..]), (3, &[Holder::Slot][..]));
    reader.release();
    assert_nothing_left(&host, 1);
}

#[test]
fn threads_and_thread_locals_of_an_ended_plugin_are_named() {
    let (folder, deadline) = (Folder::new(), Duration::from_millis(20));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(deadline)
        .thread_local_deadline(Duration::from_secs(600))
        .build()
        .unwrap();
    let mut events = host.events();
    host.load(folder.publish("a.so", Fixture::build("fx-lingering").bytes()))
        .unwrap();
    let socket = start_lingering(&host, &folder);
    load(&host, &folder, "fx-probe", 2);
    wait_for_retired(&mut events, "probe", 1);
    let held = host.who_holds("probe");
    assert!(
        matches!(
            &held[0].condition,
            GenerationStatus::Quarantined(QuarantineReason::ThreadsRunning(_))
        ),
        "{held:#?}"
    );
    assert!(
        matches!(&held[0].holders[..], [Holder::PluginThread { thread }] if thread.contains("lingers")),
        "{held:#?}"
    );

    let (called, calls) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let sleeper = thread::Builder::new().name("sleeper".to_owned()).spawn(move || {
        slot.load().act(Deed::ThreadLocal).unwrap();
        drop(slot);
        called.send(()).unwrap();
        let _ = ends.recv();
    });
    calls.recv().unwrap();
    load(&host, &folder, "fx-probe", 3);
    let ending = || {
        let held = host.who_holds("probe");
        held.into_iter()
            .find(|held| held.generation == 2 && held.condition == GenerationStatus::Ending)
    };
    wait_until(|| ending().is_some(), "the end of generation 2");
    let held = ending().unwrap();
    assert!(
        matches!(&held.holders[..], [Holder::ThreadLocals { thread }] if thread.contains("sleeper")),
        "{held:#?}"
    );
    drop((end, socket));
    sleeper.unwrap().join().unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Released { .. }).then_some(()));
    assert_nothing_left(&host, 1);
}
