//! The matrix of unloading: behaviours of plugins × the calling thread. Each cell is tested with real libraries in its own
//! process, and compared with the table of promises in docs/unloading.md. `cargo xtask stress unload` prints the matrix, and
//! a test runs it. This file defines the columns; `rows` lists the behaviours, `cell` is the process of one cell, `run`
//! starts all cells, `promised` reads the documentation, `table` prints.

mod calling;
mod cell;
mod promised;
mod rows;
mod run;
mod table;

pub use cell::run_if_cell;
pub use promised::promised;
pub use rows::{ROWS, Row};
pub use run::{Cell, Matrix, run};

/// The thread on which a plugin is called, and the end of that thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The main thread, which then makes the reload and waits for the host's events.
    Main,
    /// A thread that takes views until the old image is gone.
    Looking,
    /// A thread that waits for something else until the old image is gone, and reaches no safe point.
    Waiting,
    /// A thread that ends before the reload.
    Ended,
    /// A thread that ends after the swap, while the old image waits for it.
    Ending,
}

impl Column {
    /// All columns, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Main, Self::Looking, Self::Waiting, Self::Ended, Self::Ending];

    /// Its name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Looking => "looking",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
            Self::Ending => "ending",
        }
    }
}
