//! What callers notice of swaps: the time of every single call through readers' views, with swaps and without, in interleaved rounds:
//! `cargo xtask bench storm`.
//!
//! *1,000 swaps a second* are swaps of the host's pointer, as a reader meets them: the view is replaced, each reader takes up
//! the next one, and drops the last. They come from claiming and letting go of another slot of the host, which publishes a view
//! each. *Reloads* are whole ones of the slot that is called, as many as the machine does: they read, copy, map and unmap half a
//! megabyte each, on the cores of the callers. A second round without swaps has a thread that wakes up as often and does nothing.

use fixture_interfaces::{Counter, Probe};
use reslot::{Host, Policy, Slot};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);
const SWAPS_A_SECOND: u64 = 1_000;
const PROMISE: f64 = 1.2;

/// Counts times in buckets that are 1/32 of their size wide.
#[derive(Clone)]
struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

impl Histogram {
    const FINE: u32 = 5;

    fn new() -> Self {
        Self {
            counts: vec![0; 64 << Self::FINE],
            max: 0,
        }
    }

    #[inline]
    fn note(&mut self, nanos: u64) {
        let shift = (64 - Self::FINE - 1).saturating_sub((nanos | 1).leading_zeros());
        let bucket = ((shift as usize) << Self::FINE) + (nanos >> shift) as usize;
        self.counts[bucket] += 1;
        self.max = self.max.max(nanos);
    }

    fn add(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(sum, count)| *sum += count);
        self.max = self.max.max(other.max);
    }

    /// In nanoseconds: the middle of the bucket.
    fn quantile(&self, at: f64) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let mut left = (all as f64 * at).ceil() as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 {
                let shift = (bucket >> Self::FINE).saturating_sub(1);
                let low = bucket - (shift << Self::FINE);
                return ((low << shift) as f64) + (1_u64 << shift) as f64 / 2.0;
            }
        }
        self.max as f64
    }
}

/// What happens beside the callers.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// A thread that wakes up as often as one that swaps, and does nothing.
    Wakes,
    Swaps,
    Reloads,
    PacedReloads,
}

struct Setup {
    host: Host,
    folder: Folder,
    fixture: Fixture,
    stamp: AtomicU64,
}

impl Setup {
    fn new(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).build().expect("the host starts");
        let (folder, fixture) = (Folder::new(), Fixture::build("fx-probe"));
        host.load(folder.publish("other.so", Fixture::build("fx-counter").bytes()))
            .expect("the fixture loads");
        let setup = Self {
            host,
            folder,
            fixture,
            stamp: AtomicU64::new(0),
        };
        setup.reload();
        setup
    }

    fn reload(&self) {
        let stamp = self.stamp.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.publish(self.fixture.file(), &self.fixture.stamped(stamp));
        self.host.load(path).expect("the fixture loads");
    }

    /// Two swaps of the host's view, of which the called slot's generation is not.
    fn swap_twice(&self) {
        drop(self.host.claim::<dyn Counter>("counter").expect("it is nobody's"));
    }

    /// Calls on so many threads for a while; answers the times of all calls, and how many swaps there were.
    fn round(&self, callers: usize, beside: Beside, length: Duration) -> (Histogram, u64) {
        let slot: Slot<dyn Probe> = self.host.slot("probe").expect("it serves");
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            let callers: Vec<_> = (0..callers)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut times, mut reader) = (Histogram::new(), self.host.reader());
                        let mut last = Instant::now();
                        while !end.load(Ordering::Relaxed) {
                            let _ = black_box(reader.view().get(&slot).stamp());
                            let now = Instant::now();
                            // From the end of the last one, so that whatever comes between is seen, too.
                            times.note((now - last).as_nanos() as u64);
                            last = now;
                        }
                        times
                    })
                })
                .collect();
            let swaps = self.keep_busy(beside, length);
            end.store(true, Ordering::Relaxed);
            let mut all = Histogram::new();
            for caller in callers {
                all.add(&caller.join().expect("a caller panicked"));
            }
            (all, swaps)
        })
    }

    fn keep_busy(&self, beside: Beside, length: Duration) -> u64 {
        let begun = Instant::now();
        let mut swaps = 0;
        match beside {
            Beside::Nothing => thread::sleep(length),
            Beside::Reloads => {
                while begun.elapsed() < length {
                    self.reload();
                    swaps += 1;
                }
            }
            Beside::Swaps | Beside::Wakes | Beside::PacedReloads => {
                let (at_once, a_second) = if beside == Beside::PacedReloads {
                    (1, 20)
                } else {
                    (2, SWAPS_A_SECOND)
                };
                while begun.elapsed() < length {
                    match beside {
                        Beside::Swaps => self.swap_twice(),
                        Beside::PacedReloads => self.reload(),
                        _ => {}
                    }
                    swaps += at_once;
                    let next = begun + Duration::from_secs(1) * u32::try_from(swaps).expect("few swaps") / a_second as u32;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                if beside == Beside::Wakes {
                    swaps = 0;
                }
            }
        }
        swaps
    }
}

struct Row {
    name: &'static str,
    development: bool,
    beside: Beside,
    rounds: Vec<[f64; 4]>,
    swaps: u64,
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let (rounds, length) = if test {
        (1, Duration::from_millis(50))
    } else {
        (ROUNDS, ROUND)
    };
    let setups = [Setup::new(Policy::without_probation()), Setup::new(Policy::development())];
    println!(
        "every call timed, with one look at the clock each (ns); medians of {rounds} interleaved rounds of {length:?};\n\
         ratios are medians of the rounds' own p99.99, to the first line's\n"
    );
    for callers in [1, 2] {
        let row = |name, development, beside| Row {
            name,
            development,
            beside,
            rounds: Vec::new(),
            swaps: 0,
        };
        let mut rows = [
            row("no swaps", false, Beside::Nothing),
            row("no swaps, a thread that wakes up", false, Beside::Wakes),
            row("1,000 swaps/s", false, Beside::Swaps),
            row("1,000 swaps/s, development", true, Beside::Swaps),
            row("20 reloads/s", false, Beside::PacedReloads),
            row("20 reloads/s, on probation", true, Beside::PacedReloads),
            row("reloads without pause", false, Beside::Reloads),
            row("the same, on probation", true, Beside::Reloads),
        ];
        let count = rows.len();
        for round in 0..rounds {
            // Each goes first as often as the others.
            for turn in 0..count {
                let row = &mut rows[(round + turn) % count];
                let setup = &setups[usize::from(row.development)];
                let (times, swaps) = setup.round(callers, row.beside, length);
                row.rounds.push([0.5, 0.99, 0.9999, 1.0].map(|at| times.quantile(at)));
                row.swaps += swaps;
                assert!(setup.host.wait_until_retired(Duration::from_secs(30)), "old images stay");
            }
        }
        println!(
            "{:<36} {:>7} {:>7} {:>7} {:>9} {:>10} {:>7} {:>11}",
            format!("{callers} caller(s)"),
            "swaps/s",
            "p50",
            "p99",
            "p99.99",
            "max",
            "ratio",
            "quarters"
        );
        // Rounds lie in the order in which they were made, so the same place is the same time.
        let base: Vec<f64> = rows[0].rounds.iter().map(|round| round[2]).collect();
        for row in &rows {
            let column = |at: usize| sorted(row.rounds.iter().map(|round| round[at]).collect());
            let ratios = sorted(row.rounds.iter().zip(&base).map(|(round, base)| round[2] / base).collect());
            let middle = |values: &[f64]| values[values.len() / 2];
            let held = match row.beside {
                Beside::Swaps if middle(&ratios) <= PROMISE => "  at most 1.20: held",
                Beside::Swaps => "  at most 1.20: NOT HELD",
                _ => "",
            };
            println!(
                "{:<36} {:>7.0} {:>7.0} {:>7.0} {:>9.0} {:>10.0} {:>7.2} {:>11}{held}",
                row.name,
                row.swaps as f64 / (length * rounds as u32).as_secs_f64(),
                middle(&column(0)),
                middle(&column(1)),
                middle(&column(2)),
                middle(&column(3)),
                middle(&ratios),
                format!("{:.2}-{:.2}", ratios[ratios.len() / 4], ratios[ratios.len() * 3 / 4]),
            );
        }
        println!();
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
