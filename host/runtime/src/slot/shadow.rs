//! A shadow as its owner calls it: like a claim, but of something that serves nobody. How one is made is `reload/shadow.rs`.

use super::{generation::Generation, record::SlotRecord};
use crate::{host::Inner, reload};
use reslot_plugin_api::{__private::Connection, Interface};
use reslot_process::never_dropped;
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// No slot's name can end so.
pub(crate) const SUFFIX: &str = "~shadow";

/// The slot whose shadow has this name; or the name, if it is a slot's.
pub(crate) fn without_suffix(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}

/// A build that is run beside what serves in a slot, with a copy of its state, for nobody but its owner: to call it with the same
/// events and compare what it answers, before it is let near anything, or afterwards ("what would the old rules have done?").
///
/// Made by [`Claim::shadow`](crate::Claim::shadow) or [`Host::shadow`](crate::Host::shadow); dereferences to the interface's client.
/// Its code can do what any code in the process can; it is kept from acting by what its owner lends it, and by nothing else: **a plugin that
/// `uses` others calls the real ones**, which serve. Shadow it only if those do nothing but answer. Its state is a copy: neither's
/// calls change the other's. It got the state as a reload would have given it (migrated, decoded), and its `init` has run. Its `start`
/// has not, and so neither will its `stop`: what they acquire is what serves' own. It has no probation, no history, and no
/// successor. To promote the build, [`load`](crate::Host::load) its file: that is an ordinary reload, with the state of what serves.
///
/// In events it is called `NAME~shadow`, with numbers of its own, from 1. Dropped, it is unloaded, with proof, like any other.
pub struct Shadow<I: ?Sized + Interface> {
    /// Valid as long as `generation` is held.
    connection: Connection,
    generation: Arc<Generation>,
    /// Kept for those who ask the generation for it.
    record: Arc<SlotRecord>,
    host: Arc<Inner>,
    interface: PhantomData<Box<I>>,
}

// SAFETY: every plugin is `Send`, and a shadow is the only way to its instance.
unsafe impl<I: ?Sized + Interface> Send for Shadow<I> {}

impl<I: ?Sized + Interface> Shadow<I> {
    /// The caller has compared the interface.
    pub(crate) fn new(record: Arc<SlotRecord>, generation: Arc<Generation>, host: Arc<Inner>) -> Self {
        Self {
            connection: generation.connection(),
            generation,
            record,
            host,
            interface: PhantomData,
        }
    }

    /// Its number among the shadows of its slot. (Not a method, as with `Arc`: it must not hide one of the interface's.)
    pub fn number(this: &Self) -> u64 {
        this.generation.number()
    }

    /// What events call it: `NAME~shadow`.
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
        reload::end_shadow(&self.host, &self.generation);
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
