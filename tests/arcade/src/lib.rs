//! A game at sixty frames a second whose world belongs to the program and whose rules are a plugin: `cargo xtask demo arcade`. This
//! crate has the game, what it tells and how it looks; how rules are swapped, judged and taken back is the host's affair.

#![forbid(unsafe_code)]

pub mod game;
pub mod picture;
pub mod png_file;
pub mod recording;
pub mod rle;
pub mod strip;
pub mod world;
