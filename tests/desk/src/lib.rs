//! A trading desk in small, on recorded input: an exchange that somebody else maintains, a book of record, a journal and a gate that
//! are the desk's own, and strategies that are plugins and answer with intents only. Behind `cargo xtask demo desk`, and under the
//! tests that hold it to what it says. What stands here is what an embedder writes; how code is exchanged is the host's affair.
#![forbid(unsafe_code)]

pub mod desk;
pub mod exchange;
pub mod gate;
pub mod input;
pub mod journal;
pub mod latency;
pub mod measure;
pub mod news;
pub mod record;
pub mod screen;
pub mod show;
pub mod story;
pub mod terminal;
pub mod trial;
pub mod workshop;
