//! A crate without a line of unsafe code uses all three macros, and none of the usual lints has a word to say.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    elided_lifetimes_in_paths,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts
)]

use reslot_plugin_api::{Context, Crossing, Plugin, PluginError, export_plugin, interface};
use serde::{Deserialize, Serialize};

/// A quote.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Tick {
    ts: u64,
    side: Side,
    levels: [Level; 2],
}

/// A price with a quantity.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Level(f64, u32);

/// Nothing more than a number.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
struct Number {
    value: u64,
}

/// Which way.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
enum Side {
    Buy,
    Sell = 7,
}

/// Where orders go.
#[interface]
trait OrderSink {
    /// Sends one.
    fn send(&mut self, side: Side, quantity: u32) -> Number;
}

/// Every shape.
#[interface]
trait Strategy {
    /// A borrow and a lent interface.
    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);
    /// Slices.
    fn average(&self, prices: &[f64], out: &mut [f64]) -> Result<f64, String>;
    /// A borrow back.
    fn name(&self) -> &str;
    /// A default body that older tables have too.
    fn twice(&self, number: u64) -> u64 {
        number * 2
    }
    /// A later one.
    #[since("1.1")]
    #[allow(unused_variables)]
    fn on_close(&mut self, tick: &Tick, orders: &mut dyn OrderSink, mut rest: u64) {
        rest += 1;
        let _ = rest;
    }
    /// The newest.
    #[since("1.2")]
    fn last(&self) -> Option<Number> {
        None
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Momentum {
    name: String,
    position: i64,
}

impl Strategy for Momentum {
    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink) {
        if tick.levels[0].0 > tick.ts as f64 {
            self.position += orders.send(Side::Buy, tick.levels[0].1).value as i64;
        }
    }

    fn average(&self, prices: &[f64], out: &mut [f64]) -> Result<f64, String> {
        out.copy_from_slice(prices);
        prices.first().copied().ok_or_else(|| "no prices".to_owned())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Plugin for Momentum {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        self.name = context.slot().to_owned();
        Ok(())
    }
}

export_plugin!(Momentum: dyn Strategy);

/// What an embedder does with a client.
fn embed(strategy: &mut StrategyClient, orders: &mut dyn OrderSink) -> Result<u64, reslot_plugin_api::CallError> {
    let tick = Tick {
        ts: 1,
        side: Side::Sell,
        levels: [Level(1.0, 1); 2],
    };
    strategy.on_tick(&tick, orders)?;
    strategy.on_close(&tick, orders, 1)?;
    let _ = (strategy.name()?, strategy.average(&[1.0], &mut [0.0])?, strategy.last()?);
    strategy.twice(21)
}

fn main() {
    let _ = embed;
}
