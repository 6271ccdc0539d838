//! The native engine: it maps an artifact into this process, makes instances of it and calls their hooks, and in the end unmaps it and
//! proves that it is gone. It also tries artifacts out in a child process, and opens libraries that are no plugins (`foreign`).
//!
//! It knows nothing of slots or callers: an image does not know whether it serves.

pub mod foreign;
pub mod instance;
pub mod level;
pub mod loaded;
pub mod logs;
pub mod neighbours;
pub mod open;
pub mod panics;
pub mod preflight;
mod remains;
pub mod resources;
mod services;
mod symbols;
pub mod unload;
