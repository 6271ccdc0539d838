//! The report of a run, for a person.

use std::{fmt, time::Duration};

/// The figures of a successful run. `Display` prints them as a table.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The slot's name.
    pub slot: String,
    /// The moves, in order.
    pub moves: Vec<Moved>,
    /// The injected faults, in order, and the skipped ones with the reason.
    pub faults: Vec<Tried>,
    /// The number of units of load. None failed.
    pub units: u64,
    /// The longest unit of load.
    pub longest: Duration,
    /// The number of images that were mapped and proven unmapped.
    pub unmapped: u64,
    /// The bytes that they left allocated, if their plugins count them and do not use `allocator = freeing`.
    pub left_bytes: u64,
}

/// A move.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Moved {
    /// The part of the run.
    pub part: &'static str,
    /// The move.
    pub what: &'static str,
    /// The generation before the move; none if the slot was empty.
    pub from: Option<u64>,
    /// The generation after the move.
    pub to: u64,
    /// The units of load before, during and after it.
    pub units: u64,
    /// The longest unit of load.
    pub longest: Duration,
    /// How long callers had to wait: the time of `sync` for a claimed plugin, or the longest unit of load for a shared one
    /// under load.
    pub pause: Duration,
    /// The size of the encoded state that was handed over.
    pub state_bytes: Option<usize>,
}

/// An injected or skipped fault.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tried {
    /// The fault.
    pub fault: String,
    /// Its result.
    pub outcome: Survived,
}

/// The result of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Survived {
    /// The build was refused, and the old one kept serving with its state.
    Refused {
        /// The step.
        step: String,
        /// The first line of the reason.
        why: String,
    },
    /// The slot was rolled back to the old build, with the state.
    RolledBack {
        /// Why.
        why: String,
    },
    /// It was skipped.
    Skipped {
        /// Why.
        why: String,
    },
}

impl Report {
    /// The skipped faults.
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
