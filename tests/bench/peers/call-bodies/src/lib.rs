//! The five bodies that are called, and the loop that times them: the same for every way of calling. It is a crate of
//! its own, because the plugins of all compared systems contain it.
#![forbid(unsafe_code)]

use std::{hint::black_box, time::Instant};

/// What a callee does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Counts, and adds the count: what is left is the call.
    Add,
    /// About 50 ns of arithmetic.
    Work,
    /// Sums 1,000 numbers of the caller's.
    Sum,
    /// Answers a short text as a string of the caller's own.
    Text,
    /// Calls an object of the caller's once.
    Callback,
}

/// Counts, and adds the count.
#[inline(always)]
pub fn add(count: &mut u64, x: u64) -> u64 {
    *count += 1;
    x.wrapping_add(*count)
}

/// About 50 ns: each step waits for the one before, and no closed form is known to compilers.
#[inline(always)]
pub fn work(mut x: u64) -> u64 {
    for _ in 0..STEPS {
        x = (x ^ (x >> 29)).wrapping_mul(FACTOR);
    }
    x
}

/// Of [`work`].
pub const STEPS: u32 = 30;
/// Of [`work`].
pub const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;

/// One after the other, in their order.
#[inline(always)]
pub fn sum(numbers: &[f64]) -> f64 {
    numbers.iter().sum()
}

/// How many numbers are summed.
pub const NUMBERS: usize = 1_000;

/// What is answered.
pub const TEXT: &str = "long 10 at 101.25";

/// One way to call, for one caller.
pub trait Calls {
    /// [`Body::Add`].
    fn add(&mut self, x: u64) -> u64;
    /// [`Body::Work`].
    fn work(&mut self, x: u64) -> u64;
    /// [`Body::Sum`].
    fn sum(&mut self, numbers: &[f64]) -> f64;
    /// [`Body::Text`]: how long it is. What holds it is dropped.
    fn text(&mut self) -> usize;
    /// [`Body::Callback`], with [`hear`](Heard::hear).
    fn callback(&mut self, x: u64) -> u64;
}

/// What is called back.
#[derive(Default)]
pub struct Heard(u64);

impl Heard {
    /// Adds, and answers the sum.
    #[inline(always)]
    pub fn hear(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(n);
        self.0
    }
}

/// Nanoseconds a call. What one call answers is the next one's argument.
#[inline(always)]
pub fn timed(calls: u64, mut call: impl FnMut(u64) -> u64) -> f64 {
    let begun = Instant::now();
    let mut x = black_box(0);
    for _ in 0..calls {
        x = call(x);
    }
    black_box(x);
    begun.elapsed().as_secs_f64() * 1e9 / calls as f64
}

/// The same for a body.
#[inline(always)]
pub fn run(body: Body, calls: u64, way: &mut impl Calls) -> f64 {
    match body {
        Body::Add => timed(calls, |x| way.add(x)),
        Body::Work => timed(calls, |x| way.work(x)),
        Body::Sum => {
            let numbers: Vec<f64> = (0..NUMBERS).map(|number| number as f64).collect();
            let numbers = black_box(&numbers[..]);
            timed(calls, |x| x ^ way.sum(numbers).to_bits())
        }
        Body::Text => timed(calls, |x| x ^ way.text() as u64),
        Body::Callback => timed(calls, |x| way.callback(x)),
    }
}
