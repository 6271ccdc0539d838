//! What the reload thread is asked to do, and what it answers.

use crate::{
    instances::LoadRequest,
    slot::{SavedState, SlotRecord, UnloadRequest},
    watch::Notice,
};
use reslot_artifact::{ContentHash, ImageDifference};
use reslot_report::{Refusal, ReloadReport, RollbackReason, RollbackReport, UnloadError};
use reslot_sync::mpsc::Sender;
use std::sync::Arc;

/// What the reload thread is asked to do.
pub(crate) enum ReloadMessage {
    /// The watch noticed something.
    Noticed(Notice),
    /// The embedder asks for a file.
    Load {
        request: LoadRequest,
        /// True if a caller named the file. False if the scan at the start, or a rescan, has found it.
        by_name: bool,
        /// The saved state that it starts from.
        state: Option<SavedState>,
        answer: Sender<Result<Outcomes, Refusal>>,
    },
    /// The embedder asks for several files at once.
    LoadTogether {
        request: Vec<LoadRequest>,
        answer: Sender<Result<Vec<LoadOutcome>, Refusal>>,
    },
    /// The reason of an earlier refusal may be gone: try the file again.
    Retry(LoadRequest),
    /// Answered when all earlier messages have been carried out.
    Flush(Sender<()>),
    /// An image of this slot is gone: retry the file that was refused last because the slot had no room, unless a newer one has come since.
    RoomAvailable(Arc<str>),
    /// A slot's generation is faulty and has no standby; or a caller asks for a version of the history.
    GoBack {
        record: Arc<SlotRecord>,
        /// The faulty generation. If another one is current by then, there is nothing to do.
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
    /// A claim was dropped while a candidate or an unload waited for its owner.
    Settle(Arc<SlotRecord>),
    /// The image of this generation differs from its artifact.
    Damaged {
        record: Arc<SlotRecord>,
        number: u64,
        difference: ImageDifference,
    },
    /// The instance of this generation has ended, and nothing else is to be done about it than to make another one.
    InstanceEnded { record: Arc<SlotRecord>, number: u64 },
    /// Inputs may have changed: check every current generation.
    InputsChanged,
    /// The file of a resource has changed.
    Resource(String),
    /// An image waits for thread-locals that its code has left on this thread. The thread passes a safe point.
    SafePoint,
    /// The host ends.
    End,
}

/// The outcome for a file that was loaded.
///
/// ```
/// use reslot::{Host, LoadOutcome};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// # let new_build = plugins.new_build("pricer");
/// let outcome = host.load(&new_build)?;
/// assert!(matches!(outcome, LoadOutcome::Swapped(_)));
/// assert_eq!(outcome.generation(), Some(2));
/// // The same bytes again: there is nothing to do.
/// assert!(matches!(host.load(&new_build)?, LoadOutcome::Unchanged { generation: 2, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadOutcome {
    /// Its generation is current.
    Swapped(ReloadReport),
    /// It is staged for the owner's `sync`; also if the same content was staged already.
    Staged {
        /// The slot.
        slot: Arc<str>,
        /// The candidate.
        generation: u64,
    },
    /// The slot was rolled back to its standby.
    RolledBack(RollbackReport),
    /// Its content is current already.
    Unchanged {
        /// The slot.
        slot: Arc<str>,
        /// The current generation.
        generation: u64,
    },
    /// The slot was unloaded, and the file has not changed since: it is loaded when it is published again, or by name. Only
    /// [`Host::rescan`](crate::Host::rescan) answers this.
    StillUnloaded {
        /// The slot.
        slot: Arc<str>,
    },
    /// The file is for several slots ([`HostBuilder::instances`](crate::HostBuilder::instances)), and each of them took it: the outcomes,
    /// in their order.
    Instances(Vec<LoadOutcome>),
}

/// What [`Host::unload`](crate::Host::unload) did.
///
/// ```
/// use reslot::{Host, UnloadOutcome};
/// use sample_interfaces::Strategy;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// assert!(matches!(host.unload("pricer")?, UnloadOutcome::Unloaded(_)));
/// let owner = host.claim::<dyn Strategy>("momentum")?;
/// assert!(matches!(host.unload("momentum")?, UnloadOutcome::Staged { .. })); // done by the owner's next `sync`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "with `Staged` the slot still serves, until its owner calls `Claim::sync`"]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UnloadOutcome {
    /// The slot is empty.
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
    /// The generation that was unloaded. [`Event::Retired`](crate::Event::Retired) says that its image is gone, and
    /// [`Host::wait_until_unmapped`](crate::Host::wait_until_unmapped) waits for it.
    pub generation: u64,
    /// Its state; none if its plugin has none, or if it could not be encoded and the slot was unloaded by force.
    pub state: Option<SavedState>,
}

/// The outcomes for a file in each of the slots that it is for.
pub(crate) type Outcomes = Vec<Result<LoadOutcome, Refusal>>;

/// How a file is to be loaded.
#[derive(Clone, Copy, Default)]
pub(super) struct LoadOptions<'a> {
    /// A caller named it.
    pub(super) by_name: bool,
    /// The saved state that it starts from, in an empty slot.
    pub(super) saved: Option<&'a SavedState>,
}

/// The outcome for a file in one slot.
pub(super) enum SlotLoad {
    Done(LoadOutcome),
    Refused(Refusal),
    /// It was refused before and is not tried again. The first refusal was reported.
    Known(Refusal),
}
