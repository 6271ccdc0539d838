//! Messages of panics, refusals and results of `health`: they have the plugin's text, once, and cut to a readable length.

use crate::{
    moody::LATE,
    support::{Gate, PATIENCE, assert_nothing_left, wait_for, wait_for_retired, wait_for_unmapped},
};
use fixture_interfaces::{Caller, Deed, Probe};
use reslot::{
    CallError, Cause, Event, Events, Fault, Health, Hook, HookError, Host, LoadOutcome, Policy, Refusal, RollbackReason,
    Slot,
};
use reslot_tests::{Fixture, Folder};
use std::{sync::Arc, time::Duration};

/// The documented limit, and some bytes for the mark and the rest of the sentence.
const LONGEST: usize = (16 << 10) + 512;
/// The stamps at which the fixture's hooks misbehave.
const START_REFUSES: u64 = 100;
const START_PANICS: u64 = 200;
const START_RESUMES: u64 = 300;
const WORKER_RESUMES: u64 = 400;
const WORKER_PANICS: u64 = 500;
const WORKER_SAYS_MUCH: u64 = 600;
const WORKER_IS_CALLED_MUCH: u64 = 700;
const HEALTH_SAYS_MUCH: u64 = 800;
const HEALTH_RESUMES: u64 = 900;

struct Place {
    folder: Folder,
    host: Host,
    events: Events,
}

impl Place {
    fn new(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).drain_deadline(LATE).build();
        let host = host.expect("the host starts");
        Self {
            folder: Folder::new(),
            events: host.events(),
            host,
        }
    }

    fn load(&self, stamp: u64) -> Result<LoadOutcome, Refusal> {
        let bytes = Fixture::build("fx-panics-unhooked").stamped(stamp);
        self.host.load(self.folder.publish("a.so", &bytes))
    }

    fn slot(&self) -> Slot<dyn Probe> {
        self.host.slot("probe").expect("it serves")
    }

    fn wait_for_failed_call(&mut self) -> CallError {
        wait_for(&mut self.events, |event| match event {
            Event::CallFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
    }
}

fn place() -> Place {
    Place::new(Policy::without_probation())
}

fn message(error: &CallError) -> (&Arc<str>, Option<&str>) {
    match error.fault() {
        Fault::Panicked { message, location, .. } => (message, location.as_deref()),
        other => panic!("{other:?}"),
    }
}

fn assert_cut(text: &str, begins: &str) {
    assert!(text.contains(begins), "{:?}", &text[..100]);
    assert!(text.len() < LONGEST, "{} bytes", text.len());
    // The place of a panic may follow.
    let end = &text[text.floor_char_boundary(text.len() - 200)..];
    assert!(end.contains(" … (") && end.contains(" more bytes)"), "{end:?}");
}

const NO_TEXT: &str = "a panic whose payload is no text";

#[test]
fn every_panic_is_reported_with_its_own_message() {
    let mut place = place();
    place.load(1).unwrap();
    let slot = place.slot();
    // (The kind of panic, the message, whether it has a place.) The last one replaces the panic hook for all later panics.
    for (how, words, has_place) in [
        ("an ordinary panic", "an ordinary panic", true),
        ("resume with a literal", "a literal", false),
        ("resume with a String", "a String", false),
        ("resume with a Box", "a Box", false),
        ("resume with a Cow", "a Cow", false),
        ("resume with a number", NO_TEXT, false),
        ("raise a number", NO_TEXT, true),
        ("raise a bomb", NO_TEXT, true),
        ("resume with a bomb", NO_TEXT, false),
        ("resume after another", "the one that ended it", false),
        ("resume what was caught", "caught and resumed", true),
        ("stumble", "the one that unwinds", true),
        ("with a hook of its own", "told to its own hook", false),
        ("without the SDK's hook", "without the SDK's hook", false),
        ("raise a number", NO_TEXT, false),
    ] {
        let error = slot.load().echo(how).unwrap_err();
        let (message, location) = message(&error);
        assert!(message.starts_with(words), "{how}: {error}");
        assert_eq!(location.is_some(), has_place, "{how}: {error}");
        assert_eq!(
            error.backtrace().is_some_and(|backtrace| !backtrace.is_empty()),
            has_place,
            "{how}"
        );
        if let Some(location) = location {
            assert!(location.contains("panics-unhooked/src/lib.rs:"), "{how}: {location}");
            assert!(!error.to_string().contains("at its end"), "{how}: {error}");
        }
        // The event and the caller's error share the message in memory.
        let told = place.wait_for_failed_call();
        assert_eq!(told, error);
        assert!(Arc::ptr_eq(self::message(&told).0, message));
    }
}

#[test]
fn panic_of_a_hook_without_the_panic_hook_is_reported_with_its_message() {
    let place = place();
    let refusal = place.load(START_RESUMES).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::Hook(Hook::Start, HookError::Panicked { message, location: None, .. }) if **message == *"a String"),
        "{refusal}"
    );
    let refusal = place.load(HEALTH_RESUMES).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::Unhealthy(Health::CheckFailed(words)) if words.contains("a String")),
        "{refusal}"
    );
    assert_nothing_left(&place.host, 0);
}

#[test]
fn panic_of_a_worker_is_reported_once_with_or_without_the_panic_hook() {
    for (stamp, words, has_place) in [
        (WORKER_RESUMES, "a String", false),
        (WORKER_PANICS, "an ordinary panic", true),
    ] {
        let mut place = place();
        place.load(stamp).unwrap();
        wait_for(&mut place.events, |event| match event {
            Event::ThreadPanicked {
                message,
                location,
                backtrace,
                ..
            } => {
                assert_eq!(
                    (&**message, location.is_some(), !backtrace.is_empty()),
                    (words, has_place, has_place)
                );
                Some(())
            }
            _ => None,
        });
        place.load(1).unwrap();
        // Its thread has ended before its image is gone.
        wait_for_unmapped(&mut place.events, "probe", 1);
        let mut events = place.host.events();
        let told = std::iter::from_fn(|| events.try_recv());
        let panics = told.filter(|record| matches!(record.event, Event::ThreadPanicked { .. }));
        assert_eq!(panics.count(), 1, "{words}");
    }
}

#[test]
fn too_long_texts_are_cut() {
    let mut place = place();
    // Refusals.
    let refusal = place.load(START_REFUSES).unwrap_err();
    match &*refusal.cause {
        Cause::Hook(Hook::Start, HookError::Refused(words)) => assert_cut(words, "much much "),
        other => panic!("{:.300}", other.to_string()),
    }
    let refusal = place.load(START_PANICS).unwrap_err();
    match &*refusal.cause {
        Cause::Hook(Hook::Start, HookError::Panicked { message, location, .. }) => {
            assert_cut(message, "much much ");
            assert!(location.is_some(), "its hook was told the same words");
        }
        other => panic!("{:.300}", other.to_string()),
    }
    // What `health` answers.
    place.load(HEALTH_SAYS_MUCH).unwrap();
    // Panics in calls.
    let slot = place.slot();
    for (how, begins) in [(&*"long ".repeat(1 << 20), "long long "), ("resume with much", "much much ")] {
        let error = slot.load().fail(how).unwrap_err();
        assert_cut(message(&error).0, begins);
        assert_cut(&place.wait_for_failed_call().to_string(), begins);
    }
    // Panics of threads.
    place.load(WORKER_SAYS_MUCH).unwrap();
    let words = wait_for(&mut place.events, |event| match event {
        Event::ThreadPanicked { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert_cut(&words, "much much ");
    // Names of threads.
    let gate = Gate::new("much");
    place.load(WORKER_IS_CALLED_MUCH).unwrap();
    let generation = place.host.slots()[0].generation.unwrap();
    gate.wait_until_reached();
    place.load(1).unwrap();
    let report = wait_for_retired(&mut place.events, "probe", generation);
    assert_cut(&report.stop_error.expect("its thread did not end").to_string(), "much much ");
    gate.open();
    wait_for(&mut place.events, |event| {
        matches!(event, Event::Released { .. }).then_some(())
    });
    assert_nothing_left(&place.host, 1);
}

#[test]
fn health_that_says_much_is_cut() {
    let policy = Policy::without_probation().health_every(Duration::from_millis(10));
    let mut place = Place::new(policy);
    place.load(HEALTH_SAYS_MUCH).unwrap();
    let health = wait_for(&mut place.events, |event| match event {
        Event::Health { health, .. } => Some(health.clone()),
        _ => None,
    });
    let Health::Warn(words) = health else { panic!() };
    assert_cut(&words, "much much ");
}

#[test]
fn errors_that_a_plugin_gets_from_a_peer_are_cut_too() {
    let place = place();
    place.load(1).unwrap();
    let counter = Fixture::build("fx-shared-counter").stamped(1);
    place.host.load(place.folder.publish("counter.so", &counter)).unwrap();
    let caller = Fixture::build("fx-caller").stamped(1);
    place.host.load(place.folder.publish("caller.so", &caller)).unwrap();
    let caller = place.host.slot::<dyn Caller>("caller").unwrap();
    let words = caller.load().fail(&"long ".repeat(1 << 20)).unwrap().unwrap_err();
    assert_cut(&words, "long long ");
}

#[test]
fn rollback_shares_the_words_of_the_panic_that_led_to_it() {
    let policy = Policy::development().probation(PATIENCE * 100);
    let mut place = Place::new(policy);
    place.load(1).unwrap();
    place.load(2).unwrap();
    let error = place.slot().load().fail(&"long ".repeat(1 << 20)).unwrap_err();
    let reason = wait_for(&mut place.events, |event| match event {
        Event::RolledBack(report) => Some(report.reason.clone()),
        _ => None,
    });
    let RollbackReason::Panicked { last, .. } = &reason else {
        panic!("{reason}")
    };
    assert!(Arc::ptr_eq(message(last).0, message(&error).0));
    assert_cut(&reason.to_string(), "long long ");
    let _ = place.slot().load().act(Deed::HashMap).unwrap();
}

#[test]
fn history_of_events_is_bounded_in_bytes_and_says_how_many_are_missing() {
    const PANICS: u64 = 1_200;
    let mut place = place();
    place.load(1).unwrap();
    let slot = place.slot();
    let words = "x".repeat(16 << 10);
    for _ in 0..PANICS {
        slot.load().fail(&words).unwrap_err();
    }
    let first = place.events.recv_timeout(PATIENCE).unwrap();
    let Event::Lagged { missed } = first.event else {
        panic!("{}", first.event)
    };
    assert_eq!(
        first.sequence + 1,
        missed,
        "it stands in place of the last one that is missing"
    );
    let kept: Vec<_> = std::iter::from_fn(|| place.events.try_recv()).collect();
    for (record, sequence) in kept.iter().zip(missed..) {
        assert_eq!(record.sequence, sequence);
    }
    let bytes = kept.len() * words.len();
    assert!(kept.iter().all(|record| matches!(record.event, Event::CallFailed { .. })));
    assert!(bytes <= Events::MOST_BYTES_KEPT, "{} events are kept", kept.len());
    assert!(bytes > Events::MOST_BYTES_KEPT / 4 * 3, "only {} events are kept", kept.len());
    // A stream that was read in time misses nothing.
    let mut events = place.host.events();
    while events.try_recv().is_some() {}
    for _ in 0..100 {
        slot.load().fail("short").unwrap_err();
        let told = events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(told.event, Event::CallFailed { .. }), "{}", told.event);
    }
}
