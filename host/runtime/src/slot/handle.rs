//! A shared slot for its callers: a typed name that works with any view of its host, on any thread.

use super::{
    acquisition::Acquisition,
    hold_records::{HoldBy, HoldRecord},
    record::{Mode, SlotRecord},
    slots::Slots,
    view::View,
};
use reslot_plugin_api::Shared;
use reslot_sync::{ArcSwap, Guard};
use reslot_system::never_dropped;
use std::{marker::PhantomData, ops::Deref, panic::Location, sync::Arc};

/// A slot that many threads call. [`Host::slot`](crate::Host::slot) creates it; cloning is cheap.
///
/// Call it through a [`View`] where speed matters, or through [`load`](Self::load) where it does not.
///
/// ```
/// use reslot::Host;
/// use sample_interfaces::{Pricer, Quote};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let pricer = host.slot::<dyn Pricer>("pricer")?;
/// assert_eq!(pricer.load().price(&Quote { bid: 1.0, ask: 2.0 })?, 1.5);
///
/// let same = pricer.clone(); // for another thread
/// std::thread::spawn(move || assert_eq!(same.load().model().unwrap(), "mid")).join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Slot<I: ?Sized + Shared> {
    /// Copies of the record's, which save each call through a view a load.
    index: usize,
    id: u64,
    /// The number of the host's view when the interface was compared. An older view may hold a generation with another
    /// interface, whose table must not be called with this handle's types.
    since: u64,
    /// The host's view, copied for the same reason.
    view: Arc<ArcSwap<View>>,
    track_guards: bool,
    record: Arc<SlotRecord>,
    slots: Arc<Slots>,
    interface: PhantomData<fn() -> Box<I>>,
}

impl<I: ?Sized + Shared> Slot<I> {
    /// The caller must have counted the handle and bound the interface under the slot's lock, while the host's view had the
    /// number `since`.
    pub(crate) fn new(record: Arc<SlotRecord>, slots: Arc<Slots>, since: u64) -> Self {
        Self {
            index: record.index,
            id: record.id,
            since,
            view: slots.view().clone(),
            track_guards: slots.holds.track_guards,
            record,
            slots,
            interface: PhantomData,
        }
    }

    /// The slot's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The current generation, for one call or a few. It needs no reader, and costs a little more than a view.
    ///
    /// The guard keeps the complete view of this moment, so do not store it.
    /// [`HostBuilder::track_guards`](crate::HostBuilder::track_guards) helps to find stored guards.
    #[inline]
    #[track_caller]
    pub fn load(&self) -> SlotGuard<'_, I> {
        reslot_system::safe_point();
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
        record.takes(view, Acquisition::here(at));
        self.slots.holds.register(&record);
        record
    }
}

impl View {
    /// The client of a slot's generation in this view.
    ///
    /// If the view is older than the handle, or the slot belongs to another host, each call through the client returns
    /// [`Fault::Vacant`](reslot_plugin_api::Fault::Vacant).
    #[inline(always)]
    pub fn get<'a, I: ?Sized + Shared>(&'a self, slot: &'a Slot<I>) -> &'a I::Client {
        match self.connection(slot.index, slot.id) {
            // Views since the handle's creation hold only generations that were compared with its interface.
            Some(connection) if self.number() >= slot.since => I::client(connection),
            _ => I::client(&slot.record.vacant.connection),
        }
    }

    /// The number of the slot's generation in this view.
    pub fn generation<I: ?Sized + Shared>(&self, slot: &Slot<I>) -> Option<u64> {
        self.held(slot.index, slot.id).map(|generation| generation.number())
    }
}

impl<I: ?Sized + Shared> Clone for Slot<I> {
    fn clone(&self) -> Self {
        if self.slots.process.is_another() {
            // It is not counted, because its drop does not count it either.
        } else if let Mode::Open { handles } = &mut self.record.lock().mode {
            *handles += 1;
        }
        Self::new(self.record.clone(), self.slots.clone(), self.since)
    }
}

impl<I: ?Sized + Shared> Drop for Slot<I> {
    fn drop(&mut self) {
        if self.slots.process.is_another() {
            never_dropped(&self.record);
            return never_dropped(&self.slots);
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
///
/// ```
/// # use reslot::Host;
/// # use sample_interfaces::Greeter;
/// # let plugins = example_plugins::folder();
/// # let host = Host::builder().watch(&plugins).build()?;
/// let greeter = host.slot::<dyn Greeter>("greeter")?;
/// let guard = greeter.load(); // several calls of one generation
/// assert_eq!(guard.greet("Ada")?, "Good day, Ada.");
/// assert_eq!(guard.greet("Grace")?, "Good day, Grace.");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SlotGuard<'a, I: ?Sized + Shared> {
    view: Guard<Arc<View>>,
    slot: &'a Slot<I>,
    /// It exists as long as the guard, and has no other use.
    _record: Option<Arc<HoldRecord>>,
}

impl<I: ?Sized + Shared> Deref for SlotGuard<'_, I> {
    type Target = I::Client;

    fn deref(&self) -> &I::Client {
        self.view.get(self.slot)
    }
}
