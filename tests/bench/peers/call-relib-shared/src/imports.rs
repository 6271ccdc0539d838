//! What the host offers: functions, no objects.
#![allow(missing_docs, reason = "the bodies of the benchmark")]

pub trait Imports {
    fn hear(n: u64) -> u64;
}
