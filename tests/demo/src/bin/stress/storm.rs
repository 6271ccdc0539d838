//! Reloads without pause under calls from several threads, and prints the footprint of the process before and after.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// The length of a run.
#[derive(Clone, Copy)]
pub enum Length {
    /// This number of seconds after the warm-up.
    Seconds(u64),
    /// This number of reloads, including the warm-up.
    Reloads(u64),
}

/// Exit status 0 only if nothing failed and nothing grew.
pub fn run(length: Length) -> ExitCode {
    let words = match length {
        Length::Seconds(seconds) => format!("for {seconds} s, after 1,000 reloads to warm up"),
        Length::Reloads(reloads) => format!("{reloads} times"),
    };
    println!("reloading three plugins without pause {words}, under calls from three threads");
    // The fixtures may have to be built first, so the time begins at the first call of this closure.
    let mut begun = None;
    let mut told = Instant::now();
    let report = reslot_tests::storm(reslot_tests::WARM_UP, |reloads| {
        let begun = *begun.get_or_insert_with(Instant::now);
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            // Standard output is discarded because the plugins print, so this uses standard error.
            eprintln!("  {reloads} reloads so far");
        }
        match length {
            Length::Seconds(seconds) => begun.elapsed() >= Duration::from_secs(seconds),
            Length::Reloads(most) => reloads >= most,
        }
    });
    println!(
        "{} reloads and {} calls in {:.1} s; {} threads started, called and ended\n",
        report.reloads,
        report.calls,
        report.took.as_secs_f64(),
        report.short_lived_threads
    );
    println!("{:<24} {:>10} {:>10}", "the process holds", "warmed up", "at the end");
    let (before, after) = (&report.before, &report.after);
    for (what, before, after) in [
        ("mappings", before.mappings, after.mappings),
        ("executable mappings", before.executable_mappings, after.executable_mappings),
        ("threads", before.threads, after.threads),
        ("descriptors", before.descriptors, after.descriptors),
        ("free pthread keys", before.free_keys, after.free_keys),
        ("resident KiB", before.resident_kib, after.resident_kib),
    ] {
        println!("{what:<24} {before:>10} {after:>10}");
    }
    println!("  (64 KiB of a LazyLock in every third generation are freed with the plugin)\n");
    let problems: Vec<_> = report.faults.iter().cloned().chain(report.growth()).collect();
    if problems.is_empty() {
        println!("ok: no call failed, no state was lost, every old image was proven unmapped, nothing grew");
        return ExitCode::SUCCESS;
    }
    for problem in problems {
        println!("FAILED: {problem}");
    }
    ExitCode::FAILURE
}
