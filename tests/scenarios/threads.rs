//! Threads: threads that a plugin leaves behind, host threads that ran its code, and threads that hold it too long.

use crate::support::{
    assert_nothing_left, host, start_lingering, wait_for, wait_for_retired, wait_for_swapped, wait_for_unmapped,
};
use fixture_interfaces::{Deed, Probe};
use reslot::{Event, Holder, Host, Outcome, QuarantineReason, mapped_copies};
use reslot_tests::{Fixture, Folder};
use std::{io::Write, sync::mpsc, thread, time::Duration};

/// A short time, for deadlines that must pass.
const SHORT: Duration = Duration::from_millis(30);

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

fn impatient(folder: &Folder) -> Host {
    Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .drain_deadline(SHORT)
        .build()
        .unwrap()
}

#[test]
fn thread_that_outlives_its_plugin_quarantines_the_image_until_it_ends() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-lingering").bytes());
    let host = impatient(&folder);
    let mut events = host.events();
    let socket = start_lingering(&host, &folder);
    folder.publish("libprobe.so", &probe(2));
    let retired = wait_for_retired(&mut events, "probe", 1);
    let Outcome::Quarantined(reason) = &retired.outcome else {
        panic!("{retired:#?}")
    };
    assert!(matches!(reason, QuarantineReason::ThreadsRunning(names) if names.iter().any(|name| name.contains("lingers"))));
    assert!(
        reason.to_string().contains("lingers") && reason.to_string().contains("end them in `stop`"),
        "{reason}"
    );
    assert_eq!((host.images().mapped, host.images().quarantined), (2, 1));
    assert_eq!(mapped_copies(host.private_folder()), 2);
    // Meanwhile the slot can be reloaded as usual.
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 2);
    folder.publish("libprobe.so", &probe(3));
    wait_for_unmapped(&mut events, "probe", 2);
    assert_eq!(slot.load().stamp().unwrap(), 3);

    drop(socket);
    let released = wait_for(&mut events, |event| match event {
        Event::Released { slot, generation, .. } if &**slot == "probe" => Some(*generation),
        _ => None,
    });
    assert_eq!(released, 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn thread_that_ends_in_time_delays_the_unloading_only() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-lingering").bytes());
    let host = host(&folder);
    let mut events = host.events();
    let socket = start_lingering(&host, &folder);
    folder.publish("libprobe.so", &probe(2));
    wait_for_swapped(&mut events, "probe", 2);
    assert_eq!(mapped_copies(host.private_folder()), 2);
    drop(socket);
    wait_for_unmapped(&mut events, "probe", 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn panic_on_a_plugins_own_thread_is_reported() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-lingering").bytes());
    let host = host(&folder);
    let mut events = host.events();
    let mut socket = start_lingering(&host, &folder);
    socket.write_all(b"nobody listens to me").unwrap();
    drop(socket);
    let message = wait_for(&mut events, |event| match event {
        Event::ThreadPanicked {
            slot,
            generation: 1,
            message,
            ..
        } if &**slot == "probe" => Some(message.clone()),
        _ => None,
    });
    assert!(message.contains("nobody listens to me"), "{message}");
    // The thread ends, not the plugin.
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!(slot.load().echo("nowhere").unwrap(), "nowhere");
    folder.publish("libprobe.so", &probe(2));
    wait_for_unmapped(&mut events, "probe", 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn host_threads_that_ran_plugin_code_may_end_after_it_is_gone() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &probe(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let (called, calls) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (slot, called) = (slot.clone(), called.clone());
            let (end, ends) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                for deed in [
                    Deed::ThreadLocal,
                    Deed::CurrentThread,
                    Deed::SpawnJoin,
                    Deed::CatchPanic,
                    Deed::Backtrace,
                ] {
                    slot.load().act(deed).unwrap();
                }
                slot.load().fail("remembered by this thread").unwrap_err();
                called.send(()).unwrap();
                // Until the image is gone.
                let _ = ends.recv();
                slot.load().act(Deed::ThreadLocal).unwrap()
            });
            (thread, end)
        })
        .collect();
    threads.iter().for_each(|_| calls.recv().unwrap());
    folder.publish("libprobe.so", &probe(2));
    let report = wait_for_unmapped(&mut events, "probe", 1);
    let Outcome::Unmapped(left) = report.outcome else {
        unreachable!()
    };
    // The threads reached no safe point.
    assert!(left.thread_locals_skipped > 0 && left.skipped_threads.len() == 4, "{left:?}");
    for (thread, end) in threads {
        drop(end);
        assert_eq!(thread.join().unwrap(), 1, "each image has its own thread-locals");
    }
    folder.publish("libprobe.so", &probe(3));
    wait_for_unmapped(&mut events, "probe", 2);
    assert_nothing_left(&host, 1);
}

#[test]
fn reader_that_holds_an_old_view_is_named_and_not_forced() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &probe(1));
    let host = impatient(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut reader = host.reader();
    let (seen, sees) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let slot = &slot;
        let idler = thread::Builder::new().name("idler".to_owned()).spawn_scoped(scope, move || {
            assert_eq!(reader.view().get(slot).stamp().unwrap(), 1);
            seen.send(()).unwrap();
            let _ = ends.recv();
            reader.release();
            reader
        });
        sees.recv().unwrap();
        folder.publish("libprobe.so", &probe(2));
        let holders = wait_for(&mut events, |event| match event {
            Event::DrainTimeout {
                slot,
                generation: 1,
                holders,
            } if &**slot == "probe" => Some(holders.clone()),
            _ => None,
        });
        assert!(
            matches!(&holders[..], [Holder::Reader { thread, since, at }]
                if thread == "idler" && *since >= SHORT && at.file().ends_with("threads.rs")),
            "{holders:?}"
        );
        assert_eq!(slot.load().stamp().unwrap(), 2);
        assert_eq!(mapped_copies(host.private_folder()), 2);
        drop(end);
        let report = wait_for_unmapped(&mut events, "probe", 1);
        assert!(report.held >= SHORT, "{report:?}");
        assert_eq!(report.late_holders, holders);
        assert_nothing_left(&host, 1);
        drop(idler.unwrap().join().unwrap());
    });
}
