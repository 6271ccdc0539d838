//! The interfaces of the sample plugins. This is all that an interface's author writes.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// A trading strategy, owned by one loop.
#[interface]
pub trait Strategy {
    /// Processes one price. The strategy sends orders through the lent sink.
    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);
    /// Its position and the number of ticks that it has seen.
    fn summary(&self) -> Summary;
}

/// The sink for a strategy's orders; the host program implements it.
#[interface]
pub trait OrderSink {
    /// Sends an order and returns its number.
    fn send(&mut self, side: Side, quantity: u32, price: f64) -> u64;
}

/// A quote of two prices.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Tick {
    /// Milliseconds since midnight.
    pub ts: u64,
    /// What buyers pay.
    pub bid: f64,
    /// What sellers ask.
    pub ask: f64,
}

/// Buy or sell.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// At the ask.
    Buy,
    /// At the bid.
    Sell,
}

/// The summary of a strategy.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Summary {
    /// Units held; negative when short.
    pub position: i64,
    /// Ticks seen since its state began.
    pub ticks: u64,
    /// Its slow average, in price units.
    pub average: f64,
    /// The edition of the source.
    pub edition: u32,
}

/// A plugin that many threads call at once.
#[interface]
pub trait Pricer {
    /// The fair price of a quote.
    fn price(&self, quote: &Quote) -> f64;
    /// The model's name.
    fn model(&self) -> &str;
}

/// The input of a pricer.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Quote {
    /// What buyers pay.
    pub bid: f64,
    /// What sellers ask.
    pub ask: f64,
}

/// The smallest interface.
#[interface]
pub trait Greeter {
    /// A greeting for a person.
    fn greet(&self, name: &str) -> String;
}
