//! Sets with one bad member: no other member is reloaded, whichever step finds the fault.

use super::{Place, serving, swapped};
use crate::support::{assert_nothing_left, wait_for};
use fixture_interfaces::Counter;
use reslot::{Cause, Event, LoadOutcome, Refusal, Step};
use reslot_tests::Fixture;
use std::path::PathBuf;

const GOOD: [&str; 3] = ["fx-probe", "fx-shared-counter", "fx-counter"];

/// Three loaded slots: a probe, a shared counter with 5, and a counter with 7 without an owner.
fn three() -> Place {
    let place = Place::new();
    place.load(&GOOD, 1).unwrap();
    place.counter().load().add(5).unwrap();
    place.host.claim::<dyn Counter>("counter").unwrap().add(7).unwrap();
    place
}

/// Checks that everything is unchanged, and that nothing of the candidates is left.
fn assert_untouched(place: &Place) {
    let generations: Vec<_> = serving(&place.host).into_values().collect();
    assert_eq!(generations, [Some(1); 3]);
    let counter = place.counter();
    assert_eq!((counter.load().total().unwrap(), counter.load().stamp().unwrap()), (5, 1));
    assert_eq!(place.probe().load().stamp().unwrap(), 1);
    let report = place.host.claim::<dyn Counter>("counter").unwrap().report().unwrap();
    assert_eq!((report.total, report.stamp, report.calls), (7, 1, 1));
    for slot in ["probe", "shared-counter", "counter"] {
        assert_eq!(place.host.history(slot).len(), 1, "{:?}", place.host.history(slot));
    }
    drop(counter);
    assert_nothing_left(&place.host, 3);
}

/// Loads good builds and this bad one, which is at the given position of the set.
fn refused(place: &Place, bad_slot: &str, bytes: &[u8], at: usize, attempt: u64) -> Refusal {
    let good: Vec<&str> = GOOD.into_iter().filter(|package| *package != bad_slot).collect();
    let mut paths: Vec<PathBuf> = place.publish(&good, 100 + attempt);
    paths.insert(at, place.folder.publish("bad.so", bytes));
    place.host.load_together(paths).unwrap_err()
}

/// For each position in the set, twice: after one refusal the set must still be refused.
fn none_changes(bad_slot: &str, bytes: &[u8], step: Step, words: &str) {
    let place = three();
    let mut events = place.host.events();
    while events.try_recv().is_some() {}
    for (attempt, at) in [0, 1, 2, 2].into_iter().enumerate() {
        let refusal = refused(&place, bad_slot, bytes, at, attempt as u64);
        assert_eq!(refusal.step, step, "{refusal}");
        assert!(
            refusal.path.ends_with("bad.so") && refusal.to_string().contains(words),
            "{refusal}"
        );
        assert_untouched(&place);
        let told = std::iter::from_fn(|| events.try_recv());
        let told: Vec<_> = told
            .filter(|record| matches!(record.event, Event::Refused(_) | Event::Swapped(_)))
            .collect();
        assert!(
            matches!(&told[..], [one] if matches!(one.event, Event::Refused(_))),
            "{told:#?}"
        );
    }
    // A good set is loaded, with the kept states.
    let outcomes = place.load(&GOOD, 200).unwrap();
    assert_eq!(swapped(&outcomes).len(), 3);
    let counter = place.counter();
    assert_eq!((counter.load().total().unwrap(), counter.load().stamp().unwrap()), (5, 200));
    let report = place.host.claim::<dyn Counter>("counter").unwrap().report().unwrap();
    assert_eq!((report.total, report.stamp), (7, 200));
    drop(counter);
    assert_nothing_left(&place.host, 3);
}

fn bytes(package: &str) -> Vec<u8> {
    Fixture::build(package).bytes().to_vec()
}

#[test]
fn garbage_at_lint() {
    none_changes("fx-probe", b"no library at all", Step::Lint, "not an ELF file");
}

#[test]
fn other_interface_at_lint() {
    none_changes(
        "fx-counter",
        &bytes("fx-changed-method"),
        Step::Lint,
        "fn add(&mut self, n: u32)",
    );
}

#[test]
fn panic_at_create() {
    none_changes(
        "fx-counter",
        &bytes("fx-panics-in-constructor"),
        Step::Create,
        "no configuration to begin with",
    );
}

#[test]
fn state_that_does_not_fit_at_migrate() {
    none_changes(
        "fx-shared-counter",
        &bytes("fx-other-shared-state"),
        Step::Migrate,
        "does not fit it",
    );
}

#[test]
fn atomic_set_one_bad() {
    none_changes(
        "fx-probe",
        &bytes("fx-probe-refuses-start"),
        Step::Start,
        "no licence was found",
    );
    none_changes("fx-counter", &bytes("fx-refuses-start"), Step::Start, "port 4711 is taken");
}

#[test]
fn critical_at_health() {
    let bytes = Fixture::build("fx-moods").stamped(100);
    none_changes("fx-shared-counter", &bytes, Step::Health, "in a bad mood");
}

#[test]
fn file_that_is_not_there_at_stage() {
    let place = three();
    let mut paths = place.publish(&["fx-probe"], 2);
    paths.push(place.folder.path().join("nowhere.so"));
    let refusal = place.host.load_together(paths).unwrap_err();
    assert_eq!(refusal.step, Step::Read, "{refusal}");
    assert_untouched(&place);
}

#[test]
fn two_for_one_slot() {
    let place = three();
    let mut paths = place.publish(&["fx-probe", "fx-shared-counter"], 2);
    paths.extend(place.publish(&["fx-probe"], 3));
    let refusal = place.host.load_together(paths.clone()).unwrap_err();
    assert!(
        matches!(&*refusal.cause, Cause::DuplicateSlot(other) if *other == paths[0]),
        "{refusal}"
    );
    assert!(
        refusal.to_string().contains("two members of the set are for this slot"),
        "{refusal}"
    );
    assert_untouched(&place);
    // The same file twice is refused as well.
    let twice = [paths[0].clone(), paths[0].clone()];
    let refusal = place.host.load_together(twice).unwrap_err();
    assert!(matches!(&*refusal.cause, Cause::DuplicateSlot(_)), "{refusal}");
    assert_untouched(&place);
}

/// The two plugins of a cycle, see the fixture.
fn half(place: &Place, name: &str, stamp: u64) -> PathBuf {
    let mut bytes = Fixture::build("fx-circle").stamped(stamp);
    let patch = |bytes: &mut Vec<u8>, from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from);
        let at = at.expect("the manifest has it");
        bytes[at..at + to.len()].copy_from_slice(to);
    };
    if name == "circle-b" {
        patch(&mut bytes, br#""name":"circle-a""#, br#""name":"circle-b""#);
        patch(&mut bytes, br#""uses":["circle-b"]"#, br#""uses":["circle-a"]"#);
    }
    place.folder.publish(&format!("{name}.so"), &bytes)
}

#[test]
fn cycle_is_refused_by_name() {
    let place = Place::new();
    let refusal = place
        .host
        .load_together([half(&place, "circle-a", 1), half(&place, "circle-b", 1)])
        .unwrap_err();
    let Cause::DependencyCycle(way) = &*refusal.cause else {
        panic!("{refusal}")
    };
    assert!(way.len() == 3 && way.first() == way.last(), "{way:?}");
    assert!(refusal.to_string().contains("circle-a → circle-b"), "{refusal}");
    assert_nothing_left(&place.host, 0);
    // One of them alone is not a cycle.
    place.host.load(half(&place, "circle-a", 1)).unwrap();
    assert_nothing_left(&place.host, 1);
}

/// A build that calls none of these.
fn alone(place: &Place, name: &str) -> PathBuf {
    let path = half(place, name, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = br#""uses":["circle-"#;
    let at = bytes.windows(from.len()).position(|window| window == from);
    let at = at.expect("the manifest says what it uses") + from.len();
    bytes[at] = b'x';
    place.folder.publish(&format!("alone-{name}.so"), &bytes)
}

#[test]
fn set_may_reverse_the_direction_of_calls() {
    let place = Place::new();
    let set = [half(&place, "circle-a", 1), alone(&place, "circle-b")];
    place.host.load_together(set).unwrap();
    let turned = [half(&place, "circle-b", 2), alone(&place, "circle-a")];
    // Neither may be loaded without the other.
    let refusal = place.host.load(&turned[0]).unwrap_err();
    assert!(matches!(&*refusal.cause, Cause::DependencyCycle(_)), "{refusal}");
    let outcomes = place.host.load_together(turned).unwrap();
    assert_eq!(swapped(&outcomes).len(), 2);
    assert_nothing_left(&place.host, 2);
}

#[test]
fn set_without_the_callee_of_one_is_refused_and_its_callee_may_follow() {
    let place = Place::new();
    let refusal = place.load(&["fx-caller", "fx-probe"], 1).unwrap_err();
    assert_eq!(
        (refusal.slot.as_deref(), refusal.step),
        (Some("caller"), Step::Start),
        "{refusal}"
    );
    assert_nothing_left(&place.host, 0);
    let mut events = place.host.events();
    let outcomes = place.load(&["fx-caller", "fx-probe", "fx-shared-counter"], 1).unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, LoadOutcome::Swapped(_))));
    wait_for(&mut events, |event| matches!(event, Event::Swapped(_)).then_some(()));
    assert_nothing_left(&place.host, 3);
}
