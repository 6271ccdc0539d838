//! Errors of looking up a slot.

use crate::{EngineKind, FORK_REMEDY, Refusal};
use reslot_artifact::compat::Difference;
use std::{fmt, path::PathBuf};

/// Errors of looking up a slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// No slot has this name. The message lists the loaded slots, a similar name, the watched folder, and what to do.
    #[error("no slot {name:?}: {}", NoSlot { name, known, refusals, folder })]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of all slots.
        known: Vec<String>,
        /// Refusals for a slot of this name, and refusals before the slot was known.
        refusals: Vec<Refusal>,
        /// The watched folder.
        folder: WatchedFolder,
    },
    /// The slot was unloaded, and is still empty.
    #[error(
        "slot {name:?} was unloaded and is empty\n  what to do: publish a build again, or load one by name; it was loaded \
             from {}",
        .path.display()
    )]
    Unloaded {
        /// The slot.
        name: String,
        /// The file that it was loaded from.
        path: PathBuf,
    },
    /// The slot is empty: its generation could not be stopped in time for its successor, and the successor failed, too.
    #[error(
        "slot {name:?} is empty: the `stop` of generation {generation} did not return in time, and its successor was \
             refused\n  what to do: publish a build that can start"
    )]
    Vacant {
        /// The slot.
        name: String,
        /// The generation that cannot be called any more.
        generation: u64,
    },
    /// The slot's plugin runs in a sandbox or in a process of its own, and this program was built without the stubs by which it is called.
    #[error(
        "slot {name:?} runs in the {engine} engine, and this program has no stubs for its interface\n  what to do: enable the feature `remote` of the \
             crate reslot"
    )]
    NoStubs {
        /// The slot.
        name: String,
        /// The engine of its current generation.
        engine: EngineKind,
    },
    /// The host was dropped.
    #[error("slot {name:?} is not available: its host was dropped")]
    HostEnded {
        /// The requested name.
        name: String,
    },
    /// This is a forked child of the process in which the host was built.
    #[error(
        "slot {name:?} is not available: this process is a forked child of the one in which the host was built\n  what to \
             do: {}",
        FORK_REMEDY
    )]
    ForkedProcess {
        /// The requested name.
        name: String,
    },
    /// The plugin implements another interface than the requested one.
    #[error(
        "slot {name:?} does not have the requested interface:{}\n  what to do: rebuild the plugin against the host's \
         interface crate, or request the interface that it has",
        Differences(.differences)
    )]
    Interface {
        /// The slot.
        name: String,
        /// How they differ.
        differences: Vec<Difference>,
    },
    /// Another claim owns the slot.
    #[error("slot {name:?} is already claimed; a slot has one owner at a time, so drop that claim first")]
    Claimed {
        /// The slot.
        name: String,
    },
    /// `Slot` handles exist, so the slot cannot be claimed.
    #[error("slot {name:?} is shared: {handles} `Slot` handle(s) exist, drop them first")]
    Shared {
        /// The slot.
        name: String,
        /// The number of handles.
        handles: usize,
    },
}

/// The state of the watched folder at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchedFolder {
    /// The host watches no folder. It has only what the program loads.
    NotWatched,
    /// The folder does not exist.
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The folder exists.
    Found {
        /// The folder.
        path: PathBuf,
        /// The artifacts in it.
        artifacts: Box<[PathBuf]>,
    },
}

struct NoSlot<'a> {
    name: &'a str,
    known: &'a [String],
    refusals: &'a [Refusal],
    folder: &'a WatchedFolder,
}

impl fmt::Display for NoSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known {
            [] => write!(f, "nothing is loaded")?,
            known => write!(f, "there are {}", known.join(", "))?,
        }
        let Self { refusals, folder, .. } = self;
        if refusals.is_empty() {
            match folder {
                WatchedFolder::NotWatched => write!(f, "; load a plugin whose package has this name (`Host::load`)")?,
                WatchedFolder::Missing { path } | WatchedFolder::Found { path, .. } => write!(
                    f,
                    "; build a plugin whose package has this name, and publish it in {}",
                    path.display()
                )?,
            }
        } else {
            write!(f, ", and this was refused:")?;
            let indented = |refusal: &Refusal| refusal.to_string().replace('\n', "\n  ");
            refusals
                .iter()
                .try_for_each(|refusal| write!(f, "\n  {}", indented(refusal)))?;
        }
        if let Some(similar) = similar(self.name, self.known) {
            write!(f, "\n  similar name: {similar}")?;
        }
        match folder {
            WatchedFolder::NotWatched => write!(f, "\n  watched folder: none (`HostBuilder::watch` names one)"),
            WatchedFolder::Missing { path } => write!(f, "\n  watched folder: {} does not exist", path.display()),
            WatchedFolder::Found { path, artifacts } if artifacts.is_empty() => {
                write!(f, "\n  watched folder: {} has no artifact", path.display())
            }
            WatchedFolder::Found { path, artifacts } => {
                let names = artifacts.iter().filter_map(|artifact| artifact.file_name());
                let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                write!(f, "\n  watched folder: {} has {}", path.display(), names.join(", "))
            }
        }
    }
}

/// The name that the caller probably meant. A file may be named `my_plugin` while its package and slot are named
/// `my-plugin`.
fn similar<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let rated = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&plain(name), &plain(known)), known));
    let best = rated
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, known)| known.as_str())
}

struct Differences<'a>(&'a [Difference]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}
