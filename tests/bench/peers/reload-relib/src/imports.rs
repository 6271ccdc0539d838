//! What the module is given: nothing. relib asks for the trait all the same.

/// Its host.
pub trait Imports {}
