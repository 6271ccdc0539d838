//! Uses of libc by C libraries inside a plugin, and by static constructors that run before the host's functions are
//! installed.

use crate::support::{Gate, wait_for, wait_for_retired, wait_for_unmapped};
use fixture_interfaces::{Deed, Probe};
use reslot::{Event, Host, Outcome, QuarantineReason, Slot};
use reslot_tests::{Fixture, Folder};
use std::{sync::mpsc, thread, time::Duration};

fn probe(deadline: Duration) -> (Folder, Host, Slot<dyn Probe>) {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(deadline)
        .build()
        .unwrap();
    host.load(folder.publish("a.so", &Fixture::build("fx-c-habits").stamped(1)))
        .unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    (folder, host, slot)
}

fn replace(folder: &Folder, host: &Host) {
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(2)))
        .unwrap();
}

/// Runs a deed on a thread, and waits until the thread has ended completely.
fn on_a_thread(slot: &Slot<dyn Probe>, deed: Deed) {
    let slot = slot.clone();
    thread::spawn(move || slot.load().act(deed).unwrap()).join().unwrap();
}

#[test]
fn destructor_of_a_key_that_another_has_cleared_does_not_run() {
    let (_folder, _host, slot) = probe(Duration::from_secs(5));
    on_a_thread(&slot, Deed::HashMap);
    assert_eq!(slot.load().act(Deed::Receive).unwrap(), 1);
}

#[test]
fn destructors_at_a_host_threads_end_find_their_keys_and_may_register_others() {
    let (_folder, _host, slot) = probe(Duration::from_secs(5));
    on_a_thread(&slot, Deed::CurrentThread);
    assert_eq!(
        slot.load().act(Deed::Receive).unwrap(),
        11,
        "1: the key; 10: the nested destructor"
    );
}

#[test]
fn thread_that_leaves_by_pthread_exit_has_ended() {
    let (folder, host, slot) = probe(Duration::from_secs(5));
    assert_eq!(slot.load().act(Deed::Scope).unwrap(), 1);
    let mut events = host.events();
    replace(&folder, &host);
    wait_for_unmapped(&mut events, "probe", 1);
}

#[test]
fn signal_handler_in_the_image_keeps_it_until_it_is_put_back() {
    let (folder, host, slot) = probe(Duration::from_secs(5));
    slot.load().act(Deed::Print).unwrap();
    let mut events = host.events();
    replace(&folder, &host);
    let report = wait_for_retired(&mut events, "probe", 1);
    let reason = QuarantineReason::SignalHandlers(vec![libc::SIGWINCH]);
    assert_eq!(report.outcome, Outcome::Quarantined(reason));
    // SAFETY: raises a signal whose handler is mapped, and puts back the default, which ignores it.
    unsafe {
        libc::raise(libc::SIGWINCH);
        libc::signal(libc::SIGWINCH, libc::SIG_DFL);
    }
    // The host checks the quarantined image again when the next image is unmapped.
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(3)))
        .unwrap();
    wait_for(&mut events, |event| {
        matches!(event, Event::Released { generation: 1, .. }).then_some(())
    });
}

#[test]
fn slow_thread_local_destructor_delays_the_end_and_no_more() {
    let (folder, host, slot) = probe(Duration::from_millis(20));
    let gate = Gate::new("destructor");
    let ending = {
        let slot = slot.clone();
        thread::spawn(move || slot.load().act(Deed::ThreadLocal).unwrap())
    };
    gate.wait_until_reached();
    let mut events = host.events();
    replace(&folder, &host);
    let report = wait_for_retired(&mut events, "probe", 1);
    assert!(
        matches!(report.outcome, Outcome::Quarantined(QuarantineReason::ThreadsRunning(_))),
        "{report:?}"
    );
    gate.open();
    ending.join().unwrap();
    wait_for(&mut events, |event| {
        matches!(event, Event::Released { generation: 1, .. }).then_some(())
    });
}

#[test]
fn key_that_a_static_constructor_makes_is_refused_and_its_image_stays() {
    let folder = Folder::new();
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    let refusal = host
        .load(folder.publish("a.so", &Fixture::build("fx-makes-key-early").stamped(2)))
        .unwrap_err();
    assert!(
        refusal.to_string().contains("static constructors made 1 pthread key"),
        "{refusal}"
    );
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 1);
    assert_eq!(
        reslot::mapped_copies(host.private_folder()),
        2,
        "libc would call into it, so it is not unmapped"
    );
}

#[test]
fn c_library_that_only_a_plugin_needs_stays_for_the_threads_that_it_knows() {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    host.load(folder.publish("a.so", &Fixture::build("fx-needing").stamped(1)))
        .unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let (called, calls) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let thread = thread::spawn({
        let slot = slot.clone();
        move || {
            assert_eq!(slot.load().act(Deed::ThreadLocal).unwrap(), 1);
            called.send(()).unwrap();
            let _ = ends.recv();
        }
    });
    calls.recv().unwrap();
    replace(&folder, &host);
    wait_for_unmapped(&mut events, "probe", 1);
    // libc now calls the C library's destructor, which is still mapped.
    drop(end);
    thread.join().unwrap();
}
