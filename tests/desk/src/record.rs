//! The book of record: each order with its strategy, the generation that sent it and its open quantity, and the position of
//! each strategy. The host program owns it, so a reload can neither lose nor duplicate an entry.

use crate::exchange::Fill;
use desk_interfaces::Side;
use std::collections::BTreeMap;

/// An order of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// From 1, without gaps.
    pub id: u64,
    /// The strategy that owns it.
    pub strategy: usize,
    /// The generation that sent it.
    pub generation: u64,
    /// Its side.
    pub side: Side,
    /// Its limit.
    pub price: u64,
    /// The quantity that is still open.
    pub open: u64,
}

/// What one strategy holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Negative when short.
    pub position: i64,
    /// What was earned by selling less what was paid for buying.
    pub cash: i128,
}

/// The book.
#[derive(Default)]
pub struct Record {
    resting: BTreeMap<u64, Order>,
    /// The strategy and the side of each order, by number from 1.
    sent: Vec<(usize, Side)>,
    /// By strategy.
    holdings: [Holding; 2],
}

impl Record {
    /// Gives an order its number.
    pub(crate) fn open(&mut self, strategy: usize, generation: u64, side: Side, price: u64, open: u64) -> u64 {
        self.sent.push((strategy, side));
        let order = Order {
            id: self.sent(),
            strategy,
            generation,
            side,
            price,
            open,
        };
        self.resting.insert(order.id, order);
        order.id
    }

    /// Books a fill; returns the order as it is afterwards.
    pub(crate) fn fill(&mut self, fill: &Fill) -> Option<Order> {
        let order = self.resting.get_mut(&fill.order)?;
        order.open = order.open.saturating_sub(fill.quantity);
        let order = *order;
        self.holdings[order.strategy].add(order.side, fill.price, fill.quantity);
        if order.open == 0 {
            self.resting.remove(&order.id);
        }
        Some(order)
    }

    /// Removes an order, if this strategy owns it.
    pub(crate) fn close(&mut self, strategy: usize, order: u64) -> Option<Order> {
        self.resting.get(&order).filter(|order| order.strategy == strategy)?;
        self.resting.remove(&order)
    }

    /// The side of an order of this strategy, even if the order no longer exists.
    pub(crate) fn side(&self, strategy: usize, order: u64) -> Option<Side> {
        let (whose, side) = *self.sent.get(usize::try_from(order.checked_sub(1)?).ok()?)?;
        (whose == strategy).then_some(side)
    }

    /// A strategy's position, and the open quantity on each side.
    pub(crate) fn exposure(&self, strategy: usize) -> Exposure {
        let open = |side| {
            let own = |order: &&Order| order.strategy == strategy && order.side == side;
            self.resting().filter(own).map(|order| order.open).sum()
        };
        Exposure {
            position: self.holding(strategy).position,
            buys: open(Side::Buy),
            sells: open(Side::Sell),
        }
    }

    /// The resting orders, by number.
    pub fn resting(&self) -> impl Iterator<Item = &Order> {
        self.resting.values()
    }

    /// What a strategy holds.
    pub fn holding(&self, strategy: usize) -> Holding {
        self.holdings[strategy]
    }

    /// How many orders were sent.
    pub fn sent(&self) -> u64 {
        self.sent.len() as u64
    }
}

/// A position, and the open orders on both sides of it.
#[derive(Clone, Copy)]
pub(crate) struct Exposure {
    pub position: i64,
    pub buys: u64,
    pub sells: u64,
}

impl Exposure {
    /// Adds one order; returns the largest position that may result on its side.
    pub(crate) fn with(&mut self, side: Side, quantity: u64) -> u64 {
        let open = match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        };
        *open += quantity;
        moved(self.position, side, *open).unsigned_abs()
    }
}

impl Holding {
    pub(crate) fn add(&mut self, side: Side, price: u64, quantity: u64) {
        let value = i128::from(price) * i128::from(quantity);
        self.position = moved(self.position, side, quantity);
        self.cash += match side {
            Side::Buy => -value,
            Side::Sell => value,
        };
    }

    /// The value of the holding, with the position valued at this price.
    pub(crate) fn worth(&self, price: f64) -> f64 {
        self.cash as f64 + self.position as f64 * price
    }
}

/// A position after this quantity was bought or sold.
pub(crate) fn moved(position: i64, side: Side, quantity: u64) -> i64 {
    match side {
        Side::Buy => position.saturating_add_unsigned(quantity),
        Side::Sell => position.saturating_sub_unsigned(quantity),
    }
}

/// A side as the journal writes it.
pub(crate) fn word(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}
