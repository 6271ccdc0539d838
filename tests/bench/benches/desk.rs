//! What a trading desk notices of reloads: `cargo xtask bench desk`. A row of the recorded input comes each tenth of a millisecond, and
//! counted is from when it was due to its last order, so that whatever holds the desk up counts, at every row that is late for it. Over
//! the whole input a thousand builds are loaded and adopted. They are compared with the same desk left alone, and with one beside which
//! another thread reads, copies and sums up the same file as often and for as long: what of the difference is the reloads' own, and what is
//! another core's being busy. Blocks of all three lie interleaved.

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use reslot::{Host, LoadOutcome, Policy};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_desk::{
    desk::{Desk, RISK},
    input::recorded,
    variants::Builds,
};
use std::{
    fs,
    hint::{black_box, spin_loop},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A row so often.
const PERIOD: Duration = Duration::from_micros(100);
/// Something is asked of the other thread each so many rows: a thousand times in the whole input.
const EACH: usize = 45;
/// Rows of a block; the first ones of each are not counted, for the desk stood still before them.
const BLOCK: usize = 2_250;
const WARM: usize = 225;
const ROUNDS: usize = 5;
const BLOCKS_A_ROUND: usize = 20;
/// Far more than an image takes to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A desk beside which builds are loaded is held to this many times what it takes beside other work, at p50 and at p99. Of the ten or so rows
/// of a round that make p99.99 most are late because the machine stood still, and differ from run to run in every arm.
const PROMISE: f64 = 1.5;

/// What happens beside the desk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    OtherWork,
    Reloads,
}

const ARMS: [(Beside, &str); 3] = [
    (Beside::Nothing, "alone"),
    (Beside::OtherWork, "beside other work"),
    (Beside::Reloads, "with 1,000 reloads"),
];
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// What the other thread is to do next.
enum Order {
    Load(PathBuf),
    Work,
}

/// The other thread's part.
fn beside(host: &Host, build: &Path, orders: mpsc::Receiver<Order>, busy: &AtomicBool) -> anyhow::Result<()> {
    let (mut spent, mut loads) = (Duration::ZERO, 0);
    for order in orders {
        let begun = Instant::now();
        match order {
            Order::Load(path) => {
                let LoadOutcome::Staged { .. } = host.load(&path)? else {
                    bail!("{} serves already", path.display());
                };
                (spent, loads) = (spent + begun.elapsed(), loads + 1);
            }
            Order::Work => {
                let as_long = spent.checked_div(loads).unwrap_or(Duration::from_millis(1));
                while begun.elapsed() < as_long {
                    // As a reload does: a file that is made and goes, and memory that is asked for and given back, which the kernel
                    // passes on to the owner of the machine.
                    let bytes = fs::read(build)?;
                    black_box(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>());
                    let copy = tempfile::NamedTempFile::new().context("no file for a copy")?;
                    fs::write(copy.path(), &bytes)?;
                }
            }
        }
        busy.store(false, Ordering::Release);
    }
    Ok(())
}

/// Plays a block, and counts it.
fn play(
    desk: &mut Desk<'_>,
    arm: Beside,
    to: &mpsc::Sender<Order>,
    builds: &mut dyn Iterator<Item = PathBuf>,
    busy: &AtomicBool,
    counted: &mut Histogram<u64>,
) -> anyhow::Result<()> {
    let mut due = Instant::now();
    for row in 0..BLOCK {
        if row % EACH == 0 && arm != Beside::Nothing && !busy.swap(true, Ordering::AcqRel) {
            let load = (arm == Beside::Reloads).then(|| builds.next()).flatten();
            let sent = to.send(load.map_or(Order::Work, Order::Load));
            sent.ok().context("the other thread has failed")?;
        }
        due += PERIOD;
        while Instant::now() < due {
            spin_loop();
        }
        if !desk.play(due) {
            desk.next_day();
        }
        if row >= WARM {
            counted.saturating_record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        // The gap is after the row's last order, and not before the next one is due.
        desk.gap();
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let (rounds, blocks) = if only_a_test() { (1, 1) } else { (ROUNDS, BLOCKS_A_ROUND) };
    let builds = Builds::make()?;
    let host = Host::builder().policy(Policy::without_probation()).build()?;
    for build in ["maker", "momentum", RISK.trim_start_matches("desk-")] {
        host.load(builds.path(build))?;
    }
    let mut desk = Desk::open(&host, recorded()?)?;
    let (maker, twin) = (builds.path("maker"), builds.path("maker-twin"));
    let mut next = [twin, maker.clone()].into_iter().cycle();
    let empty = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut samples: [[Samples; QUANTILES.len()]; 3] = Default::default();
    let busy = AtomicBool::new(false);
    let (orders, asked) = mpsc::channel();
    let swaps = desk.swaps;
    thread::scope(|scope| {
        let other = scope.spawn(|| beside(&host, &maker, asked, &busy));
        let mut measured = Ok(());
        'all: for _ in 0..rounds {
            let mut counts = [empty.clone(), empty.clone(), empty.clone()];
            for block in 0..blocks {
                for turn in 0..ARMS.len() {
                    let arm = (block + turn) % ARMS.len();
                    measured = play(&mut desk, ARMS[arm].0, &orders, &mut next, &busy, &mut counts[arm]);
                    if measured.is_err() {
                        break 'all;
                    }
                    // What was begun in a block ends before the next one.
                    while busy.load(Ordering::Acquire) && !other.is_finished() {
                        thread::yield_now();
                    }
                    desk.gap();
                    let _ = host.wait_until_retired(PATIENCE);
                }
            }
            for (count, samples) in counts.iter().zip(&mut samples) {
                for ((quantile, _), samples) in QUANTILES.iter().zip(samples) {
                    samples.push(count.value_at_quantile(*quantile) as f64 / 1e3);
                }
            }
        }
        drop(orders);
        other.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
        measured
    })?;

    let mut report = Report::new("desk");
    for (at, (_, quantile)) in QUANTILES.iter().enumerate() {
        report.heading(format!(
            "A desk on recorded orders, a row each 100 µs: from due to its last order, {quantile}"
        ));
        let name = |arm: usize| format!("{quantile}, {}", ARMS[arm].1);
        report.row(Row::new(name(0), &samples[0][at], "µs"));
        report.row(Row::new(name(1), &samples[1][at], "µs").against(&name(0), &samples[1][at].over(&samples[0][at])));
        let row = Row::new(name(2), &samples[2][at], "µs").against(&name(1), &samples[2][at].over(&samples[1][at]));
        report.row(match at {
            0 | 1 => row.at_most(PROMISE).quoted(),
            _ => row.quoted(),
        });
        let over_alone = samples[2][at].over(&samples[0][at]);
        report.row(
            Row::new(format!("{quantile}, with them, against alone"), &samples[2][at], "µs").against(&name(0), &over_alone),
        );
    }
    println!("{} reloads were adopted", desk.swaps - swaps);
    report.finish()
}
