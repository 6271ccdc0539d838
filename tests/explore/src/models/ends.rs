//! The end of a host against those who use it.

use super::{Described, build, builder};
use crate::{
    plugins::{Tally, left, tally},
    world,
};
use reslot_runtime::{Host, Policy};
use reslot_sync::thread;
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

pub(super) const MODELS: &[Described] = &[(
    "callers-at-the-end",
    "calls at the end of a host are answered or refused, and none reaches code that is gone; no deadlock",
    callers_at_the_end,
)];

fn host() -> Host {
    let host = builder(Policy::development()).build().unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host.load(build(left::PLUGIN, 1)).unwrap();
    host
}

fn callers_at_the_end() {
    let host = host();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let callers = [0, 1].map(|_| {
        let slot = slot.clone();
        thread::spawn(move || {
            let mut added = 0;
            for _ in 0..3 {
                if slot.load().add(1).is_ok() {
                    added += 1;
                }
            }
            added
        })
    });
    host.load(build(tally::PLUGIN, 2)).unwrap();
    drop(slot);
    let report = host.shutdown(Duration::from_secs(60));
    for caller in callers {
        caller.join().unwrap();
    }
    drop(report);
    for image in world::images() {
        assert!(!image.mapped.load(Relaxed), "what may go, goes");
    }
}
