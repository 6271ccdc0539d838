//! What the programs behind `cargo xtask demo`, `run`, `stress` and `bench` share: the recorded prices, the desk that
//! trades on them through a claimed strategy, and the words in which the host's events are told.

#![forbid(unsafe_code)]

pub mod desk;
pub mod telling;
pub mod ticks;
pub mod words;
pub mod workshop;
