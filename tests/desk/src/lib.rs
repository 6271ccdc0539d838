//! A trading desk in small, on recorded input, whose strategies and risk model are exchanged while it trades:
//! `cargo xtask demo desk` shows it, and tests check its claims. Read [`desk`] first, which is what an embedder writes, then
//! the modules that it uses, in this order: [`gate`], [`record`], [`journal`], [`exchange`], [`input`]. Copy these; the host
//! does the exchange of code. Then read [`trial`], a candidate beside the current version, and [`latency`]. The rest
//! presents the demo: [`story`] has its chapters and claims, [`variants`] its builds, [`recount`] reads the journal,
//! [`show`] and [`screen`] draw.
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
