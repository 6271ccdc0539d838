//! Closing a gate against callers.

use super::{Described, build, builder, end, file};
use crate::{
    plugins::{Book, Calls, Inner, Tally, book, calls, left, tally},
    world::{Fault, HANGS, Place, Script, only_calls},
};
use reslot_runtime::{Host, Policy, RollbackTarget, Shadow, Slot};
use reslot_sync::{Instant, thread};
use std::time::Duration;

pub(super) const MODELS: &[Described] = &[
    (
        "gate",
        "no effect of a call is lost; no call reaches code that is gone; no deadlock",
        gate,
    ),
    (
        "nested-callers",
        "no effect of a call is lost through a peer; no deadlock",
        nested_callers,
    ),
    (
        "coming-back",
        "a call that comes back to a gate that it is inside of does not queue behind the reload that waits for it; no effect of a call is lost",
        coming_back,
    ),
    (
        "old-views",
        "no effect of a call through an old view is lost; images that nobody holds are unmapped",
        old_views,
    ),
    (
        "idle-reader-with-state",
        "an idle reader of a slot with state keeps no later image, and finds the state",
        idle_reader_with_state,
    ),
    (
        "standby",
        "no effect of a call is lost when a standby comes back while callers wait and readers are idle; images that nobody holds are unmapped",
        standby,
    ),
    (
        "faulty",
        "a faulty version is rolled back with its state, and calls go on",
        faulty,
    ),
    (
        "hanging-snapshot",
        "while a `Serialize` hangs that nobody may disturb, no thread polls, and what needs the state is refused",
        hanging_snapshot,
    ),
];

fn host(policy: Policy) -> Host {
    let host = builder(policy).build().unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host
}

/// Adds so often through a handle.
fn adds(slot: &Slot<dyn Tally>, times: u64) -> thread::JoinHandle<()> {
    let slot = slot.clone();
    thread::spawn(move || {
        only_calls();
        let mut last = 0;
        for _ in 0..times {
            let total = slot.load().add(1).unwrap();
            assert!(total > last, "the total went from {last} to {total}");
            last = total;
        }
    })
}

fn total(slot: &Slot<dyn Tally>) -> u64 {
    slot.load().total().unwrap()
}

fn gate() {
    let host = host(Policy::without_probation());
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let callers = [adds(&slot, 3), adds(&slot, 2)];
    host.load(build(tally::PLUGIN, 2)).unwrap();
    host.load(build(tally::PLUGIN, 3)).unwrap();
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(total(&slot), 5, "no effect of a call is lost");
    end(host);
}

fn nested_callers() {
    let host = host(Policy::without_probation());
    host.load(build(calls::PLUGIN, 1)).unwrap();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let nested = host.slot::<dyn Calls>("calls").unwrap();
    let through = {
        let nested = nested.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                assert_ne!(nested.load().add(1).unwrap(), 0, "the peer's call is answered");
            }
        })
    };
    let direct = adds(&slot, 2);
    host.load(build(tally::PLUGIN, 2)).unwrap();
    host.load(build(calls::PLUGIN, 2)).unwrap();
    through.join().unwrap();
    direct.join().unwrap();
    assert_eq!(total(&slot), 4, "no effect of a call is lost");
    end(host);
}

/// Lent to the tally: adds to it once more, directly.
struct Again(Slot<dyn Tally>);

impl Inner for Again {
    fn call(&mut self) {
        self.0.load().add(1).unwrap();
    }
}

/// Lent to the tally: adds to it once more, through another plugin.
struct Through(Slot<dyn Calls>);

impl Inner for Through {
    fn call(&mut self) {
        assert_ne!(self.0.load().add(1).unwrap(), 0, "the peer's call is answered");
    }
}

fn coming_back() {
    let host = host(Policy::without_probation());
    host.load(build(calls::PLUGIN, 1)).unwrap();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let directly = {
        let (mut reader, slot) = (host.reader(), slot.clone());
        let mut again = Again(slot.clone());
        thread::spawn(move || {
            only_calls();
            let view = reader.view();
            for _ in 0..2 {
                view.get(&slot).add_around(1, &mut again).unwrap();
            }
        })
    };
    let through_a_peer = {
        let slot = slot.clone();
        let mut through = Through(host.slot::<dyn Calls>("calls").unwrap());
        thread::spawn(move || {
            only_calls();
            slot.load().add_around(1, &mut through).unwrap();
        })
    };
    for version in 2..4 {
        host.load(build(tally::PLUGIN, version)).unwrap();
    }
    directly.join().unwrap();
    through_a_peer.join().unwrap();
    assert_eq!(total(&slot), 6, "no effect of a call is lost");
    end(host);
}

fn old_views() {
    let host = host(Policy::without_probation());
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let through_old_view = {
        let (mut reader, slot) = (host.reader(), slot.clone());
        thread::spawn(move || {
            let view = reader.view();
            for _ in 0..3 {
                view.get(&slot).add(1).unwrap();
            }
        })
    };
    let direct = adds(&slot, 1);
    host.load(build(tally::PLUGIN, 2)).unwrap();
    host.load(build(tally::PLUGIN, 3)).unwrap();
    through_old_view.join().unwrap();
    direct.join().unwrap();
    assert_eq!(total(&slot), 4, "no effect of a call is lost");
    for generation in 1..3 {
        assert!(host.wait_until_unmapped("tally", generation, Duration::from_secs(10)));
    }
    end(host);
}

/// A reader looks once and then calls through that view only, while the state moves on three times.
fn idle_reader_with_state() {
    let host = host(Policy::without_probation());
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let mut idle = host.reader();
    let view = idle.view();
    view.get(&slot).add(1).unwrap();
    let caller = adds(&slot, 2);
    for version in 2..5 {
        host.load(build(tally::PLUGIN, version)).unwrap();
    }
    caller.join().unwrap();
    for generation in 2..4 {
        assert!(host.wait_until_unmapped("tally", generation, Duration::from_secs(10)));
    }
    assert_eq!(view.get(&slot).total().unwrap(), 3, "no effect of a call is lost");
    drop(idle);
    end(host);
}

fn standby() {
    let host = host(Policy::development());
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let mut idle = host.reader();
    idle.view().get(&slot).add(1).unwrap();
    host.load(build(tally::PLUGIN, 2)).unwrap();
    let callers = [adds(&slot, 2), adds(&slot, 2)];
    host.rollback("tally", RollbackTarget::Previous).unwrap();
    assert_eq!(slot.load().version().unwrap(), 1);
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(total(&slot), 5, "no effect of a call is lost");
    assert_eq!(idle.view().get(&slot).total().unwrap(), 5, "the idle reader finds the state");
    assert!(host.wait_until_unmapped("tally", 2, Duration::from_secs(10)));
    drop(idle);
    end(host);
}

fn faulty() {
    let host = host(Policy::development());
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    slot.load().add(1).unwrap();
    let faulty = Script {
        version: 2,
        fault: Some((Place::Call, Fault::Panics)),
        ..Script::default()
    };
    let caller = {
        let slot = slot.clone();
        thread::spawn(move || (0..3).filter(|_| slot.load().add(1).is_ok()).count() as u64)
    };
    host.load(file(tally::PLUGIN, &faulty)).unwrap();
    let added = caller.join().unwrap();
    // The fault is noticed by a call.
    let _ = slot.load().add(0);
    assert!(host.wait_until_unmapped("tally", 2, Duration::from_secs(100)));
    assert_eq!(slot.load().version().unwrap(), 1);
    assert_eq!(total(&slot), 1 + added, "the state of the faulty version is kept");
    end(host);
}

/// A thread that looked at the slot every few milliseconds meanwhile would take more points than a model may.
fn hanging_snapshot() {
    let host = builder(Policy::development()).build().unwrap();
    host.load(build(book::PLUGIN, 1)).unwrap();
    let hangs = Script {
        version: 2,
        fault: Some((Place::Snapshot, Fault::Hangs)),
        ..Script::default()
    };
    host.load(file(book::PLUGIN, &hangs)).unwrap();
    // The shadow begins with the state. As long as the hook runs nobody may claim the slot, and no thread may wait for it but one that claims.
    let begun = Instant::now();
    let shadow: Result<Shadow<dyn Book>, _> = host.shadow("book", build(book::PLUGIN, 3));
    assert!(shadow.is_err(), "the state was not encoded in time");
    host.load(build(book::PLUGIN, 4)).unwrap_err();
    host.load(build(left::PLUGIN, 1)).unwrap();
    drop(host.unload("left").unwrap());
    let mut claim = host.claim::<dyn Book>("book").unwrap();
    let took = begun.elapsed();
    assert!(took >= HANGS, "it was claimed after {took:?}, while the hook ran");
    assert_eq!(claim.add(1).unwrap(), 1);
    drop(claim);
    assert_eq!(host.slots()[0].generation, Some(2));
    end(host);
}
