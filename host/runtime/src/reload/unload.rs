//! Unloading a slot's current generation without a successor: its state is taken while no caller is inside, later calls answer an error,
//! and the image ends as every retired one. An open slot is unloaded on the reload thread, in order with loads; a claimed one in its
//! owner's `sync`, because only the owner may change what he calls.

use super::{
    exclusive::Stopped,
    messages::{UnloadOutcome, Unloaded},
    snapshot::snapshot,
    supersede::{report_superseded, supersede_set},
};
use crate::{
    deadline::after,
    deferred_notifications::defer_notifications,
    deferred_work::defer,
    event::Log,
    policy::DeletedFile,
    runtime::{Runtime, Storage},
    slot::{
        Access, Candidate, CandidateSet, Change, Current, Generation, Mode, OwnersTurn, SavedState, SlotRecord, SlotState,
        Slots, UnloadRequest, UnloadedSlot,
    },
    watch::Listing,
};
use reslot_report::{Cause, Event, UnloadError, UnloadReason};
use reslot_system::background::ForegroundPriority;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Unloads a slot on the reload thread, or asks its owner to.
pub(super) fn unload(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    request: UnloadRequest,
) -> Result<UnloadOutcome, UnloadError> {
    let _deferred = defer_notifications();
    if !request.force {
        check_users(&host.slots, record)?;
    }
    let mut state = record.lock_replaceable();
    if state.is_gone() {
        return Err(UnloadError::HostEnded);
    }
    let Some(old) = state.serving().cloned() else {
        drop(state);
        return Err(host.slots.why_not(&record.name).into());
    };
    if state.is_claimed() {
        return Ok(stage(&host.storage, &host.log, record, state, &old, request));
    }
    let moving = record.begin_moving(&mut state);
    drop(state);
    // From here on callers may wait.
    let _foreground = ForegroundPriority::this_thread();
    host.hooks.wake_one();
    let access = match old.is_gated().then(|| old.close_gate(after(host.options.drain_deadline))) {
        Some(Some(closed)) => Access::Closed(closed),
        Some(None) if !request.force => {
            return Err(no_state(record, &old, Cause::Busy(host.options.drain_deadline)));
        }
        Some(None) | None => Access::Open,
    };
    let unloaded = take_down(host, record, &old, access, request, true);
    drop(moving);
    unloaded.map(UnloadOutcome::Unloaded)
}

/// Asks the owner to unload the slot. The staged candidate is discarded; one that is staged from now on comes after the unload.
fn stage(
    storage: &Storage,
    log: &Log,
    record: &SlotRecord,
    mut state: reslot_sync::MutexGuard<'_, SlotState>,
    old: &Generation,
    request: UnloadRequest,
) -> UnloadOutcome {
    let superseded = (state.staged.take(), state.staged_set.take());
    // A second request without force does not undo the force of the first one.
    let force = request.force || state.unload.as_ref().is_some_and(|before| before.force);
    state.unload = Some(UnloadRequest { force, ..request });
    record.signal_staged(false);
    record.signals.request_safe_point();
    let (slot, generation) = (record.name.clone(), old.number());
    let event = Event::UnloadStaged {
        slot: slot.clone(),
        generation,
    };
    // Under the lock, which the owner needs to unload: nobody hears of that before this event.
    log.append(event.clone());
    drop(state);
    log.trace(&event);
    report_superseded(&storage.history, log, record, superseded.0);
    supersede_set(&storage.history, log, superseded.1);
    UnloadOutcome::Staged { slot, generation }
}

/// Unloads a claimed slot on its owner's thread, if somebody asked for that. Answers whether it was unloaded.
pub(crate) fn of_claim_if_asked(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    turn: OwnersTurn<'_>,
) -> bool {
    let request = {
        let mut state = record.lock();
        match state.is_gone() {
            true => None,
            false => state.unload.take(),
        }
    };
    let Some(request) = request else { return false };
    match of_owner(host, record, old, turn, request, false) {
        Ok(_) => true,
        Err(error) => {
            report_refused(&host.log, record, old.number(), &error);
            false
        }
    }
}

/// Unloads a claimed slot because its owner wants that.
pub(crate) fn of_claim(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    turn: OwnersTurn<'_>,
) -> Result<Unloaded, UnloadError> {
    check_users(&host.slots, record)?;
    {
        // The pending request stays: if this unload fails, the request is still to be carried out.
        let state = record.lock();
        if state.is_gone() {
            return Err(UnloadError::HostEnded);
        }
    }
    let request = UnloadRequest {
        reason: UnloadReason::Requested,
        force: false,
    };
    of_owner(host, record, old, turn, request, true)
}

fn of_owner(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    turn: OwnersTurn<'_>,
    request: UnloadRequest,
    discards: bool,
) -> Result<Unloaded, UnloadError> {
    host.hooks.wake_one();
    let access = Access::of_owner(turn, after(host.options.drain_deadline));
    if !access.keeps_callers_away() && !request.force {
        return Err(no_state(record, old, Cause::Busy(host.options.drain_deadline)));
    }
    take_down(host, record, old, access, request, discards)
}

/// A claim was dropped: the reload thread carries out the unload that its owner was asked for.
pub(super) fn unload_unclaimed(host: &Arc<Runtime>, record: &Arc<SlotRecord>) {
    let (request, old) = {
        let mut state = record.lock_replaceable();
        if state.is_claimed() || state.is_gone() {
            return;
        }
        let number = state.serving_number();
        (state.unload.take(), number)
    };
    let (Some(request), Some(number)) = (request, old) else {
        return;
    };
    // A candidate that was staged meanwhile came after the request, and needs an empty slot.
    let (staged, set) = {
        let mut state = record.lock();
        (state.staged.take(), state.staged_set.take())
    };
    let outcome = unload(host, record, request);
    {
        let mut state = record.lock();
        (state.staged, state.staged_set) = (staged, set);
        record.note_staged(&state);
    }
    if let Err(error) = outcome {
        report_refused(&host.log, record, number, &error);
    }
}

fn report_refused(log: &Log, record: &SlotRecord, generation: u64, error: &UnloadError) {
    log.push(Event::UnloadRefused {
        slot: record.name.clone(),
        generation,
        error: error.clone(),
    });
}

/// Refuses to unload a slot that other plugins call.
fn check_users(slots: &Slots, record: &SlotRecord) -> Result<(), UnloadError> {
    let all = slots.uses_of_serving();
    let calls_it =
        |(slot, uses): &(&Arc<str>, &Vec<String>)| **slot != record.name && uses.iter().any(|used| **used == *record.name);
    let by: Vec<String> = all.iter().filter(calls_it).map(|(slot, _)| slot.to_string()).collect();
    match by.is_empty() {
        true => Ok(()),
        false => Err(UnloadError::Used {
            slot: record.name.to_string(),
            by,
        }),
    }
}

fn no_state(record: &SlotRecord, old: &Generation, cause: Cause) -> UnloadError {
    UnloadError::State {
        slot: record.name.to_string(),
        generation: old.number(),
        cause: Arc::new(cause),
    }
}

/// Takes the current generation out of its slot. Until its state is taken nothing has changed; from then on nothing can fail.
fn take_down(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    mut access: Access<'_>,
    request: UnloadRequest,
    discards: bool,
) -> Result<Unloaded, UnloadError> {
    let quiet = access.keeps_callers_away() || !old.is_gated();
    let snapshot = match quiet.then(|| snapshot(&host.hooks, record, old, access.is_owners())) {
        Some(Ok(snapshot)) => snapshot,
        Some(Err(cause)) if !request.force => return Err(no_state(record, old, cause)),
        // Forced: a call is still inside and may change the state, or the state cannot be encoded.
        Some(Err(_)) | None => None,
    };
    // Another owner may have adopted a plugin that uses this slot: since the request, or while this thread waited for calls and the state.
    if !request.force {
        check_users(&host.slots, record)?;
    }
    let plugin: Arc<str> = old.instance().manifest().name.as_str().into();
    let state = snapshot.inspect(|snapshot| snapshot.seal()).map(|snapshot| SavedState {
        plugin: plugin.clone(),
        snapshot,
    });
    // The plugin's exclusive resource is free when this returns, even if somebody still holds an old view.
    Stopped::stop(host, old, &mut access);
    if old.is_gated() {
        // Before the gate opens: a caller who waits there, or who uses an old view, must not change a state that was taken.
        old.call_stats().unload();
    }
    let files = host.slots.folder().map(Listing::of).unwrap_or_default();
    let (number, mut gone) = (old.number(), RemovedParts::default());
    {
        let mut slot = record.lock();
        if let Some(current) = host.slots.publish(record, &mut slot, Change::Unloaded) {
            slot.unloaded = Some(UnloadedSlot {
                plugin,
                path: current.path.clone(),
                state: state.clone(),
                files,
            });
            gone.current = Some(current);
        }
        if let Some(probation) = slot.probation.take() {
            gone.on_probation = true;
            gone.standby = probation.standby.map(|standby| standby.current);
        }
        if discards {
            (gone.staged, gone.set) = (slot.staged.take(), slot.staged_set.take());
        }
        if slot.mode() == (Mode::Open { handles: 0 }) {
            // No caller of the earlier interfaces is left: the next plugin may have others.
            slot.contracts.clear();
        }
        // A thread that waits for the state asks again, and finds an empty slot.
        slot.state_request = None;
        slot.unload = None;
        record.note_staged(&slot);
    }
    // The gate opens.
    drop(access);
    gone.report(host, record, number, state.as_ref(), request.reason);
    Ok(Unloaded {
        slot: record.name.clone(),
        generation: number,
        state,
    })
}

/// What an unload has taken out of a slot.
#[derive(Default)]
struct RemovedParts {
    current: Option<Current>,
    standby: Option<Current>,
    on_probation: bool,
    staged: Option<Candidate>,
    set: Option<Arc<CandidateSet>>,
}

impl RemovedParts {
    /// Reports the unload, with no lock held and no gate closed.
    fn report(
        self,
        host: &Arc<Runtime>,
        record: &Arc<SlotRecord>,
        number: u64,
        state: Option<&SavedState>,
        reason: UnloadReason,
    ) {
        let slot = &record.name;
        if let Some(current) = self.current.as_ref().filter(|_| self.on_probation) {
            // The plugin did not fail, so the next process may load it again.
            let (host, record, hash) = (host.clone(), record.clone(), current.hash);
            defer(move || {
                // The same content may have been staged again meanwhile.
                let again = record.lock().has(record.id, &hash).is_some();
                if !again {
                    host.storage.history.forget(&record.name, &hash);
                }
            });
        }
        // Cancel pending retries for this slot: they are older than the unload.
        host.retries.forget(slot);
        host.log.push(Event::Unloaded {
            slot: slot.clone(),
            generation: number,
            state_bytes: state.map(|state| state.bytes().len()),
            reason,
        });
        report_superseded(&host.storage.history, &host.log, record, self.staged);
        supersede_set(&host.storage.history, &host.log, self.set);
        let retired: Vec<_> = self.current.into_iter().chain(self.standby).collect();
        for one in &retired {
            host.images.retire(&one.generation);
        }
        // The last holder of a generation ends it.
        defer(move || drop(retired));
    }
}

/// Files that were deleted while other plugins used their slots, so that the slots could not be unloaded yet.
#[derive(Default)]
pub(super) struct DeletedFiles(BTreeSet<PathBuf>);

impl DeletedFiles {
    /// A file was deleted from the watched folder.
    pub(super) fn file(&mut self, host: &Arc<Runtime>, path: &Path) {
        if self.0.contains(path) || path.is_file() {
            return;
        }
        if host.options.policy.on_deleted_file == DeletedFile::Keep {
            for record in host.slots.served_from(path) {
                let Some(generation) = record.lock().serving_number() else {
                    continue;
                };
                host.log.push(Event::FileDeleted {
                    slot: record.name.clone(),
                    path: path.to_owned(),
                    generation,
                });
            }
            return;
        }
        if !unload_all_from(host, path, true) {
            self.0.insert(path.to_owned());
        }
        self.recheck(host);
    }

    /// A slot was unloaded, so that the slots that its plugin used may be free now.
    pub(super) fn recheck(&mut self, host: &Arc<Runtime>) {
        loop {
            let before = self.0.len();
            self.0.retain(|path| !path.is_file() && !unload_all_from(host, path, false));
            if self.0.len() == before {
                return;
            }
        }
    }
}

/// Unloads the slots that were loaded from a deleted file. Answers whether none of them is left that other plugins use.
fn unload_all_from(host: &Arc<Runtime>, path: &Path, reports: bool) -> bool {
    let mut all = true;
    for record in host.slots.served_from(path) {
        let number = {
            let state = record.lock();
            match state.current() {
                Some(current) if state.unload.is_none() => current.generation.number(),
                // The slot is empty already, or its unload is on its way.
                _ => continue,
            }
        };
        let reason = UnloadReason::FileDeleted { path: path.to_owned() };
        let outcome = unload(host, &record, UnloadRequest { reason, force: false });
        if let Err(error) = outcome {
            let used = matches!(error, UnloadError::Used { .. });
            all &= !used;
            if reports || !used {
                report_refused(&host.log, &record, number, &error);
            }
        }
    }
    all
}
