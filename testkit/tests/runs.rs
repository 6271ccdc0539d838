//! Successful runs, with all moves and faults.

mod common;

use common::artifact;
use fixture_interfaces::{Counter, SharedCounter};
use reslot_testkit::{Report, Survived, UpDownUp};
use reslot_tests::{Folder, preflight_program};

/// Checks the results of these faults, and prints the report.
fn tried(report: &Report, faults: &[(&str, &str)]) {
    println!("{report}");
    for (fault, outcome) in faults {
        let found = report.faults.iter().find(|tried| tried.fault.contains(fault));
        let found = found.unwrap_or_else(|| panic!("{fault:?} is not in:\n{report}"));
        assert!(
            found.outcome.to_string().contains(outcome),
            "{fault:?}, {outcome:?}:\n{report}"
        );
    }
}

const OF_HOOKS: [(&str, &str); 9] = [
    ("broken off at byte 0", "refused at"),
    ("turned over", "refused at lint"),
    ("`Default::default` that fails", "refused at create"),
    (
        "`Deserialize` that panics",
        "refused at migrate (the current generation's state does not fit it: it panicked",
    ),
    ("`Serialize` that fails", "refused at snapshot"),
    (
        "`init` that hangs",
        "refused at init (its `init` failed: it did not return within",
    ),
    ("`start` that panics", "refused at start"),
    ("`start` that hangs", "refused at start"),
    ("`health` that fails", "refused at health"),
];

#[test]
fn claimed_counter_goes_through_all_of_it() {
    let folder = Folder::new();
    let (old, new) = (
        artifact(&folder, "fx-counter", 1),
        artifact(&folder, "fx-counter-schema-3", 2),
    );
    let mut policy = reslot::Policy::development();
    policy.preflight = Some(reslot::Preflight {
        program: Some(preflight_program().to_owned()),
        ..reslot::Preflight::default()
    });
    let report = UpDownUp::<dyn Counter>::new(old, new)
        .policy(policy)
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .state(|counter| {
            counter.add(1_000)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    tried(&report, &OF_HOOKS);
    tried(
        &report,
        &[
            ("`migrate` that panics", "refused at migrate"),
            ("preflight whose process aborts", "refused at preflight"),
            ("a call that panics", "SKIPPED: no call that panics was given"),
        ],
    );
    assert!(report.units > 1_000 && report.unmapped > 30, "{report}");
    let moves: Vec<_> = report.moves.iter().map(|moved| moved.what).collect();
    assert_eq!(
        moves[..7],
        ["up", "down", "up again", "up", "rollback", "up again", "rollback"]
    );
    assert!(report.moves.iter().all(|moved| moved.state_bytes.is_some()), "{report}");
}

#[test]
fn panic_on_probation_leads_back() {
    let folder = Folder::new();
    let (old, new) = (artifact(&folder, "fx-counter", 1), artifact(&folder, "fx-counter", 2));
    let mut policy = reslot::Policy::development();
    // Without periodic checks, health is still checked once before the swap.
    policy.health_every = std::time::Duration::ZERO;
    let report = UpDownUp::<dyn Counter>::new(old, new)
        .policy(policy)
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .panics(|counter| counter.fail("on purpose"))
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    tried(&report, &OF_HOOKS);
    tried(&report, &[("a call that panics", "rolled back (1 panic(s) on probation")]);
    assert!(report.skipped().all(|tried| tried.fault.contains("preflight")), "{report}");
}

#[test]
fn shared_counter_loses_no_call_of_three_threads() {
    let folder = Folder::new();
    let (old, new) = (
        artifact(&folder, "fx-shared-counter", 1),
        artifact(&folder, "fx-shared-counter", 2),
    );
    let report = UpDownUp::<dyn SharedCounter>::new(old, new)
        .shared(3, |counter| {
            counter.add(1)?;
            Ok(())
        })
        .state(|counter| {
            counter.add(500)?;
            Ok(())
        })
        .same(|counter| Ok((counter.total()?, counter.label()?.to_owned())))
        .adds_up(|counter, units| match counter.total()? {
            total if total == units + 500 => Ok(()),
            total => Err(format!("the counter has {total}").into()),
        })
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    tried(&report, &OF_HOOKS);
    assert!(
        report.moves.iter().any(|moved| moved.part == "with the load paused"),
        "{report}"
    );
    assert!(matches!(report.faults.last().unwrap().outcome, Survived::Skipped { .. }));
}
