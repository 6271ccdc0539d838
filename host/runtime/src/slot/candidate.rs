//! Candidates as data: what may come to serve in a slot, alone or in a set, and what for.

use super::{
    generation::Generation,
    record::{Mode, SlotRecord},
    saved_state::{SavedState, Snapshot},
};
use reslot_artifact::ContentHash;
use reslot_report::{RollbackReason, Step};
use reslot_sync::{Instant, Mutex};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A generation that may come to serve.
pub(crate) struct Candidate {
    pub(crate) generation: Generation,
    pub(crate) kind: CandidateKind,
    /// The hash of the published file: it names the version. The bytes that were opened may have another one, because the lint can change them.
    pub(crate) hash: ContentHash,
    pub(crate) path: PathBuf,
    pub(crate) noticed: Instant,
    pub(crate) steps: Vec<(Step, Duration)>,
    /// `init`, `start` and `health` have run already, because it needs nothing of the current generation (`start_early`).
    pub(crate) is_started: bool,
    /// It was compared with the slot's contracts when their number was this.
    pub(crate) fits_contracts: Option<u64>,
}

/// What a candidate is for. Each step of a reload that not all of them take asks for it, without a catch-all.
#[derive(Clone)]
pub(crate) enum CandidateKind {
    /// A build from a file.
    Fresh {
        /// Somebody has asked for this file, also if its content was refused before.
        by_name: bool,
        /// What it starts from, in a slot in which nothing serves.
        saved: Option<SavedState>,
    },
    /// A build from a file, loaded together with others: all of them come to serve, or none.
    SetMember,
    /// A version that was kept: the slot goes back to it.
    Rollback(RollbackPlan),
    /// Another instance of the artifact that serves.
    Reinstance {
        /// The generation whose artifact it is. Of use only while that one serves.
        of: u64,
        /// What for.
        why: Renewal,
    },
    /// A build that runs beside the current generation, and never comes to serve.
    Shadow {
        /// A copy of the state of the current generation.
        state: Option<TakenState>,
    },
}

/// Why another instance of the same artifact is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Plugins are given something else by now.
    Inputs,
    /// The image of the current generation differs from its artifact.
    Damage,
    /// The instance of the current generation has ended.
    Ended,
}

/// The state of a generation, taken while that generation stays current.
#[derive(Clone)]
pub(crate) struct TakenState {
    pub(crate) of: Arc<Generation>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Why, and from which state, a slot goes back.
#[derive(Clone)]
pub(crate) struct RollbackPlan {
    pub(crate) reason: RollbackReason,
    /// The state that the faulty generation had taken over; none if that one was confirmed already, or has no state.
    pub(crate) earlier: Option<Arc<Snapshot>>,
    pub(crate) since: Instant,
}

impl Candidate {
    /// The generation of which it is another instance.
    pub(crate) fn reinstance_of(&self) -> Option<u64> {
        self.kind.reinstance_of()
    }

    pub(crate) fn is_reinstance(&self) -> bool {
        self.reinstance_of().is_some()
    }

    pub(crate) fn is_rollback(&self) -> bool {
        matches!(self.kind, CandidateKind::Rollback(_))
    }

    /// Whether it is a rollback that somebody asked for.
    pub(crate) fn is_requested_rollback(&self) -> bool {
        self.kind
            .rollback_plan()
            .is_some_and(|plan| plan.reason == RollbackReason::Manual)
    }

    /// Whether it starts from a state that was saved. Such a one is not tried again by itself: it would start from nothing.
    pub(crate) fn starts_from_saved(&self) -> bool {
        self.kind.saved().is_some()
    }
}

impl CandidateKind {
    pub(crate) fn reinstance_of(&self) -> Option<u64> {
        match self {
            Self::Reinstance { of, .. } => Some(*of),
            Self::Fresh { .. } | Self::SetMember | Self::Rollback(_) | Self::Shadow { .. } => None,
        }
    }

    /// Why another instance of the same artifact is made, if it is one.
    pub(crate) fn renewal(&self) -> Option<Renewal> {
        match self {
            Self::Reinstance { why, .. } => Some(*why),
            Self::Fresh { .. } | Self::SetMember | Self::Rollback(_) | Self::Shadow { .. } => None,
        }
    }

    /// The saved state that it starts from, if nothing serves.
    pub(crate) fn saved(&self) -> Option<&SavedState> {
        match self {
            Self::Fresh { saved, .. } => saved.as_ref(),
            Self::SetMember | Self::Rollback(_) | Self::Reinstance { .. } | Self::Shadow { .. } => None,
        }
    }

    /// The way back, if it is one.
    pub(crate) fn rollback_plan(&self) -> Option<&RollbackPlan> {
        match self {
            Self::Rollback(plan) => Some(plan),
            Self::Fresh { .. } | Self::SetMember | Self::Reinstance { .. } | Self::Shadow { .. } => None,
        }
    }
}

/// A candidate and the slot that it is for.
pub(crate) struct SlotCandidate {
    pub(crate) record: Arc<SlotRecord>,
    pub(crate) candidate: Candidate,
}

impl SlotCandidate {
    /// The slots that its plugin calls.
    pub(crate) fn uses(&self) -> &[String] {
        &self.candidate.generation.instance().manifest().uses
    }
}

/// Candidates that were loaded together, and wait for the owners of the claimed slots among theirs.
pub(crate) struct CandidateSet(Mutex<Vec<SlotCandidate>>);

impl CandidateSet {
    pub(crate) fn new(members: Vec<SlotCandidate>) -> Self {
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
        Some((member.candidate.hash, member.candidate.generation.number()))
    }

    /// The candidate for a slot, and how many bytes it has allocated.
    pub(crate) fn waiting_for(&self, slot: u64) -> Option<(u64, Option<u64>)> {
        let members = self.0.lock();
        let member = members.iter().find(|member| member.record.id == slot)?;
        let generation = &member.candidate.generation;
        Some((generation.number(), generation.instance().live_bytes()))
    }

    /// Taken once: to adopt it, or because something newer has come for one of its slots.
    pub(crate) fn take(&self) -> Vec<SlotCandidate> {
        std::mem::take(&mut self.0.lock())
    }
}
