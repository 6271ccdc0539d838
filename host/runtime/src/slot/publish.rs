//! **The place where the pointer moves.** What callers find in a slot stands in two places: in the slot's record, under its lock, and in the
//! view. Both are changed here and nowhere else, in one function and under that lock. So no view shows what the record does not say, and
//! views follow each other in the order of what was decided. What callers find in a slot changes for the reasons that [`Change`] lists.

use super::{
    record::{Current, Mode, SlotRecord, SlotState},
    slots::Slots,
    taken::Taken,
    view::InView,
};

/// Why callers find something else in a slot from now on.
pub(crate) enum Change {
    /// This generation serves.
    Serves(Current),
    /// The same generation serves, and its calls take the other way: through its gate, or past it.
    Rerouted,
    /// The slot has one owner, who calls the current generation and whose claim holds it. Views show nothing of it.
    Claimed(Taken),
    /// The owner has let go, and views show the current generation again.
    Released,
    /// Nothing serves, because the slot was unloaded.
    Unloaded,
    /// Nothing serves, because one of the hooks of this generation has not come back.
    Vacated(u64),
    /// Nothing serves, because the host has ended. Claims and views keep what they hold.
    HostEnded,
}

impl Slots {
    /// Changes what callers find in one slot. Answers what served there, if it does not any more; the caller holds that until it has noted where
    /// its state has gone.
    pub(crate) fn publish(&self, record: &SlotRecord, state: &mut SlotState, change: Change) -> Option<Current> {
        self.publish_set(vec![(record, state, change)]).pop().flatten()
    }

    /// Changes what callers find in several slots, with one view: it shows all of the change, and the view before it shows nothing of it. The
    /// caller holds all of their locks, which it has taken in the order of the slots' places.
    pub(crate) fn publish_set(&self, changes: Vec<(&SlotRecord, &mut SlotState, Change)>) -> Vec<Option<Current>> {
        let mut replaced = Vec::with_capacity(changes.len());
        let mut shown = Vec::with_capacity(changes.len());
        for (record, state, change) in changes {
            replaced.push(state.apply(record, change));
            shown.push(InView {
                index: record.index,
                id: record.id,
                generation: state.in_view().cloned(),
            });
        }
        self.store_view(shown);
        replaced
    }
}

impl SlotState {
    /// Changes the record. Calls through the slot's old generations find the current generation by `forward`.
    fn apply(&mut self, record: &SlotRecord, change: Change) -> Option<Current> {
        match change {
            Change::Serves(current) => {
                record.forward.set_current(Some(&current.generation));
                self.current.replace(current)
            }
            Change::Rerouted => None,
            Change::Claimed(owner) => {
                self.mode = Mode::Claimed;
                self.owner = Some(owner);
                None
            }
            Change::Released => {
                self.mode = Mode::Open { handles: 0 };
                self.owner = None;
                None
            }
            Change::Unloaded => {
                record.forward.set_unloaded();
                record.vacant.set_unloaded(true);
                self.current.take()
            }
            Change::Vacated(generation) => {
                record.forward.set_current(None);
                // The reason is another one than before, if it was unloaded once.
                record.vacant.set_unloaded(false);
                self.unloaded = None;
                self.lost_generation = Some(generation);
                self.current.take()
            }
            Change::HostEnded => {
                self.gone = true;
                record.forward.end(self.current.as_ref().map(|current| &current.generation));
                record.vacant.set_host_ended();
                self.current.take()
            }
        }
    }
}
