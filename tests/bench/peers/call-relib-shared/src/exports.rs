//! The functions of the module. Arguments must be `Copy`. An answer that is not `Copy` is boxed, cloned on the other
//! side, and sent back to be freed.
#![allow(missing_docs, reason = "the bodies of the benchmark")]

pub trait Exports {
    fn add(count: *mut u64, x: u64) -> u64;
    fn work(x: u64) -> u64;
    fn sum(numbers: *const f64, count: usize) -> f64;
    fn text() -> String;
    fn callback(x: u64) -> u64;
}
