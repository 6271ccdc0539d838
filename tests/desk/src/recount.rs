//! The journal's reader. It uses nothing of the desk and recounts everything from the lines; the story and the tests compare
//! its result with the book of record.

use crate::record::Holding;
use anyhow::{Context, bail, ensure};
use desk_interfaces::Side;
use std::collections::BTreeMap;

/// The totals of a journal.
#[derive(Debug, Default)]
pub struct Recount {
    /// The number of orders sent. Their numbers are 1 to this, each once.
    pub orders: u64,
    /// How many fills there were.
    pub fills: u64,
    /// By strategy, what it holds.
    pub holdings: BTreeMap<String, Holding>,
    /// The resting orders, each with its open quantity.
    pub resting: BTreeMap<u64, u64>,
}

/// Recounts a journal.
///
/// # Errors
/// Names the first impossible line: an order number that is missing or repeated, a fill without a resting order, or a step
/// back in time.
pub fn recount(text: &str) -> anyhow::Result<Recount> {
    let mut count = Recount::default();
    let mut orders = BTreeMap::new();
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let mut take_in = || -> anyhow::Result<()> {
            let words: Vec<&str> = line.split(' ').collect();
            let event: u64 = words[0].parse()?;
            ensure!(event >= last, "event {event} after {last}");
            last = event;
            match words[1..] {
                ["order", id, strategy, side, quantity, _] => {
                    count.orders += 1;
                    ensure!(id.parse() == Ok(count.orders), "order {id} where {} is due", count.orders);
                    let side = match side {
                        "buy" => Side::Buy,
                        "sell" => Side::Sell,
                        _ => bail!("{side:?} is no side"),
                    };
                    orders.insert(count.orders, (strategy, side));
                    count.resting.insert(count.orders, quantity.parse()?);
                }
                ["fill", id, quantity, price] => {
                    let (id, quantity): (u64, u64) = (id.parse()?, quantity.parse()?);
                    let open = count.resting.get_mut(&id).context("it does not rest")?;
                    *open = open.checked_sub(quantity).context("more than is open")?;
                    if *open == 0 {
                        count.resting.remove(&id);
                    }
                    let (strategy, side) = orders[&id];
                    let holding = count.holdings.entry(strategy.to_owned()).or_default();
                    holding.add(side, price.parse()?, quantity);
                    count.fills += 1;
                }
                ["cancel", id] => drop(count.resting.remove(&id.parse()?).context("it does not rest")?),
                ["refused", ..] => {}
                _ => bail!("no such line"),
            }
            Ok(())
        };
        take_in().with_context(|| format!("line {number}: {line:?}"))?;
    }
    Ok(count)
}
