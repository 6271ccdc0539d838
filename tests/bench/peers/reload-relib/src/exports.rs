//! What the module does. relib allows no more than `use` and the trait in this file, which its host includes, too.

/// The module.
pub trait Exports {
    /// The number stamped into the file.
    fn stamp() -> u64;
}
