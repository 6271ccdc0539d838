//! Calls and changes slots at random, and prints the losses.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Exit status 0 only if no call was lost; `None` if the arguments are not understood.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let (seconds, rest) = match arguments {
        [first, rest @ ..] if !first.starts_with('-') => (first.parse().ok()?, rest),
        rest => (180, rest),
    };
    let seed = match rest {
        [] => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        [seed] => seed.strip_prefix("--seed=")?.parse().ok()?,
        _ => return None,
    };
    println!(
        "for {seconds} s eight callers, an owner and an idle reader, and three threads that reload, roll back, confirm, configure and load sets\n\
         at random; again with --seed {seed}"
    );
    let report = reslot_tests::chaos(seed, Duration::from_secs(seconds));
    println!(
        "{} calls in {:.1} s; {}",
        report.calls,
        report.took.as_secs_f64(),
        moves(&report)
    );
    println!("the longest call took {:.1?}", report.longest_call);
    println!("{} rollbacks carried the faulty version's state", report.carried);
    for snapshot in &report.snapshots {
        println!("  one did not, and reported it: {snapshot}");
    }
    if report.faults.is_empty() {
        println!("ok: no call failed, and no call was lost without a report");
        return Some(ExitCode::SUCCESS);
    }
    for fault in &report.faults {
        println!("FAILED: {fault}");
    }
    Some(ExitCode::FAILURE)
}

fn moves(report: &reslot_tests::ChaosReport) -> String {
    let moves = report.moves.iter().map(|(how, times)| format!("{how} {times} times"));
    moves.collect::<Vec<_>>().join(", ")
}
