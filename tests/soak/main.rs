//! Long runs, in a separate test binary, because one of them measures the whole process: they run one after the other.
#![forbid(unsafe_code)]

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const RELOADS: u64 = 5_000;
const CHAOS: u64 = 15;

/// `cargo xtask sanitize` runs the tests under tools that slow them down many times, and shortens them.
fn shortened(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("it is a number"))
}

/// 5,000 reloads in one process, with calls from three threads throughout; one of the threads ends and is replaced.
#[test]
fn five_thousand_reloads_leave_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let shortened = shortened("RESLOT_SOAK_RELOADS");
    let (wanted, warm_up) = match shortened {
        Some(wanted) => (wanted, wanted / 5),
        None => (RELOADS, reslot_tests::WARM_UP),
    };
    let report = reslot_tests::storm(warm_up, |reloads| reloads >= wanted);
    eprintln!("{report:#?}");
    assert_eq!(report.faults, Vec::<String>::new());
    let growth = match shortened {
        // Such a tool has an allocator of its own.
        Some(_) => report.growth_beside_memory(),
        None => report.growth(),
    };
    assert_eq!(growth, Vec::<String>::new());
    assert!(report.calls > wanted, "calls went on all along");
}

/// Eight callers, an owner, an idle reader, and three threads that move the slots at random. `cargo xtask stress chaos` runs the same for
/// longer.
#[test]
fn chaos_loses_no_call() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reslot_tests::chaos(13, Duration::from_secs(shortened("RESLOT_SOAK_SECONDS").unwrap_or(CHAOS)));
    eprintln!("{report:#?}");
    assert_eq!(report.faults, Vec::<String>::new());
    // This run has no reason for a snapshot.
    assert_eq!(report.snapshots, Vec::<String>::new());
    if shortened("RESLOT_SOAK_SECONDS").is_none() {
        assert!(report.carried > 0 && report.calls > 1_000, "all of it went on all along");
    }
}
