//! A set of three slots against single moves.

use super::{Described, build, builder, end};
use crate::plugins::{Tally, left, middle, right};
use reslot_runtime::{Policy, Slot};
use reslot_sync::thread;
use std::sync::Arc;

pub(super) const MODELS: &[Described] = &[("set", "nobody sees half of a set; single moves beside it lose nothing", set)];

fn set() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    let all = [left::PLUGIN, middle::PLUGIN, right::PLUGIN];
    host.load_together(all.map(|plugin| build(plugin, 1))).unwrap();
    let slots: Vec<Slot<dyn Tally>> = ["left", "middle", "right"].map(|name| host.slot(name).unwrap()).into();
    let reads = {
        let (mut reader, slots) = (host.reader(), slots.clone());
        thread::spawn(move || {
            for _ in 0..3 {
                let view = reader.view();
                let versions: Vec<u64> = slots.iter().map(|slot| view.get(slot).version().unwrap()).collect();
                // A set has one number for all; a single move counts from 100.
                let of_set: Vec<u64> = versions.iter().map(|version| version % 100).collect();
                assert!(
                    of_set.windows(2).all(|pair| pair[0] == pair[1]),
                    "half of a set: {versions:?}"
                );
            }
        })
    };
    let alone = {
        let host = host.clone();
        thread::spawn(move || {
            // It is version 1 of the set, or comes after it and is replaced or refused as an older one never is: either way the view is whole.
            let _ = host.load(build(right::PLUGIN, 101));
        })
    };
    alone.join().unwrap();
    host.load_together(all.map(|plugin| build(plugin, 2))).unwrap();
    host.load_together(all.map(|plugin| build(plugin, 3))).unwrap();
    reads.join().unwrap();
    assert!(slots.iter().all(|slot| slot.load().version().unwrap() == 3));
    end(Arc::into_inner(host).unwrap());
}
