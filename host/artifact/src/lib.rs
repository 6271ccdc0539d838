//! Inspects artifacts by their bytes alone. Nothing here opens, maps or runs an artifact, so hosts, command lines and build
//! servers can all use it.
//!
//! - [`ContentHash`] identifies an artifact; [`HashPrefix`] is the beginning of a hash, as a person types it.
//! - [`manifest`] reads an artifact's manifest: its interface with every layout, its compiler, its state's schemas.
//! - [`compat`] compares two interfaces and names each difference.
//! - [`boundary`] names the methods that cannot be carried to a sandbox or to another process.
//! - [`lint`] decides whether a host may load an artifact, and lists every reason for a refusal.
//!
//! This crate does not depend on a host, only on `reslot-plugin-api` and on parsers.
#![forbid(unsafe_code)]

pub mod boundary;
pub mod compat;
mod content;
pub mod lint;
pub mod manifest;
pub mod read_only;

pub use content::{ContentHash, HashPrefix, ParseHashError};
pub use read_only::{ImageDifference, ImagePart};

/// Inspects an artifact's bytes, and lists every reason why a host of this build would refuse it. It runs no code of the
/// artifact.
pub fn inspect(bytes: &[u8]) -> lint::Inspection {
    lint::inspect(bytes, &lint::Expectations::of_this_build())
}
