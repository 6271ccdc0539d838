//! The rows of the report, and the promised limits.

use crate::{
    BARE,
    comparison::Comparison,
    ours::{CLAIMED, LOADED, READ},
    threads::two,
};
use call_bodies::Body;
use reslot_bench::{Report, Row};

/// Those of one body.
pub fn of_body(body: Body, comparison: &Comparison<'_>, report: &mut Report) {
    report.heading(match body {
        Body::Add => "a call of a body that counts and adds",
        Body::Work => "a call of a body of about 50 ns",
        Body::Sum => "a call that sums a slice of 1,000 numbers",
        Body::Text => "a call that answers a short String",
        Body::Callback => "a call that calls back once",
    });
    let base = comparison.samples(BARE);
    for way in &comparison.ways {
        let mut row = Row::new(&way.name, &way.samples, "ns");
        if way.name != BARE {
            row = row.against(BARE, &way.samples.over(base));
        }
        row = match way.name.as_str() {
            CLAIMED => row.at_most(1.05),
            READ => row.at_most(1.3),
            LOADED => row.at_most(3.0),
            _ => row,
        };
        if is_quoted(body, &way.name) {
            row = row.quoted();
        }
        if let Some(note) = way.note {
            row = row.note(note);
        }
        report.row(row);
    }
    cannot(comparison, report);
}

fn is_quoted(body: Body, name: &str) -> bool {
    match body {
        // Each way once; what only differs in a detail is left to the report.
        Body::Add => name != "inlined" && name != crate::ours::VIEWED && !name.contains("probation"),
        _ => name == CLAIMED,
    }
}

/// Rows without a figure: who cannot, and why.
fn cannot(comparison: &Comparison<'_>, report: &mut Report) {
    for (name, why) in &comparison.cannot {
        report.row(without_figure(format!("{name}: cannot, {why}")));
    }
}

/// A row that only tells something. Not NaN: the report could not be read again.
pub fn without_figure(words: String) -> Row {
    Row::single(words, 0.0, "")
}

/// Those of two threads.
pub fn of_threads(comparison: &Comparison<'_>, report: &mut Report) {
    let names: Vec<&str> = comparison.ways.iter().map(|way| way.name.as_str()).step_by(2).collect();
    let (one, both) = (comparison.samples(BARE), comparison.samples(&two(BARE)));

    report.heading("two threads that call at once, each counting for itself");
    for name in &names {
        let samples = comparison.samples(&two(name));
        let mut row = Row::new(two(name), samples, "ns");
        if *name != BARE {
            row = row.against(&two(BARE), &samples.over(both));
        }
        report.row(row);
    }
    cannot(comparison, report);

    report.heading("a call on two threads in calls on one thread, over the same of the bare pointer");
    let grown = both.over(one);
    for name in names {
        let samples = comparison.samples(&two(name)).over(comparison.samples(name));
        let mut row = Row::new(name, &samples, "times");
        if name != BARE {
            row = row.against(BARE, &samples.over(&grown));
        }
        if name == READ {
            row = row.at_most(1.1).quoted();
        }
        report.row(row);
    }
}
