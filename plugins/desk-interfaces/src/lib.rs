//! The interfaces of the trading desk: what its strategies and its risk model implement. A strategy has no side effects: it gets
//! events and answers with intents, which the desk carries out after the call has come back well, all of them or none.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// A trading strategy.
#[interface]
pub trait Trader {
    /// One event. What it wants done about that goes into `intents`.
    fn on_event(&mut self, event: &MarketEvent, intents: &mut dyn Intents);
    /// What it knows.
    fn summary(&self) -> Summary;
}

/// Where a strategy says what it wants. Nothing happens before its call has come back.
#[interface]
pub trait Intents {
    /// An order that is to be placed, at this limit.
    fn place(&mut self, side: Side, price: u64, quantity: u64);
    /// An order of its own that is to be taken back, by the number that [`What::Accepted`] told.
    fn cancel(&mut self, order: u64);
}

/// Judges each order before it is sent. Above it stands the desk's own gate, which no plugin can move.
#[interface]
pub trait RiskModel {
    /// Whether this order may be sent.
    fn allows(&mut self, order: &Proposal) -> bool;
    /// How many orders it was asked about, and how many of those it has refused.
    fn counts(&self) -> Counts;
}

/// Something that happened. Prices are whole numbers of the instrument's smallest step.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct MarketEvent {
    /// From 1, without gaps. A strategy that is asked twice about one event (the build that was asked first panicked) knows it by this.
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
    /// What the desk holds for this strategy, after this event; negative when short.
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
    /// An order was not sent: the gate or the risk model did not let it.
    Refused,
    /// A part of an order was filled.
    Filled,
    /// Nothing of an order rests any more.
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

/// What a strategy tells of itself.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Summary {
    /// The events that it has seen since its state began.
    pub events: u64,
    /// Its indicator, which takes many events to warm up.
    pub average: f64,
    /// What it believes that it holds.
    pub held: i64,
    /// Which edition of the source is speaking.
    pub edition: u32,
}

/// An order that is to be judged.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Proposal {
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: u64,
    /// Its quantity.
    pub quantity: u64,
    /// What the desk holds for the strategy.
    pub position: i64,
    /// What the strategy's resting orders on this side add up to.
    pub resting: u64,
}

/// What a risk model has done.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Orders that it was asked about.
    pub asked: u64,
    /// Those that it has refused.
    pub refused: u64,
}
