//! A trading desk in small, on recorded input, whose strategies and risk model are exchanged while it trades: behind
//! `cargo xtask demo desk`, and under the tests that hold it to what it says. Read [`desk`] first, which is what an embedder writes, then
//! what it stands on, in this order: [`gate`], [`record`], [`journal`], [`exchange`], [`input`]. These are to be copied; how code is
//! exchanged is the host's affair. Then [`trial`], a candidate beside what serves, and [`latency`]. The rest shows it: [`story`] says
//! what is to be seen and what must hold, [`variants`] with which builds, [`recount`] reads the journal, [`show`] and [`screen`] draw.
#![forbid(unsafe_code)]

pub mod desk;
pub mod exchange;
pub mod gate;
pub mod input;
pub mod journal;
pub mod latency;
pub mod record;
pub mod recount;
pub mod screen;
pub mod show;
pub mod story;
pub mod trial;
pub mod variants;
