//! The module's functions. relib allows only `use` and the trait in this file, which its host includes, too.

/// The module.
pub trait Exports {
    /// The number stamped into the file.
    fn stamp() -> u64;
}
