//! What the benchmarks share: how a figure is computed from many rounds (`samples`), how it is reported (`report`,
//! `pages`, `plots`), and artifacts of any size (`padding`). The measurements are in `benches`, a target for each group
//! of `cargo xtask bench`.
#![forbid(unsafe_code)]

#[cfg(not(test))]
pub mod linked;
mod machine;
mod padding;
mod pages;
mod plots;
mod report;
mod samples;

pub use padding::{PADDING, padded};
pub use report::{Report, Row};
pub use samples::{Samples, micros, millis};

/// Whether this run only shall show that the benchmark works (`-- --test`): a few rounds, and nothing is written.
#[must_use]
pub fn only_a_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}
