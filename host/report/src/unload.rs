//! Why a slot was unloaded, or was not.

use crate::{Cause, FORK_REMEDY, Refusal, SlotError};
use std::{path::PathBuf, sync::Arc};

/// Why a slot was not unloaded. It serves on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// There is no such slot, or nothing serves in it.
    #[error(transparent)]
    Slot(Arc<SlotError>),
    /// Plugins that serve in other slots say that they call this one.
    #[error(
        "slot {slot:?} was not unloaded: what serves in {} says that it calls it (`uses` in export_plugin!)\n  what to do: unload \
         that first; or unload by force (`Host::force_unload`, `reslot unload {slot} --force`), and its calls to {slot} answer an error",
        .by.join(", ")
    )]
    Used {
        /// The slot.
        slot: String,
        /// The slots whose plugins call it.
        by: Vec<String>,
    },
    /// Its state could not be had, and would be lost.
    #[error(
        "slot {slot:?}: generation {generation} was not unloaded, because its state would be lost: {cause}\n  what to do: {}; or unload \
         by force (`Host::force_unload`, `reslot unload {slot} --force`), without the state", state_remedy(.cause)
    )]
    State {
        /// The slot.
        slot: String,
        /// The generation that serves on.
        generation: u64,
        /// Why the state could not be had.
        cause: Arc<Cause>,
    },
    /// A subscriber or a recorder asked for it on the host's own reload thread, which would have to do it.
    #[error(
        "the slot was not unloaded: a subscriber or a recorder asked for it on the host's own thread, which would have to do it and \
         waits for them\n  what to do: ask from a thread of the program's"
    )]
    Reentrant,
    /// The host was dropped meanwhile, and unloads everything.
    #[error("the slot was not unloaded by itself: the host is going, and unloads everything")]
    HostEnded,
    /// This is a forked child of the process in which the host was built.
    #[error(
        "the slot was not unloaded: this process is a forked child of the one in which the host was built\n  what to do: {}",
        FORK_REMEDY
    )]
    ForkedProcess,
    /// The host itself failed.
    #[error(
        "the host panicked while it unloaded the slot\n  what to do: this is a bug in Reslot: please report it, with the panic's message"
    )]
    Bug,
}

fn state_remedy(cause: &Cause) -> &'static str {
    match cause {
        Cause::Busy(_) => "let calls return, or raise the host's drain_deadline, and ask again",
        Cause::Hook(_, error) if error.remedy_for_state().is_some() => error.remedy_for_state().unwrap_or_default(),
        _ => "reload a build whose `Serialize` does not fail",
    }
}

impl From<SlotError> for UnloadError {
    fn from(error: SlotError) -> Self {
        Self::Slot(Arc::new(error))
    }
}

impl From<Refusal> for UnloadError {
    /// Of a request that did not come to be looked at.
    fn from(refusal: Refusal) -> Self {
        match &*refusal.cause {
            Cause::Reentrant => Self::Reentrant,
            Cause::HostEnded => Self::HostEnded,
            Cause::ForkedProcess => Self::ForkedProcess,
            _ => Self::Bug,
        }
    }
}

/// Why a slot is unloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnloadReason {
    /// `Host::unload` or `Claim::unload` was called, or a verb.
    Requested,
    /// Its file was deleted, and the policy says that it goes then (`DeletedFile::Unload`).
    FileDeleted {
        /// The file.
        path: PathBuf,
    },
}
