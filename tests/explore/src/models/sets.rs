//! A set of three slots against single moves.

use super::{Described, build, builder, end};
use crate::plugins::{Tally, left, middle, tally};
use reslot_runtime::{Policy, RollbackTarget, Slot, View};
use reslot_sync::thread;
use std::sync::Arc;

pub(super) const MODELS: &[Described] = &[
    (
        "set",
        "nobody sees half of a set, also while single slots move; no effect of a call is lost",
        set,
    ),
    (
        "set-on-probation",
        "a set is confirmed or rolled back, as a whole, while another one comes; nobody sees half of it; no deadlock",
        set_on_probation,
    ),
];

/// Versions of single moves begin here, so that they differ from those of sets.
const SINGLE: u64 = 100;

/// What a view has of a set is of one set.
fn check_whole(view: &View, slots: &[Slot<dyn Tally>]) {
    let versions: Vec<u64> = slots.iter().map(|slot| view.get(slot).version().unwrap()).collect();
    let of_sets: Vec<u64> = versions.iter().copied().filter(|version| *version < SINGLE).collect();
    let is_whole = of_sets.windows(2).all(|pair| pair[0] == pair[1]);
    assert!(is_whole, "half of a set: {versions:?}");
}

fn set() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    let all = [left::PLUGIN, middle::PLUGIN, tally::PLUGIN];
    host.load_together(all.map(|plugin| build(plugin, 1))).unwrap();
    let slots: Vec<Slot<dyn Tally>> = ["left", "middle", "tally"].map(|name| host.slot(name).unwrap()).into();
    let reads = {
        let (mut reader, slots) = (host.reader(), slots.clone());
        thread::spawn(move || {
            for _ in 0..3 {
                // The member with state answers from its current generation, which may be newer than the view.
                check_whole(reader.view(), &slots[..2]);
            }
        })
    };
    let alone = {
        let host = host.clone();
        thread::spawn(move || {
            host.load(build(left::PLUGIN, SINGLE)).unwrap();
            host.load(build(tally::PLUGIN, SINGLE)).unwrap();
        })
    };
    let calls = {
        let slot = slots[2].clone();
        thread::spawn(move || {
            for _ in 0..3 {
                slot.load().add(1).unwrap();
            }
        })
    };
    host.load_together(all.map(|plugin| build(plugin, 2))).unwrap();
    host.load_together(all.map(|plugin| build(plugin, 3))).unwrap();
    for thread in [reads, alone, calls] {
        thread.join().unwrap();
    }
    assert_eq!(slots[1].load().version().unwrap(), 3);
    assert_eq!(slots[2].load().total().unwrap(), 3, "no effect of a call is lost");
    end(Arc::into_inner(host).unwrap());
}

fn set_on_probation() {
    let mut policy = Policy::development();
    // Otherwise one slot could go back alone, to a version of the history.
    policy.history = 0;
    let host = Arc::new(builder(policy).build().unwrap());
    let all = [left::PLUGIN, middle::PLUGIN];
    host.load_together(all.map(|plugin| build(plugin, 1))).unwrap();
    host.load_together(all.map(|plugin| build(plugin, 2))).unwrap();
    let slots: Vec<Slot<dyn Tally>> = ["left", "middle"].map(|name| host.slot(name).unwrap()).into();
    let goes_back = {
        let host = host.clone();
        thread::spawn(move || {
            // Refused, if the next set was confirmed before.
            let _ = host.rollback("left", RollbackTarget::Previous);
        })
    };
    let confirms = {
        let host = host.clone();
        thread::spawn(move || {
            host.confirm("middle").unwrap();
        })
    };
    let mut reader = host.reader();
    check_whole(reader.view(), &slots);
    host.load_together(all.map(|plugin| build(plugin, 3))).unwrap();
    check_whole(reader.view(), &slots);
    goes_back.join().unwrap();
    check_whole(reader.view(), &slots);
    confirms.join().unwrap();
    check_whole(reader.view(), &slots);
    drop(reader);
    drop(slots);
    end(Arc::into_inner(host).unwrap());
}
