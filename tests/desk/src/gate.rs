//! The gate: the limits that no plugin moves. It looks at all that a strategy wants at one event, and lets all of it through or none.

use desk_interfaces::{Intents, Side};
use std::{collections::VecDeque, fmt};

/// How many intents a strategy may have at one event.
pub const AT_ONCE: usize = 4;
/// How many orders it may send within [`WINDOW`] events.
pub const OFTEN: usize = 150;
/// So many events, of whatever strategy.
pub const WINDOW: u64 = 1_000;
/// How much one order may be of.
pub const LARGEST: u64 = 100;
/// How much it may hold.
pub const POSITION: u64 = 1_000;

/// What a strategy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// An order is to be placed.
    Place {
        /// Its side.
        side: Side,
        /// Its limit.
        price: u64,
        /// Its quantity.
        quantity: u64,
    },
    /// An order is to be taken back.
    Cancel {
        /// Its number.
        order: u64,
    },
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place { side, price, quantity } => write!(f, "{} {quantity} at {price}", word(*side)),
            Self::Cancel { order } => write!(f, "cancel {order}"),
        }
    }
}

/// A side as the journal writes it.
pub fn word(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

/// What a strategy wants at one event, as it is lent to it. Nothing is done about it before its call has come back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub Vec<Intent>);

impl Intents for Wanted {
    fn place(&mut self, side: Side, price: u64, quantity: u64) {
        self.0.push(Intent::Place { side, price, quantity });
    }

    fn cancel(&mut self, order: u64) {
        self.0.push(Intent::Cancel { order });
    }
}

/// Why the gate lets nothing of this through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// Too many intents at one event.
    AtOnce(usize),
    /// Too many orders within the last events.
    TooOften(usize),
    /// An order that is too large.
    TooLarge(u64),
    /// It would hold too much.
    Position(u64),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce(wanted) => write!(f, "{wanted} intents at one event, where {AT_ONCE} are allowed"),
            Self::TooOften(sent) => write!(f, "{sent} orders within {WINDOW} events, where {OFTEN} are allowed"),
            Self::TooLarge(quantity) => write!(f, "an order of {quantity}, where {LARGEST} are allowed"),
            Self::Position(held) => write!(f, "a position of {held}, where {POSITION} are allowed"),
        }
    }
}

/// One strategy's.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// The events at which orders were sent.
    sent: VecDeque<u64>,
}

impl Gate {
    /// Whether all of this may be done.
    ///
    /// # Errors
    /// If not; nothing of it is counted then.
    pub fn pass(&mut self, event: u64, wanted: &[Intent], position: i64) -> Result<(), Breach> {
        if wanted.len() > AT_ONCE {
            return Err(Breach::AtOnce(wanted.len()));
        }
        while self.sent.front().is_some_and(|sent| sent + WINDOW <= event) {
            self.sent.pop_front();
        }
        let mut orders = 0;
        for intent in wanted {
            let Intent::Place { side, quantity, .. } = intent else {
                continue;
            };
            orders += 1;
            if *quantity > LARGEST {
                return Err(Breach::TooLarge(*quantity));
            }
            let held = match side {
                Side::Buy => position.saturating_add_unsigned(*quantity),
                Side::Sell => position.saturating_sub_unsigned(*quantity),
            };
            if held.unsigned_abs() > POSITION {
                return Err(Breach::Position(held.unsigned_abs()));
            }
        }
        let often = self.sent.len() + orders;
        if orders > 0 && often > OFTEN {
            return Err(Breach::TooOften(often));
        }
        self.sent.extend(std::iter::repeat_n(event, orders));
        Ok(())
    }
}
