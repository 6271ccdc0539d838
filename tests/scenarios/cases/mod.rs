//! What other systems of this kind test, each case by its name there (`facts/test-cases.md`).

mod lifecycle;
mod state;
