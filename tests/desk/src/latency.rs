//! From an event to the intents that are carried out, counted apart: events at which nothing else happened, those during which a build
//! was prepared on the host's threads, and those before which one was adopted.

use hdrhistogram::Histogram;
use std::{fmt, time::Duration};

/// What else happened at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A build was being prepared.
    Preparing,
    /// A build was adopted in the gap before it, or, after a fault, in the middle of it.
    Adopting,
}

/// The three counts, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latency([Histogram<u64>; 3]);

impl Latency {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// Never, with these figures; the histogram's own are not trusted to be right.
    pub fn new() -> anyhow::Result<Self> {
        let empty = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self([empty.clone(), empty.clone(), empty]))
    }

    pub(crate) fn note(&mut self, beside: Beside, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[beside as usize].saturating_record(nanos);
    }

    /// One of the counts.
    pub fn of(&self, beside: Beside) -> &Histogram<u64> {
        &self.0[beside as usize]
    }

    /// All three in one.
    pub fn all(&self) -> Histogram<u64> {
        let [mut all, preparing, adopting] = self.0.clone();
        all += preparing;
        all += adopting;
        all
    }

    /// Counts another's as well, and leaves it empty.
    pub fn take(&mut self, other: &mut Self) {
        for (own, other) in self.0.iter_mut().zip(&mut other.0) {
            *own += &*other;
            other.reset();
        }
    }
}

/// What stands above [`line()`]s.
pub fn head() -> String {
    format!(
        "{:<27}{:>8}{:>8}{:>9}{:>9}{:>9}",
        "event to intents, in µs", "events", "p50", "p99", "p99.9", "most"
    )
}

/// One count, as a line of a table.
pub fn line(words: &str, of: &Histogram<u64>) -> String {
    let at = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
    let (events, most) = (of.len(), of.max() as f64 / 1e3);
    let (half, high, higher) = (at(0.5), at(0.99), at(0.999));
    format!("{words:<27}{events:>8}{half:>8.1}{high:>9.1}{higher:>9.1}{most:>9.1}")
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = ["nothing else", "a build prepared meanwhile", "a build adopted before"];
        f.write_str(&head())?;
        for (words, of) in rows.iter().zip(&self.0) {
            write!(f, "\n{}", line(words, of))?;
        }
        Ok(())
    }
}
