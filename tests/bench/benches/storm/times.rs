//! The times of all calls of some threads.

use hdrhistogram::Histogram;
use reslot_bench::Samples;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

/// The figures that are reported of the calls of a round.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.99", 0.9999), ("max", 1.0)];

/// What the rounds of one row found.
#[derive(Default)]
pub struct Rounds {
    /// By [`QUANTILES`], in nanoseconds.
    pub times: [Samples; QUANTILES.len()],
    /// How many times what is called changed, in all.
    pub changes: u64,
    pub calls: u64,
    pub failed: u64,
}

impl Rounds {
    pub fn push(&mut self, times: &Histogram<u64>, failed: u64, changes: u64) {
        for ((_, at), samples) in QUANTILES.into_iter().zip(&mut self.times) {
            samples.push(times.value_at_quantile(at) as f64);
        }
        self.calls += times.len();
        self.failed += failed;
        self.changes += changes;
    }
}

/// Calls on so many threads, each by its own caller, for as long as `beside` works; answers the times of all calls, how many of
/// them failed, and what `beside` answers.
pub fn round<C: FnMut() -> bool>(
    callers: usize,
    caller: impl Fn() -> C + Sync,
    beside: impl FnOnce() -> u64,
) -> (Histogram<u64>, u64, u64) {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(|| call(caller(), &end))).collect();
        let changes = beside();
        end.store(true, Ordering::Relaxed);
        let (mut all, mut failed) = (empty(), 0);
        for thread in threads {
            let (times, of_it) = thread.join().expect("a caller panicked");
            all.add(&times).expect("they have the same bounds");
            failed += of_it;
        }
        (all, failed, changes)
    })
}

fn call(mut call: impl FnMut() -> bool, end: &AtomicBool) -> (Histogram<u64>, u64) {
    let (mut times, mut failed) = (empty(), 0);
    let mut last = Instant::now();
    while !end.load(Ordering::Relaxed) {
        failed += u64::from(!call());
        let now = Instant::now();
        // From the end of the last one, so that whatever comes between is seen, too.
        times.saturating_record((now - last).as_nanos() as u64);
        last = now;
    }
    (times, failed)
}

/// Up to a minute, to the hundredth. A sample costs 5 ns where an array of counters would cost 2, of the 55 that the look at the
/// clock takes, in every row alike; what is counted right is worth that.
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("bounds that it takes")
}
