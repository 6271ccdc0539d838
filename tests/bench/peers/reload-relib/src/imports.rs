//! The host's functions for the module: none. relib needs the trait anyway.

/// Its host.
pub trait Imports {}
