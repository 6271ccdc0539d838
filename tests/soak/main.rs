//! 5,000 reloads in one process, with calls from three threads all along, one of which ends and is replaced. It is a test
//! binary of its own, with one test, because it looks at what the whole process holds.
#![forbid(unsafe_code)]

const RELOADS: u64 = 5_000;

#[test]
fn five_thousand_reloads_leave_nothing() {
    let report = reslot_tests::storm(|reloads| reloads >= RELOADS);
    eprintln!("{report:#?}");
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.growth(), Vec::<String>::new());
    assert!(report.calls > RELOADS, "calls went on all along");
}
