//! The interfaces of the trading desk: what its strategies and its risk model implement. A strategy has no side effects: it
//! gets events and returns intents. The desk carries them out after the call has succeeded, all of them or none.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// A trading strategy.
#[interface]
pub trait Trader {
    /// Processes one event. The strategy puts its wishes into `intents`.
    fn on_event(&mut self, event: &MarketEvent, intents: &mut dyn Intents);
    /// Its state, for display.
    fn summary(&self) -> Summary;
}

/// The sink for a strategy's intents. They are carried out after its call has returned.
#[interface]
pub trait Intents {
    /// Places an order at this limit.
    fn place(&mut self, side: Side, price: u64, quantity: u64);
    /// Cancels one of its own orders, by the number from [`What::Accepted`].
    fn cancel(&mut self, order: u64);
}

/// Checks each order before it is sent. In addition the desk has its own gate, which no plugin can change.
#[interface]
pub trait RiskModel {
    /// Whether this order may be sent.
    fn allows(&mut self, order: &Proposal) -> bool;
    /// The numbers of checked and of refused orders.
    fn counts(&self) -> Counts;
}

/// Something that happened. Prices are whole numbers of the instrument's smallest step.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct MarketEvent {
    /// From 1, without gaps. If a strategy gets an event twice (because another build panicked at it), the number is the
    /// same.
    pub number: u64,
    /// What happened.
    pub what: What,
    /// The best bid; 0 if there is none.
    pub bid: u64,
    /// The best ask; 0 if there is none.
    pub ask: u64,
    /// The strategy's own order that it is about; 0 if it is about none.
    pub order: u64,
    /// That order's side.
    pub side: Side,
    /// The price: of the order, or at which it was filled.
    pub price: u64,
    /// The quantity: of the order, or that was filled.
    pub quantity: u64,
    /// The strategy's position after this event; negative when short.
    pub position: i64,
}

/// What an event is about.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// The market moved.
    Quote,
    /// An order rests in the market, or was filled at once.
    Accepted,
    /// An order was not sent, because the gate or the risk model refused it.
    Refused,
    /// A part of an order was filled.
    Filled,
    /// An order does not rest any more.
    Gone,
}

/// Buy or sell.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    /// To hold more.
    Buy,
    /// To hold less.
    Sell,
}

/// The summary of a strategy.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Summary {
    /// The events that it has seen since its state began.
    pub events: u64,
    /// Its indicator, which takes many events to warm up.
    pub average: f64,
    /// Its position, as it knows it.
    pub held: i64,
    /// The edition of the source.
    pub edition: u32,
}

/// An order to check.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Proposal {
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: u64,
    /// Its quantity.
    pub quantity: u64,
    /// The strategy's position.
    pub position: i64,
    /// The sum of the strategy's resting orders on this side.
    pub resting: u64,
}

/// The counters of a risk model.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// The number of checked orders.
    pub asked: u64,
    /// The number of refused orders.
    pub refused: u64,
}
