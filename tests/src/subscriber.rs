//! A tracing subscriber that runs a function at each event of the host, for tests of an embedder's subscriber.

use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

struct Does(fn());

impl Subscriber for Does {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("reslot")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        (self.0)();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Runs this function at each event of the host, on the reporting thread, in the whole process.
///
/// # Panics
/// If the process has a subscriber already.
pub fn at_each_event(does: fn()) {
    tracing::subscriber::set_global_default(Does(does)).expect("the first subscriber of this process");
}
