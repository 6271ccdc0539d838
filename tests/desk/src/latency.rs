//! From an event to the intents that are carried out, counted apart: events at which nothing else happened, those during which a build
//! was prepared on the host's threads, and those at which one was adopted.

use hdrhistogram::Histogram;
use std::{fmt, time::Duration};

/// What else happened at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A build was being prepared.
    Preparing,
    /// A build was adopted.
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
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = ["nothing else", "a build was prepared", "a build was adopted"];
        write!(
            f,
            "{:<22}{:>8}{:>10}{:>10}{:>10}{:>10}  (µs)",
            "event to intents, while", "events", "p50", "p99", "p99.9", "most"
        )?;
        for (words, of) in rows.iter().zip(&self.0) {
            let at = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
            let (events, most) = (of.len(), of.max() as f64 / 1e3);
            let (half, high, higher) = (at(0.5), at(0.99), at(0.999));
            write!(
                f,
                "\n{words:<23}{events:>8}{half:>10.1}{high:>10.1}{higher:>10.1}{most:>10.1}"
            )?;
        }
        Ok(())
    }
}
