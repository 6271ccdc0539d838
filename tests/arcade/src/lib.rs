//! A game at sixty frames a second whose world belongs to the program and whose rules are a plugin:
//! `cargo xtask demo arcade`. Read `world` (what the game lends to its rules), then `game` (a tick: adoption, failure and
//! rollback of rules), and then `bin/arcade/screen.rs` (why a game and its screen have a thread each). Copy these three, and
//! `recording` if you want to replay the last seconds under other rules. `strip` makes the status lines and `picture` draws
//! the screen; `rle` and `png_file` read and write files. The host builds, checks, swaps, supervises and unloads rules; none
//! of that is in this crate.

#![forbid(unsafe_code)]

pub mod game;
pub mod picture;
pub mod png_file;
pub mod recording;
pub mod rle;
pub mod strip;
pub mod world;
