//! What a sandbox stops: each ends the instance with a typed error, in time, and the host goes on.

use crate::{Heard, Place, TICK, plugin::module, plugin::version};
use fx_sandboxed::Misdeed;
use reslot::{Claim, EndCause, Event, Fault, InstanceEnd, Policy, RollbackReason, SyncOutcome};
use reslot_wasm::{Checkpoint, Wasm};
use std::time::{Duration, Instant};

/// The end of the instance that misbehaves.
fn end_of(place: &Place, how: Misdeed) -> InstanceEnd {
    place.load(&module());
    let mut plugin = place.claim();
    plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect("it answers");
    let error = plugin.misbehave(how).expect_err("it is stopped");
    let Fault::InstanceEnded(end) = error.fault() else {
        panic!("{error}")
    };
    end.clone()
}

#[test]
fn endless_loop_ends_in_time() {
    let limit = Duration::from_millis(50);
    let place = Place::new(Wasm::new().call_deadline(limit));
    place.load(&module());
    let mut plugin = place.claim();
    let began = Instant::now();
    let error = plugin.misbehave(Misdeed::Loop).expect_err("it is stopped");
    let took = began.elapsed();
    let Fault::InstanceEnded(end) = error.fault() else {
        panic!("{error}")
    };
    assert_eq!(end.cause, EndCause::Deadline { limit });
    assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
}

#[test]
fn loop_in_a_hook_ends_in_time() {
    let engine = Wasm::new().hook_deadline(Duration::from_millis(50));
    let folder = tempfile::tempdir().expect("a folder");
    let host = reslot::Host::builder()
        .engine("loops", engine)
        .build()
        .expect("the host starts");
    // The slot's name is in the manifest.
    let module = replaced(module(), b"\"name\":\"sandboxed\"", b"\"name\":\"loops\"    ");
    let path = folder.path().join("loops.wasm");
    std::fs::write(&path, module).expect("writable");
    let refusal = host.load(&path).expect_err("it is stopped").to_string();
    assert!(refusal.contains("longer than"), "{refusal}");
}

/// Replaces a text by another one of the same length.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "it is there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn memory_limit_is_err() {
    let bytes = 8 << 20;
    let place = Place::new(Wasm::new().memory(bytes));
    place.load(&module());
    let mut plugin = place.claim();
    assert!(plugin.allocate(1 << 20).expect("it answers"));
    // A plugin that expects that there may be no memory goes on.
    assert!(!plugin.allocate(64 << 20).expect("it answers"));
    assert_eq!(plugin.sum().expect("it lives"), 0);
    drop(plugin);
    let end = end_of(&Place::new(Wasm::new().memory(bytes)), Misdeed::Eat);
    assert_eq!(end.cause, EndCause::MemoryLimit { bytes: bytes as u64 });
}

#[test]
fn wild_pointer_deep_recursion_and_abort_are_traps() {
    for (how, words) in [
        (Misdeed::WildPointer, "memory"),
        (Misdeed::Recurse, ""),
        (Misdeed::Abort, "unreachable"),
    ] {
        let end = end_of(&Place::new(Wasm::new()), how);
        let EndCause::Trap { what } = &end.cause else {
            panic!("{how:?}: {end}")
        };
        assert!(what.contains(words), "{how:?}: {what}");
    }
}

#[test]
fn trap_then_rollback() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let mut place = Place::with(Wasm::new(), policy);
    place.load(&version(1));
    let mut plugin = place.claim();
    plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect("it answers");
    place.load(&version(2));
    assert!(matches!(Claim::sync(&mut plugin), SyncOutcome::Adopted { .. }));
    for _ in 0..3 {
        plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect("it answers");
    }
    let error = plugin.misbehave(Misdeed::Abort).expect_err("it traps");
    assert!(
        matches!(error.fault(), Fault::InstanceEnded(end) if end.lost_calls == 3),
        "{error}"
    );
    assert!(matches!(
        Claim::sync(&mut plugin),
        SyncOutcome::RolledBack { from: 2, generation: 1 }
    ));
    let reason = place.wait_for(|event| match event {
        Event::RolledBack(report) => Some(report.reason.clone()),
        _ => None,
    });
    assert!(matches!(reason, RollbackReason::InstanceEnded(_)), "{reason:?}");
    assert_eq!(plugin.sum().expect("it answers"), 20, "what was saved at the swap");
}

#[test]
fn with_a_checkpoint_at_each_call_nothing_is_lost() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let place = Place::with(Wasm::new().checkpoint(Checkpoint::EveryCalls(1)), policy);
    place.load(&version(1));
    place.load(&version(2));
    let mut plugin = place.claim();
    for _ in 0..3 {
        plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect("it answers");
    }
    let error = plugin.misbehave(Misdeed::Abort).expect_err("it traps");
    assert!(
        matches!(error.fault(), Fault::InstanceEnded(end) if end.lost_calls == 0),
        "{error}"
    );
    assert!(matches!(Claim::sync(&mut plugin), SyncOutcome::RolledBack { .. }));
    assert_eq!(plugin.sum().expect("it answers"), 60);
}
