//! The owner's side of shadows: like a claim, but without other callers. `reload/shadow.rs` creates them.

use super::{
    Claim, Host, RollbackError, RollbackTarget,
    going_back::{kept_version, version_before},
};
use crate::{
    reload::{self, ShadowOf},
    runtime::Runtime,
    slot::{Acquisition, Generation, SlotRecord, TakenState},
};
use reslot_plugin_api::{__private::Connection, Interface};
use reslot_report::{Cause, Refusal, SlotError};
use reslot_system::{never_dropped, safe_point};
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    panic::Location,
    path::PathBuf,
    sync::Arc,
};

/// A build that is run beside the current generation of a slot, with a copy of its state, for nobody but its owner: to call it with the same
/// events and compare what it answers, before it is let near anything, or afterwards ("what would the old rules have done?").
///
/// Made by [`Claim::shadow`](crate::Claim::shadow) or [`Host::shadow`](crate::Host::shadow); dereferences to the interface's client. Its own
/// operations are functions and not methods, as a claim's are: `Shadow::number(&shadow)`.
/// Its code can do what any code in the process can; it is kept from acting by what its owner lends it, and by nothing else: **a plugin that
/// `uses` others calls the real ones**, which serve. Shadow it only if those do nothing but answer. Its state is a copy: neither's
/// calls change the other's. It got the state as a reload would have given it (migrated, decoded), and its `init` has run. Its `start`
/// has not, and so neither will its `stop`: what they acquire belongs to the current generation. It has no probation, no history, and no
/// successor. To promote the build, [`load`](crate::Host::load) its file: that is an ordinary reload, with the state of the current generation.
///
/// In events it is called `NAME~shadow`, with numbers of its own, from 1. Dropped, it is unloaded, with proof, like any other.
///
/// ```
/// use reslot::{Claim, Host, Shadow};
/// use sample_interfaces::Strategy;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let strategy = host.claim::<dyn Strategy>("momentum")?;
/// # let new_build = plugins.new_build("momentum");
/// let shadow: Shadow<dyn Strategy> = Claim::shadow(&strategy, new_build)?;
/// assert_eq!(Shadow::name(&shadow), "momentum~shadow");
/// assert_eq!(shadow.summary()?, strategy.summary()?); // it began with a copy of the state
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shadow<I: ?Sized + Interface> {
    /// Valid as long as `generation` is held.
    connection: Connection,
    generation: Arc<Generation>,
    /// Keeps the shadow's slot record, which is in no host's list of slots.
    record: Arc<SlotRecord>,
    host: Arc<Runtime>,
    interface: PhantomData<Box<I>>,
}

// SAFETY: every plugin is `Send`, and a shadow is the only way to its instance.
unsafe impl<I: ?Sized + Interface> Send for Shadow<I> {}

impl<I: ?Sized + Interface> Shadow<I> {
    /// The caller has compared the interface.
    pub(crate) fn new(record: Arc<SlotRecord>, generation: Arc<Generation>, host: Arc<Runtime>) -> Self {
        // The owner's claim has named the interface.
        record.interfaces.bind(&generation);
        Self {
            connection: generation.connection(),
            generation,
            record,
            host,
            interface: PhantomData,
        }
    }

    /// Its number among the shadows of its slot.
    pub fn number(this: &Self) -> u64 {
        this.generation.number()
    }

    /// Its name in events: `NAME~shadow`.
    pub fn name(this: &Self) -> &str {
        &this.record.name
    }
}

impl<I: ?Sized + Interface> Deref for Shadow<I> {
    type Target = I::Client;

    #[inline(always)]
    fn deref(&self) -> &I::Client {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Interface> DerefMut for Shadow<I> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut I::Client {
        I::client_mut(&mut self.connection)
    }
}

impl<I: ?Sized + Interface> Drop for Shadow<I> {
    fn drop(&mut self) {
        if self.host.process.is_another() {
            never_dropped(&self.generation);
            never_dropped(&self.record);
            return never_dropped(&self.host);
        }
        reload::end_shadow(&self.host.images, &self.generation);
    }
}

impl<I: ?Sized + Interface> std::fmt::Debug for Shadow<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shadow")
            .field("of", &self.record.name)
            .field("number", &Self::number(self))
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Runs a build beside the current generation of an open slot, with a copy of its state; see [`Shadow`]. A claimed slot's owner asks his
    /// [claim](Claim::shadow).
    ///
    /// Other threads' calls into the slot continue meanwhile; which of them the copy includes is not defined.
    ///
    /// # Errors
    /// If the slot does not exist, has another interface, or is claimed; or if the build is refused, as in a reload.
    #[track_caller]
    pub fn shadow<I: ?Sized + Interface>(&self, slot: &str, path: impl Into<PathBuf>) -> Result<Shadow<I>, RollbackError> {
        safe_point();
        let record = self.inner.slots.serving(slot)?;
        let mut state = record.lock_replaceable();
        if state.is_claimed() {
            return Err(SlotError::Claimed { name: slot.to_owned() }.into());
        }
        self.bind::<I>(slot, &mut state)?;
        let state = reload::state_of_open(&self.inner.hooks, &record, state);
        Ok(make(&self.inner, &record, ShadowOf::File(path.into()), state)?)
    }
}

impl<I: ?Sized + Interface> Claim<I> {
    /// Runs a build beside what this claim calls, with a copy of its state as it is now; see [`Shadow`]. The current generation, and what waits
    /// for [`sync`](Self::sync), is not touched.
    ///
    /// It takes as long as a reload up to `init`: call it between two events, and not where a deadline must be met.
    ///
    /// # Errors
    /// If the build is refused, as in a reload, also because it belongs to another slot. The error names the file, the step,
    /// the cause and a remedy; [`Event::Refused`](crate::Event::Refused) reports it too.
    #[track_caller]
    pub fn shadow(this: &Self, path: impl Into<PathBuf>) -> Result<Shadow<I>, Refusal> {
        let (host, record, serving) = this.parts();
        shadow_of_claim(host, record, serving, ShadowOf::File(path.into()))
    }

    /// The same with a version from the history, for example to see what the old rules would have done.
    ///
    /// # Errors
    /// As for [`shadow`](Self::shadow), and if the version does not exist.
    #[track_caller]
    pub fn shadow_kept(this: &Self, version: RollbackTarget) -> Result<Shadow<I>, RollbackError> {
        let (host, record, serving) = this.parts();
        if host.process.is_another() {
            return Err(host.slots.why_not(&record.name).into());
        }
        let version = match version {
            RollbackTarget::Previous => version_before(&host.storage.history, record)?,
            RollbackTarget::Hash(hash) => kept_version(&host.storage.history, &record.name, hash.into())?,
            RollbackTarget::Prefix(prefix) => kept_version(&host.storage.history, &record.name, prefix)?,
        };
        Ok(shadow_of_claim(host, record, serving, ShadowOf::Archived(version))?)
    }
}

#[track_caller]
fn shadow_of_claim<I: ?Sized + Interface>(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    serving: Option<&Arc<Generation>>,
    of: ShadowOf,
) -> Result<Shadow<I>, Refusal> {
    if host.process.is_another() {
        let path = match of {
            ShadowOf::File(path) => path,
            ShadowOf::Archived(_) => PathBuf::new(),
        };
        return Err(Refusal::before_it_was_read(path, Cause::ForkedProcess));
    }
    safe_point();
    let state = reload::state_for_owner(&host.hooks, record, serving);
    make(host, record, of, state)
}

#[track_caller]
fn make<I: ?Sized + Interface>(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    of: ShadowOf,
    state: Result<Option<TakenState>, Cause>,
) -> Result<Shadow<I>, Refusal> {
    let owner = Acquisition::here(Location::caller());
    let (apart, generation) = reload::shadow(host, record, of, state, owner)?;
    Ok(Shadow::new(apart, generation, host.clone()))
}
