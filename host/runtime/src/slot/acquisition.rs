//! The record of a claim, a guard or a shadow: who holds it.

use reslot_sync::{Instant, thread};
use std::panic::Location;

/// Who took hold of something, when and where.
#[derive(Debug, Clone)]
pub(crate) struct Acquisition {
    pub(crate) thread: String,
    pub(crate) since: Instant,
    pub(crate) at: &'static Location<'static>,
}

impl Acquisition {
    pub(crate) fn here(at: &'static Location<'static>) -> Self {
        let here = thread::current();
        let thread = match here.name() {
            Some(name) => name.to_owned(),
            None => format!("{:?}", here.id()),
        };
        let since = Instant::now();
        Self { thread, since, at }
    }
}
