//! Code that the programs of `cargo xtask demo`, `run`, `stress` and `bench` share: the recorded prices, the desk that
//! trades on them through a claimed strategy, and the output of events.

#![forbid(unsafe_code)]

pub mod desk;
pub mod telling;
pub mod ticks;
pub mod words;
pub mod workshop;
