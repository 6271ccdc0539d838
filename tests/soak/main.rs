//! Long runs, in a separate test binary, because one of them measures the whole process: they run one after the other.
#![forbid(unsafe_code)]

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const RELOADS: u64 = 5_000;

/// 5,000 reloads in one process, with calls from three threads throughout; one of the threads ends and is replaced.
#[test]
fn five_thousand_reloads_leave_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reslot_tests::storm(|reloads| reloads >= RELOADS);
    eprintln!("{report:#?}");
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.growth(), Vec::<String>::new());
    assert!(report.calls > RELOADS, "calls went on all along");
}

/// Eight callers, an owner, an idle reader, and three threads that move the slots at random. `cargo xtask stress chaos` runs the same for
/// longer.
#[test]
fn chaos_loses_no_call() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reslot_tests::chaos(13, Duration::from_secs(15));
    eprintln!("{report:#?}");
    assert_eq!(report.faults, Vec::<String>::new());
    // This run has no reason for a snapshot.
    assert_eq!(report.snapshots, Vec::<String>::new());
    assert!(report.carried > 0 && report.calls > 1_000, "all of it went on all along");
}
