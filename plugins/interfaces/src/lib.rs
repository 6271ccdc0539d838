//! The interfaces that the sample plugins implement: what an interface's author writes, and nothing else.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// A trading strategy, owned by one loop.
#[interface]
pub trait Strategy {
    /// One price. The strategy answers through the sink it is lent.
    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);
    /// The position it believes it has, and how many ticks it has seen.
    fn summary(&self) -> Summary;
}

/// Where a strategy sends its orders; the host's side implements it.
#[interface]
pub trait OrderSink {
    /// Sends an order and answers its number.
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

/// What a strategy tells of itself.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Summary {
    /// Units held; negative when short.
    pub position: i64,
    /// Ticks seen since its state began.
    pub ticks: u64,
    /// Its slow average, in price units.
    pub average: f64,
    /// Which edition of the source is speaking.
    pub edition: u32,
}

/// A plugin that many threads call at once.
#[interface]
pub trait Pricer {
    /// The fair price of a quote.
    fn price(&self, quote: &Quote) -> f64;
    /// What the model is called.
    fn model(&self) -> &str;
}

/// What a pricer is asked.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Quote {
    /// What buyers pay.
    pub bid: f64,
    /// What sellers ask.
    pub ask: f64,
}

/// The smallest interface there is.
#[interface]
pub trait Greeter {
    /// A greeting for somebody.
    fn greet(&self, name: &str) -> String;
}
