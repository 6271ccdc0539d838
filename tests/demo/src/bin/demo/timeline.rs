//! The time from a finished file's rename into place to the first answer of its code, step by step: of one reload as bars, of
//! many as medians.

use reslot::{ReloadReport, Step};
use reslot_demo::{desk::Adoption, words::dim};
use std::time::{Duration, Instant};

/// How wide the bars are.
const WIDTH: f64 = 36.0;

/// One reload. The parts add up to the whole.
#[derive(Debug, Clone)]
pub struct Timeline(Vec<(&'static str, Duration)>);

impl Timeline {
    /// Puts together what the host reported and what the program saw itself.
    pub fn new(renamed: Instant, report: &ReloadReport, adoption: &Adoption) -> Self {
        let steps: Duration = report.steps.iter().map(|(_, took)| *took).sum();
        let until_adopted = adoption.adopted.saturating_duration_since(renamed);
        let mut parts = vec![("event", until_adopted.saturating_sub(report.total))];
        for (step, took) in &report.steps {
            if *step == Step::Snapshot {
                parts.push(("wait", report.total.saturating_sub(steps)));
            }
            parts.push((step.name(), *took));
        }
        parts.push(("call", adoption.answered.saturating_duration_since(adoption.adopted)));
        Self(parts)
    }

    /// From the rename to the first answer.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|(_, took)| *took).sum()
    }

    /// Prints a line for each part, with its position in the whole time.
    pub fn print(&self) {
        anstream::println!("  {:<8} {:>6}  {:<37} {}", "step", "µs", "", "what happens");
        let scale = WIDTH / self.total().as_secs_f64().max(1e-9);
        let mut begin = Duration::ZERO;
        for (name, took) in &self.0 {
            let from = (begin.as_secs_f64() * scale).floor();
            let bar = (took.as_secs_f64() * scale).round().clamp(0.0, WIDTH - from);
            let mark = if bar < 1.0 {
                "▏".to_owned()
            } else {
                "█".repeat(bar as usize)
            };
            let bar = format!("{:indent$}{mark}", "", indent = from as usize);
            anstream::println!("  {name:<8} {:>6}  {bar:<37} {}", took.as_micros(), dim(meaning(name)));
            begin += *took;
        }
        anstream::println!(
            "  {:<8} {:>6}  from the rename to the first answer of the new code",
            "total",
            begin.as_micros()
        );
    }
}

/// Prints the median, 90th percentile and maximum of each part and of the whole.
pub fn print_medians(timelines: &[Timeline]) {
    anstream::println!("  {:<8} {:>8} {:>8} {:>8}", "step", "median", "p90", "max");
    let Some(first) = timelines.first() else { return };
    for (name, _) in &first.0 {
        let of = |timeline: &Timeline| {
            timeline
                .0
                .iter()
                .find(|part| part.0 == *name)
                .map_or(Duration::ZERO, |part| part.1)
        };
        print_row(name, timelines.iter().map(of).collect());
    }
    print_row("total", timelines.iter().map(Timeline::total).collect());
    anstream::println!(
        "  {}",
        dim("in µs; a step's median is its own, so that the medians do not add up to the total's")
    );
}

fn print_row(name: &str, mut all: Vec<Duration>) {
    let [median, p90, max] = [0.5, 0.9, 1.0].map(|share| at(&mut all, share).as_micros());
    anstream::println!("  {name:<8} {median:>8} {p90:>8} {max:>8}");
}

/// The median of the whole.
pub fn median_total(timelines: &[Timeline]) -> Duration {
    at(&mut timelines.iter().map(Timeline::total).collect::<Vec<_>>(), 0.5)
}

/// The quantile for this share.
fn at(all: &mut [Duration], share: f64) -> Duration {
    all.sort_unstable();
    let index = (share * all.len().saturating_sub(1) as f64).round() as usize;
    all.get(index).copied().unwrap_or_default()
}

fn meaning(name: &str) -> &'static str {
    match name {
        "event" => "the kernel wakes the host's watch",
        "notice" => "the reload thread starts to work on the file",
        "read" => "the file is read and hashed",
        "lint" => "its bytes are checked, nothing runs",
        "open" => "a private copy of it is mapped",
        "verify" => "the mapped code is checked",
        "create" => "the new strategy is made",
        "wait" => "until the program's loop calls `sync`",
        "snapshot" => "the old code encodes its state",
        "migrate" => "the state moves to the new code",
        "preflight" => "a child process tries it out",
        "init" => "it builds on the state",
        "start" => "the new strategy starts",
        "health" => "its health is checked",
        "swap" => "the new code takes over",
        "call" => "its first call returns",
        _ => "",
    }
}
