//! The bodies as functions that hot-lib-reloader finds in this file by their text. Of Rust's own calling convention, as in its
//! README.
#![allow(missing_docs, reason = "the bodies of the benchmark")]

use call_bodies::TEXT;

#[unsafe(no_mangle)]
pub fn hot_add(count: &mut u64, x: u64) -> u64 {
    call_bodies::add(count, x)
}

#[unsafe(no_mangle)]
pub fn hot_work(x: u64) -> u64 {
    call_bodies::work(x)
}

#[unsafe(no_mangle)]
pub fn hot_sum(numbers: &[f64]) -> f64 {
    call_bodies::sum(numbers)
}

#[unsafe(no_mangle)]
pub fn hot_text() -> String {
    TEXT.to_owned()
}

#[unsafe(no_mangle)]
pub fn hot_callback(listener: &mut dyn FnMut(u64) -> u64, x: u64) -> u64 {
    listener(x)
}
