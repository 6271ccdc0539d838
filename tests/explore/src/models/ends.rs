//! The end of a host against those who use it.

use super::{Described, HandedOut, OneHandle, build, builder, check_unmapped};
use crate::{
    plugins::{Tally, left, tally},
    world::only_calls,
};
use reslot_runtime::{Cause, Fault, Host, LoadOutcome, Policy};
use reslot_sync::thread;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub(super) const MODELS: &[Described] = &[
    (
        "callers-at-the-end",
        "calls at the end of a host are answered or refused, and none reaches code that is gone; no deadlock",
        callers_at_the_end,
    ),
    (
        "requests-at-the-end",
        "a request of a surface is done or refused, and none works on a host that has ended; no deadlock",
        requests_at_the_end,
    ),
];

fn host() -> Host {
    let host = builder(Policy::development()).build().unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host.load(build(left::PLUGIN, 1)).unwrap();
    host
}

fn callers_at_the_end() {
    let host = host();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let sum = Arc::new(AtomicU64::new(0));
    let callers = [0, 1].map(|_| {
        let (slot, sum) = (slot.clone(), sum.clone());
        thread::spawn(move || {
            only_calls();
            let mut added = 0;
            for _ in 0..3 {
                match slot.load().add(1) {
                    Ok(total) => {
                        added += 1;
                        sum.fetch_max(total, Relaxed);
                    }
                    Err(error) => {
                        let ended = matches!(error.fault(), Fault::HostEnded);
                        assert!(ended, "a call at the end of a host failed with {error}");
                    }
                }
            }
            added
        })
    });
    host.load(build(tally::PLUGIN, 2)).unwrap();
    drop(slot);
    let report = host.shutdown(Duration::from_secs(60));
    let added: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert_eq!(sum.load(Relaxed), added, "no effect of a call is lost");
    check_unmapped(&report);
}

fn requests_at_the_end() {
    let handle = OneHandle::default();
    let host = builder(Policy::without_probation())
        .attach(HandedOut(handle.clone()))
        .build()
        .unwrap();
    host.load(build(left::PLUGIN, 1)).unwrap();
    let has_ended = Arc::new(AtomicBool::new(false));
    let asks = [2, 3].map(|version| {
        let (handle, has_ended) = (handle.clone(), has_ended.clone());
        thread::spawn(move || {
            let handle = handle.get().unwrap();
            // Refused, if the host ends already.
            let Ok(steering) = handle.steer() else { return };
            assert!(!has_ended.load(Relaxed), "a host that has ended takes a request");
            let outcomes = steering.load(build(left::PLUGIN, version));
            assert!(!has_ended.load(Relaxed), "a host ends while it works on a request");
            for outcome in outcomes {
                // The end may have come between the two.
                let refused = matches!(&outcome, Err(refusal) if matches!(*refusal.cause, Cause::HostEnded));
                let done = matches!(outcome, Ok(LoadOutcome::Swapped(_) | LoadOutcome::Unchanged { .. }));
                assert!(done || refused, "a request is done or refused: {outcome:?}");
            }
        })
    });
    let report = host.shutdown(Duration::from_secs(60));
    has_ended.store(true, Relaxed);
    for ask in asks {
        ask.join().unwrap();
    }
    check_unmapped(&report);
}
