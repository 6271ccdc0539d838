//! Events on the socket: a word for programs, the slot and generation, and a sentence for people.

use crate::protocol::EventMessage;
use reslot_runtime::Record;
use std::time::{SystemTime, UNIX_EPOCH};

impl From<&Record> for EventMessage {
    fn from(record: &Record) -> Self {
        Self {
            sequence: record.sequence,
            at_ms: milliseconds(record.at),
            event: record.event.kind().to_owned(),
            slot: record.event.slot().map(str::to_owned),
            generation: record.event.generation(),
            text: record.event.to_string(),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
