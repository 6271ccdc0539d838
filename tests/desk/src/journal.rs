//! The journal: what was sent, filled and refused, one line each, appended and never changed. The book of record, not the
//! journal, says which generation sent an order. Its reader is `recount`.

use crate::{gate::Intent, record::word};
use desk_interfaces::Side;
use std::fmt::{Arguments, Write};

/// The lines so far.
#[derive(Default)]
pub struct Journal {
    text: String,
    /// The event of the last line.
    last: u64,
}

impl Journal {
    pub(crate) fn order(&mut self, event: u64, id: u64, strategy: &str, side: Side, price: u64, quantity: u64) {
        let side = word(side);
        self.line(event, format_args!("order {id} {strategy} {side} {quantity} {price}"));
    }

    pub(crate) fn fill(&mut self, event: u64, id: u64, price: u64, quantity: u64) {
        self.line(event, format_args!("fill {id} {quantity} {price}"));
    }

    pub(crate) fn cancel(&mut self, event: u64, id: u64) {
        self.line(event, format_args!("cancel {id}"));
    }

    pub(crate) fn refused(&mut self, event: u64, strategy: &str, intent: &Intent) {
        self.line(event, format_args!("refused {strategy} {intent}"));
    }

    fn line(&mut self, event: u64, what: Arguments<'_>) {
        // A fill is an event of its own, and the event that led to it may have more to come: time does not step back.
        self.last = self.last.max(event);
        // Writing into a text does not fail.
        let _ = writeln!(self.text, "{} {what}", self.last);
    }

    /// The lines, as a file would hold them.
    pub fn text(&self) -> &str {
        &self.text
    }
}
