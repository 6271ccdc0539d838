//! The time from an event to the last order that it caused. Three kinds of events are counted separately: those without any
//! reload, those during which the host's threads prepared a build, and those directly after an adoption.

use hdrhistogram::Histogram;
use std::{fmt, time::Duration};

/// The reload work that happened at the same time as an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beside {
    Nothing,
    Preparing,
    /// In the gap before it, or, after a fault, in the middle of it.
    Adopting,
}

/// The three counts, in nanoseconds.
pub struct Latency([Histogram<u64>; 3]);

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let empty = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self([empty.clone(), empty.clone(), empty]))
    }

    pub(crate) fn note(&mut self, beside: Beside, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[beside as usize].saturating_record(nanos);
    }

    /// How many events were counted: with nothing else, while a build was prepared, after one was adopted.
    pub fn counts(&self) -> [u64; 3] {
        self.0.each_ref().map(Histogram::len)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<27}", "event to intents, in µs")?;
        write!(f, "{:>8}{:>8}{:>9}{:>9}{:>9}", "events", "p50", "p99", "p99.9", "most")?;
        let rows = ["nothing else", "a build prepared meanwhile", "a build adopted before"];
        for (words, of) in rows.iter().zip(&self.0) {
            let at = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
            let (half, high, higher, most) = (at(0.5), at(0.99), at(0.999), of.max() as f64 / 1e3);
            write!(
                f,
                "\n{words:<27}{:>8}{half:>8.1}{high:>9.1}{higher:>9.1}{most:>9.1}",
                of.len()
            )?;
        }
        Ok(())
    }
}
