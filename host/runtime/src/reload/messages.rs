//! What the reload thread is asked to do, and what it answers.

use crate::{
    instances::LoadRequest,
    slot::{SavedState, SlotRecord, UnloadRequest},
    watch::Notice,
};
use reslot_artifact::ContentHash;
use reslot_report::{Refusal, ReloadReport, RollbackReason, RollbackReport, UnloadError};
use std::sync::{Arc, mpsc::Sender};

/// What the reload thread is asked to do.
pub(crate) enum ReloadMessage {
    /// The watch noticed something.
    Noticed(Notice),
    /// The embedder asks for a file.
    Load {
        request: LoadRequest,
        /// Whether it is asked for by its name, and not only found when the host starts.
        by_name: bool,
        /// What it is to start from.
        state: Option<SavedState>,
        answer: Sender<Result<Outcomes, Refusal>>,
    },
    /// The embedder asks for several files at once.
    LoadTogether {
        request: Vec<LoadRequest>,
        answer: Sender<Result<Vec<LoadOutcome>, Refusal>>,
    },
    /// What a file was refused for is another now: it is tried again.
    Retry(LoadRequest),
    /// Everything that was asked for before has been done.
    Flush(Sender<()>),
    /// What was refused last for want of room in this slot may be tried again, if nothing has come since.
    Deferred(Arc<str>),
    /// A slot's generation is faulty, and nothing stands by; or somebody asks for a version that was kept.
    GoBack {
        record: Arc<SlotRecord>,
        /// The faulty one: if something else serves by now, there is nothing to do.
        from: Option<u64>,
        to: Option<ContentHash>,
        reason: RollbackReason,
        answer: Option<Sender<Result<LoadOutcome, Refusal>>>,
    },
    /// A slot is to be unloaded.
    Unload {
        record: Arc<SlotRecord>,
        request: UnloadRequest,
        answer: Sender<Result<UnloadOutcome, UnloadError>>,
    },
    /// A claim was dropped while something waited for it.
    Settle(Arc<SlotRecord>),
    /// What plugins are given may be something else than what those that serve were given.
    InputsChanged,
    /// Something has happened to the file of a resource.
    Resource(String),
    /// An image waits for thread-locals that its code has left on this thread.
    SafePoint,
    /// The host goes.
    End,
}

/// What became of a file that was loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadOutcome {
    /// Its code serves.
    Swapped(ReloadReport),
    /// It waits for the owner's `sync`; also if the same content was waiting already.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The candidate.
        generation: u64,
    },
    /// The slot went back to the generation that stood by.
    RolledBack(RollbackReport),
    /// Its content serves already.
    Unchanged {
        /// The slot.
        slot: Arc<str>,
        /// The generation that serves.
        generation: u64,
    },
    /// The slot was unloaded, and the file is as it was then: it is loaded when it is published anew, or by name. Only
    /// [`Host::rescan`](crate::Host::rescan) answers this.
    StillUnloaded {
        /// The slot.
        slot: Arc<str>,
    },
    /// The file is for several slots ([`HostBuilder::instances`](crate::HostBuilder::instances)), and each of them took it: what became
    /// of it in each, in their order.
    Instances(Vec<LoadOutcome>),
}

/// What [`Host::unload`](crate::Host::unload) did.
#[must_use = "with `Staged` the slot still serves, until its owner calls `Claim::sync`"]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UnloadOutcome {
    /// Nothing serves in the slot any more.
    Unloaded(Unloaded),
    /// The slot is claimed: its owner's next [`sync`](crate::Claim::sync) unloads it.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The generation that will be unloaded.
        generation: u64,
    },
}

/// A slot was unloaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unloaded {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation that served. That its image is gone is told by [`Event::Retired`](crate::Event::Retired), and waited for by
    /// [`Host::wait_until_unmapped`](crate::Host::wait_until_unmapped).
    pub generation: u64,
    /// The state that it had; none if its plugin has none, or if it could not be had and the slot was unloaded by force.
    pub state: Option<SavedState>,
}

/// What became of a file in each of the slots that it is for.
pub(crate) type Outcomes = Vec<Result<LoadOutcome, Refusal>>;

/// How a file is to be loaded.
#[derive(Clone, Copy, Default)]
pub(super) struct LoadOptions<'a> {
    /// Somebody asked for it by its name.
    pub(super) by_name: bool,
    /// What it is to start from, in a slot in which nothing serves.
    pub(super) saved: Option<&'a SavedState>,
}

/// What became of a file in one slot.
pub(super) enum SlotLoad {
    Done(LoadOutcome),
    Refused(Refusal),
    /// It was refused before, which was told, and is not tried again.
    Known(Refusal),
}
