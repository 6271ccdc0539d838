//! The journal: what was sent, filled and refused, one line each, appended and never changed. Which generation sent an order stands in
//! the book of record and not here: what happened is the same whoever's code it was. Here is also its reader, which trusts nothing of the
//! desk's and recounts everything from the lines.

use crate::{
    gate::{Intent, word},
    record::Holding,
};
use anyhow::{Context, bail, ensure};
use desk_interfaces::Side;
use std::{collections::BTreeMap, fmt::Write};

/// The lines so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal(String);

impl Journal {
    pub(crate) fn order(&mut self, event: u64, id: u64, strategy: &str, side: Side, price: u64, quantity: u64) {
        self.line(format_args!(
            "{event} order {id} {strategy} {} {quantity} {price}",
            word(side)
        ));
    }

    pub(crate) fn fill(&mut self, event: u64, id: u64, price: u64, quantity: u64) {
        self.line(format_args!("{event} fill {id} {quantity} {price}"));
    }

    pub(crate) fn cancel(&mut self, event: u64, id: u64) {
        self.line(format_args!("{event} cancel {id}"));
    }

    pub(crate) fn refused(&mut self, event: u64, strategy: &str, intent: &Intent) {
        self.line(format_args!("{event} refused {strategy} {intent}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// The lines, as a file would hold them.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What a reader makes of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// How many orders were sent: their numbers are 1 to this, each once.
    pub orders: u64,
    /// How many fills there were.
    pub fills: u64,
    /// How many intents the risk model refused.
    pub refused: u64,
    /// By strategy, what it holds.
    pub holdings: BTreeMap<String, Holding>,
    /// The orders that rest, each with what is open of it.
    pub resting: BTreeMap<u64, u64>,
}

/// Recounts a journal.
///
/// # Errors
/// Names the first line that cannot be: a number left out or given twice, a fill of nothing that rests, a step back in time.
pub fn recount(text: &str) -> anyhow::Result<Recount> {
    let mut count = Recount::default();
    let mut orders: BTreeMap<u64, (&str, Side)> = BTreeMap::new();
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let mut read = || -> anyhow::Result<()> {
            let words: Vec<&str> = line.split(' ').collect();
            let event: u64 = words.first().context("no event")?.parse()?;
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
                ["refused", ..] => count.refused += 1,
                _ => bail!("no such line"),
            }
            Ok(())
        };
        read().with_context(|| format!("line {number}: {line:?}"))?;
    }
    Ok(count)
}
