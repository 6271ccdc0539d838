//! The recorded input: the order feed of the QuantCup contest, as the crate `lobster` carries it, and the EUR/USD quotes of this
//! repository. Both are played to their end; where they lie is asked of cargo, nothing is copied.

use anyhow::{Context, bail, ensure};
use std::{fs, path::PathBuf, process::Command};

/// One line of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Somebody places an order.
    Order {
        /// Whether it buys.
        buys: bool,
        /// Its limit.
        price: u64,
        /// Its quantity.
        quantity: u64,
    },
    /// Somebody takes an order back.
    Cancel {
        /// The how-manieth order of the input it was, from 1.
        order: u64,
    },
    /// A EUR/USD quote.
    Quote {
        /// What buyers pay, in hundred-thousandths.
        bid: u64,
        /// What sellers ask.
        ask: u64,
    },
}

/// The whole input: the quotes spread evenly among the orders, in their order.
///
/// # Errors
/// If cargo does not know where the feed is, or one of the files is not what it was.
pub fn recorded() -> anyhow::Result<Vec<Row>> {
    let path = orders_file()?;
    let orders = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let orders: Vec<Row> = orders.lines().skip(1).map(order).collect::<anyhow::Result<_>>()?;
    let quotes = quotes(include_str!("../../demo/data/eurusd-ticks-2020-01-01.csv"))?;
    ensure!(!orders.is_empty() && !quotes.is_empty(), "the input is empty");
    let mut rows = Vec::with_capacity(orders.len() + quotes.len());
    let mut waiting = quotes.iter();
    for (at, row) in orders.iter().enumerate() {
        rows.push(*row);
        let due = (at + 1) * quotes.len() / orders.len();
        while quotes.len() - waiting.len() < due {
            rows.extend(waiting.next());
        }
    }
    Ok(rows)
}

fn orders_file() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let answer = cargo
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .output()?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let known: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    let packages = known["packages"].as_array().context("cargo lists packages")?;
    let lobster = packages.iter().find(|package| package["name"] == "lobster");
    let manifest = lobster
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo knows lobster")?;
    Ok(PathBuf::from(manifest).with_file_name("data").join("orders.csv"))
}

/// `trader_id,side,price,qty`; with the price 0, `qty` is the number of the order that is taken back.
fn order(line: &str) -> anyhow::Result<Row> {
    let columns: Vec<&str> = line.split(',').collect();
    let [_, side, price, quantity] = columns[..] else {
        bail!("{line:?} is no order")
    };
    let (price, quantity) = (price.parse()?, quantity.parse()?);
    Ok(match price {
        0 => Row::Cancel { order: quantity },
        _ => Row::Order {
            buys: side == "Bid",
            price,
            quantity,
        },
    })
}

/// `dt,dbid,dask`, each the difference from the row before.
fn quotes(text: &str) -> anyhow::Result<Vec<Row>> {
    let (mut bid, mut ask) = (0i64, 0i64);
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<i64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [_, dbid, dask] = columns[..] else {
            bail!("{line:?} is no quote")
        };
        (bid, ask) = (bid + dbid, ask + dask);
        let (bid, ask) = (u64::try_from(bid)?, u64::try_from(ask)?);
        Ok(Row::Quote { bid, ask })
    });
    rows.collect()
}
