//! Who keeps callers away from a generation while it is replaced, and the right to change its instance that follows from that. Each
//! way to that right stands here, with what makes it sound.

use super::{ClosedHere, Generation};
use crate::instance::Quiet;
use parking_lot::RwLockWriteGuard;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How long a rollback waits, with the gate closed, for those who look at what stands by: a check, a question who holds what. A looker
/// may be kept from its core for long; to lose what was done since the swap is worse than to wait.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);

/// Who keeps callers away from a generation while it is replaced.
pub(crate) enum Access<'a> {
    /// Its owner does, who is the one that replaces it, on his own thread; and its gate, if other plugins may call it.
    Owner(OwnersTurn<'a>, Gate<'a>),
    /// Its gate is closed.
    Closed(Closed<'a>),
    /// Nobody: it has nothing that would have to be handed over.
    Open,
}

/// The gate of what an owner replaces. He has no handles beside him, but other plugins may have come before him.
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
            .of
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
    pub(crate) fn quiet(&mut self, deadline: Instant) -> Option<Quiet<'_>> {
        match self {
            // SAFETY: the promise of whoever made it; nobody else can call it, and this is borrowed mutably.
            Self::Owner(turn, Gate::NotNeeded) => unsafe { turn.of?.instance().assume_quiet(deadline) },
            Self::Owner(_, Gate::Closed(closed)) | Self::Closed(closed) => closed.quiet(deadline),
            Self::Owner(_, Gate::Busy) | Self::Open => None,
        }
    }

    /// The same for the generation that stands by while this one serves, for the length of `change`. None if somebody may hold
    /// what its methods have answered by reference, or its gate is not free by `deadline`.
    pub(crate) fn with_quiet_standby<R>(
        &mut self,
        standby: &Arc<Generation>,
        deadline: Instant,
        change: impl FnOnce(Quiet<'_>) -> R,
    ) -> Option<R> {
        if let Self::Owner(..) = self
            && !standby.instance().is_shared()
        {
            // SAFETY: the promise of whoever made the owner's turn is for the slot; nobody but its owner calls anything in it.
            return Some(change(unsafe { standby.instance().assume_quiet(deadline)? }));
        }
        // Whoever comes through an old view goes on to the successor, and is no longer than that inside of this gate.
        let mut closed = standby.close_gate(deadline)?;
        if let Some(quiet) = closed.quiet(deadline) {
            return Some(change(quiet));
        }
        // Who looked at it while it served (a check of its health, a scrape) holds it for a moment.
        let patience = deadline.min(Instant::now() + CHECK_PATIENCE);
        let is_sole = || Arc::strong_count(standby) == 1 && Arc::strong_count(&standby.live) == 1;
        while (standby.live.standing.is_checked() || !is_sole()) && Instant::now() < patience {
            std::thread::yield_now();
        }
        let sole = is_sole();
        // What the last other holder did with it has been done.
        std::sync::atomic::fence(Ordering::Acquire);
        if !sole || !standby.is_gated() {
            return None;
        }
        // SAFETY: it is in no view that is published, and nobody holds it but the slot, so nobody comes to hold it: what else has been
        // given a `Weak` of it (the tally) only asks whether it is held, and never for it.
        Some(change(unsafe { standby.instance().assume_quiet(deadline)? }))
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

    /// Whether nobody is inside.
    pub(crate) fn keeps_callers_away(&self) -> bool {
        !matches!(self, Self::Open | Self::Owner(_, Gate::Busy))
    }
}

/// The time in which a claim's owner does nothing but replace what he owns, if there is anything.
pub(crate) struct OwnersTurn<'a> {
    of: Option<&'a Generation>,
    since: Instant,
}

impl<'a> OwnersTurn<'a> {
    /// # Safety
    /// The caller owns the claim of this generation's slot, calls nothing through it and holds nothing that it has answered by
    /// reference, until what this answers is dropped; and makes one at a time.
    pub(in crate::slot) unsafe fn new(generation: &'a Generation) -> Self {
        Self {
            of: Some(generation),
            since: Instant::now(),
        }
    }

    /// Of an owner to whom nothing is left.
    pub(in crate::slot) fn of_nothing() -> Self {
        Self {
            of: None,
            since: Instant::now(),
        }
    }
}

/// A closed gate: no call is inside, and none comes in until this is dropped.
pub(crate) struct Closed<'a> {
    pub(super) since: Instant,
    pub(super) _by: ClosedHere<'a>,
    pub(super) _gate: RwLockWriteGuard<'a, ()>,
    pub(super) generation: &'a Generation,
}

impl Closed<'_> {
    /// The right to change the instance behind the gate; none if callers may hold what its methods have answered by reference.
    pub(crate) fn quiet(&mut self, deadline: Instant) -> Option<Quiet<'_>> {
        let instance = self.generation.instance();
        if !self.generation.is_gated() || instance.answers_references() {
            return None;
        }
        // SAFETY: all calls of views and of other plugins go through a gate (`is_gated`): through this one, which is closed, or
        // through that of an earlier generation of the same instance, which leads to this one (`leads_to`). No method answers a
        // reference, and this is borrowed mutably.
        unsafe { instance.assume_quiet(deadline) }
    }
}
