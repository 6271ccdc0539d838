//! What calls beside the program's steps: threads that call the tally, and the owner of the book.

use crate::plugins::{Book, Calls, Tally};
use reslot_runtime::{Claim, Fault, Host, Slot, SyncOutcome};
use reslot_sync::thread::{self, JoinHandle};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The threads that call beside the steps, and how many calls were answered.
pub struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// What was added to the tally, by calls that were answered.
    pub added: Arc<AtomicU64>,
}

impl Callers {
    pub fn start(host: &Host, how_many: usize) -> Self {
        let (stop, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..how_many).map(|number| {
            let (stop, added) = (stop.clone(), added.clone());
            let slot: Slot<dyn Tally> = host.slot("tally").unwrap();
            let nested: Slot<dyn Calls> = host.slot("calls").unwrap();
            let mut reader = host.reader();
            thread::spawn(move || {
                let mut round = 0_u64;
                while !stop.load(Relaxed) {
                    round += 1;
                    let answer = match (number, round % 3) {
                        // Through a view that is kept for a while.
                        (0, 0) => {
                            let view = reader.view();
                            thread::sleep(Duration::from_millis(3));
                            view.get(&slot).add(1)
                        }
                        (0, _) => reader.view().get(&slot).add(1),
                        (_, 0) => nested.load().add(1),
                        _ => slot.load().add(1),
                    };
                    match answer {
                        Ok(total) if total > 0 => {
                            added.fetch_add(1, Relaxed);
                        }
                        // The nested caller answers 0 if its peer did not.
                        Ok(_) => {}
                        Err(error) => check_fault(error.fault()),
                    }
                    // Seldom during long waits, in which nothing else happens.
                    thread::sleep(Duration::from_millis(1 << (round / 16).min(10)));
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            added,
        }
    }

    /// Ends the threads, and answers what was added.
    pub fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.added.load(Relaxed)
    }
}

/// A call fails for these reasons only.
fn check_fault(fault: &Fault) {
    let is_expected = matches!(
        fault,
        Fault::Panicked { .. } | Fault::Vacant | Fault::Unloaded | Fault::HandingOver | Fault::HostEnded
    );
    assert!(is_expected, "a call failed with {fault:?}");
}

/// The thread that owns the book.
pub struct Owner {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<u64>>,
}

impl Owner {
    /// None if the slot was unloaded. `known` is the total, if nothing has changed it since the last owner.
    pub fn start(host: &Host, known: Option<u64>) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut claim = host.claim::<dyn Book>("book").ok()?;
        let ended = stop.clone();
        let thread = thread::spawn(move || {
            let mut known = known;
            let mut round = 0_u64;
            while !ended.load(Relaxed) {
                // After these the state may be older, or a new one.
                if let SyncOutcome::RolledBack { .. } | SyncOutcome::Unloaded { .. } = Claim::sync(&mut claim) {
                    known = None;
                }
                match claim.add(1) {
                    Ok(total) => {
                        if let Some(known) = known {
                            assert_eq!(total, known + 1, "no effect of an owner's call is lost");
                        }
                        known = Some(total);
                    }
                    Err(error) => check_fault(error.fault()),
                }
                round += 1;
                thread::sleep(Duration::from_millis(2 << (round / 16).min(9)));
            }
            match Claim::sync(&mut claim) {
                SyncOutcome::RolledBack { .. } | SyncOutcome::Unloaded { .. } => None,
                _ => known,
            }
        });
        Some(Self { stop, thread })
    }

    /// Answers the total, if it is known.
    pub fn end(self) -> Option<u64> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}
