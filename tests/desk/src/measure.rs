//! From event to intents with and without reloads, in one run: blocks of rows in turn, in every other one builds are loaded one after the
//! other by another thread, all else is the same. Counted is from a row's being taken up to its last intent, and apart from that how long
//! after it was due it was taken up: whatever holds the desk up, a reload or the machine, counts there at each row that is late for it. What comes of it depends on the machine: it is printed, and only what holds is claimed.

use crate::{
    desk::Desk,
    latency::{Beside, Latency, head, line},
};
use hdrhistogram::Histogram;
use reslot::{Host, LoadOutcome};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How the rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// One each so often; the desk adopts in the gap before it.
    Every(Duration),
    /// The next one is there when the last is decided: there is no gap, so what is adopted is adopted after a row has come.
    BackToBack,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Blocks, half of them with reloads.
    pub blocks: usize,
    /// Rows of each.
    pub rows: usize,
}

/// So many rows at the beginning of a block are played and not counted: the desk stood still before them.
const WARM: usize = 100;
/// Far more than an image takes to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
pub struct Measured {
    feed: Feed,
    /// In blocks without reloads.
    pub without: Latency,
    /// In blocks with them.
    pub with: Latency,
    /// How late rows were taken up, without and with; nothing if the feed has no gaps.
    pub late: [Histogram<u64>; 2],
    /// How many there were.
    pub swaps: u64,
}

/// Measures. The builds are loaded in turn.
///
/// # Errors
/// If one of them is refused.
pub fn measure(host: &Host, desk: &mut Desk<'_>, builds: [&Path; 2], feed: Feed, size: Size) -> anyhow::Result<Measured> {
    let mut arms = [Latency::new()?, Latency::new()?];
    let none = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut late = [none.clone(), none];
    let (before, mut loads) = (desk.swaps, 0);
    let busy = AtomicBool::new(false);
    let (orders, asked) = mpsc::channel::<[PathBuf; 2]>();
    thread::scope(|scope| {
        let loader = scope.spawn(|| {
            for [path, other] in asked {
                let loaded = match host.load(path) {
                    // Left serving by what was measured before.
                    Ok(LoadOutcome::Unchanged { .. }) => host.load(other),
                    loaded => loaded,
                };
                busy.store(false, Ordering::Release);
                let LoadOutcome::Staged { .. } = loaded? else {
                    anyhow::bail!("two builds are needed that differ");
                };
            }
            Ok(())
        });
        for block in 0..size.blocks {
            let with = block % 2 == 1;
            let mut due = Instant::now();
            for row in 0..WARM + size.rows {
                if row == WARM {
                    desk.latency = Latency::new()?;
                }
                // The next is asked for when the last has been adopted.
                if with && !busy.load(Ordering::Acquire) && desk.swaps == before + loads {
                    busy.store(true, Ordering::Release);
                    loads += 1;
                    // Who does not take it has failed, and says so at the end.
                    let next = loads as usize;
                    let _ = orders.send([next, next + 1].map(|at| builds[at % 2].to_owned()));
                }
                due = match feed {
                    Feed::Every(period) => due + period,
                    Feed::BackToBack => Instant::now(),
                };
                desk.gap();
                while Instant::now() < due {
                    std::hint::spin_loop();
                    desk.gap();
                }
                desk.preparing = busy.load(Ordering::Acquire);
                let taken = match feed {
                    Feed::Every(_) => Instant::now(),
                    // Whatever was adopted since is in it.
                    Feed::BackToBack => due,
                };
                if row >= WARM && feed != Feed::BackToBack {
                    let nanos = u64::try_from((taken - due).as_nanos()).unwrap_or(u64::MAX);
                    late[usize::from(with)].saturating_record(nanos);
                }
                if !desk.play(taken) {
                    desk.next_day();
                }
            }
            arms[usize::from(with)].take(&mut desk.latency);
            // What was begun in a block ends before the next one.
            while busy.load(Ordering::Acquire) && !loader.is_finished() {
                thread::yield_now();
            }
            desk.gap();
            host.wait_until_retired(PATIENCE);
        }
        desk.preparing = false;
        drop(orders);
        loader.join().map_err(|_| anyhow::anyhow!("the loader panicked"))?
    })?;
    let [without, with] = arms;
    Ok(Measured {
        late,
        feed,
        without,
        with,
        swaps: desk.swaps - before,
    })
}

impl Measured {
    /// How many times higher this quantile is with reloads.
    pub fn ratio(&self, quantile: f64) -> f64 {
        let at = |of: &Latency| of.all().value_at_quantile(quantile) as f64;
        at(&self.with) / at(&self.without).max(1.0)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.feed {
            Feed::Every(period) => writeln!(
                f,
                "A row every {} µs, {} reloads, adopted in the gaps",
                period.as_micros(),
                self.swaps
            )?,
            Feed::BackToBack => writeln!(f, "Row after row without a gap, {} reloads: adopting is in it", self.swaps)?,
        }
        writeln!(f, "{}", head())?;
        writeln!(f, "{}", line("blocks without reloads", &self.without.all()))?;
        writeln!(f, "{}", line("blocks with reloads", &self.with.all()))?;
        for (words, beside) in [
            ("  nothing else", Beside::Nothing),
            ("  a build prepared meanwhile", Beside::Preparing),
            ("  a build adopted before", Beside::Adopting),
        ] {
            writeln!(f, "{}", line(words, self.with.of(beside)))?;
        }
        if let Feed::Every(_) = self.feed {
            writeln!(f, "{}", line("taken up late, without", &self.late[0]))?;
            writeln!(f, "{}", line("taken up late, with", &self.late[1]))?;
        }
        let [half, high, higher] = [0.5, 0.99, 0.999].map(|quantile| self.ratio(quantile));
        write!(
            f,
            "event to intents, with to without: p50 {half:.2}, p99 {high:.2}, p99.9 {higher:.2}"
        )
    }
}
