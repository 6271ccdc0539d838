//! Plugins that call others through the host: a call goes to the current generation, and a peer holds nothing between calls.

use crate::support::{assert_nothing_left, wait_for, wait_for_unmapped, wait_until};
use fixture_interfaces::{Caller, Circle, SharedCounter};
use reslot::{Cause, Claim, Event, Hook, HookError, Host, LoadOutcome, Outcome, Refusal, Slot, Step, SyncOutcome};
use reslot_tests::{Fixture, Folder};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// A host with nothing watched, and a folder to load from.
struct Place {
    folder: Folder,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let host = Host::builder()
            .policy(reslot::Policy::without_probation())
            .build()
            .expect("the host starts");
        let folder = Folder::new();
        Self { folder, host }
    }

    fn load(&self, package: &str, stamp: u64) -> Result<LoadOutcome, Refusal> {
        let bytes = Fixture::build(package).stamped(stamp);
        self.host.load(self.folder.publish(&format!("lib{package}.so"), &bytes))
    }

    /// A place with a counter, a probe and a caller.
    fn furnished() -> (Self, Slot<dyn Caller>) {
        let place = Self::new();
        for package in ["fx-shared-counter", "fx-probe", "fx-caller"] {
            place.load(package, 1).expect("it loads");
        }
        let caller = place.host.slot::<dyn Caller>("caller").expect("it serves");
        (place, caller)
    }
}

/// The error of the candidate's `start`.
fn words_of_start(refusal: &Refusal) -> String {
    assert_eq!(refusal.step, Step::Start);
    match &*refusal.cause {
        Cause::Hook(Hook::Start, HookError::Refused(words)) => words.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn call_goes_through_and_its_answer_is_copied() {
    let (place, caller) = Place::furnished();
    assert_eq!(caller.load().add(2).unwrap().unwrap(), 2);
    assert_eq!(caller.load().add(3).unwrap().unwrap(), 5);
    assert_eq!(caller.load().counter_label().unwrap().unwrap(), "unnamed");
    assert_eq!(caller.load().counter_stamps(3).unwrap().unwrap(), [1, 1, 1]);
    let text = "a text of some length, so that it lies on a heap, and not on one that is gone".repeat(20);
    assert_eq!(caller.load().echo(&text).unwrap().unwrap(), text);
    drop(caller);
    assert_nothing_left(&place.host, 3);
}

#[test]
fn next_call_goes_to_the_new_code_and_the_old_image_is_gone() {
    let (place, caller) = Place::furnished();
    let mut events = place.host.events();
    for n in 2..20 {
        assert_eq!(caller.load().counter_stamp().unwrap().unwrap(), n - 1);
        assert_eq!(caller.load().echo("again").unwrap().unwrap(), "again");
        place.load("fx-shared-counter", n).unwrap();
        place.load("fx-probe", n).unwrap();
        // The two images may be unmapped in any order.
        let mut gone = 0;
        wait_for(&mut events, |event| {
            let ended = matches!(event, Event::Retired(report) if report.generation == n - 1 && report.served);
            gone += u32::from(ended);
            (gone == 2).then_some(())
        });
        assert_eq!(caller.load().counter_stamp().unwrap().unwrap(), n);
        assert_eq!(caller.load().add(1).unwrap().unwrap(), n - 1);
    }
    assert_eq!(caller.load().stamp().unwrap(), 1, "the caller is what it was");
    assert_nothing_left(&place.host, 3);
}

#[test]
fn panic_of_the_callee_is_the_callers_error_and_the_hosts_event() {
    let (place, caller) = Place::furnished();
    let mut events = place.host.events();
    place.load("fx-probe", 2).unwrap();
    let said = caller.load().fail("no price today").unwrap().unwrap_err();
    assert!(said.starts_with("probe 2 fail: "), "{said}");
    assert!(
        said.contains("generation 2 panicked in `fail`: no price today (at "),
        "{said}"
    );
    assert!(said.contains("lib.rs:"), "{said}");
    assert_eq!(caller.load().echo("it lives").unwrap().unwrap(), "it lives");
    // The caller's image is unmapped, and the method's name in the error stays readable.
    place.load("fx-caller", 2).unwrap();
    wait_for_unmapped(&mut events, "caller", 1);
    let failed = place.host.events().find_map(|record| match &record.event {
        Event::CallFailed {
            slot,
            generation,
            method,
            backtrace,
            ..
        } => Some((slot.to_string(), *generation, *method, backtrace.is_empty())),
        _ => None,
    });
    assert_eq!(failed, Some(("probe".to_owned(), 2, "fail", false)));
    assert_nothing_left(&place.host, 3);
}

#[test]
fn candidate_whose_peer_is_missing_is_refused_and_retried_when_the_peer_is_loaded() {
    let place = Place::new();
    let refusal = place.load("fx-caller", 1).unwrap_err();
    let words = words_of_start(&refusal);
    assert!(
        words.contains("\"shared-counter\" cannot be called from here: no slot \"shared-counter\""),
        "{words}"
    );
    let mut events = place.host.events();
    place.load("fx-shared-counter", 1).unwrap();
    // The first file is loaded by itself, unless another one has replaced it meanwhile.
    wait_for(&mut events, |event| match event {
        Event::Swapped(report) if &*report.slot == "caller" => Some(()),
        _ => None,
    });
    let words = words_of_start(&place.load("fx-caller", 300).unwrap_err());
    assert!(
        words.contains("no slot \"nobody\": there are caller, shared-counter"),
        "{words}"
    );
    let words = words_of_start(&place.load("fx-caller", 200).unwrap_err());
    assert!(words.contains("it is this plugin itself"), "{words}");
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    assert_eq!(caller.load().add(2).unwrap().unwrap(), 2);
    drop(caller);
    assert_nothing_left(&place.host, 2);
}

#[test]
fn candidate_that_waited_for_a_peer_does_not_replace_a_newer_one_when_the_peer_is_loaded() {
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    // It calls the slot "nobody".
    let older = place.folder.publish("older.so", &Fixture::build("fx-caller").stamped(300));
    place.host.load(older).unwrap_err();
    place.load("fx-caller", 1).unwrap();
    let mut events = place.host.events();
    while events.try_recv().is_some() {}
    let probe = place.folder.publish("nobody.so", &Fixture::build("fx-probe").stamped(1));
    place.host.load_as("nobody", probe).unwrap();
    // By then the reload thread has processed what the new peer requested.
    place.load("fx-shared-counter", 2).unwrap();
    let of_caller = std::iter::from_fn(|| events.try_recv()).any(|record| match &record.event {
        Event::Swapped(report) => &*report.slot == "caller",
        Event::Refused(_) => true,
        _ => false,
    });
    assert!(!of_caller, "the newer one keeps serving");
    assert_nothing_left(&place.host, 3);
}

#[test]
fn candidate_whose_peer_has_another_interface_is_refused_with_the_difference() {
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    let words = words_of_start(&place.load("fx-caller", 100).unwrap_err());
    assert!(
        words.contains("`fn add(&self, n: u64) -> u64` in the plugin, `fn add(&self, n: u32) -> u32` in the host"),
        "{words}"
    );
    assert!(words.contains("\"the host\" is \"caller\" here"), "{words}");
    assert_nothing_left(&place.host, 1);
}

#[test]
fn candidate_whose_peer_is_claimed_is_refused_and_a_claim_later_is_an_error() {
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    let claim = place.host.claim::<dyn SharedCounter>("shared-counter").unwrap();
    let words = words_of_start(&place.load("fx-caller", 1).unwrap_err());
    assert!(words.contains("it is claimed"), "{words}");
    drop(claim);
    place.load("fx-caller", 1).unwrap();
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    let claim = place.host.claim::<dyn SharedCounter>("shared-counter").unwrap();
    claim.add(4).unwrap();
    let said = caller.load().add(1).unwrap().unwrap_err();
    assert!(
        said.contains("`add` was called by another plugin, but the slot is claimed"),
        "{said}"
    );
    drop(claim);
    assert_eq!(caller.load().add(1).unwrap().unwrap(), 5);
    assert_nothing_left(&place.host, 2);
}

/// The file `name` of the fixture, as a build for another interface under the name `shared-counter`.
fn other_counter() -> Vec<u8> {
    let mut bytes = Fixture::build("fx-shared-counter").stamped(7);
    let (from, to) = (br#""name":"total""#, br#""name":"tatol""#);
    let at = bytes.windows(from.len()).position(|window| window == from);
    let at = at.expect("the manifest has its methods");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn callee_is_held_to_the_callers_interface_as_long_as_the_caller_is_mapped() {
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    place.load("fx-caller", 1).unwrap();
    let other = other_counter();
    let refusal = place.host.load(place.folder.publish("other.so", &other)).unwrap_err();
    assert_eq!(refusal.step, Step::Lint);
    assert!(refusal.to_string().contains("`total`"), "{refusal}");
    // A refused caller does not fix interfaces any more after it was unloaded.
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    let mut refused = place.host.events();
    place.load("fx-caller", 300).unwrap_err();
    wait_for_unmapped(&mut refused, "caller", 1);
    place.host.load(place.folder.publish("other.so", &other)).unwrap();
}

#[test]
fn callee_too_old_for_a_method_is_helped_by_its_default_body() {
    let place = Place::new();
    place.load("fx-shared-counter", 1).unwrap();
    let grown = |package| place.folder.publish("grown.so", Fixture::build(package).bytes());
    place.host.load(grown("fx-grown-older")).unwrap();
    place.load("fx-caller", 1).unwrap();
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    assert_eq!(caller.load().twice().unwrap().unwrap(), 20);
    place.host.load(grown("fx-grown-newer")).unwrap();
    assert_eq!(caller.load().twice().unwrap().unwrap(), 2_200);
    assert_nothing_left(&place.host, 3);
}

#[test]
fn no_call_is_lost_while_the_callee_is_reloaded_200_times() {
    let (place, caller) = Place::furnished();
    let (done, added) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    caller.load().add(1).unwrap().unwrap();
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 2..=201 {
            place.load("fx-shared-counter", n).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(added.load(Ordering::Relaxed) > 0);
    assert_eq!(caller.load().add(0).unwrap().unwrap(), added.load(Ordering::Relaxed));
    assert_nothing_left(&place.host, 3);
}

#[test]
fn caller_is_reloaded_while_calls_run_through_it() {
    let (place, caller) = Place::furnished();
    let (done, added) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    caller.load().add(1).unwrap().unwrap();
                    assert_eq!(caller.load().echo("x").unwrap().unwrap(), "x");
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 2..=60 {
            place.load("fx-caller", n).unwrap();
            if n % 3 == 0 {
                place.load("fx-shared-counter", n).unwrap();
                place.load("fx-probe", n).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(caller.load().stamp().unwrap(), 60);
    assert_eq!(caller.load().add(0).unwrap().unwrap(), added.load(Ordering::Relaxed));
    assert_nothing_left(&place.host, 3);
}

#[test]
fn thread_of_the_plugin_calls_through_its_clone_of_the_peer() {
    let place = Place::new();
    let mut events = place.host.events();
    place.load("fx-shared-counter", 1).unwrap();
    place.load("fx-caller", 500).unwrap();
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    for n in 2..40 {
        let before = caller.load().worked().unwrap();
        wait_until(|| caller.load().worked().unwrap() > before, "the thread's call");
        place.load("fx-shared-counter", n).unwrap();
        wait_for_unmapped(&mut events, "shared-counter", n - 1);
    }
    // The test waits for its end and its last call, because its counter cannot be read afterwards.
    place.load("fx-caller", 1).unwrap();
    wait_for_unmapped(&mut events, "caller", 1);
    let total = caller.load().add(0).unwrap().unwrap();
    assert!(total >= 38, "{total}");
    assert_eq!(caller.load().add(0).unwrap().unwrap(), total);
    assert_nothing_left(&place.host, 2);
}

#[test]
fn host_that_goes_takes_caller_and_callee_with_it() {
    let (place, caller) = Place::furnished();
    place.load("fx-caller", 500).unwrap();
    wait_until(|| caller.load().worked().unwrap() > 0, "the thread's call");
    drop(caller);
    let events = place.host.events();
    drop(place);
    let gone = events
        .filter(|record| matches!(&record.event, Event::Retired(report) if matches!(report.outcome, Outcome::Unmapped(_))));
    assert_eq!(gone.count(), 4);
}

#[test]
fn caller_that_outlives_the_host_gets_an_error_that_says_so() {
    let (place, caller) = Place::furnished();
    let mut reader = place.host.reader();
    let held = reader.view().get(&caller);
    let mut events = place.host.events();
    let Place { host, folder: _folder } = place;
    let host = thread::spawn(move || drop(host));
    wait_for(&mut events, |event| matches!(event, Event::ShutDown).then_some(()));
    wait_until(
        || held.add(1).unwrap().is_err_and(|said| said.contains("host was dropped")),
        "the end of the host",
    );
    drop(reader);
    host.join().unwrap();
    drop(caller);
}

/// A half of the circle under a name, that uses the slot of another name.
fn half(name: &str, uses: &str, stamp: u64) -> Vec<u8> {
    let mut bytes = Fixture::build("fx-circle").stamped(stamp);
    let mut replace = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "the manifest keeps its length");
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.expect("the manifest has its name, and says what it uses");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    };
    replace(r#""name":"circle-a""#, &format!("\"name\":{name:?}"));
    replace(r#""uses":["circle-b"]"#, &format!("\"uses\":[{uses:?}]"));
    bytes
}

fn load_half(place: &Place, name: &str, uses: &str, stamp: u64) -> Result<LoadOutcome, Refusal> {
    let bytes = half(name, uses, stamp);
    place.host.load(place.folder.publish(&format!("{name}.so"), &bytes))
}

#[test]
fn plugins_that_would_call_each_other_are_refused_by_name() {
    let place = Place::new();
    load_half(&place, "circle-a", "circle-b", 1).unwrap();
    let refusal = load_half(&place, "circle-b", "circle-a", 2).unwrap_err();
    let words = refusal.to_string();
    assert!(words.contains("circle-b → circle-a → circle-b"), "{words}");
    let a = place.host.slot::<dyn Circle>("circle-a").unwrap();
    assert_eq!(a.load().calls().unwrap(), 0);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn candidate_that_its_owner_could_not_start_without_its_peer_is_retried_when_the_peer_is_loaded() {
    let place = Place::new();
    load_half(&place, "circle-a", "circle-b", 1).unwrap();
    let mut claim = place.host.claim::<dyn Circle>("circle-a").unwrap();
    let outcome = load_half(&place, "circle-a", "circle-b", 200).unwrap();
    assert!(matches!(outcome, LoadOutcome::Staged { generation: 2, .. }), "{outcome:?}");
    let mut events = place.host.events();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let words = wait_for(&mut events, |event| match event {
        Event::Refused(refusal) => Some(words_of_start(refusal)),
        _ => None,
    });
    assert!(words.contains("no slot \"circle-b\""), "{words}");
    load_half(&place, "circle-b", "no-other", 1).unwrap();
    wait_for(&mut events, |event| match event {
        Event::Staged { slot, generation: 3 } if &**slot == "circle-a" => Some(()),
        _ => None,
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    drop(claim);
    assert_nothing_left(&place.host, 2);
}
