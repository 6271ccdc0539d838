//! A claim: the single owner of a slot's instance. Only the owner calls the instance, and only the owner decides when it is
//! replaced. The handover runs on the owner's thread, inside `sync`, where no call can be running.

use crate::{
    deferred_work::defer,
    reload::{self, Adoption, ReloadMessage, Unloaded},
    runtime::Runtime,
    slot::{Acquisition, CandidateSet, Change, Generation, OwnerSignals, OwnersTurn, SlotRecord, SupervisorMessage},
};
use reslot_plugin_api::{__private::Connection, Interface};
use reslot_report::UnloadError;
use reslot_system::never_dropped;
use std::{
    marker::PhantomData,
    mem::forget,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// What [`Claim::sync`] did.
///
/// ```
/// use reslot::{Claim, Host, SyncOutcome};
/// use sample_interfaces::Strategy;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let mut strategy = host.claim::<dyn Strategy>("momentum")?;
/// # host.load(plugins.new_build("momentum"))?;
/// match Claim::sync(&mut strategy) {
///     SyncOutcome::Unchanged => println!("the next call runs the same code"),
///     SyncOutcome::Adopted { generation } => println!("generation {generation} serves now"),
///     SyncOutcome::RolledBack { from, generation } => println!("generation {from} was faulty: back to {generation}"),
///     SyncOutcome::Unloaded { .. } => println!("nothing serves any more"),
///     SyncOutcome::Refused { .. } => println!("the new build was refused"),
/// }
/// # assert_eq!(Claim::generation(&strategy), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the next call may run earlier code (`RolledBack`) or answer an error (`Unloaded`): handle that, or write `let _ =`"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOutcome {
    /// Nothing was staged. It is also the outcome in a forked child of the host's process, where nothing is ever adopted.
    Unchanged,
    /// The staged generation was adopted; the next call runs its code.
    Adopted {
        /// The number of the new current generation.
        generation: u64,
    },
    /// The slot was rolled back, because the generation was faulty or a rollback was requested: the next call runs the
    /// earlier code. [`Event::RolledBack`](crate::Event::RolledBack) has the details.
    RolledBack {
        /// The number of the generation that was rolled back.
        from: u64,
        /// The number of the new current generation.
        generation: u64,
    },
    /// The generation was unloaded, by [`Host::unload`](crate::Host::unload) or because its file was deleted and the policy
    /// says so. Calls return [`Fault::Unloaded`](crate::Fault::Unloaded) until a later `sync` adopts another generation.
    Unloaded {
        /// The number of the generation that was unloaded.
        generation: u64,
    },
    /// The staged generation was refused (its state did not fit, or its `start` failed): the old one keeps serving. The
    /// reason is in [`Event::Refused`](crate::Event::Refused).
    Refused {
        /// The number of the current generation; none if the slot is empty.
        serving: Option<u64>,
    },
}

/// The only owner of a slot's instance. [`Host::claim`](crate::Host::claim) creates it; it dereferences to the interface's
/// client.
///
/// A claim can move to another thread, but cannot be shared. While it lives no other caller can call the instance, so
/// `&mut self` methods are allowed, and only [`sync`](Self::sync) adopts a staged generation. Dropping it frees the slot,
/// which keeps the instance and its state.
///
/// A claim's own operations are functions and not methods, as those of `Arc` are: `Claim::sync(&mut claim)`. So an interface may
/// have a method of the same name, and `claim.sync()` calls the plugin.
///
/// ```
/// use reslot::{Claim, Host};
/// use sample_interfaces::Strategy;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let mut strategy = host.claim::<dyn Strategy>("momentum")?;
/// assert!(host.claim::<dyn Strategy>("momentum").is_err()); // a slot has one owner
///
/// # host.load(plugins.new_build("momentum"))?;
/// assert!(Claim::has_staged(&strategy));
/// assert_eq!(Claim::generation(&strategy), Some(1)); // nothing changes without `sync`
/// let _ = Claim::sync(&mut strategy);
/// assert_eq!(Claim::generation(&strategy), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Claim<I: ?Sized + Interface> {
    /// Valid as long as `generation` is held; both are replaced together.
    connection: Connection,
    generation: Option<Arc<Generation>>,
    record: Arc<SlotRecord>,
    /// A copy of the record's field, which saves `sync` a load.
    signals: Arc<OwnerSignals>,
    host: Arc<Runtime>,
    interface: PhantomData<Box<I>>,
}

// SAFETY: every plugin is `Send`, and a claim is the only way to its instance.
unsafe impl<I: ?Sized + Interface> Send for Claim<I> {}

impl<I: ?Sized + Interface> Claim<I> {
    /// The caller has set the slot's mode to claimed.
    pub(crate) fn new(generation: Arc<Generation>, record: Arc<SlotRecord>, host: Arc<Runtime>) -> Self {
        Self {
            connection: generation.connection(),
            generation: Some(generation),
            signals: record.signals.clone(),
            record,
            host,
            interface: PhantomData,
        }
    }

    /// The safe point: adopts a staged generation, if one waits. Call it where a change of code may happen: once per event
    /// or once per frame.
    ///
    /// Without a staged generation this is one relaxed load, and also a [safe point](crate::safe_point) for thread-locals.
    /// With one, the state is handed over here: the old instance encodes it on this thread; then this thread waits, at most
    /// for [`Policy::hook_deadline`](crate::Policy::hook_deadline), while the new instance decodes it and is started on one
    /// of the host's threads. If any step fails, the old generation keeps serving.
    ///
    /// During probation, `sync` also runs the generation's health checks, and rolls back if it is faulty.
    #[inline(always)]
    pub fn sync(this: &mut Self) -> SyncOutcome {
        if this.signals.is_safe_point_requested() {
            this.sync_slow()
        } else {
            SyncOutcome::Unchanged
        }
    }

    #[cold]
    #[inline(never)]
    fn sync_slow(&mut self) -> SyncOutcome {
        // Nothing is adopted in a forked child: a lock that another thread held at the fork is never free there.
        if self.host.process.is_another() {
            return SyncOutcome::Unchanged;
        }
        if self.signals.has_staged() {
            self.host.hooks.wake_one();
        }
        let _collecting = self.host.deferred_work.collect(self.host.hooks.pool());
        // Cleared first, so that the next `sync` sees what is signalled from here on.
        self.signals.begin_safe_point();
        reslot_system::safe_point();
        let synced = match self.unload_if_asked().unwrap_or_else(|| self.go_back()) {
            SyncOutcome::Unchanged => self.adopt_set().unwrap_or_else(|| self.adopt()),
            // After a rollback or an unload the same `sync` adopts nothing, so that the next calls reach the earlier
            // version.
            went_back => {
                self.signals.request_again_if_staged();
                went_back
            }
        };
        if let Some(generation) = &self.generation {
            // The connection says whether calls are counted, which may have changed.
            self.connection = generation.connection();
        }
        synced
    }

    /// Unloads the generation, if an unload was requested.
    fn unload_if_asked(&mut self) -> Option<SyncOutcome> {
        let serving = self.generation.as_ref()?;
        // SAFETY: this is the slot's only claim, borrowed mutably, so no value that it returned is borrowed; nothing is
        // called through it before this returns.
        let turn = unsafe { OwnersTurn::new(serving) };
        let generation = serving.number();
        if !reload::unload_claim_if_asked(&self.host, &self.record, serving, turn) {
            return None;
        }
        self.clear_generation();
        Some(SyncOutcome::Unloaded { generation })
    }

    /// Unloads the slot at once, as [`Host::unload`](crate::Host::unload) followed by [`sync`](Self::sync), and returns the
    /// state. The slot stays claimed, and calls return [`Fault::Unloaded`](crate::Fault::Unloaded) until a later `sync`
    /// adopts another generation. A candidate that waits for `sync` is dropped; one that is being prepared at this moment is
    /// staged after the unload.
    ///
    /// # Errors
    /// As for [`Host::unload`](crate::Host::unload); then the current generation keeps serving.
    pub fn unload(this: &mut Self) -> Result<Unloaded, UnloadError> {
        if this.host.process.is_another() {
            return Err(UnloadError::ForkedProcess);
        }
        let Some(serving) = &this.generation else {
            return Err(this.host.slots.why_not(&this.record.name).into());
        };
        let _collecting = this.host.deferred_work.collect(this.host.hooks.pool());
        reslot_system::safe_point();
        // SAFETY: this is the slot's only claim, borrowed mutably, so no value that it returned is borrowed; nothing is
        // called through it before this returns.
        let turn = unsafe { OwnersTurn::new(serving) };
        let unloaded = reload::unload_claim(&this.host, &this.record, serving, turn)?;
        this.clear_generation();
        Ok(unloaded)
    }

    /// Connects the claim to the empty slot.
    fn clear_generation(&mut self) {
        self.connection = self.record.vacant.connect();
        let before = self.generation.take();
        defer(move || drop(before));
    }

    /// Checks the generation, and rolls back if it is faulty.
    fn go_back(&mut self) -> SyncOutcome {
        let Some(serving) = &self.generation else {
            return SyncOutcome::Unchanged;
        };
        reload::check_of_claim(&self.host.options.policy, &self.host.log, &self.record, serving);
        reload::answer_for_claim(&self.host.hooks, &self.record, serving);
        // SAFETY: this is the slot's only claim, borrowed mutably, so no value that it returned is borrowed; nothing is
        // called through it before this returns.
        let turn = unsafe { OwnersTurn::new(serving) };
        let Some(back) = reload::roll_back_claim(&self.host, &self.record, serving, turn) else {
            return SyncOutcome::Unchanged;
        };
        let (from, generation) = (serving.number(), back.number());
        self.set_generation(back);
        SyncOutcome::RolledBack { from, generation }
    }

    /// Adopts a group in which this is the only claim. None if no group waits.
    fn adopt_set(&mut self) -> Option<SyncOutcome> {
        let set = self.record.lock().staged_set.clone()?;
        let claimed = set.claimed();
        let alone = claimed.iter().all(|record| Arc::ptr_eq(record, &self.record));
        if !alone {
            return None;
        }
        Some(
            adopt_together(&self.host.clone(), &set, &mut [self])
                .pop()
                .unwrap_or(SyncOutcome::Unchanged),
        )
    }

    fn adopt(&mut self) -> SyncOutcome {
        let taken = Adoption::begin(&self.host, &self.record, |state| {
            // A set stays until the owners of all its claimed slots come.
            self.signals.set_staged(state.staged_set.is_some());
            // The claim may have moved to another thread.
            state.owner = state.owner.take().map(|taken| Acquisition {
                since: taken.since,
                ..Acquisition::here(taken.at)
            });
            state.staged.take()
        });
        let Some((_adoption, Some(staged))) = taken else {
            return SyncOutcome::Unchanged;
        };
        let old = self.generation.as_ref();
        let goes_back = staged.is_rollback();
        let turn = match old {
            // SAFETY: as above.
            Some(old) => unsafe { OwnersTurn::new(old) },
            None => OwnersTurn::of_nothing(),
        };
        let adopted = reload::adopt(&self.host, &self.record, old, turn, staged);
        match adopted {
            Some(new) => {
                let (from, generation) = (old.map(|old| old.number()), new.number());
                self.set_generation(new);
                match from.filter(|_| goes_back) {
                    Some(from) => SyncOutcome::RolledBack { from, generation },
                    // The slot was empty, so this is no rollback, whichever version came.
                    None => SyncOutcome::Adopted { generation },
                }
            }
            None => {
                let serving = old.map(|old| old.number());
                let vacated = {
                    let state = self.record.lock();
                    state.current().is_none() && !state.is_gone()
                };
                if vacated {
                    // One of its hooks hangs, so it may not be called any more.
                    self.connection = self.record.vacant.connect();
                    self.generation = None;
                }
                SyncOutcome::Refused { serving }
            }
        }
    }

    /// To drop the last reference to a generation ends it, so the old one is dropped after the `sync`.
    fn set_generation(&mut self, generation: Arc<Generation>) {
        let before = self.generation.replace(generation);
        defer(move || drop(before));
    }

    /// The parts that `shadow.rs` and `going_back.rs` need.
    pub(crate) fn parts(&self) -> (&Arc<Runtime>, &Arc<SlotRecord>, Option<&Arc<Generation>>) {
        (&self.host, &self.record, self.generation.as_ref())
    }

    /// The number of the generation that this claim calls; none if the slot is empty, as after [`unload`](Self::unload).
    pub fn generation(this: &Self) -> Option<u64> {
        this.generation.as_ref().map(|generation| generation.number())
    }

    /// The slot's name.
    pub fn name(this: &Self) -> &str {
        &this.record.name
    }

    /// Whether a generation waits for [`sync`](Self::sync).
    pub fn has_staged(this: &Self) -> bool {
        this.signals.has_staged()
    }
}

/// A claim, whatever its interface: for [`Host::sync_together`](crate::Host::sync_together). Nothing else implements it.
///
/// ```
/// use reslot::{AnyClaim, Claim, Host};
/// use sample_interfaces::Strategy;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).instances("momentum", ["eur", "usd"]).build()?;
/// let mut eur = host.claim::<dyn Strategy>("eur")?;
/// let mut usd = host.claim::<dyn Strategy>("usd")?;
/// # host.load(plugins.new_build("momentum"))?;
/// let claims: &mut [&mut dyn AnyClaim] = &mut [&mut eur, &mut usd];
/// assert_eq!(host.sync_together(claims).len(), 2); // claims of any interfaces, at one safe point
/// assert_eq!((Claim::generation(&eur), Claim::generation(&usd)), (Some(2), Some(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AnyClaim: sealed::Sealed {}

impl<I: ?Sized + Interface> AnyClaim for Claim<I> {}

mod sealed {
    use super::{Arc, Claim, Generation, Interface, SlotRecord, SyncOutcome};

    /// The operations on a claim that is adopted together with others.
    pub trait Sealed {
        #[doc(hidden)]
        fn sync_alone(&mut self) -> SyncOutcome;
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn record(&self) -> &Arc<SlotRecord>;
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn serving(&self) -> Option<&Arc<Generation>>;
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn adopts(&mut self, generation: Arc<Generation>);
    }

    impl<I: ?Sized + Interface> Sealed for Claim<I> {
        fn sync_alone(&mut self) -> SyncOutcome {
            Self::sync(self)
        }

        #[allow(private_interfaces)]
        fn record(&self) -> &Arc<SlotRecord> {
            &self.record
        }

        #[allow(private_interfaces)]
        fn serving(&self) -> Option<&Arc<Generation>> {
            self.generation.as_ref()
        }

        #[allow(private_interfaces)]
        fn adopts(&mut self, generation: Arc<Generation>) {
            self.connection = generation.connection();
            self.set_generation(generation);
        }
    }
}

/// See [`Host::sync_together`](crate::Host::sync_together).
pub(crate) fn sync_together(host: &Arc<Runtime>, claims: &mut [&mut dyn AnyClaim]) -> Vec<SyncOutcome> {
    if host.process.is_another() {
        return vec![SyncOutcome::Unchanged; claims.len()];
    }
    let mut synced: Vec<_> = claims.iter_mut().map(|claim| claim.sync_alone()).collect();
    for at in 0..claims.len() {
        if !claims[at].record().signals.has_staged() {
            continue;
        }
        let Some(set) = claims[at].record().lock().staged_set.clone() else {
            continue;
        };
        let wanted = set.claimed();
        let given = |record: &Arc<SlotRecord>| claims.iter().position(|claim| Arc::ptr_eq(claim.record(), record));
        let Some(places) = wanted.iter().map(given).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut members: Vec<_> = claims.iter_mut().enumerate().filter(|(at, _)| places.contains(at)).collect();
        let mut owned: Vec<&mut dyn AnyClaim> = members
            .iter_mut()
            .map(|(_, claim)| &mut ***claim as &mut dyn AnyClaim)
            .collect();
        let adopted = adopt_together(host, &set, &mut owned);
        drop(owned);
        for ((at, _), adopted) in members.into_iter().zip(adopted) {
            synced[at] = adopted;
        }
    }
    synced
}

/// Adopts a group. `claims` are exactly the claims of its claimed slots. Returns the outcome of each.
fn adopt_together(host: &Arc<Runtime>, set: &Arc<CandidateSet>, claims: &mut [&mut dyn AnyClaim]) -> Vec<SyncOutcome> {
    let _collecting = host.deferred_work.collect(host.hooks.pool());
    let serving: Vec<_> = claims.iter().map(|claim| claim.serving().cloned()).collect();
    let ids: Vec<_> = claims.iter().map(|claim| claim.record().id).collect();
    let turns = ids.iter().zip(&serving).filter_map(|(id, serving)| {
        // SAFETY: these are the slots' only claims, borrowed mutably, so no value that they returned is borrowed; nothing is
        // called through them before `adopt_together` returns.
        Some((*id, unsafe { OwnersTurn::new(serving.as_ref()?) }))
    });
    let moved = reload::adopt_together(host, set, turns.collect());
    let Some(moved) = moved else {
        let refused = serving.iter().map(|serving| SyncOutcome::Refused {
            serving: serving.as_ref().map(|serving| serving.number()),
        });
        return refused.collect();
    };
    let adopt = |(claim, id): (&mut &mut dyn AnyClaim, &u64)| {
        let Some((_, generation)) = moved.iter().find(|(of, _)| of == id) else {
            return SyncOutcome::Unchanged;
        };
        claim.adopts(generation.clone());
        SyncOutcome::Adopted {
            generation: generation.number(),
        }
    };
    let synced = claims.iter_mut().zip(&ids).map(adopt).collect();
    defer(move || drop((serving, moved)));
    synced
}

impl<I: ?Sized + Interface> Deref for Claim<I> {
    type Target = I::Client;

    #[inline(always)]
    fn deref(&self) -> &I::Client {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Interface> DerefMut for Claim<I> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut I::Client {
        I::client_mut(&mut self.connection)
    }
}

impl<I: ?Sized + Interface> Drop for Claim<I> {
    fn drop(&mut self) {
        if self.host.process.is_another() {
            forget(self.generation.take());
            never_dropped(&self.record);
            return never_dropped(&self.host);
        }
        // The owner lets go before the slot is free, so that the next owner is the only one.
        self.generation = None;
        let mut state = self.record.lock();
        self.host.slots.publish(&self.record, &mut state, Change::Released);
        // A request for the state goes to the reload thread from now on.
        state.state_request = None;
        let set = state.staged_set.clone();
        let staged = state.staged.is_some() || set.is_some() || state.unload.is_some();
        drop(state);
        // The owner of another claim may be the only one left now, and may have looked at the set already.
        for other in set.iter().flat_map(|set| set.claimed()) {
            other.signals.request_safe_point();
        }
        if staged {
            self.host.threads.send_to_reload(ReloadMessage::Settle(self.record.clone()));
        }
        // From now on the supervisor does what the owner did: it looks at faults, and runs the checks that are due.
        self.host.threads.send_to_supervisor(SupervisorMessage::Look);
    }
}

impl<I: ?Sized + Interface> std::fmt::Debug for Claim<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("slot", &self.record.name)
            .field("generation", &Self::generation(self))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Host, reload::Adoption, slot::PendingRollback};
    use reslot_artifact::ContentHash;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn adoption_that_panics_leaves_no_rollback_waiting() {
        let host = Host::builder().build().unwrap();
        let record = host.inner.slots.named_or_new("momentum");
        let adopts_and_panics = || {
            let _adoption = Adoption::begin(&host.inner, &record, |_| ()).expect("no rollback comes first");
            let mut state = record.lock();
            assert!(state.adopting().is_some());
            state.rollback_after_adoption = Some(PendingRollback {
                from: 1,
                to: ContentHash::of(b"the version before"),
            });
            drop(state);
            panic!("on purpose");
        };
        catch_unwind(AssertUnwindSafe(adopts_and_panics)).unwrap_err();
        let state = record.lock();
        assert!(state.adopting().is_none() && state.rollback_after_adoption.is_none());
    }

    #[test]
    fn slot_is_settled_when_the_last_of_its_movers_has_gone() {
        let host = Host::builder().build().unwrap();
        let record = host.inner.slots.named_or_new("momentum");
        let both = [(); 2].map(|()| record.begin_moving(&mut record.lock()));
        for mover in both {
            assert!(record.lock().is_moving());
            drop(mover);
        }
        assert!(!record.lock_settled().is_moving());
        let moves_and_panics = || {
            let _moving = record.begin_moving(&mut record.lock());
            panic!("on purpose");
        };
        catch_unwind(AssertUnwindSafe(moves_and_panics)).unwrap_err();
        assert!(!record.lock().is_moving());
    }
}
