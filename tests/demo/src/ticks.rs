//! The recorded EUR/USD quotes in `data/`: decodes them, and plays them in a loop. The README beside the file explains the
//! columns.

use anyhow::{Context, ensure};
use sample_interfaces::Tick;

/// The recorded file.
const RECORDED: &str = include_str!("../data/eurusd-ticks-2020-01-01.csv");
/// The time of the first quote, 17:00:00.065, in milliseconds since midnight.
const FIRST_TS: u64 = 61_200_065;
/// The prices' unit.
const UNITS: f64 = 100_000.0;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// The recorded quotes, decoded.
///
/// # Errors
/// If the file in the repository is damaged.
pub fn recorded() -> anyhow::Result<Vec<Tick>> {
    decode(RECORDED)
}

/// Decodes rows of `dt,dbid,dask`, each the difference from the row before; lines that begin with `#` are comments.
///
/// # Errors
/// Names the first invalid line.
pub fn decode(text: &str) -> anyhow::Result<Vec<Tick>> {
    let mut sums = [0i64; 3];
    let mut ticks = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            continue;
        }
        let row = row(line).with_context(|| format!("line {number} is not `dt,dbid,dask`: {line:?}"))?;
        for (sum, difference) in sums.iter_mut().zip(row) {
            *sum += difference;
        }
        let [ms, bid, ask] = sums;
        let ms = u64::try_from(ms).with_context(|| format!("line {number} goes back before the first tick"))?;
        ticks.push(Tick {
            ts: FIRST_TS + ms,
            bid: bid as f64 / UNITS,
            ask: ask as f64 / UNITS,
        });
    }
    ensure!(!ticks.is_empty(), "there is no row");
    Ok(ticks)
}

fn row(line: &str) -> anyhow::Result<[i64; 3]> {
    let columns: Vec<i64> = line
        .split(',')
        .map(|column| column.trim().parse())
        .collect::<Result<_, _>>()?;
    columns
        .try_into()
        .map_err(|columns: Vec<_>| anyhow::anyhow!("{} columns", columns.len()))
}

/// Endless quotes: after the last one, they start again a day later.
pub struct Feed {
    ticks: Vec<Tick>,
    next: usize,
    days: u64,
}

impl Feed {
    /// Plays the recorded quotes.
    ///
    /// # Errors
    /// If the file in the repository is damaged.
    pub fn recorded() -> anyhow::Result<Self> {
        Ok(Self {
            ticks: recorded()?,
            next: 0,
            days: 0,
        })
    }

    /// The next quote.
    pub fn tick(&mut self) -> Tick {
        if self.next == self.ticks.len() {
            self.next = 0;
            self.days += 1;
        }
        let mut tick = self.ticks[self.next];
        tick.ts += self.days * DAY;
        self.next += 1;
        tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_differences_and_comments_are_passed_over() {
        let ticks = decode("# a comment\n0,112120,112172\n10382,0,20\n51,-3,-31\n").expect("three rows");
        let tick = |ts, bid, ask| Tick { ts, bid, ask };
        let expected = [
            tick(61_200_065, 1.12120, 1.12172),
            tick(61_210_447, 1.12120, 1.12192),
            tick(61_210_498, 1.12117, 1.12161),
        ];
        assert_eq!(ticks, expected);
    }

    #[test]
    fn a_damaged_line_is_named() {
        for (text, line) in [("0,1,2\n5,x,1\n", "line 2"), ("0,1\n", "line 1"), ("#\n-1,1,2\n", "line 2")] {
            let error = decode(text).expect_err("damaged").to_string();
            assert!(error.contains(line), "{error}");
        }
        assert!(decode("# nothing\n").is_err());
    }

    #[test]
    fn the_recorded_quotes_are_all_there_and_in_order() {
        let ticks = recorded().expect("the file in the repository");
        assert_eq!(ticks.len(), 9_500);
        assert!(ticks.is_sorted_by_key(|tick| tick.ts));
        assert!(
            ticks
                .iter()
                .all(|tick| 1.0 < tick.bid && tick.bid < tick.ask && tick.ask < 1.2)
        );
    }

    #[test]
    fn the_feed_goes_on_a_day_later() {
        let mut feed = Feed::recorded().expect("the file in the repository");
        let first = feed.tick();
        let again = (1..=9_500).map(|_| feed.tick()).last().expect("a tick");
        assert_eq!((again.ts - first.ts, again.bid), (DAY, first.bid));
    }
}
