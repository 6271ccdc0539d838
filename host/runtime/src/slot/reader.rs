//! A thread's access to the current view, for the cost of one atomic load: it keeps the last view, and checks only whether
//! that is still the current one. The drawback: an idle reader keeps its last view.

use super::{
    acquisition::Acquisition,
    hold_records::{HoldBy, HoldRecord},
    slots::Slots,
    view::View,
};
use reslot_system::never_dropped;
use std::{marker::PhantomData, panic::Location, sync::Arc};

/// One thread's reader; [`Host::reader`](crate::Host::reader) creates it. It can move to another thread, but cannot be
/// shared.
///
/// A reader holds the view that it read last, and with it those generations, until it reads the next one. A thread that is going to
/// wait for long calls [`release`](Self::release) first; one that does not is named in
/// [`Event::DrainTimeout`](crate::Event::DrainTimeout) and by [`Host::who_holds`](crate::Host::who_holds).
///
/// ```
/// use reslot::Host;
/// use sample_interfaces::{Pricer, Quote};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let pricer = host.slot::<dyn Pricer>("pricer")?;
/// let mut reader = host.reader(); // one for each thread
/// for ask in [2.0, 4.0] {
///     let view = reader.view(); // one atomic load
///     println!("{}", view.get(&pricer).price(&Quote { bid: 1.0, ask })?);
/// }
/// reader.release(); // before the thread waits for something
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader {
    view: Arc<View>,
    seen: u64,
    record: Arc<HoldRecord>,
    slots: Arc<Slots>,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Reader {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        let record = HoldRecord::new(HoldBy::Reader);
        slots.holds.register(&record);
        Self {
            view: slots.no_view(),
            seen: 0,
            record,
            slots,
            not_sync: PhantomData,
        }
    }

    /// The current view. It does not change while it is borrowed, even if slots are swapped meanwhile.
    ///
    /// If the view has changed, this is also a [safe point](crate::safe_point).
    #[inline(always)]
    #[track_caller]
    pub fn view(&mut self) -> &View {
        // The number is increased after the view was stored, so a thread that sees the number finds that view or a newer
        // one.
        if self.slots.refresh_number() > self.seen {
            self.refresh(Location::caller());
        }
        &self.view
    }

    /// Releases the view that was read last.
    pub fn release(&mut self) {
        if self.slots.process.is_another() {
            never_dropped(&self.view);
            self.view = self.slots.no_view();
            return;
        }
        self.record.lets_go();
        self.view = self.slots.no_view();
        self.seen = 0;
        reslot_system::safe_point();
    }

    #[cold]
    #[inline(never)]
    fn refresh(&mut self, at: &'static Location<'static>) {
        if self.slots.process.is_another() {
            return;
        }
        // The number is read before the view, so it is never newer than the view.
        self.seen = self.slots.refresh_number();
        let view = self.slots.view().load_full();
        if !Arc::ptr_eq(&view, &self.view) {
            self.record.takes(&view, Acquisition::here(at));
            self.view = view;
        }
        reslot_system::safe_point();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.slots.process.is_another() {
            never_dropped(&self.view);
            never_dropped(&self.slots);
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("view", &self.view.number())
            .finish_non_exhaustive()
    }
}
