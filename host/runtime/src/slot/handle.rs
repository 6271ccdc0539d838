//! A shared slot as its callers hold it: a typed name, good for any view of its host, from any thread.

use super::{
    holds::{HoldBy, HoldRecord, Taken},
    record::{Mode, SlotRecord},
    view::View,
};
use crate::host::Inner;
use arc_swap::{ArcSwap, Guard};
use reslot_plugin_api::{__private::Connection, Shared};
use reslot_process::never_dropped;
use std::{marker::PhantomData, ops::Deref, panic::Location, sync::Arc};

/// A slot that many threads call. Made by [`Host::slot`](crate::Host::slot); clone it freely.
///
/// Call it through a [`View`] where speed matters, or through [`load`](Self::load) where it does not.
pub struct Slot<I: ?Sized + Shared> {
    /// The record's, here as well: each call through a view asks for them, and does not have to wait for another load.
    index: usize,
    id: u64,
    /// The number of the host's view when the slot was found to have the interface. An older view may hold a generation with another one,
    /// whose table must not be called by this handle's types.
    since: u64,
    /// The host's, for the same reason.
    view: Arc<ArcSwap<View>>,
    track_guards: bool,
    record: Arc<SlotRecord>,
    host: Arc<Inner>,
    interface: PhantomData<fn() -> Box<I>>,
}

impl<I: ?Sized + Shared> Slot<I> {
    /// The caller has counted the handle and bound the interface, under the slot's lock, when the host's view had the number `since`.
    pub(crate) fn new(record: Arc<SlotRecord>, host: Arc<Inner>, since: u64) -> Self {
        Self {
            index: record.index,
            id: record.id,
            since,
            view: host.view.clone(),
            track_guards: host.track_guards,
            record,
            host,
            interface: PhantomData,
        }
    }

    /// The slot's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The current generation, for a call or a few: without a reader, a little dearer than a view.
    ///
    /// What it answers keeps the whole view of this moment: do not store it. Who does is found with
    /// [`HostBuilder::track_guards`](crate::HostBuilder::track_guards).
    #[inline]
    #[track_caller]
    pub fn load(&self) -> SlotGuard<'_, I> {
        reslot_process::safe_point();
        let view = self.view.load();
        let record = match self.track_guards {
            false => None,
            true => Some(self.note(&view, Location::caller())),
        };
        SlotGuard {
            view,
            slot: self,
            _record: record,
        }
    }

    #[cold]
    fn note(&self, view: &Arc<View>, at: &'static Location<'static>) -> Arc<HoldRecord> {
        let record = HoldRecord::new(HoldBy::Load);
        record.takes(view, Taken::here(at));
        self.host.register_hold(&record);
        record
    }

    #[inline(always)]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline(always)]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline(always)]
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    pub(crate) fn vacant(&self) -> &Connection {
        &self.record.vacant.connection
    }
}

impl<I: ?Sized + Shared> Clone for Slot<I> {
    fn clone(&self) -> Self {
        if self.host.process.is_another() {
            // Not counted, as its drop does not count it either.
        } else if let Mode::Open { handles } = &mut self.record.lock().mode {
            *handles += 1;
        }
        Self::new(self.record.clone(), self.host.clone(), self.since)
    }
}

impl<I: ?Sized + Shared> Drop for Slot<I> {
    fn drop(&mut self) {
        if self.host.process.is_another() {
            never_dropped(&self.record);
            return never_dropped(&self.host);
        }
        if let Mode::Open { handles } = &mut self.record.lock().mode {
            *handles -= 1;
        }
    }
}

impl<I: ?Sized + Shared> std::fmt::Debug for Slot<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("name", &self.record.name)
            .finish_non_exhaustive()
    }
}

/// The current generation of a slot at the moment of [`Slot::load`]. Dereferences to the interface's client.
pub struct SlotGuard<'a, I: ?Sized + Shared> {
    view: Guard<Arc<View>>,
    slot: &'a Slot<I>,
    /// Kept as long as the guard is: that is its whole use.
    _record: Option<Arc<HoldRecord>>,
}

impl<I: ?Sized + Shared> Deref for SlotGuard<'_, I> {
    type Target = I::Client;

    fn deref(&self) -> &I::Client {
        self.view.get(self.slot)
    }
}
