//! A trading desk in small: it owns the strategy, feeds it prices, receives its orders, and compares the strategy's state
//! before and after each swap.

use crate::ticks::Feed;
use reslot::{CallError, Claim, Host, SlotError, SyncOutcome};
use sample_interfaces::{OrderSink, Side, Strategy, Summary};
use std::time::Instant;

/// The desk.
pub struct Desk {
    strategy: Claim<dyn Strategy>,
    feed: Feed,
    book: Book,
    calls: Calls,
    fed: u64,
}

/// The sink for the strategy's orders, lent to it for each call.
#[derive(Default)]
struct Book {
    orders: u64,
}

impl OrderSink for Book {
    fn send(&mut self, _side: Side, _quantity: u32, _price: f64) -> u64 {
        self.orders += 1;
        self.orders
    }
}

/// Statistics of the calls.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// The number of calls.
    pub made: u64,
    /// The number of failed calls.
    pub failed: u64,
    /// The error of the first failed call.
    pub first_failure: Option<String>,
}

impl Calls {
    fn count<T>(&mut self, answer: Result<T, CallError>) -> Option<T> {
        self.made += 1;
        answer
            .inspect_err(|error| {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| error.to_string());
            })
            .ok()
    }
}

/// A swap as the desk saw it.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The new current generation.
    pub generation: u64,
    /// The state right before `sync`, from the old code.
    pub before: Option<Summary>,
    /// The state after `sync`, from the new code's first call.
    pub after: Option<Summary>,
    /// When `sync` returned.
    pub adopted: Instant,
    /// When the new code's first call returned.
    pub answered: Instant,
}

impl Adoption {
    /// Whether nothing of the state was lost or changed, to the last bit.
    pub fn kept_the_state(&self) -> bool {
        let state = |summary: Summary| (summary.position, summary.ticks, summary.average.to_bits());
        self.before.is_some() && self.before.map(state) == self.after.map(state)
    }
}

impl Desk {
    /// Makes the desk the owner of the strategy in this slot.
    ///
    /// # Errors
    /// If the slot cannot be claimed.
    pub fn open(host: &Host, slot: &str, feed: Feed) -> Result<Self, SlotError> {
        Ok(Self {
            strategy: host.claim::<dyn Strategy>(slot)?,
            feed,
            book: Book::default(),
            calls: Calls::default(),
            fed: 0,
        })
    }

    /// One round of the loop: adopts a staged build, then feeds one price.
    pub fn round(&mut self) -> Option<Adoption> {
        let adoption = self.sync();
        let tick = self.feed.tick();
        self.calls.count(self.strategy.on_tick(&tick, &mut self.book));
        self.fed += 1;
        adoption
    }

    /// One round that uses rollbacks. After a rollback, returns the current generation and its state.
    pub fn round_with_a_way_back(&mut self) -> Option<(u64, Option<Summary>)> {
        let went_back = match Claim::sync(&mut self.strategy) {
            SyncOutcome::RolledBack { generation, .. } => Some(generation),
            _ => None,
        };
        let said = went_back.map(|generation| (generation, self.summary()));
        let tick = self.feed.tick();
        self.calls.count(self.strategy.on_tick(&tick, &mut self.book));
        self.fed += 1;
        said
    }

    /// The current generation; none if the slot is empty.
    pub fn generation(&self) -> Option<u64> {
        Claim::generation(&self.strategy)
    }

    /// `Claim::sync(&mut strategy)` is all that a program needs. This program also reads the state before and after.
    fn sync(&mut self) -> Option<Adoption> {
        if !Claim::has_staged(&self.strategy) {
            return None;
        }
        let before = self.summary();
        let SyncOutcome::Adopted { generation } = Claim::sync(&mut self.strategy) else {
            return None;
        };
        let adopted = Instant::now();
        let after = self.summary();
        Some(Adoption {
            generation,
            before,
            after,
            adopted,
            answered: Instant::now(),
        })
    }

    /// The strategy's summary; none if the call failed.
    pub fn summary(&mut self) -> Option<Summary> {
        self.calls.count(self.strategy.summary())
    }

    /// The calls so far.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// The number of fed prices.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// The number of received orders.
    pub fn orders(&self) -> u64 {
        self.book.orders
    }
}
