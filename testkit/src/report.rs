//! What a run did, for a person at a terminal.

use std::{fmt, time::Duration};

/// A run that went well, in figures. Its `Display` is the table that a test prints.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The slot's name.
    pub slot: String,
    /// The moves that were made, in order.
    pub moves: Vec<Moved>,
    /// The faults that were tried, in order, and those that were not, with the reason.
    pub faults: Vec<Tried>,
    /// Units of load that were called; none failed.
    pub units: u64,
    /// The longest of them.
    pub longest: Duration,
    /// Images that were mapped, each proven unmapped.
    pub unmapped: u64,
    /// Bytes that they left allocated, where their plugins count them and ask for no freeing.
    pub left_bytes: u64,
}

/// A move that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Moved {
    /// The part of the run.
    pub part: &'static str,
    /// The move.
    pub what: &'static str,
    /// The generation that served before; none if nothing did.
    pub from: Option<u64>,
    /// The generation that served after it.
    pub to: u64,
    /// Units of load during it, and before and after it.
    pub units: u64,
    /// The longest of them.
    pub longest: Duration,
    /// For how long it kept its callers: `sync`, of a claimed plugin; the longest unit of load, of a shared one that was under load.
    pub pause: Duration,
    /// How large the state was that was handed over, encoded.
    pub state_bytes: Option<usize>,
}

/// A fault that was tried, or not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tried {
    /// The fault.
    pub fault: String,
    /// What became of it.
    pub outcome: Survived,
}

/// What became of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Survived {
    /// The build was refused, and the old one served on with its state.
    Refused {
        /// At which step.
        step: String,
        /// The first line of why.
        why: String,
    },
    /// The slot went back to the old build, with the state.
    RolledBack {
        /// Why.
        why: String,
    },
    /// It was not tried.
    Skipped {
        /// Why.
        why: String,
    },
}

impl Report {
    /// The faults that were not tried.
    pub fn skipped(&self) -> impl Iterator<Item = &Tried> {
        self.faults
            .iter()
            .filter(|tried| matches!(tried.outcome, Survived::Skipped { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} moves, {} faults, {} units of load (the longest {:.1?}): no call failed, no state was lost, nothing stayed mapped",
            self.slot,
            self.moves.len(),
            self.faults.len() - self.skipped().count(),
            self.units,
            self.longest,
        )?;
        writeln!(
            f,
            "  {} images were mapped and proven unmapped; they left {} bytes",
            self.unmapped, self.left_bytes
        )?;
        for Moved {
            part,
            what,
            from,
            to,
            units,
            longest,
            pause,
            state_bytes,
        } in &self.moves
        {
            let from = from.map_or_else(|| "-".to_owned(), |from| from.to_string());
            let state = state_bytes.map_or_else(|| "no state".to_owned(), |bytes| format!("{bytes} bytes of state"));
            writeln!(
                f,
                "  {part:<24} {what:<14} {from:>2} → {to:<2}  {units:>7} units, longest {longest:>9.1?}, pause {pause:>9.1?}, {state}"
            )?;
        }
        for Tried { fault, outcome } in &self.faults {
            writeln!(f, "  {fault}: {outcome}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step, why } => write!(f, "refused at {step} ({why})"),
            Self::RolledBack { why } => write!(f, "rolled back ({why})"),
            Self::Skipped { why } => write!(f, "SKIPPED: {why}"),
        }
    }
}
