//! What the host keeps of one slot: its contracts, who calls it and how, its current generation and a staged candidate.

use super::{
    acquisition::Acquisition,
    candidate::{Candidate, CandidateSet},
    counts::CallCounts,
    generation::{Forward, Generation, SlotLinks, Vacant},
    interfaces::Interfaces,
    messages::SupervisorMessage,
    probation::{HealthTracker, Probation, Standby, Verdict},
    restarts::Restarts,
    saved_state::Snapshot,
    signals::OwnerSignals,
    unload_data::{UnloadRequest, UnloadedSlot},
};
use crate::policy::Policy;
use reslot_artifact::{ContentHash, compat, manifest};
use reslot_plugin_api::{__private::Connection, Fault, Health};
use reslot_report::{RollbackReason, SlotError};
use reslot_sync::{
    Condvar, Instant, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    mpsc::Sender,
};
use reslot_system::{awake, hooks::this_thread};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A named place in the host.
pub(crate) struct SlotRecord {
    pub(crate) name: Arc<str>,
    /// Its place in every view of its host.
    pub(crate) index: usize,
    /// Unique among all slots of all hosts in this process.
    pub(crate) id: u64,
    pub(crate) signals: Arc<OwnerSignals>,
    pub(crate) vacant: Box<VacantEntry>,
    pub(crate) counts: Arc<CallCounts>,
    /// How many bytes its state had when it was encoded last.
    snapshot_size: Arc<AtomicUsize>,
    /// How its old generations find the current one.
    pub(super) forward: Arc<Forward>,
    /// The interfaces that the program knows as types: its host's.
    pub(crate) interfaces: Arc<Interfaces>,
    state: Mutex<SlotState>,
    settled: Condvar,
}

/// The connection that a view answers for a slot that it does not hold.
pub(crate) struct VacantEntry {
    pub(crate) connection: Connection,
    callee: Box<Vacant>,
}

impl VacantEntry {
    /// A connection of its own that answers the same.
    pub(crate) fn connect(&self) -> Connection {
        let pointer: *const Vacant = &raw const *self.callee;
        // SAFETY: gated, so data and table are never used; a claim holds the record, and so the callee.
        unsafe { Connection::new(std::ptr::null_mut(), std::ptr::null(), pointer, true) }
    }

    /// Whether calls through a view without this slot answer `Unloaded` instead of `Vacant`. A later load does not change it, because such a view
    /// is older than the load.
    pub(super) fn set_unloaded(&self, unloaded: bool) {
        self.callee.unloaded.store(unloaded, Ordering::Relaxed);
    }

    /// Why a call finds nothing.
    pub(crate) fn fault(&self) -> Fault {
        self.callee.why()
    }

    pub(super) fn set_host_ended(&self) {
        self.callee.host_ended.store(true, Ordering::Relaxed);
    }
}

// SAFETY: the connection is gated and its callee, which is all that is used of it, is `Sync`.
unsafe impl Send for VacantEntry {}
// SAFETY: as above.
unsafe impl Sync for VacantEntry {}

/// What a slot's lock guards.
///
/// A slot is empty (`current` is none) before the first load, or for one of three reasons: it was unloaded (`unloaded`), a hook of its generation
/// hangs (`lost_generation`), or the host has ended (`gone`).
pub(crate) struct SlotState {
    pub(super) mode: Mode,
    /// Who claimed it, if it is claimed.
    pub(crate) owner: Option<Acquisition>,
    /// The interfaces as which it was claimed or asked for; every artifact must satisfy all of them.
    pub(crate) contracts: Vec<Contract>,
    /// Those by which other plugins call it, as long as they are mapped.
    peer_contracts: Vec<Weak<manifest::Interface>>,
    /// Raised when a contract is added. A comparison with all contracts stays valid while it is the same.
    contracts_version: u64,
    /// Replaced by [`Slots::publish_set`](super::Slots::publish_set) alone, and the view with it.
    pub(super) current: Option<Current>,
    pub(crate) staged: Option<Candidate>,
    /// Candidates for this slot and others, which wait for the owners of the claimed ones.
    pub(crate) staged_set: Option<Arc<CandidateSet>>,
    /// Its owner is to unload it.
    pub(crate) unload: Option<UnloadRequest>,
    /// What was unloaded. It has a meaning only while the slot is empty.
    pub(crate) unloaded: Option<UnloadedSlot>,
    pub(crate) last_number: u64,
    last_shadow: u64,
    /// While the current generation has yet to prove itself.
    pub(crate) probation: Option<Probation>,
    health_tracker: HealthTracker,
    /// The replacements of its instances that have ended.
    pub(crate) restarts: Restarts,
    /// A request for the state of a claimed plugin: its owner encodes it at his next safe point.
    pub(crate) state_request: Option<Sender<Option<Arc<Snapshot>>>>,
    /// While the owner of the claim adopts a candidate: his thread.
    adopting: Option<usize>,
    /// A rollback that was requested during the adoption, by a thread for which the adoption waits. It is done afterwards.
    pub(crate) rollback_after_adoption: Option<PendingRollback>,
    /// How many `Moving`s there are: threads that replace or encode the current generation.
    moving: usize,
    /// How many of them belong to a `Serialize` that runs on a thread for hooks.
    encoding: usize,
    /// The supervisor has something to look at here, as soon as no thread moves the slot or adopts a candidate.
    supervisor_waits: Option<Sender<SupervisorMessage>>,
    /// The host has ended. Only the owner of a claim can still adopt a candidate, and nobody else calls that.
    pub(super) gone: bool,
    /// If the slot is empty because a hook of its generation hangs, the number of that generation.
    pub(super) lost_generation: Option<u64>,
}

/// A requested rollback that waits for the end of an adoption.
#[derive(Clone, Copy)]
pub(crate) struct PendingRollback {
    /// The generation that was current at the request.
    pub(crate) from: u64,
    /// The version that the request is for.
    pub(crate) to: ContentHash,
}

/// An interface by which a slot is called.
pub(crate) struct Contract {
    interface: Arc<manifest::Interface>,
    /// The number of the host's view when it was added: that view's generation of the slot satisfies it, and so do all later ones.
    since: u64,
}

/// Who may call the slot's current generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nobody holds a claim. `handles` counts the `Slot`s that are out.
    Open {
        /// `Slot` handles that are out.
        handles: usize,
    },
    /// One owner, who decides when.
    Claimed,
}

/// The generation that serves.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) generation: Arc<Generation>,
    pub(crate) hash: ContentHash,
    pub(crate) path: PathBuf,
    /// The state that it started from, as long as it is on probation.
    pub(crate) inherited: Option<Arc<Snapshot>>,
}

/// Where a content is in a slot that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentPlace {
    /// It serves, as this generation.
    Serves(u64),
    /// It waits for the owner, as this generation.
    Waits(u64),
}

impl SlotState {
    /// Why nothing serves, though the slot was there for somebody; none if nothing ever has.
    pub(crate) fn why_empty(&self, name: &str) -> Option<SlotError> {
        let name = name.to_owned();
        if self.gone {
            return Some(SlotError::HostEnded { name });
        }
        if let Some(left) = self.unloaded() {
            let path = left.path.clone();
            return Some(SlotError::Unloaded { name, path });
        }
        match (&self.current, self.lost_generation) {
            (None, Some(generation)) => Some(SlotError::Vacant { name, generation }),
            _ => None,
        }
    }
}

impl SlotRecord {
    pub(crate) fn new(name: &str, index: usize, interfaces: Arc<Interfaces>) -> Self {
        let name: Arc<str> = name.into();
        let counts = Arc::new(CallCounts::default());
        let callee = Box::new(Vacant {
            slot: name.clone(),
            host_ended: AtomicBool::new(false),
            unloaded: AtomicBool::new(false),
            counts: counts.clone(),
        });
        let pointer: *const Vacant = &raw const *callee;
        // SAFETY: gated, so data and table are never used; the callee lives beside it in the same box.
        let connection = unsafe { Connection::new(std::ptr::null_mut(), std::ptr::null(), pointer, true) };
        Self {
            name,
            index,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            signals: Arc::default(),
            vacant: Box::new(VacantEntry { connection, callee }),
            counts,
            snapshot_size: Arc::default(),
            forward: Arc::default(),
            interfaces,
            state: Mutex::new(SlotState {
                mode: Mode::Open { handles: 0 },
                owner: None,
                contracts: Vec::new(),
                peer_contracts: Vec::new(),
                contracts_version: 0,
                current: None,
                staged: None,
                staged_set: None,
                unload: None,
                unloaded: None,
                last_number: 0,
                last_shadow: 0,
                probation: None,
                health_tracker: HealthTracker::default(),
                restarts: Restarts::default(),
                state_request: None,
                adopting: None,
                rollback_after_adoption: None,
                moving: 0,
                encoding: 0,
                supervisor_waits: None,
                gone: false,
                lost_generation: None,
            }),
            settled: Condvar::new(),
        }
    }

    /// What its generations share.
    pub(crate) fn links(&self) -> SlotLinks {
        SlotLinks {
            name: self.name.clone(),
            signals: self.signals.clone(),
            counts: self.counts.clone(),
            snapshot_size: self.snapshot_size.clone(),
            forward: self.forward.clone(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    /// The lock, once no other thread replaces or encodes the current generation.
    pub(crate) fn lock_settled(&self) -> MutexGuard<'_, SlotState> {
        let mut state = self.state.lock();
        while state.is_moving() {
            self.settled.wait(&mut state);
        }
        state
    }

    /// As [`lock_settled`](Self::lock_settled), but a `Serialize` on which the host has given up may still run. Then nobody gets the state, and
    /// nobody may claim the slot.
    pub(crate) fn lock_replaceable(&self) -> MutexGuard<'_, SlotState> {
        let mut state = self.state.lock();
        while state.is_moving() && !state.is_encoding_late() {
            self.settled.wait(&mut state);
        }
        state
    }

    /// As [`lock_settled`](Self::lock_settled), but not for ever: the thread that replaces the generation may wait for a hook of the caller's
    /// own plugin.
    pub(crate) fn lock_settled_until(&self, deadline: Instant) -> Option<MutexGuard<'_, SlotState>> {
        let mut state = self.state.lock();
        let settled = awake::wait_until(deadline, |until| {
            while state.is_moving() {
                if self.settled.wait_until(&mut state, until).timed_out() && state.is_moving() {
                    return None;
                }
            }
            Some(())
        });
        settled.map(|()| state)
    }

    /// Waits until the slot's owner adopts nothing. Neither the owner's thread may call this, nor one for which it waits.
    pub(crate) fn wait_until_adopted(&self) {
        let mut state = self.state.lock();
        while state.adopting.is_some() {
            self.settled.wait(&mut state);
        }
    }

    /// The number of the current generation, unless a newer candidate waits for the owner.
    pub(crate) fn serving_and_nothing_newer(&self) -> Option<u64> {
        let state = self.lock_replaceable();
        // A staged re-instantiation does not count as newer.
        let waits = state.staged.as_ref().is_some_and(|staged| !staged.is_reinstance()) || state.staged_set.is_some();
        let current = state.current.as_ref().filter(|_| !waits)?;
        Some(current.generation.number())
    }

    /// Tells the owner whether a candidate waits for his `sync`.
    pub(crate) fn signal_staged(&self, waits: bool) {
        self.signals.set_staged(waits);
        if waits {
            self.signals.request_safe_point();
        }
    }

    /// Notes that the owner, on this thread, adopts a candidate, until [`end_adopting`](Self::end_adopting). Answers false if a rollback was
    /// requested since the owner looked: the rollback comes first, in the owner's next `sync`. After a manual request the owner adopts
    /// nothing else, even if the standby is lost: then the history is searched for an earlier version.
    ///
    /// Only `Adoption` in `reload/adopt.rs` calls these two.
    pub(crate) fn begin_adopting(&self, state: &mut SlotState) -> bool {
        let is_rollback_due = |probation: &Probation| match &probation.forced {
            Some(RollbackReason::Manual) => true,
            forced => forced.is_some() && probation.standby.is_some(),
        };
        if state.probation.as_ref().is_some_and(is_rollback_due) {
            return false;
        }
        state.adopting = Some(this_thread());
        true
    }

    /// The owner adopts no longer. A rollback that was requested meanwhile is due now: the owner's next `sync` goes back to the standby, if
    /// the slot still has the generation of that time. Otherwise this answers the version, which the history may have.
    pub(crate) fn end_adopting(&self) -> Option<ContentHash> {
        let mut state = self.state.lock();
        state.adopting = None;
        let from_history = state.rollback_after_adoption.take().filter(|request| {
            let is_same = state.serving_number() == Some(request.from);
            match state.probation.as_mut().filter(|_| is_same) {
                Some(probation) if probation.standby.is_some() => {
                    probation.forced = Some(RollbackReason::Manual);
                    self.signals.request_safe_point();
                    false
                }
                _ => true,
            }
        });
        let supervisor = state.supervisor_waits.take();
        drop(state);
        self.settled.notify_all();
        look_again(supervisor);
        from_history.map(|request| request.to)
    }

    /// Sets the owner's hint by what is staged.
    pub(crate) fn note_staged(&self, state: &SlotState) {
        let waits = state.staged.is_some() || state.staged_set.is_some();
        self.signals.set_staged(waits);
    }

    /// Keeps everybody else from claiming or changing the slot, until the guard is dropped.
    pub(crate) fn begin_moving(self: &Arc<Self>, state: &mut SlotState) -> Moving {
        state.moving += 1;
        Moving {
            record: self.clone(),
            encodes: false,
        }
    }

    /// The same for a `Serialize` on a thread for hooks, which drops the guard when the hook has returned. The caller has a `Moving` of its own,
    /// and so nobody else begins this. None if an earlier `Serialize` still runs.
    pub(crate) fn begin_encoding(self: &Arc<Self>) -> Option<Moving> {
        let mut state = self.state.lock();
        if state.encoding > 0 {
            return None;
        }
        state.encoding += 1;
        state.moving += 1;
        Some(Moving {
            record: self.clone(),
            encodes: true,
        })
    }
}

/// A thread replaces or encodes a slot's current generation, until this is dropped: also if it panics. Nothing else sets or clears that mark.
pub(crate) struct Moving {
    record: Arc<SlotRecord>,
    encodes: bool,
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut state = self.record.state.lock();
        state.moving -= 1;
        state.encoding -= usize::from(self.encodes);
        let supervisor = state.supervisor_waits.take();
        drop(state);
        self.record.settled.notify_all();
        look_again(supervisor);
    }
}

/// Tells the supervisor that it may look at the slot, if it waits for that.
fn look_again(supervisor: Option<Sender<SupervisorMessage>>) {
    if let Some(supervisor) = supervisor {
        // Without a supervisor the host has ended.
        let _ = supervisor.send(SupervisorMessage::Look);
    }
}

impl SlotState {
    /// The current generation, with its file and hash; none if the slot is empty.
    pub(crate) fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// The current generation.
    pub(crate) fn serving(&self) -> Option<&Arc<Generation>> {
        self.current.as_ref().map(|current| &current.generation)
    }

    /// The number of the generation that serves.
    pub(crate) fn serving_number(&self) -> Option<u64> {
        self.serving().map(|generation| generation.number())
    }

    /// What views show of the slot: the current generation, if it is for everybody.
    pub(super) fn in_view(&self) -> Option<&Arc<Generation>> {
        self.serving().filter(|_| !self.is_claimed())
    }

    /// Who may call it.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether some thread replaces or encodes the current generation. Until it is done, no other thread may claim or change the slot.
    pub(crate) fn is_moving(&self) -> bool {
        self.moving > 0
    }

    /// Whether only a `Serialize` on which the host has given up keeps the slot moving.
    fn is_encoding_late(&self) -> bool {
        self.moving > 0 && self.moving == self.encoding
    }

    /// Tells the supervisor to look again when the thread that moves the slot now, or adopts a candidate, is done.
    pub(crate) fn remind_when_settled(&mut self, supervisor: Sender<SupervisorMessage>) {
        self.supervisor_waits = Some(supervisor);
    }

    /// The thread of the owner who adopts a candidate at this moment.
    pub(crate) fn adopting(&self) -> Option<usize> {
        self.adopting
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.mode == Mode::Claimed
    }

    /// Whether the host has let go of the slot.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Somebody has another handle to the slot, which is not claimed.
    pub(crate) fn add_handle(&mut self) {
        if let Mode::Open { handles } = &mut self.mode {
            *handles += 1;
        }
    }

    /// The current generation has passed its probation: the state that it started from is of no use any more.
    pub(crate) fn forget_inherited(&mut self) {
        if let Some(current) = &mut self.current {
            current.inherited = None;
        }
    }

    /// Adds the contract of a caller, if the current generation satisfies it. What is staged or on its way is compared with
    /// all contracts again before it comes to serve.
    ///
    /// Answers from which view on the slot's generations satisfy it; `view` is the number of the host's view now.
    pub(crate) fn bind(&mut self, wanted: manifest::Interface, view: u64) -> Result<u64, Vec<compat::Difference>> {
        if let Some(current) = &self.current {
            compat::compare(&wanted, &current.generation.instance().manifest().interface)?;
        }
        if let Some(known) = self.contracts.iter().find(|known| *known.interface == wanted) {
            return Ok(known.since);
        }
        self.contracts.push(Contract {
            interface: Arc::new(wanted),
            since: view,
        });
        self.contracts_version += 1;
        Ok(view)
    }

    /// Adds the contract of a plugin that calls this one, if the current generation satisfies it. It ends with its `Arc`, which
    /// the calling image has.
    pub(crate) fn bind_peer(&mut self, wanted: &Arc<manifest::Interface>) -> Result<(), Vec<compat::Difference>> {
        if let Some(current) = &self.current {
            compat::compare(wanted, &current.generation.instance().manifest().interface)?;
        }
        self.peer_contracts.retain(|known| known.strong_count() > 0);
        self.peer_contracts.push(Arc::downgrade(wanted));
        self.contracts_version += 1;
        Ok(())
    }

    /// Whether somebody may call what comes to serve: by a handle, or another plugin.
    pub(crate) fn has_contracts(&self) -> bool {
        !self.contracts.is_empty() || self.peer_contracts.iter().any(|known| known.strong_count() > 0)
    }

    /// A comparison with all contracts stays valid while this is the same.
    pub(crate) fn contracts_version(&self) -> u64 {
        self.contracts_version
    }

    /// Whether an artifact satisfies every interface by which the slot is called.
    pub(crate) fn check(&self, offered: &manifest::Interface) -> Result<(), Vec<compat::Difference>> {
        let peers = self.peer_contracts.iter().filter_map(Weak::upgrade);
        self.contracts
            .iter()
            .map(|contract| contract.interface.clone())
            .chain(peers)
            .try_for_each(|contract| compat::compare(&contract, offered))
    }

    /// Whether this content serves, or waits for the owner. While a newer candidate waits, the content that serves counts as new: to publish it again
    /// replaces the candidate.
    pub(crate) fn has(&self, slot: u64, hash: &ContentHash) -> Option<ContentPlace> {
        let waits = match (&self.staged, &self.staged_set) {
            // Another instance of the current generation.
            (Some(staged), _) if staged.is_reinstance() => None,
            (Some(staged), _) => Some((staged.hash, staged.generation.number())),
            (None, Some(set)) => set.content_for(slot),
            (None, None) => None,
        };
        if let Some((waiting, number)) = waits {
            return (waiting == *hash).then_some(ContentPlace::Waits(number));
        }
        // If it is about to be unloaded, the same content may be loaded again.
        let stays = self.unload.is_none();
        let current = self.current.as_ref().filter(|current| stays && current.hash == *hash)?;
        Some(ContentPlace::Serves(current.generation.number()))
    }

    /// The name of the plugin with this content, if it serves or waits here.
    pub(crate) fn plugin_with(&self, hash: &ContentHash) -> Option<String> {
        let serves = self.current.as_ref().filter(|current| current.hash == *hash);
        let waits = self.staged.as_ref().filter(|staged| staged.hash == *hash);
        let manifest = match (serves, waits) {
            (Some(current), _) => current.generation.instance().manifest(),
            (None, Some(staged)) => staged.generation.instance().manifest(),
            (None, None) => return None,
        };
        Some(manifest.name.clone())
    }

    /// Whether the generation that is current, or was unloaded last, is this plugin from this file. Then new builds of the file are for this slot.
    pub(crate) fn follows(&self, path: &Path, plugin: &str) -> bool {
        match (&self.current, self.unloaded()) {
            (Some(current), _) => current.path == path && current.generation.instance().manifest().name == plugin,
            (None, Some(left)) => left.path == path && *left.plugin == *plugin,
            (None, None) => false,
        }
    }

    /// What was unloaded, if that is why nothing serves.
    pub(crate) fn unloaded(&self) -> Option<&UnloadedSlot> {
        self.unloaded.as_ref().filter(|_| self.current.is_none())
    }

    /// What is known of the health of the current generation.
    pub(crate) fn health_tracker(&mut self) -> &mut HealthTracker {
        let serving = self.current.as_ref().map(|current| &current.generation);
        let number = serving.map_or(0, |generation| generation.number());
        // The SDK's own function, which runs nothing of the plugin.
        self.health_tracker.of_generation(number, || serving?.instance().live_bytes())
    }

    /// When the time of what is on probation is over.
    pub(crate) fn probation_end(&self, policy: &Policy) -> Option<Instant> {
        self.probation.as_ref().map(|probation| probation.end(policy))
    }

    /// What it answered when it was last asked.
    pub(crate) fn health(&mut self) -> Option<Health> {
        self.health_tracker().last.clone()
    }

    /// The candidate that waits for the owner, alone or in a set, and how many bytes it has allocated.
    pub(crate) fn waiting(&self, slot: u64) -> Option<(u64, Option<u64>)> {
        match (&self.staged, &self.staged_set) {
            (Some(staged), _) => Some((staged.generation.number(), staged.generation.instance().live_bytes())),
            (None, Some(set)) => set.waiting_for(slot),
            (None, None) => None,
        }
    }

    /// What the slot could go back to at once.
    pub(crate) fn standby(&self) -> Option<&Standby> {
        self.probation.as_ref()?.standby.as_ref()
    }

    /// Withdraws a requested rollback that waits for the owner: a later request takes its place, or nothing could be loaded.
    pub(crate) fn withdraw_rollback(&mut self) {
        self.rollback_after_adoption = None;
        if let Some(probation) = &mut self.probation {
            probation.forced.take_if(|reason| *reason == RollbackReason::Manual);
        }
    }

    /// What is to become of the current generation, while it is on probation.
    pub(crate) fn verdict(&mut self, policy: &Policy) -> Option<Verdict> {
        self.health_tracker();
        let generation = &self.current.as_ref()?.generation;
        Some(self.probation.as_ref()?.judge(policy, generation, &self.health_tracker))
    }

    /// Shadows have numbers of their own: they leave no gaps among those of the generations.
    pub(crate) fn next_shadow(&mut self) -> u64 {
        self.last_shadow += 1;
        self.last_shadow
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
