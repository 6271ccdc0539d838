//! The traits from which relib generates both sides. relib reads their text, so that is here twice.
#![forbid(unsafe_code)]

pub mod exports;
pub mod imports;

/// The text of [`exports`].
pub const EXPORTS: &str = include_str!("exports.rs");
/// The text of [`imports`].
pub const IMPORTS: &str = include_str!("imports.rs");
