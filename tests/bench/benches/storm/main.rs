//! What callers notice of swaps: the time of every single call, with reloads and without, in interleaved rounds: `cargo xtask bench
//! storm`.
//!
//! *1,000 swaps a second* are swaps of the host's pointer, as a reader meets them: the view is replaced, each reader takes up
//! the next one, and drops the last. They come from claiming and letting go of another slot of the host, which publishes a view
//! each. *Reloads* are whole ones of the slot that is called: they read, copy, map and unmap half a megabyte each, on the cores of
//! the callers, and are asked for by `Host::load`. One round without swaps has a thread that wakes up as often and does nothing.
//! hot-lib-reloader 0.8.2 has the smallest debounce that lets its watch sleep, 1 ms, and is given the next file as soon as it has
//! taken the last.

#[cfg(feature = "peers")]
mod hot;
mod ours;
mod times;

use ours::{Beside, Ours, RELOADS};
use reslot::Policy;
use reslot_bench::{Report, Row, only_a_test};
use reslot_tests::Fixture;
use std::time::Duration;
use times::{QUANTILES, Rounds};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(400);
const PROMISE: f64 = 1.2;

/// One line of each table: its name, whether its host has no standby, what happens beside the callers.
const LINES: [(&str, bool, Beside); 8] = [
    ("no reload", false, Beside::Nothing),
    ("no reload, a thread that wakes up", false, Beside::Wakes),
    ("1,000 swaps/s", false, Beside::Swaps),
    ("1,000 swaps/s, no probation", true, Beside::Swaps),
    ("200 reloads/s", false, Beside::PacedReloads),
    ("200 reloads/s, no probation", true, Beside::PacedReloads),
    ("reloads without pause", false, Beside::Reloads),
    ("reloads without pause, no probation", true, Beside::Reloads),
];

fn main() -> anyhow::Result<()> {
    let (rounds, length) = if only_a_test() {
        (1, Duration::from_millis(50))
    } else {
        (ROUNDS, ROUND)
    };
    let mut report = Report::new("storm");
    let fixture = Fixture::build("fx-bench-reload");
    let hosts = [Policy::default(), Policy::without_probation()].map(|policy| Ours::new(policy, &fixture));
    let (mut calls, mut failed) = (0, 0);
    for callers in [1, 2] {
        let mut lines: Vec<_> = LINES.iter().map(|line| (line, Rounds::default())).collect();
        let count = lines.len();
        for round in 0..rounds {
            // Each goes first as often as the others.
            for turn in 0..count {
                let ((_, plain, beside), rounds) = &mut lines[(round + turn) % count];
                hosts[usize::from(*plain)].round(rounds, callers, *beside, length);
            }
        }
        let lines: Vec<_> = lines
            .into_iter()
            .map(|((name, _, beside), rounds)| {
                calls += rounds.calls;
                failed += rounds.failed;
                (*name, *beside, rounds)
            })
            .collect();
        let promised = |beside| (beside == Beside::Swaps).then_some(PROMISE);
        tell(&mut report, "Reslot", callers, &lines, length * rounds as u32, promised);
    }
    drop(hosts);
    #[cfg(feature = "peers")]
    others(&mut report, &fixture, rounds, length);
    published(&mut report, calls, failed);
    report.finish()
}

/// A table for each quantile: ratios are the rounds' own, to the first line's.
fn tell(
    report: &mut Report,
    who: &str,
    callers: usize,
    lines: &[(&str, Beside, Rounds)],
    measured: Duration,
    promised: impl Fn(Beside) -> Option<f64>,
) {
    let callers = if callers == 1 { "one caller" } else { "two callers" };
    for (at, (quantile, _)) in QUANTILES.iter().enumerate() {
        report.heading(format!("{who}, {callers}, every call timed: {quantile}"));
        let name = |line: &str| format!("{who}, {line}: {quantile}, {callers}");
        let (base, _, without) = &lines[0];
        let base = name(base);
        for (line, beside, rounds) in lines {
            let mut row = Row::new(name(line), &rounds.times[at], "ns");
            if *beside != Beside::Nothing {
                row = row.against(&base, &rounds.times[at].over(&without.times[at]));
            }
            if *quantile == "p99.99" {
                if let Some(limit) = promised(*beside) {
                    row = row.at_most(limit);
                }
                if matches!(*beside, Beside::Swaps | Beside::Reloads) && !line.contains("no probation") {
                    row = row.quoted();
                }
            }
            let a_second = rounds.changes as f64 / measured.as_secs_f64();
            report.row(match beside {
                Beside::Nothing | Beside::Wakes => row,
                Beside::PacedReloads => row.note(format!("{a_second:.0} of {RELOADS} reloads a second were reached")),
                Beside::Swaps | Beside::Reloads => row.note(format!("{a_second:.0} a second")),
            });
        }
    }
}

/// hot-lib-reloader, in rounds of its own: its watch wakes up four thousand times a second, and cannot be ended.
#[cfg(feature = "peers")]
fn others(report: &mut Report, fixture: &Fixture, rounds: usize, length: Duration) {
    let peer = Fixture::build("peer-reload-hot-lib");
    let hot = hot::Hot::new(reslot_bench::padded(peer, fixture.bytes().len()));
    for callers in [1, 2] {
        let mut lines = [
            ("no reload", Beside::Nothing, Rounds::default()),
            ("reloads without pause", Beside::Reloads, Rounds::default()),
        ];
        for round in 0..rounds {
            for turn in 0..2 {
                let (_, beside, rounds) = &mut lines[(round + turn) % 2];
                hot.round(rounds, callers, *beside == Beside::Reloads, length);
            }
        }
        tell(report, "hot-lib-reloader", callers, &lines, length * rounds as u32, |_| None);
    }
}

/// What was lost here, and what others measured of Erlang elsewhere.
fn published(report: &mut Report, calls: u64, failed: u64) {
    report.heading("Calls lost over all reloads");
    let ours = Row::single("Reslot: calls that failed", failed as f64, "calls");
    report.row(ours.at_most(0.0).quoted().note(format!("of {calls} calls in this run")));
    let elsewhere = "published; measured by others, elsewhere, on other machines: not to be compared number by number";
    let lost = Row::single("Erlang: calls lost", 0.0, "calls");
    report.row(lost.note(format!("of 6.5 billion; {elsewhere}")));
    report.heading("Erlang's published reloads");
    for (with, took) in [("without processes", 0.55), ("with 100,000 processes", 240.0)] {
        report.row(Row::single(format!("Erlang: a reload {with}"), took, "ms").note(elsewhere));
    }
}
