/// What the module is given: nothing.
pub trait Imports {}
