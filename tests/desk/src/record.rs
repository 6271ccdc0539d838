//! The book of record: whose each order is, which generation sent it, what of it is open, and what everybody holds. The host's, so that
//! nothing of it can be lost or doubled by a reload.

use crate::exchange::Fill;
use desk_interfaces::Side;
use std::collections::BTreeMap;

/// An order of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// From 1, without gaps.
    pub id: u64,
    /// The strategy whose it is.
    pub strategy: usize,
    /// The generation of it that sent the order.
    pub generation: u64,
    /// Its side.
    pub side: Side,
    /// Its limit.
    pub price: u64,
    /// What is still open.
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
#[derive(Debug, Default)]
pub struct Record {
    last: u64,
    resting: BTreeMap<u64, Order>,
    holdings: BTreeMap<usize, Holding>,
}

impl Record {
    /// Gives an order its number.
    pub fn open(&mut self, strategy: usize, generation: u64, side: Side, price: u64, quantity: u64) -> u64 {
        self.last += 1;
        let id = self.last;
        let order = Order {
            id,
            strategy,
            generation,
            side,
            price,
            open: quantity,
        };
        self.resting.insert(id, order);
        id
    }

    /// Books a fill; answers the order as it is after it.
    pub fn fill(&mut self, fill: &Fill) -> Option<Order> {
        let order = self.resting.get_mut(&fill.order)?;
        order.open = order.open.saturating_sub(fill.quantity);
        let order = *order;
        self.holdings
            .entry(order.strategy)
            .or_default()
            .add(order.side, fill.price, fill.quantity);
        if order.open == 0 {
            self.resting.remove(&order.id);
        }
        Some(order)
    }

    /// Takes an order of this strategy out.
    pub fn close(&mut self, strategy: usize, order: u64) -> Option<Order> {
        self.resting.get(&order).filter(|order| order.strategy == strategy)?;
        self.resting.remove(&order)
    }

    /// What rests, in the order of the numbers.
    pub fn resting(&self) -> impl Iterator<Item = &Order> {
        self.resting.values()
    }

    /// What a strategy has resting on one side.
    pub fn resting_of(&self, strategy: usize, side: Side) -> u64 {
        let of = |order: &&Order| order.strategy == strategy && order.side == side;
        self.resting.values().filter(of).map(|order| order.open).sum()
    }

    /// What a strategy holds.
    pub fn holding(&self, strategy: usize) -> Holding {
        self.holdings.get(&strategy).copied().unwrap_or_default()
    }

    /// How many orders were sent.
    pub fn sent(&self) -> u64 {
        self.last
    }
}

impl Holding {
    /// Books one fill.
    pub fn add(&mut self, side: Side, price: u64, quantity: u64) {
        let value = i128::from(price) * i128::from(quantity);
        match side {
            Side::Buy => (self.position, self.cash) = (self.position.saturating_add_unsigned(quantity), self.cash - value),
            Side::Sell => (self.position, self.cash) = (self.position.saturating_sub_unsigned(quantity), self.cash + value),
        }
    }

    /// What it is worth with the position valued at this price.
    pub fn worth(&self, price: f64) -> f64 {
        self.cash as f64 + self.position as f64 * price
    }
}
