//! What can be known of an artifact from its bytes alone. Nothing here opens, maps or runs one, so that hosts, command lines and build
//! servers can ask the same questions.
//!
//! - [`ContentHash`] tells two artifacts apart; [`HashPrefix`] is its beginning, as a person types it.
//! - [`manifest`] reads what an artifact says about itself: its interface with every layout, its compiler, its state's schemas.
//! - [`compat`] compares two interfaces and names each difference.
//! - [`lint`] decides whether a host may load an artifact, and names every reason against it.
//!
//! This crate knows of no host: it depends on `reslot-plugin-api` and on parsers.
#![forbid(unsafe_code)]

pub mod compat;
mod content;
pub mod lint;
pub mod manifest;

pub use content::{ContentHash, HashPrefix, ParseHashError};

/// Looks into an artifact's bytes, executing nothing, and lists every reason why a host of this build would refuse it.
pub fn inspect(bytes: &[u8]) -> lint::Inspection {
    lint::inspect(bytes, &lint::Expectations::of_this_build())
}
