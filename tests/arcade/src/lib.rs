//! A game at sixty frames a second whose world belongs to the program and whose rules are a plugin: `cargo xtask demo arcade`. Read
//! `world` (what the game lends to its rules), then `game` (a tick: how rules come, fail and are left), and then `bin/arcade/screen.rs`
//! (why a game and its screen have a thread each). These three are what to copy; `recording` as well, if the last seconds are to be
//! played again under other rules. `strip` has what is told of a swap and `picture` how all of it looks; `rle` and `png_file` are about
//! files, and of no interest to anybody's game. How rules are built, checked, swapped, judged and unloaded is the host's affair, and
//! not in here.

#![forbid(unsafe_code)]

pub mod game;
pub mod picture;
pub mod png_file;
pub mod recording;
pub mod rle;
pub mod strip;
pub mod world;
