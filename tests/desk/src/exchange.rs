//! The exchange: two order books of the crate `lobster`, which matches by price and then by time, so that an order of ours has a place in
//! its queue. (hftbacktest models queues as well, with 85 crates and latencies of its own; lobster has no dependencies and comes with
//! a recorded feed.) Knows nothing of strategies; of our orders it knows the numbers.

use crate::input::Row;
use desk_interfaces::Side;
use lobster::{BookDepth, OrderBook, OrderEvent, OrderType};

/// What is traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// The QuantCup contest's.
    Cup,
    /// EUR/USD.
    EurUsd,
}

/// An execution of one of our orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Our number of the order.
    pub order: u64,
    /// The price.
    pub price: u64,
    /// How much.
    pub quantity: u64,
}

/// Our orders are told from the recorded ones by this.
const OURS: u128 = 1 << 64;
/// How much each EUR/USD quote is good for.
const QUOTED: u64 = 100;

/// The exchange.
#[derive(Default)]
pub struct Exchange {
    cup: OrderBook,
    eurusd: OrderBook,
    /// Orders of the recorded feed so far.
    orders: u128,
    /// Quotes so far; each is two orders.
    quotes: u128,
}

impl Exchange {
    /// Plays a row of the input; answers what moved, and what that did to our orders.
    pub fn play(&mut self, row: &Row) -> (Instrument, Vec<Fill>) {
        match *row {
            Row::Order { buys, price, quantity } => {
                self.orders += 1;
                let side = if buys { lobster::Side::Bid } else { lobster::Side::Ask };
                (Instrument::Cup, limit(&mut self.cup, self.orders, side, price, quantity))
            }
            Row::Cancel { order } => {
                self.cup.execute(OrderType::Cancel { id: order.into() });
                (Instrument::Cup, Vec::new())
            }
            Row::Quote { bid, ask } => {
                for id in [2 * self.quotes, 2 * self.quotes + 1] {
                    self.eurusd.execute(OrderType::Cancel { id });
                }
                self.quotes += 1;
                let id = 2 * self.quotes;
                let mut fills = limit(&mut self.eurusd, id, lobster::Side::Bid, bid, QUOTED);
                fills.extend(limit(&mut self.eurusd, id + 1, lobster::Side::Ask, ask, QUOTED));
                (Instrument::EurUsd, fills)
            }
        }
    }

    /// Places an order of ours; what is not filled at once rests.
    pub fn place(&mut self, of: Instrument, order: u64, side: Side, price: u64, quantity: u64) -> Vec<Fill> {
        let side = match side {
            Side::Buy => lobster::Side::Bid,
            Side::Sell => lobster::Side::Ask,
        };
        limit(self.book_mut(of), OURS + u128::from(order), side, price, quantity)
    }

    /// Takes an order of ours back.
    pub fn cancel(&mut self, of: Instrument, order: u64) {
        let id = OURS + u128::from(order);
        self.book_mut(of).execute(OrderType::Cancel { id });
    }

    /// The best bid and the best ask; 0 where there is none.
    pub fn best(&self, of: Instrument) -> (u64, u64) {
        let book = self.book(of);
        (book.max_bid().unwrap_or(0), book.min_ask().unwrap_or(0))
    }

    /// The best levels of both sides.
    pub fn depth(&self, of: Instrument, levels: usize) -> BookDepth {
        self.book(of).depth(levels)
    }

    fn book(&self, of: Instrument) -> &OrderBook {
        match of {
            Instrument::Cup => &self.cup,
            Instrument::EurUsd => &self.eurusd,
        }
    }

    fn book_mut(&mut self, of: Instrument) -> &mut OrderBook {
        match of {
            Instrument::Cup => &mut self.cup,
            Instrument::EurUsd => &mut self.eurusd,
        }
    }
}

fn limit(book: &mut OrderBook, id: u128, side: lobster::Side, price: u64, qty: u64) -> Vec<Fill> {
    let (OrderEvent::Filled { fills, .. } | OrderEvent::PartiallyFilled { fills, .. }) =
        book.execute(OrderType::Limit { id, side, qty, price })
    else {
        return Vec::new();
    };
    let ours = |id: u128| u64::try_from(id.checked_sub(OURS)?).ok();
    let of_both = fills.iter().flat_map(|fill| {
        [fill.order_1, fill.order_2].into_iter().filter_map(ours).map(|order| Fill {
            order,
            price: fill.price,
            quantity: fill.qty,
        })
    });
    of_both.collect()
}
