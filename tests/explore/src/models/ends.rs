//! The end of a host against those who use it.

use super::{Described, HandedOut, OneHandle, build, builder, check_unmapped};
use crate::{
    plugins::{Calls, Inner, Tally, calls, left, tally},
    world::{on_start, only_calls},
};
use reslot_runtime::{Cause, Claim, Fault, Host, LoadOutcome, Policy};
use reslot_sync::{mpsc, thread};
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
    (
        "adoption-at-the-end",
        "if a host ends while the owner of a slot adopts, calls from before reach what he adopts",
        adoption_at_the_end,
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

/// A lent object whose call waits until the host has ended.
struct WaitsForTheEnd {
    is_inside: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
}

impl Inner for WaitsForTheEnd {
    fn call(&mut self) {
        self.is_inside.send(()).unwrap();
        self.has_ended.recv().unwrap();
    }
}

/// The host ends while a hook of the candidate runs that the owner adopts.
fn adoption_at_the_end() {
    let host = builder(Policy::without_probation()).build().unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host.load(build(calls::PLUGIN, 1)).unwrap();
    let caller = host.slot::<dyn Calls>("calls").unwrap();
    let (is_inside, inside) = mpsc::channel();
    let (end, has_ended) = mpsc::channel();
    let calls = thread::spawn(move || {
        let mut waits = WaitsForTheEnd { is_inside, has_ended };
        caller.load().add_after(1, &mut waits).unwrap()
    });
    // The other plugin has looked the tally up: it calls the first version, although the slot is claimed now.
    inside.recv().unwrap();
    let mut owner = host.claim::<dyn Tally>("tally").unwrap();
    host.load(build(tally::PLUGIN, 2)).unwrap();
    let (is_starting, starting) = mpsc::channel();
    on_start(move |_| {
        is_starting.send(()).unwrap();
        thread::sleep(Duration::from_secs(2));
    });
    let ends = thread::spawn(move || {
        starting.recv().unwrap();
        let _ = host.shutdown(Duration::from_secs(1));
        end.send(()).unwrap();
    });
    let _ = Claim::sync(&mut owner);
    assert_eq!(owner.version().unwrap(), 2, "what the owner had begun to adopt is adopted");
    assert_eq!(calls.join().unwrap(), Ok(1), "the call reaches what the owner has");
    assert_eq!(owner.total().unwrap(), 1, "no effect of a call is lost");
    ends.join().unwrap();
}
