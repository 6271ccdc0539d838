//! What the threads of one host share: its slots, its settings, and the ways to the threads.

mod retries;
mod snapshot_sizes;

use crate::{
    deferred_work::{DeferredWork, defer},
    event::Log,
    given::InputStore,
    history::History,
    instances::{Instances, LoadRequest},
    logs::LogLevels,
    policy::Policy,
    reload::{ReloadMessage, UnloadOutcome},
    safe_points::AskedForSafePoints,
    slot::{
        Change, Generation, MappedImages, Phase, ReaperMessage, SlotRecord, Slots, SupervisorMessage, UnloadRequest,
        holders_of,
    },
    testing::Injections,
};
use reslot_engine::{Engine, LogLevel};
use reslot_process::{Process, hooks::Hooks, safe_point};
use reslot_report::{Event, HistoryError, RollbackReason, StageError, UnloadError, UnloadReason};
use reslot_stage::{Restored, StageLimits, StagedFile, StagingFolder};
pub(crate) use retries::Retries;
pub(crate) use snapshot_sizes::SnapshotSizes;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, Weak, atomic::AtomicUsize, mpsc::Sender},
    thread::ThreadId,
    time::Duration,
};

/// What the threads of one host share.
pub(crate) struct Runtime {
    /// Where it was built. In a forked child of it nothing here may be locked, waited for or dropped.
    pub(crate) process: Process,
    pub(crate) slots: Arc<Slots>,
    /// Whether calls are counted, which has all of them take the way through the gate.
    pub(crate) count_calls: bool,
    /// The thread that must not wait for itself.
    pub(crate) reload_thread: OnceLock<ThreadId>,
    pub(crate) log: Log,
    pub(crate) images: Arc<MappedImages>,
    /// Before the folder that it may lie in, which is left alone if there is anything in it.
    pub(crate) history: History,
    pub(crate) private: StagingFolder,
    pub(crate) limits: StageLimits,
    pub(crate) drain_deadline: Duration,
    /// How many quarantined images a slot may have before its reloads are refused.
    pub(crate) quarantine_cap: AtomicUsize,
    /// Files that were refused for a reason which may pass.
    pub(crate) retries: Retries,
    pub(crate) policy: Policy,
    /// What makes the code of artifacts runnable.
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) hooks: Hooks,
    /// The folder that is watched.
    pub(crate) folder: Option<PathBuf>,
    /// Which artifact is loaded into which slots.
    pub(crate) instances: Instances,
    /// What plugins are given beside their state.
    pub(crate) given: InputStore,
    /// Failures of hooks that a test asks for.
    pub(crate) injections: Injections,
    /// How much which slot is to log.
    pub(crate) log_levels: Arc<LogLevels>,
    pub(crate) snapshot_sizes: SnapshotSizes,
    pub(crate) supervisor: Sender<SupervisorMessage>,
    pub(crate) reload: Sender<ReloadMessage>,
    pub(crate) reaper: Sender<ReaperMessage>,
    pub(crate) deferred_work: DeferredWork,
}

impl Runtime {
    pub(crate) fn reaper(&self) -> Sender<ReaperMessage> {
        self.reaper.clone()
    }

    /// Sets how much a slot's plugin logs, also if there is no such slot yet; none for the host's own. Answers what that comes to.
    pub(crate) fn set_log_level(&self, slot: &str, level: Option<LogLevel>) -> LogLevel {
        self.log_levels.set(slot, level);
        // No lock is held: a subscriber of the plugin's own may be asked what it wants.
        for image in self.images.with_shadows(Some(slot)) {
            image.resources.log_level_changed();
        }
        self.log_levels.of(slot)
    }

    /// Sets how much plugins log whose slots have no level of their own; none for what the program says.
    pub(crate) fn set_log_level_of_all(&self, level: Option<LogLevel>) {
        self.log_levels.set_for_all(level);
        for image in self.images.with_shadows(None) {
            image.resources.log_level_changed();
        }
    }

    /// Nothing that was refused for a slot is tried again there by itself.
    pub(crate) fn forget_retries(&self, slot: &str) {
        self.given.forget_vetoed(slot);
        self.retries.forget(slot);
    }

    /// As [`Host::unload`](crate::Host::unload).
    pub(crate) fn unload(&self, slot: &str, force: bool) -> Result<UnloadOutcome, UnloadError> {
        let record = self.slots.serving(slot)?;
        safe_point();
        let request = UnloadRequest {
            reason: UnloadReason::Requested,
            force,
        };
        let message = |answer| ReloadMessage::Unload { record, request, answer };
        self.ask_reload_thread(PathBuf::new(), message)
    }

    pub(crate) fn supervisor(&self) -> Sender<SupervisorMessage> {
        self.supervisor.clone()
    }

    /// Tells the supervisor. Without one the host is going.
    pub(crate) fn supervise(&self, message: SupervisorMessage) {
        let supervisor = self.supervisor.clone();
        defer(move || drop(supervisor.send(message)));
    }

    /// Has the reload thread look for an older artifact than this generation's, if that one still serves then.
    pub(crate) fn go_back(&self, record: Arc<SlotRecord>, from: u64, reason: RollbackReason) {
        // Without a reload thread the host is gone.
        let _ = self.reload.send(ReloadMessage::GoBack {
            record,
            from: Some(from),
            to: None,
            reason,
            answer: None,
        });
    }

    /// Has the reload thread try a file again. Without a reload thread the host is gone.
    pub(crate) fn retry(&self, request: LoadRequest) {
        let _ = self.reload.send(ReloadMessage::Retry(request));
    }

    /// Has the reload thread read a resource. Without a reload thread the host is gone.
    pub(crate) fn read_resource(&self, name: String) {
        let _ = self.reload.send(ReloadMessage::Resource(name));
    }

    /// A slot has something for the first time: those who waited for that are tried again, in their turn.
    pub(crate) fn notify_slot_filled(&self, name: &str) {
        if let Some(record) = self.slots.named(name) {
            // The state that was left there may be large.
            let left = record.lock().emptied.take();
            defer(move || drop(left));
        }
        for request in self.retries.take_for_slot(name) {
            let reload = self.reload.clone();
            // Without a reload thread the host is gone.
            defer(move || drop(reload.send(ReloadMessage::Retry(request))));
        }
    }

    /// Writes a private copy, into a new private folder if somebody has removed or replaced the one that there was.
    ///
    /// # Errors
    /// If there is no folder and none can be made, or the copy cannot be written.
    pub(crate) fn write_private_copy(&self, slot: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        let written = self.private.write(slot, bytes);
        self.report_private_folder();
        written
    }

    /// Tells, once, that the private folder was made again, and what was kept in the one that is gone.
    fn report_private_folder(&self) {
        for Restored { was, now } in self.private.take_restored() {
            let moved = was != now;
            self.log.push(Event::PrivateFolderRestored { was: was.clone(), now });
            if !moved {
                continue;
            }
            for (slot, error) in self.history.was_lost(&was) {
                self.log.push(Event::HistoryFailed {
                    slot: Some(slot.into()),
                    error,
                });
            }
        }
    }

    /// Tells of what went wrong with what is kept.
    pub(crate) fn report_history_error(&self, slot: &Arc<str>, outcome: Result<(), HistoryError>) {
        self.report_private_folder();
        if let Err(error) = outcome {
            let slot = Some(slot.clone());
            self.log.push(Event::HistoryFailed { slot, error });
        }
    }

    /// What can no longer be called, and has nothing to go back to: calls into the slot answer an error.
    pub(crate) fn vacate(&self, record: &SlotRecord, generation: &Arc<Generation>) {
        generation.call_stats().die();
        let mut state = record.lock();
        let current = self.slots.publish(record, &mut state, Change::Vacated(generation.number()));
        let probation = state.probation.take();
        drop(state);
        self.log.push(Event::SlotEmptied {
            slot: record.name.clone(),
            generation: generation.number(),
        });
        for gone in current.into_iter().chain(
            probation
                .and_then(|probation| probation.standby)
                .map(|standby| standby.current),
        ) {
            self.retire(record, &gone.generation);
        }
    }

    /// Has the reload thread look whether everything that serves was given what there is now.
    pub(crate) fn look_at_given(&self) {
        if self.given.is_asked() {
            let reload = self.reload.clone();
            // Without a reload thread the host is gone.
            defer(move || drop(reload.send(ReloadMessage::InputsChanged)));
        }
    }

    /// A generation neither serves nor stands by any more: it goes when its last holder does.
    pub(crate) fn retire(&self, record: &SlotRecord, generation: &Arc<Generation>) {
        generation.retire();
        self.images.enters(&record.name, generation.number(), Phase::Retired);
        self.watch_retired(record, generation);
    }

    /// Has the reaper name the holders of a replaced generation, if it is held for too long.
    fn watch_retired(&self, record: &SlotRecord, generation: &Arc<Generation>) {
        let (reaper, slot, number) = (self.reaper.clone(), record.name.clone(), generation.number());
        // Without a reaper the process is ending.
        defer(move || drop(reaper.send(ReaperMessage::Retired { slot, number })));
    }

    /// The slot has one image less: what was refused for that reason is tried again, in its turn.
    pub(crate) fn retry_deferred(&self, slot: &Arc<str>) {
        if self.given.expedite(slot) {
            self.look_at_given();
        }
        if self.retries.waits_for_room(slot) {
            // Without a reload thread the host is gone.
            let _ = self.reload.send(ReloadMessage::Deferred(slot.clone()));
        }
    }

    /// Has the reload thread place what was staged for a claim that is gone.
    pub(crate) fn settle(&self, record: Arc<SlotRecord>) {
        // Without a reload thread the host is gone, and `let_go` has taken what was staged.
        let _ = self.reload.send(ReloadMessage::Settle(record));
    }

    /// The host goes: it holds nothing any more. Answers what it let go of.
    pub(crate) fn let_go(&self) -> Vec<Weak<Generation>> {
        self.log.push(Event::ShutDown);
        let mut let_go = Vec::new();
        for record in self.slots.all().iter() {
            let mut state = record.lock();
            let current = self.slots.publish(record, &mut state, Change::HostEnded);
            let (staged, set) = (state.staged.take(), state.together.take());
            let standby = state.probation.take().and_then(|probation| probation.standby);
            let claimed = state.is_claimed();
            record.stage(false);
            drop(state);
            if let Some(current) = &current {
                current.generation.retire();
                if !claimed {
                    self.images.enters(&record.name, current.generation.number(), Phase::Retired);
                }
                if !claimed {
                    let_go.push(Arc::downgrade(&current.generation));
                }
            }
            if let Some(standby) = &standby {
                standby.current.generation.retire();
                self.images
                    .enters(&record.name, standby.current.generation.number(), Phase::Retired);
            }
            drop((current, staged, standby, set));
        }
        let_go
    }

    /// Names who still holds what the host has let go of.
    pub(crate) fn name_holders(&self, let_go: &[Weak<Generation>]) {
        for generation in let_go.iter().filter_map(Weak::upgrade) {
            self.log.push(Event::DrainTimeout {
                slot: generation.slot().clone(),
                generation: generation.number(),
                holders: holders_of(&self.slots, &self.images, generation.slot(), generation.number()),
            });
        }
    }
}

impl AskedForSafePoints for Runtime {
    fn request_safe_points(&self) {
        // Without a reload thread the host is going.
        let _ = self.reload.send(ReloadMessage::SafePoint);
        self.hooks.request_safe_points();
        self.images.wake();
    }
}
