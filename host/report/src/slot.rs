//! Why a slot could not be had.

use crate::{FORK_REMEDY, Refusal};
use reslot_artifact::compat::Difference;
use std::{fmt, path::PathBuf};

/// Why a slot could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// No artifact of this name was loaded. The message says what is loaded, which name is similar, where the host looked, and what
    /// can be done there.
    #[error("no slot {name:?}: {}", NoSlot { name, known, refusals, folder })]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// What was refused for a slot of this name, or before it had said its name.
        refusals: Vec<Refusal>,
        /// Where the host looked.
        folder: WatchedFolder,
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

/// The folder in which a host finds plugins by itself, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchedFolder {
    /// The host watches no folder: it has what the program loads, and nothing else.
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

/// The name that was probably meant. A file is called `my_plugin`, and its package and slot `my-plugin`.
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
