//! **The only place where a slot's pointer changes.** The generation that callers find in a slot is stored twice: in the
//! slot's record, under its lock, and in the view. Only this module changes them, both in one function and under that lock.
//! So a view never disagrees with the record, and views are published in the order of the decisions. [`Change`] lists the
//! reasons for a change.

use super::{
    acquisition::Acquisition,
    record::{Current, Mode, SlotRecord, SlotState},
    slots::Slots,
    view::InView,
};

/// Why callers find another generation in a slot from now on.
pub(crate) enum Change {
    /// This generation becomes current.
    Serves(Current),
    /// The same generation stays current, but its calls now pass through its gate, or no longer do.
    Rerouted,
    /// The slot has one owner, who calls the current generation and whose claim holds it. Views show nothing of it.
    Claimed(Acquisition),
    /// The owner has let go, and views show the current generation again.
    Released,
    /// The slot is empty because it was unloaded.
    Unloaded,
    /// The slot is empty because a hook of this generation hangs.
    Vacated(u64),
    /// The slot is empty because the host has ended. Claims and views keep their generations.
    HostEnded,
}

impl Slots {
    /// Changes one slot. Returns the replaced generation, if any; the caller must hold it until it has recorded where its
    /// state has moved.
    pub(crate) fn publish(&self, record: &SlotRecord, state: &mut SlotState, change: Change) -> Option<Current> {
        self.publish_set(vec![(record, state, change)]).pop().flatten()
    }

    /// Changes several slots with one view: the new view contains the complete change, and the view before it nothing of it.
    /// The caller must hold all the slots' locks, taken in the order of the slots' indices.
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
                // Nobody calls it before this. If no caller has named the interface yet, the first one completes the table.
                record.interfaces.bind(&current.generation);
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
                // Resets the reason, because the slot may have been unloaded before.
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
