//! Exclusive plugins: the old generation is stopped before its successor is started, and started again if the successor fails. No caller is
//! inside meanwhile.

use crate::{
    runtime::Runtime,
    slot::{Access, Change, Generation, SlotRecord},
};
use reslot_engine::ExclusiveInstance;
use reslot_report::{Event, Hook, HookError, Lifecycle};
use reslot_sync::Instant;
use reslot_system::hooks::{TookTooLong, on_behalf_of, this_thread};
use std::sync::Arc;

/// A current generation that was stopped so that its successor can start.
pub(super) struct Stopped {
    /// Its `stop` has not come back. It must not be called any more.
    lost: bool,
}

impl Stopped {
    /// Stops a generation if its plugin is exclusive. A failed `stop` is reported, and the reload goes on: the `start` of the successor
    /// shows whether the resource is free.
    pub(super) fn stop(host: &Arc<Runtime>, old: &Arc<Generation>, access: &mut Access<'_>) -> Option<Self> {
        if !old.instance().is_exclusive() {
            return None;
        }
        let exclusive_instance = access.exclusive_instance(Instant::now() + host.hooks.deadline())?;
        let (slot, number) = (old.slot(), old.number());
        let _ = host.images.advance(slot, number, Lifecycle::Stopping);
        let most = host.hooks.deadline();
        let waiting = this_thread();
        let stop = move |exclusive_instance: &mut ExclusiveInstance<'_>| on_behalf_of(waiting, || exclusive_instance.stop());
        let failed = match exclusive_instance.on_hook_thread(host.hooks.pool(), most, old.clone(), stop) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(TookTooLong) => Some(HookError::TookTooLong(most)),
        };
        let lost = matches!(failed, Some(HookError::TookTooLong(_)));
        let _ = host
            .images
            .advance(slot, number, if lost { Lifecycle::Failed } else { Lifecycle::Stopped });
        if let Some(error) = failed {
            host.log.push(Event::StopFailed {
                slot: slot.clone(),
                generation: number,
                error,
            });
        }
        if lost {
            // Before its gate opens: callers who wait there must not come in.
            old.call_stats().die();
            host.images.hangs(slot, number, Hook::Stop);
        }
        Some(Self { lost })
    }

    /// Whether it must not be called any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Starts the old generation again, because its successor failed. If its `start` fails, it goes on without its resource, and an event
    /// says so. If its `stop` or `start` hangs, the slot becomes empty.
    pub(super) fn start_again(
        self,
        host: &Arc<Runtime>,
        record: &SlotRecord,
        old: &Arc<Generation>,
        access: &mut Access<'_>,
    ) {
        if self.lost {
            vacate(host, record, old);
            return;
        }
        let deadline = Instant::now() + host.hooks.deadline();
        let Some(exclusive_instance) = access.exclusive_instance(deadline) else {
            return;
        };
        let (slot, number) = (old.slot(), old.number());
        let _ = host.images.advance(slot, number, Lifecycle::Starting);
        let (most, waiting) = (host.hooks.deadline(), this_thread());
        let start =
            move |exclusive_instance: &mut ExclusiveInstance<'_>| on_behalf_of(waiting, || exclusive_instance.start());
        let started = exclusive_instance.on_hook_thread(host.hooks.pool(), most, old.clone(), start);
        match started.unwrap_or(Err(HookError::TookTooLong(most))) {
            Ok(()) => {
                let _ = host.images.advance(slot, number, Lifecycle::Started);
            }
            Err(error) => {
                let lost = matches!(error, HookError::TookTooLong(_));
                let _ = host.images.advance(slot, number, Lifecycle::Failed);
                host.log.push(Event::RestartFailed {
                    slot: slot.clone(),
                    generation: number,
                    error,
                });
                if lost {
                    old.call_stats().die();
                    vacate(host, record, old);
                    host.images.hangs(slot, number, Hook::Start);
                }
            }
        }
    }
}

/// Empties a slot whose generation must not be called any more and that has no standby. Calls answer an error.
fn vacate(host: &Runtime, record: &SlotRecord, generation: &Arc<Generation>) {
    generation.call_stats().die();
    let mut state = record.lock();
    let change = Change::Vacated(generation.number());
    let current = host.slots.publish(record, &mut state, change);
    let standby = state.probation.take().and_then(|probation| probation.standby);
    drop(state);
    host.log.push(Event::SlotEmptied {
        slot: record.name.clone(),
        generation: generation.number(),
    });
    for gone in current.into_iter().chain(standby.map(|standby| standby.current)) {
        host.images.retire(&gone.generation);
    }
}
