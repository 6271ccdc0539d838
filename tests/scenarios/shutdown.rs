//! `Host::shutdown`: it ends the host, returns in time, and reports the end of each image.

use crate::{
    moody::{LATE, Place},
    quarantine::with_quarantined,
    support::{PATIENCE, host, wait_for, wait_for_staged, wait_for_unmapped},
};
use fixture_interfaces::{Counter, Hook, How, Probe, SharedCounter};
use reslot::{
    Claim, Event, Events, GenerationStatus, Holder, Host, Lifecycle, Outcome, Policy, QuarantineReason, Shadow,
    ShutdownReport, StillMapped, Unfinished, mapped_copies,
    surface::{HostHandle, Setup, Surface, SurfaceError},
};
use reslot_tests::{Fixture, Folder};
use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

fn names(report: &ShutdownReport) -> Vec<(&str, u64)> {
    let names = report.unmapped.iter().map(|image| (&*image.slot, image.generation));
    names.collect()
}

fn kept(report: &ShutdownReport) -> Vec<(&str, u64)> {
    let names = report.still_mapped.iter().map(|image| (&*image.slot, image.held.generation));
    names.collect()
}

/// The image of this slot, of which one is still mapped.
#[track_caller]
fn of_slot<'r>(report: &'r ShutdownReport, slot: &str) -> &'r StillMapped {
    let mut of_slot = report.still_mapped.iter().filter(|image| &*image.slot == slot);
    match (of_slot.next(), of_slot.next()) {
        (Some(image), None) => image,
        _ => panic!("{report}"),
    }
}

/// Reads a stream to its end. Returns the generations that were proven unmapped.
fn unmapped_until_the_end(events: Events) -> Vec<(String, u64)> {
    let unmapped = events.filter_map(|record| match &record.event {
        Event::Retired(report) if matches!(report.outcome, Outcome::Unmapped(_)) => {
            Some((report.slot.to_string(), report.generation))
        }
        _ => None,
    });
    unmapped.collect()
}

#[test]
fn everything_goes_and_the_report_names_it() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let private = host.private_folder().to_owned();
    // A staged candidate is unloaded, too.
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    drop(claim);

    let begun = Instant::now();
    let report = host.shutdown(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert!(report.took <= begun.elapsed() && report.took < PATIENCE);
    let unmapped = names(&report);
    assert!(
        unmapped.contains(&("counter", 2)) && unmapped.contains(&("probe", 1)),
        "{report}"
    );
    assert!(report.still_mapped.is_empty() && report.unfinished.is_none());
    let words = report.to_string();
    assert!(
        words.starts_with("the host ended in ") && words.contains("\"probe\" generation 1"),
        "{words}"
    );
    assert_eq!(mapped_copies(&private), 0);
    assert!(!private.exists());
    assert!(unmapped_until_the_end(events).contains(&("probe".to_owned(), 1)));
}

#[test]
fn holders_are_named_and_keep_what_they_hold() {
    let folder = Folder::new();
    let counter = folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    folder.publish("libshared.so", &Fixture::build("fx-shared-counter").stamped(1));
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .track_guards(true)
        .build()
        .unwrap();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(5).unwrap();
    let mut shadow: Shadow<dyn Counter> = Claim::shadow(&claim, &counter).unwrap();
    let shared = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let mut reader = host.reader();
    let view = reader.view();
    view.get(&shared).add(3).unwrap();
    let probe = host.slot::<dyn Probe>("probe").unwrap();
    let guard = probe.load();

    let report = host.shutdown(LATE);
    assert_eq!(report.unfinished, Some(Unfinished::Generations), "{report}");
    assert!(!report.is_complete() && report.unmapped.is_empty(), "{report}");
    assert_eq!(
        kept(&report),
        [("counter", 1), ("counter~shadow", 1), ("probe", 1), ("shared-counter", 1)],
        "{report}"
    );
    let owned = of_slot(&report, "counter");
    assert_eq!(owned.held.condition, GenerationStatus::Serving);
    assert!(
        matches!(&owned.held.holders[..], [Holder::Owner { at, .. }] if at.file().ends_with("shutdown.rs")),
        "{owned}"
    );
    let beside = of_slot(&report, "counter~shadow");
    assert_eq!(beside.held.condition, GenerationStatus::Shadow);
    assert!(
        matches!(&beside.held.holders[..], [Holder::ShadowOwner { at, .. }] if at.file().ends_with("shutdown.rs")),
        "{beside}"
    );
    let holders = &of_slot(&report, "shared-counter").held.holders;
    assert!(
        holders.iter().any(|holder| matches!(holder, Holder::Reader { .. })),
        "{report}"
    );
    let holders = &of_slot(&report, "probe").held.holders;
    assert!(holders.iter().any(|holder| matches!(holder, Holder::Load { .. })), "{report}");
    let words = report.to_string();
    assert!(
        words.starts_with("the host has not ended after ")
            && words.contains("held by the claim of thread")
            && words.contains("held by the owner of this shadow, thread")
            && words.contains("held by the reader of thread"),
        "{words}"
    );

    // Holders can still call, and each image is unmapped when it is released.
    assert_eq!(claim.add(1).unwrap(), 6);
    assert_eq!(shadow.add(1).unwrap(), 6);
    assert_eq!(view.get(&shared).add(1).unwrap(), 4);
    assert_eq!(guard.stamp().unwrap(), 1);
    wait_for(&mut events, |event| match event {
        Event::DrainTimeout { slot, .. } if &**slot == "probe" => Some(()),
        _ => None,
    });
    drop(guard);
    drop((claim, shadow, reader, shared, probe));
    let mut unmapped = unmapped_until_the_end(events);
    unmapped.sort();
    let all = ["counter", "counter~shadow", "probe", "shared-counter"];
    assert_eq!(unmapped, all.map(|slot| (slot.to_owned(), 1)));
}

#[test]
fn holders_that_let_go_in_time_are_waited_for() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    // The drain deadline does not matter here.
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .drain_deadline(Duration::ZERO)
        .build()
        .unwrap();
    let holds = |host: &Host| {
        let claim = host.claim::<dyn Counter>("counter").unwrap();
        let (slot, mut events) = (host.slot::<dyn Probe>("probe").unwrap(), host.events());
        let (holds, is_held) = mpsc::channel();
        let thread = thread::spawn(move || {
            let guard = slot.load();
            holds.send(()).unwrap();
            wait_for(&mut events, |event| matches!(event, Event::ShutDown).then_some(()));
            drop(guard);
            drop(claim);
        });
        is_held.recv().unwrap();
        thread
    };
    let holder = holds(&host);
    let report = host.shutdown(PATIENCE);
    holder.join().unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(names(&report), [("counter", 1), ("probe", 1)]);
}

#[test]
fn stop_that_hangs_is_named_when_the_time_is_over() {
    let place = Place::new(Policy::without_probation());
    place.load_moody("fx-moody", 1, Hook::Stop, How::Hangs).unwrap();
    let gate = place.gate(1, Hook::Stop);
    let report = place.host.shutdown(LATE);
    assert_eq!(report.unfinished, Some(Unfinished::Generations), "{report}");
    let image = of_slot(&report, "moody");
    assert_eq!((image.lifecycle, image.is_quarantined()), (Lifecycle::Stopping, false));
    assert!(report.to_string().contains("its `stop` runs"), "{report}");
    gate.open();
    assert_eq!(unmapped_until_the_end(place.events), [("moody".to_owned(), 1)]);
}

#[test]
fn stop_that_hangs_for_longer_than_a_hook_may_is_not_waited_for() {
    let policy = Policy::without_probation().hook_deadline(LATE);
    let place = Place::new(policy);
    place.load_moody("fx-moody", 1, Hook::Stop, How::Hangs).unwrap();
    let gate = place.gate(1, Hook::Stop);
    let report = place.host.shutdown(PATIENCE);
    assert!(report.unfinished.is_none() && !report.is_complete(), "{report}");
    let image = of_slot(&report, "moody");
    assert!(image.is_quarantined());
    assert_eq!(
        image.held.condition,
        GenerationStatus::Quarantined(QuarantineReason::HookRunning("`stop`"))
    );
    assert!(
        report.took < PATIENCE && report.to_string().contains("has not returned"),
        "{report}"
    );
    // There are no further events: an image that outlives its host stays until the process ends.
    assert!(unmapped_until_the_end(place.events).is_empty());
    gate.open();
}

#[test]
fn start_that_hangs_keeps_the_reload_under_way() {
    let place = Place::watched(Policy::without_probation());
    let gate = place.gate(1, Hook::Start);
    place.publish_moody("fx-moody", 1, Hook::Start, How::Hangs);
    gate.wait_until_reached();
    let report = place.host.shutdown(Duration::from_millis(50));
    assert!(
        matches!(report.unfinished, Some(Unfinished::Watch | Unfinished::Reload)),
        "{report}"
    );
    assert_eq!(of_slot(&report, "moody").lifecycle, Lifecycle::Starting);
    // The shutdown continues in the background, and ends when the hook has returned.
    gate.open();
    assert_eq!(unmapped_until_the_end(place.events), [("moody".to_owned(), 1)]);
}

#[test]
fn quarantined_images_are_named_with_their_reason_and_not_waited_for() {
    let folder = Folder::new();
    let (host, sockets) = with_quarantined(&folder, 1);
    let report = host.shutdown(PATIENCE);
    assert!(report.unfinished.is_none() && !report.is_complete(), "{report}");
    assert_eq!((names(&report), kept(&report)), (vec![("probe", 2)], vec![("probe", 1)]));
    let image = of_slot(&report, "probe");
    assert!(
        matches!(
            &image.held.condition,
            GenerationStatus::Quarantined(QuarantineReason::ThreadsRunning(threads)) if threads.iter().any(|name| name.contains("lingers"))
        ),
        "{report}"
    );
    assert!(
        report.took < PATIENCE && report.to_string().contains("threads of the plugin still run"),
        "{report}"
    );
    drop(sockets);
}

#[test]
fn with_a_timeout_of_zero_it_begins_to_end_and_lists_the_images() {
    for held in [false, true] {
        let folder = Folder::new();
        folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
        let host = host(&folder);
        let events = host.events();
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        let guard = held.then(|| slot.load());
        let report = host.shutdown(Duration::ZERO);
        // Without a holder the result depends on a race.
        let all: Vec<_> = names(&report).into_iter().chain(kept(&report)).collect();
        assert_eq!(all, [("probe", 1)], "{report}");
        if let Some(guard) = &guard {
            assert!(report.unfinished.is_some() && report.unmapped.is_empty(), "{report}");
            assert_eq!(guard.stamp().unwrap(), 1);
        }
        drop(guard);
        assert_eq!(unmapped_until_the_end(events), [("probe".to_owned(), 1)]);
    }
}

#[test]
fn hosts_of_one_folder_are_shut_down_one_after_the_other_and_at_once() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    for _ in 0..2 {
        let report = host(&folder).shutdown(PATIENCE);
        assert!(report.is_complete() && names(&report) == [("probe", 1)], "{report}");
    }
    let (first, second) = (host(&folder), host(&folder));
    let ends = thread::spawn(move || first.shutdown(PATIENCE));
    let reports = [second.shutdown(PATIENCE), ends.join().unwrap()];
    for report in reports {
        assert!(report.is_complete() && names(&report) == [("probe", 1)], "{report}");
    }
}

/// Shuts its own host down at the second swap, on the thread that reports it.
struct EndsItself {
    host: Arc<Mutex<Option<Host>>>,
    reports: mpsc::Sender<ShutdownReport>,
}

impl Surface for EndsItself {
    type Running = ();

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let (host, reports) = (self.host.clone(), self.reports.clone());
        setup.on_event(move |event| {
            let is_second = matches!(event, Event::Swapped(report) if report.generation == 2);
            let Some(host) = is_second.then(|| host.lock().unwrap().take()).flatten() else {
                return;
            };
            reports.send(host.shutdown(PATIENCE)).unwrap();
        });
        Ok(())
    }

    fn start(self, _: HostHandle) -> Result<(), SurfaceError> {
        Ok(())
    }
}

#[test]
fn on_the_hosts_own_thread_it_does_not_wait_for_itself() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    let (place, (reports, reported)) = (Arc::new(Mutex::new(None)), mpsc::channel());
    let ends = EndsItself {
        host: place.clone(),
        reports,
    };
    let builder = Host::builder().policy(Policy::without_probation()).watch(folder.path());
    let host = builder.attach(ends).build().unwrap();
    let (mut events, private) = (host.events(), host.private_folder().to_owned());
    *place.lock().unwrap() = Some(host);
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(2));
    let report = reported.recv_timeout(PATIENCE).expect("it comes back");
    let Some(Unfinished::Reentrant { thread }) = &report.unfinished else {
        panic!("{report}")
    };
    assert_eq!(thread, "reslot-reload");
    assert!(report.took < PATIENCE && kept(&report).contains(&("probe", 2)), "{report}");
    assert!(
        report.to_string().contains("the host ends after the callback has returned"),
        "{report}"
    );
    // The image is unmapped.
    wait_for_unmapped(&mut events, "probe", 2);
    assert!(events.all(|record| !matches!(record.event, Event::Refused(_))));
    assert_eq!(mapped_copies(&private), 0);
}

/// What runs of it panics when it is dropped.
struct EndsBadly;

impl Surface for EndsBadly {
    type Running = Self;

    fn start(self, _: HostHandle) -> Result<Self, SurfaceError> {
        Ok(self)
    }
}

impl Drop for EndsBadly {
    fn drop(&mut self) {
        panic!("the end of a surface");
    }
}

/// Says when what runs of it is dropped.
struct TellsItsEnd(mpsc::Sender<()>);

impl Surface for TellsItsEnd {
    type Running = Self;

    fn start(self, _: HostHandle) -> Result<Self, SurfaceError> {
        Ok(self)
    }
}

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn surface_that_panics_at_its_end_is_reported_and_the_others_end() {
    let (tells, told) = mpsc::channel();
    let host = Host::builder().attach(TellsItsEnd(tells)).attach(EndsBadly).build().unwrap();
    let report = host.shutdown(PATIENCE);
    assert_eq!(report.unfinished, Some(Unfinished::Panicked), "{report}");
    assert!(!report.is_complete() && report.took < PATIENCE, "{report}");
    assert!(report.to_string().contains("must not panic when it is dropped"), "{report}");
    told.try_recv().expect("the other surface has ended");
}

#[test]
fn host_without_plugins_ends() {
    let report = Host::builder().build().unwrap().shutdown(PATIENCE);
    assert!(report.is_complete() && report.unmapped.is_empty(), "{report}");
    assert!(report.to_string().contains("proven unmapped: none"), "{report}");
}
