//! The gate: limits that no plugin can change. It checks all intents of a strategy at one event, and accepts all of them or
//! none.

use crate::record::{Exposure, word};
use desk_interfaces::{Intents, Side};
use std::{collections::VecDeque, fmt};

/// The most intents that a strategy may have at one event.
const AT_ONCE: usize = 4;
/// The most orders that it may send within a window of events.
pub const OFTEN: usize = 150;
/// The length of that window, in events of all strategies.
pub(crate) const WINDOW: u64 = 1_000;
/// The largest quantity of one order.
const LARGEST: u64 = 100;
/// The largest position that a strategy may reach if all its resting orders are filled.
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

/// The intents of a strategy at one event. The desk lends this object to the call, and acts on it only after the call has
/// returned.
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

/// Why the gate refuses the intents, as text.
#[derive(Debug)]
pub(crate) struct Breach {
    words: String,
    /// The window may be full because of another version's orders.
    pub is_of_the_window: bool,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// One strategy's gate.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    /// The events at which orders were sent.
    sent: VecDeque<u64>,
}

impl Gate {
    /// Refuses all intents if one of them breaks a limit; refused intents are not counted.
    pub fn pass(&mut self, event: u64, wanted: &[Intent], mut exposure: Exposure) -> Result<(), Breach> {
        let breach = |words| Breach {
            words,
            is_of_the_window: false,
        };
        let intents = wanted.len();
        if intents > AT_ONCE {
            return Err(breach(format!("{intents} intents at one event, where {AT_ONCE} are allowed")));
        }
        let mut orders = 0;
        for intent in wanted {
            let Intent::Place(side, _, quantity) = *intent else { continue };
            if quantity > LARGEST {
                return Err(breach(format!("an order of {quantity}, where {LARGEST} are allowed")));
            }
            let worst = exposure.with(side, quantity);
            if worst > POSITION {
                return Err(breach(format!(
                    "a position of {worst} at worst, where {POSITION} are allowed"
                )));
            }
            orders += 1;
        }
        while self.sent.front().is_some_and(|sent| sent + WINDOW <= event) {
            self.sent.pop_front();
        }
        let often = self.sent.len() + orders;
        if orders > 0 && often > OFTEN {
            return Err(Breach {
                words: format!("{often} orders within {WINDOW} events, where {OFTEN} are allowed"),
                is_of_the_window: true,
            });
        }
        self.sent.extend(std::iter::repeat_n(event, orders));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_that_of_all_that_rests_and_of_all_that_is_wanted() {
        let exposure = |position, buys, sells| Exposure { position, buys, sells };
        let buys = |many| vec![Intent::Place(Side::Buy, 1, 100); many];
        let passes = |wanted: &[Intent], exposure| Gate::default().pass(1, wanted, exposure).is_ok();
        assert!(passes(&buys(1), exposure(900, 0, 0)));
        assert!(!passes(&buys(2), exposure(900, 0, 0)), "together they are too much");
        assert!(!passes(&buys(1), exposure(900, 1, 0)), "what rests may be filled");
        assert!(passes(&buys(1), exposure(900, 0, 500)), "the other side is another matter");
        assert!(!passes(&[Intent::Place(Side::Sell, 1, 100)], exposure(-901, 0, 0)));
        assert!(
            passes(&[Intent::Cancel(7)], exposure(5_000, 0, 0)),
            "whatever it holds, it may take back"
        );
    }
}
