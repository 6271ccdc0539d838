//! The gate: the limits that no plugin moves. It looks at all that a strategy wants at one event, and lets all of it through or none.

use crate::record::{moved, word};
use anyhow::ensure;
use desk_interfaces::{Intents, Side};
use std::{collections::VecDeque, fmt};

/// How many intents a strategy may have at one event.
const AT_ONCE: usize = 4;
/// How many orders it may send within a window of events.
pub const OFTEN: usize = 150;
/// That window: so many events, of whatever strategy.
pub(crate) const WINDOW: u64 = 1_000;
/// How much one order may be of.
const LARGEST: u64 = 100;
/// How much a strategy may hold.
const POSITION: u64 = 1_000;

/// What a strategy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// An order: its side, its limit, its quantity.
    Place(Side, u64, u64),
    /// An order taken back: its number.
    Cancel(u64),
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(side, price, quantity) => write!(f, "{} {quantity} at {price}", word(*side)),
            Self::Cancel(order) => write!(f, "cancel {order}"),
        }
    }
}

/// What a strategy wants at one event, as it is lent to it. Nothing is done about it before its call has come back.
#[derive(Default)]
pub(crate) struct Wanted(pub Vec<Intent>);

impl Intents for Wanted {
    fn place(&mut self, side: Side, price: u64, quantity: u64) {
        self.0.push(Intent::Place(side, price, quantity));
    }

    fn cancel(&mut self, order: u64) {
        self.0.push(Intent::Cancel(order));
    }
}

/// One strategy's gate.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    /// The events at which orders were sent.
    sent: VecDeque<u64>,
}

impl Gate {
    /// Refuses if not all of this may be done; nothing of it is counted then.
    pub fn pass(&mut self, event: u64, wanted: &[Intent], position: i64) -> anyhow::Result<()> {
        let intents = wanted.len();
        ensure!(
            intents <= AT_ONCE,
            "{intents} intents at one event, where {AT_ONCE} are allowed"
        );
        let mut orders = 0;
        for intent in wanted {
            let Intent::Place(side, _, quantity) = *intent else { continue };
            ensure!(quantity <= LARGEST, "an order of {quantity}, where {LARGEST} are allowed");
            let held = moved(position, side, quantity).unsigned_abs();
            ensure!(held <= POSITION, "a position of {held}, where {POSITION} are allowed");
            orders += 1;
        }
        while self.sent.front().is_some_and(|sent| sent + WINDOW <= event) {
            self.sent.pop_front();
        }
        let often = self.sent.len() + orders;
        ensure!(
            often <= OFTEN,
            "{often} orders within {WINDOW} events, where {OFTEN} are allowed"
        );
        self.sent.extend(std::iter::repeat_n(event, orders));
        Ok(())
    }
}
