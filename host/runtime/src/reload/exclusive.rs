//! What there can be only one of: the one who holds it is stopped before its successor is started, and started again if that
//! fails. Both happen while nobody calls it.

use crate::{
    runtime::Runtime,
    slot::{Access, Change, Generation, SlotRecord},
};
use reslot_engine::ExclusiveInstance;
use reslot_process::hooks::{TookTooLong, on_behalf_of, this_thread};
use reslot_report::{Event, Hook, HookError, Lifecycle};
use std::{sync::Arc, time::Instant};

/// A serving generation that has been stopped for the sake of its successor.
pub(super) struct Stopped {
    /// Its `stop` has not come back. Nothing may be called in it any more.
    lost: bool,
}

impl Stopped {
    /// Stops it, if it holds something exclusive. That its `stop` fails is recorded, and the update goes on: its successor will
    /// see for itself whether it gets what it needs.
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
            // Before its gate opens: whoever waits there must not come in.
            old.call_stats().die();
            host.images.hangs(slot, number, Hook::Stop);
        }
        Some(Self { lost })
    }

    /// Whether nothing may be called in it any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Its successor did not come to serve: it takes again what it gave up. If it cannot, it serves on without, and an event says
    /// so; if its `stop`, or its `start`, still runs, it may not be called any more, and nothing serves.
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

/// What can no longer be called, and has nothing to go back to: calls into the slot answer an error.
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
