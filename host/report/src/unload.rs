//! Why a slot was unloaded, and why an unload failed.

use crate::{Cause, FORK_REMEDY, Refusal, SlotError};
use std::{path::PathBuf, sync::Arc};

/// Why a slot was not unloaded. Its current generation keeps serving.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// The slot does not exist, or is empty.
    #[error(transparent)]
    Slot(Arc<SlotError>),
    /// Plugins in other slots declare that they call this one.
    #[error(
        "slot {slot:?} was not unloaded, because {} calls it (`uses` in export_plugin!)\n  what to do: unload the callers first; or unload by force (`Host::force_unload`, `reslot unload {slot} --force`), and calls to {slot} return an error",
        .by.join(", ")
    )]
    Used {
        /// The slot.
        slot: String,
        /// The slots whose plugins call it.
        by: Vec<String>,
    },
    /// Its state could not be saved, and would be lost.
    #[error(
        "slot {slot:?}: generation {generation} was not unloaded, because its state would be lost: {cause}\n  what to do: {}; or unload \
         by force (`Host::force_unload`, `reslot unload {slot} --force`), without the state", state_remedy(.cause)
    )]
    State {
        /// The slot.
        slot: String,
        /// The generation that keeps serving.
        generation: u64,
        /// Why the state could not be saved.
        cause: Arc<Cause>,
    },
    /// A subscriber or a recorder requested it on the host's reload thread, which would have to wait for itself.
    #[error(
        "the slot was not unloaded: a subscriber or a recorder requested it on the host's reload thread, which would have \
             to wait for itself\n  what to do: request it from a thread of the program"
    )]
    Reentrant,
    /// The host is shutting down, and unloads everything.
    #[error("the slot was not unloaded alone: the host is shutting down, and unloads everything")]
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
        Cause::Busy(_) => "let calls return, or raise the host's drain_deadline, and try again",
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
    /// For a request that the reload thread did not process.
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
    /// `Host::unload` or `Claim::unload` was called, or the verb `reslot unload`.
    Requested,
    /// Its file was deleted, and the policy is `DeletedFile::Unload`.
    FileDeleted {
        /// The file.
        path: PathBuf,
    },
}
