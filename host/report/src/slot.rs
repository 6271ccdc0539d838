//! Why a slot could not be had.

use crate::{FORK_REMEDY, Refusal};
use reslot_artifact::compat::Difference;
use std::{fmt, path::PathBuf};

/// Why a slot could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// No artifact of this name was loaded.
    #[error("no slot {name:?}: {}", NoSlot(.known, .refusals))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// What was refused for a slot of this name, or before it had said its name.
        refusals: Vec<Refusal>,
    },
    /// It was unloaded, and nothing has come to serve in it since.
    #[error(
        "slot {name:?} was unloaded, and nothing serves in it\n  what to do: publish a build anew, or load one by name; it was loaded from {}",
        .path.display()
    )]
    Unloaded {
        /// The slot.
        name: String,
        /// The file that it was loaded from.
        path: PathBuf,
    },
    /// What served in the slot could not be stopped in time for its successor, which then failed as well: nothing serves.
    #[error(
        "nothing serves in slot {name:?} any more: the `stop` of generation {generation} did not come back in time, and its successor was \
         refused\n  what to do: publish a build that can start"
    )]
    Vacant {
        /// The slot.
        name: String,
        /// The generation that cannot be called any more.
        generation: u64,
    },
    /// The host was dropped: nothing serves any more.
    #[error("slot {name:?} cannot be had: its host was dropped")]
    HostEnded {
        /// The name that was asked for.
        name: String,
    },
    /// This is a forked child of the process in which the host was built.
    #[error(
        "slot {name:?} cannot be had: this process is a forked child of the one in which the host was built\n  what to do: {}",
        FORK_REMEDY
    )]
    ForkedProcess {
        /// The name that was asked for.
        name: String,
    },
    /// The plugin was built for another interface than the caller's.
    #[error(
        "slot {name:?} does not have the interface that was asked for:{}\n  what to do: rebuild the plugin against the host's \
         interface crate, or ask for the interface that it has",
        Differences(.differences)
    )]
    Interface {
        /// The slot.
        name: String,
        /// How they differ.
        differences: Vec<Difference>,
    },
    /// Another claim owns it.
    #[error("slot {name:?} is claimed; it has one owner at a time, drop that claim first")]
    Claimed {
        /// The slot.
        name: String,
    },
    /// `Slot` handles are out, so it cannot have one owner.
    #[error("slot {name:?} is shared: {handles} `Slot` handle(s) are out, drop them first")]
    Shared {
        /// The slot.
        name: String,
        /// How many.
        handles: usize,
    },
}

struct NoSlot<'a>(&'a [String], &'a [Refusal]);

impl fmt::Display for NoSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => write!(f, "nothing is loaded")?,
            known => write!(f, "there are {}", known.join(", "))?,
        }
        match self.1 {
            [] => write!(f, "; build a plugin whose package has this name, and publish it"),
            refusals => {
                write!(f, ", and this was refused:")?;
                let indented = |refusal: &Refusal| refusal.to_string().replace('\n', "\n  ");
                refusals.iter().try_for_each(|refusal| write!(f, "\n  {}", indented(refusal)))
            }
        }
    }
}

struct Differences<'a>(&'a [Difference]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}
