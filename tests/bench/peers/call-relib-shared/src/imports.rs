//! The functions of the host. relib has functions, and no objects.
#![allow(missing_docs, reason = "the bodies of the benchmark")]

pub trait Imports {
    fn hear(n: u64) -> u64;
}
