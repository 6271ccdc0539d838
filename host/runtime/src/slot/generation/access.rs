//! Who keeps callers away from a generation while it is replaced, and the right to change its instance that follows from that. Each
//! way to that right stands here, with what makes it sound.

use super::{GateClosedBy, Generation};
use reslot_engine::ExclusiveInstance;
use reslot_sync::{
    Instant, RwLockWriteGuard,
    atomic::{self, Ordering},
};
use std::{sync::Arc, time::Duration};

/// How long a rollback waits for the standby's gate. Callers of old views hold it only while they read `moved`, so only a thread that has lost its
/// processor takes longer.
const STANDBY_GATE_WAIT: Duration = Duration::from_millis(1);

/// Who keeps callers away from a generation while it is replaced.
pub(crate) enum Access<'a> {
    /// The claim's owner replaces it, on his own thread. Its gate is closed, too, if other plugins may still call it.
    Owner(OwnersTurn<'a>, Gate<'a>),
    /// Its gate is closed.
    Closed(Closed<'a>),
    /// Nobody: it has nothing that would have to be handed over.
    Open,
}

/// The gate of what an owner replaces. A claimed slot has no `Slot` handles, but other plugins may still be in a call from before the claim.
pub(crate) enum Gate<'a> {
    /// Nobody comes through it.
    NotNeeded,
    Closed(Closed<'a>),
    /// Calls did not come back in time.
    Busy,
}

impl<'a> Access<'a> {
    /// That of an owner.
    pub(crate) fn of_owner(turn: OwnersTurn<'a>, deadline: Instant) -> Self {
        let others = turn
            .generation
            .filter(|generation| generation.is_gated() && generation.instance().is_shared());
        let gate = match others.map(|generation| generation.close_gate(deadline)) {
            None => Gate::NotNeeded,
            Some(Some(closed)) => Gate::Closed(closed),
            Some(None) => Gate::Busy,
        };
        Self::Owner(turn, gate)
    }

    /// The right to change the instance; none if somebody may be inside, or look at it, or may hold what its methods have answered by
    /// reference.
    pub(crate) fn exclusive_instance(&mut self, deadline: Instant) -> Option<ExclusiveInstance<'_>> {
        match self {
            // SAFETY: the maker of the turn promised that only its owner calls the instance; the owner is here, and `self` is borrowed mutably.
            Self::Owner(turn, Gate::NotNeeded) => unsafe { turn.generation?.instance().assume_exclusive(deadline) },
            Self::Owner(_, Gate::Closed(closed)) | Self::Closed(closed) => closed.exclusive_instance(deadline),
            Self::Owner(_, Gate::Busy) | Self::Open => None,
        }
    }

    /// The same for the standby of this generation, for the length of `change`. None if that right is not available at once: a caller may hold
    /// a borrow that its methods have answered, or a check looks at it. With `patience` this waits until then.
    pub(crate) fn with_exclusive_standby<R>(
        &mut self,
        standby: &Arc<Generation>,
        patience: Option<Instant>,
        change: impl FnOnce(ExclusiveInstance<'_>) -> R,
    ) -> Option<R> {
        let deadline = patience.unwrap_or_else(|| Instant::now() + STANDBY_GATE_WAIT);
        if !standby.instance().is_shared() {
            // SAFETY: only a claim's owner calls what is not shared, through his claim. Either this is his turn, by the promise of the
            // one who made it, or the slot is open, and the rollback keeps claims out of it (`SlotRecord::begin_moving`).
            return Some(change(unsafe { standby.instance().assume_exclusive(deadline)? }));
        }
        // A caller of an old view is inside of this gate only until he sees that the state is elsewhere.
        let mut closed = standby.close_gate(deadline)?;
        if let Some(exclusive_instance) = closed.exclusive_instance(deadline) {
            return Some(change(exclusive_instance));
        }
        let is_sole = Arc::strong_count(standby) == 1 && Arc::strong_count(&standby.target.gated_instance) == 1;
        // Synchronises with the drop of the last other holder.
        atomic::fence(Ordering::Acquire);
        if !is_sole || !standby.is_gated() {
            return None;
        }
        // SAFETY: no call is inside. The rollback has the only strong reference, and it is in no published view. The remaining `Weak`s (the list of
        // mapped images, the slot's `Forward`, which leads elsewhere) are not upgraded to it. A borrow lives no longer than a holder, so there is none.
        Some(change(unsafe { standby.instance().assume_exclusive(deadline)? }))
    }

    /// Since when somebody waits for the end of this; none if nobody does.
    pub(crate) fn since(&self) -> Option<Instant> {
        match self {
            Self::Owner(turn, _) => Some(turn.since),
            Self::Closed(closed) => Some(closed.since),
            Self::Open => None,
        }
    }

    /// Whether this is the owner's thread.
    pub(crate) fn is_owners(&self) -> bool {
        matches!(self, Self::Owner(..))
    }

    /// Whether no call is inside, and none can enter.
    pub(crate) fn keeps_callers_away(&self) -> bool {
        !matches!(self, Self::Open | Self::Owner(_, Gate::Busy))
    }
}

/// The time in which a claim's owner does nothing but replace what he owns, if there is anything.
pub(crate) struct OwnersTurn<'a> {
    generation: Option<&'a Generation>,
    since: Instant,
}

impl<'a> OwnersTurn<'a> {
    /// # Safety
    /// The caller owns the claim of this generation's slot, calls nothing through it and holds nothing that it has answered by
    /// reference, until what this answers is dropped; and makes one at a time.
    pub(crate) unsafe fn new(generation: &'a Generation) -> Self {
        Self {
            generation: Some(generation),
            since: Instant::now(),
        }
    }

    /// Of an owner to whom nothing is left.
    pub(crate) fn of_nothing() -> Self {
        Self {
            generation: None,
            since: Instant::now(),
        }
    }
}

/// A closed gate: no call is inside, and none comes in until this is dropped.
pub(crate) struct Closed<'a> {
    pub(super) since: Instant,
    pub(super) _by: GateClosedBy<'a>,
    pub(super) _gate: RwLockWriteGuard<'a, ()>,
    pub(super) generation: &'a Generation,
}

impl Closed<'_> {
    /// The right to change the instance behind the gate; none if callers may hold what its methods have answered by reference.
    pub(crate) fn exclusive_instance(&mut self, deadline: Instant) -> Option<ExclusiveInstance<'_>> {
        let instance = self.generation.instance();
        if !self.generation.is_gated() || instance.answers_references() {
            return None;
        }
        // SAFETY: all calls of views and of other plugins go through the gate (`is_gated`), which is the instance's only one, and
        // closed. No method answers a reference, and this is borrowed mutably.
        unsafe { instance.assume_exclusive(deadline) }
    }
}
