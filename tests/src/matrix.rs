//! The matrix of unloading: what plugins do × the thread that calls them, each cell tried with real libraries in a process of its
//! own, and held against the table in docs/unloading.md, which alone says what is promised. `cargo xtask stress unload` prints it,
//! a test runs it. This file says what a cell is; `rows` lists the behaviours, `cell` is the process of one, `run` starts them
//! all, `promised` reads the documentation, `table` prints.

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

/// On which thread a plugin is called, and what becomes of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The main thread, which then makes the reload and waits for the host's events.
    Main,
    /// One that keeps looking at views until the old image is gone.
    Looking,
    /// One that waits for something else until the old image is gone, and comes to no safe point.
    Waiting,
    /// One that ends before the reload.
    Ended,
    /// One that ends after the swap, while the old image waits for it.
    Ending,
}

impl Column {
    /// Every one, as the documentation has them.
    pub const ALL: [Self; 5] = [Self::Main, Self::Looking, Self::Waiting, Self::Ended, Self::Ending];

    /// What the documentation calls it.
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
