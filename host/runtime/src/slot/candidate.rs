//! Candidates as data: what may come to serve in a slot, alone or in a set.

use super::{
    generation::Generation,
    probation::RollbackReason,
    record::{Mode, SlotRecord},
    saved_state::Snapshot,
};
use crate::{content::ContentHash, event::Step};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// A candidate that waits for its owner.
pub(crate) struct Staged {
    pub(crate) generation: Generation,
    pub(crate) hash: ContentHash,
    pub(crate) path: PathBuf,
    pub(crate) noticed: Instant,
    pub(crate) steps: Vec<(Step, Duration)>,
    /// It needed nothing of what serves, and has been started already.
    pub(crate) prepared: bool,
    /// It was compared with the slot's contracts when their number was this.
    pub(crate) fits: Option<u64>,
    /// It starts from this, if nothing serves.
    pub(crate) state: Option<Arc<Snapshot>>,
    /// The slot goes back to it.
    pub(crate) back: Option<RollbackPlan>,
    /// It is the artifact of this generation once more, for the sake of what instances are given: of use only while that serves.
    pub(crate) reinstance_of: Option<u64>,
}

/// Why a candidate comes that has been there before.
#[derive(Clone)]
pub(crate) struct RollbackPlan {
    pub(crate) reason: RollbackReason,
    /// The state from before what it replaces.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) since: Instant,
}

/// A candidate and the slot that it is for.
pub(crate) struct Candidate {
    pub(crate) record: Arc<SlotRecord>,
    pub(crate) staged: Staged,
}

impl Candidate {
    /// The slots that its plugin calls.
    pub(crate) fn uses(&self) -> &[String] {
        &self.staged.generation.instance().image().manifest.uses
    }
}

/// Slots that wait for the owners of some of them.
pub(crate) struct CandidateSet(Mutex<Vec<Candidate>>);

impl CandidateSet {
    pub(crate) fn new(members: Vec<Candidate>) -> Self {
        Self(Mutex::new(members))
    }

    /// The claimed slots among them.
    pub(crate) fn claimed(&self) -> Vec<Arc<SlotRecord>> {
        // Not under this lock, which may be taken while a slot's is held.
        let mut records: Vec<_> = self.0.lock().iter().map(|member| member.record.clone()).collect();
        records.retain(|record| record.lock().mode == Mode::Claimed);
        records
    }

    /// The content of the candidate for a slot, and its number.
    pub(crate) fn content_for(&self, slot: u64) -> Option<(ContentHash, u64)> {
        let members = self.0.lock();
        let member = members.iter().find(|member| member.record.id == slot)?;
        Some((member.staged.hash, member.staged.generation.number()))
    }

    /// The candidate for a slot, and how many bytes it has allocated.
    pub(crate) fn waiting_for(&self, slot: u64) -> Option<(u64, Option<u64>)> {
        let members = self.0.lock();
        let member = members.iter().find(|member| member.record.id == slot)?;
        let generation = &member.staged.generation;
        Some((generation.number(), generation.instance().live_bytes()))
    }

    /// Taken once: by whoever adopts it, or by what supersedes it.
    pub(crate) fn take(&self) -> Vec<Candidate> {
        std::mem::take(&mut self.0.lock())
    }
}
