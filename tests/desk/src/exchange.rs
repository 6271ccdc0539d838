//! The exchange: two order books of the crate `lobster`, which matches by price and then by time, so that an order of ours
//! has a place in its queue. (hftbacktest models queues as well, with 85 crates and latencies of its own; lobster has no
//! dependencies and comes with a recorded feed.) The exchange does not know strategies; it knows only the numbers of our
//! orders.

use crate::input::Row;
use desk_interfaces::Side;
use lobster::{OrderBook, OrderEvent, OrderType};

/// What is traded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// The QuantCup contest's.
    Cup,
    /// EUR/USD.
    EurUsd,
}

/// An execution of one of our orders.
pub(crate) struct Fill {
    /// Our number of the order.
    pub order: u64,
    pub price: u64,
    pub quantity: u64,
}

/// This bit distinguishes our orders from the recorded ones.
const OURS: u128 = 1 << 64;
/// How much each EUR/USD quote is good for.
const QUOTED: u64 = 100;

/// The exchange.
#[derive(Default)]
pub struct Exchange {
    /// By [`Instrument`].
    pub(crate) books: [OrderBook; 2],
    /// Orders of the recorded feed so far.
    orders: u128,
    /// Quotes so far; each is two orders.
    quotes: u128,
}

impl Exchange {
    /// Plays a row of the input. Returns the instrument that moved, and the fills of our orders.
    pub(crate) fn play(&mut self, row: Row) -> (Instrument, Vec<Fill>) {
        match row {
            Row::Order(side, price, quantity) => {
                self.orders += 1;
                (
                    Instrument::Cup,
                    self.limit(Instrument::Cup, self.orders, side, price, quantity),
                )
            }
            Row::Cancel(order) => {
                self.take_back(Instrument::Cup, order.into());
                (Instrument::Cup, Vec::new())
            }
            Row::Quote(bid, ask) => {
                let last = 2 * self.quotes;
                self.take_back(Instrument::EurUsd, last);
                self.take_back(Instrument::EurUsd, last + 1);
                self.quotes += 1;
                let mut fills = self.limit(Instrument::EurUsd, last + 2, Side::Buy, bid, QUOTED);
                fills.extend(self.limit(Instrument::EurUsd, last + 3, Side::Sell, ask, QUOTED));
                (Instrument::EurUsd, fills)
            }
        }
    }

    /// Places an order of ours; what is not filled at once rests.
    pub(crate) fn place(&mut self, of: Instrument, order: u64, side: Side, price: u64, quantity: u64) -> Vec<Fill> {
        self.limit(of, OURS + u128::from(order), side, price, quantity)
    }

    /// Cancels an order of ours.
    pub(crate) fn cancel(&mut self, of: Instrument, order: u64) {
        self.take_back(of, OURS + u128::from(order));
    }

    /// The best bid and the best ask; 0 where there is none.
    pub(crate) fn best(&self, of: Instrument) -> (u64, u64) {
        let book = &self.books[of as usize];
        (book.max_bid().unwrap_or(0), book.min_ask().unwrap_or(0))
    }

    fn take_back(&mut self, of: Instrument, id: u128) {
        self.books[of as usize].execute(OrderType::Cancel { id });
    }

    fn limit(&mut self, of: Instrument, id: u128, side: Side, price: u64, qty: u64) -> Vec<Fill> {
        let side = match side {
            Side::Buy => lobster::Side::Bid,
            Side::Sell => lobster::Side::Ask,
        };
        let event = self.books[of as usize].execute(OrderType::Limit { id, side, qty, price });
        let (OrderEvent::Filled { fills, .. } | OrderEvent::PartiallyFilled { fills, .. }) = event else {
            return Vec::new();
        };
        let mut ours = Vec::new();
        for fill in fills {
            for id in [fill.order_1, fill.order_2] {
                if let Some(Ok(order)) = id.checked_sub(OURS).map(u64::try_from) {
                    ours.push(Fill {
                        order,
                        price: fill.price,
                        quantity: fill.qty,
                    });
                }
            }
        }
        ours
    }
}
