//! The recorded input: the order feed of the QuantCup contest, as the crate `lobster` carries it, and the EUR/USD quotes of
//! this repository. The desk plays both to their end. It asks cargo where the files are, and copies nothing.

use anyhow::{Context, bail, ensure};
use desk_interfaces::Side;
use std::{fs, path::Path};
use xtask::Workspace;

/// One line of the input. Prices are whole numbers of the smallest step.
#[derive(Debug, Clone, Copy)]
pub enum Row {
    /// A participant places an order: its side, its limit, its quantity.
    Order(Side, u64, u64),
    /// A participant cancels the nth order of the input, counted from 1.
    Cancel(u64),
    /// A EUR/USD quote: what buyers pay, and what sellers ask.
    Quote(u64, u64),
}

/// The whole input: the quotes spread evenly among the orders, in their order.
///
/// # Errors
/// If cargo does not know where the feed is, or one of the files has changed its format.
pub fn recorded() -> anyhow::Result<Vec<Row>> {
    let workspace = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let file = workspace.dependency("lobster")?.join("data").join("orders.csv");
    let orders = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let orders: Vec<Row> = orders.lines().skip(1).map(order).collect::<anyhow::Result<_>>()?;
    let quotes = quotes(include_str!("../../demo/data/eurusd-ticks-2020-01-01.csv"))?;
    ensure!(!orders.is_empty() && !quotes.is_empty(), "the input is empty");
    let due = |played: usize| played * quotes.len() / orders.len();
    let mut rows = Vec::with_capacity(orders.len() + quotes.len());
    for (at, row) in orders.iter().enumerate() {
        rows.push(*row);
        rows.extend(&quotes[due(at)..due(at + 1)]);
    }
    Ok(rows)
}

/// `trader_id,side,price,qty`; with the price 0, `qty` is the number of the order that is taken back.
fn order(line: &str) -> anyhow::Result<Row> {
    let columns: Vec<&str> = line.split(',').collect();
    let [_, side, price, quantity] = columns[..] else {
        bail!("{line:?} is no order")
    };
    let side = if side == "Bid" { Side::Buy } else { Side::Sell };
    Ok(match (price.parse()?, quantity.parse()?) {
        (0, order) => Row::Cancel(order),
        (price, quantity) => Row::Order(side, price, quantity),
    })
}

/// `dt,dbid,dask`, each the difference from the row before.
fn quotes(text: &str) -> anyhow::Result<Vec<Row>> {
    let (mut bid, mut ask) = (0, 0);
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<i64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [_, dbid, dask] = columns[..] else {
            bail!("{line:?} is no quote")
        };
        (bid, ask) = (bid + dbid, ask + dask);
        Ok(Row::Quote(u64::try_from(bid)?, u64::try_from(ask)?))
    });
    rows.collect()
}
