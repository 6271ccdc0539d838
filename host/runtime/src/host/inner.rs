//! What the host's parts share: the view, the slots, the readers, what was refused, and the ways to the two threads.

use crate::process::{PerProcess, Process};
use crate::{
    content::ContentHash,
    deferred_work::{DeferredWork, defer},
    error::{Refusal, SlotError},
    event::{Event, Log},
    given::InputStore,
    history::{History, HistoryError},
    hooks::Hooks,
    image::{
        safe_point,
        stage::{Restored, StageError, StageLimits, StagedFile, StagingFolder},
    },
    instances::{Instances, LoadRequest},
    logs::{LogLevel, LogLevels},
    policy::Policy,
    reload::{Phase, ReloadMessage, RollbackReason, Tally, UnloadError, UnloadOutcome, UnloadReason, UseGraph},
    slot::{ContentPlace, Generation, HoldRecord, Mode, ReaperMessage, SlotRecord, SupervisorMessage, UnloadRequest, View},
    testing::Injections,
};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread::ThreadId,
    time::Duration,
};

/// How many refused contents are remembered.
const REFUSED_KEPT: usize = 64;

/// The hosts of this process. A thread may have thread-locals of one's plugins, and come to safe points by another only.
static HOSTS: PerProcess<Mutex<Vec<Weak<Inner>>>> = PerProcess::new(Mutex::default);

/// Asks the threads that any host knows to come to a safe point.
pub(crate) fn request_safe_points() {
    // Not under the lock: whoever drops the last `Arc` of a host ends generations.
    let hosts: Vec<_> = HOSTS.get().lock().iter().filter_map(Weak::upgrade).collect();
    hosts.iter().for_each(|host| host.request_safe_points());
}

/// What the host's parts share.
pub(crate) struct Inner {
    /// Where it was built. In a forked child of it nothing here may be locked, waited for or dropped.
    pub(crate) process: Process,
    pub(crate) view: Arc<ArcSwap<View>>,
    /// Raised after a view was stored, and when readers are to look again for another reason.
    pub(crate) look_number: AtomicU64,
    /// What a reader that has let go holds instead of a view.
    pub(crate) no_view: Arc<View>,
    pub(super) publishing: Mutex<()>,
    /// In one `Arc`, because nearly everybody takes all of them along without the lock.
    pub(super) slots: RwLock<Arc<Vec<Arc<SlotRecord>>>>,
    /// Readers, and tracked guards.
    pub(super) holds: Mutex<Vec<Weak<HoldRecord>>>,
    pub(crate) track_guards: bool,
    /// Whether calls are counted, which has all of them take the way through the gate.
    pub(crate) count_calls: bool,
    /// The thread that must not wait for itself.
    pub(super) reload_thread: OnceLock<ThreadId>,
    /// The host is being dropped.
    pub(super) ending: AtomicBool,
    pub(super) refused: Mutex<VecDeque<(ContentHash, Refusal)>>,
    pub(crate) log: Log,
    pub(crate) tally: Arc<Tally>,
    /// Before the folder that it may lie in, which is left alone if there is anything in it.
    pub(crate) history: History,
    pub(crate) private: StagingFolder,
    pub(crate) limits: StageLimits,
    pub(crate) drain_deadline: Duration,
    /// How many quarantined images a slot may have before its reloads are refused.
    pub(crate) quarantine_cap: AtomicUsize,
    /// By slot, the file that was refused last because of that.
    pub(super) deferred: Mutex<BTreeMap<Arc<str>, PathBuf>>,
    pub(crate) policy: Policy,
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
    /// Slots that have nothing yet, each with a file that was refused because of that.
    pub(super) waiting: Mutex<Vec<(String, LoadRequest)>>,
    /// By slot, how large its state was last.
    pub(super) snapshot_sizes: Mutex<BTreeMap<Arc<str>, usize>>,
    pub(super) supervisor: Sender<SupervisorMessage>,
    pub(crate) reload: Sender<ReloadMessage>,
    pub(super) reaper: Sender<ReaperMessage>,
    pub(crate) deferred_work: DeferredWork,
}

impl Inner {
    pub(crate) fn reaper(&self) -> Sender<ReaperMessage> {
        self.reaper.clone()
    }

    /// The slot of this name, made if there is none yet.
    pub(crate) fn slot_record(&self, name: &str) -> Arc<SlotRecord> {
        let mut slots = self.slots.write();
        if let Some(known) = slots.iter().find(|record| &*record.name == name) {
            return known.clone();
        }
        let record = Arc::new(SlotRecord::new(name, slots.len()));
        Arc::make_mut(&mut slots).push(record.clone());
        record
    }

    /// Sets how much a slot's plugin logs, also if there is no such slot yet; none for the host's own. Answers what that comes to.
    pub(crate) fn set_log_level(&self, slot: &str, level: Option<LogLevel>) -> LogLevel {
        self.log_levels.set(slot, level);
        // No lock is held: a subscriber of the plugin's own may be asked what it wants.
        for image in self.tally.with_shadows(Some(slot)) {
            image.resources.set_image_log_level();
        }
        self.log_levels.of(slot)
    }

    /// Sets how much plugins log whose slots have no level of their own; none for what the program says.
    #[cfg(feature = "config")]
    pub(crate) fn set_log_level_of_all(&self, level: Option<LogLevel>) {
        self.log_levels.set_for_all(level);
        for image in self.tally.with_shadows(None) {
            image.resources.set_image_log_level();
        }
    }

    /// Replaces the view by one in which these slots have changed: the place, the slot, what serves. The caller holds the slots'
    /// locks, so that what is published is in the order of what was decided.
    pub(crate) fn publish(&self, changes: Vec<(usize, u64, Option<Arc<Generation>>)>) {
        if changes.is_empty() {
            return;
        }
        let _one_at_a_time = self.publishing.lock();
        let next = Arc::new(self.view.load().with(changes));
        self.view.store(next);
        self.look_number.fetch_add(1, Ordering::Release);
    }

    /// Whether this content serves in a slot, or waits there for the owner.
    pub(crate) fn has(&self, slot: &str, hash: &ContentHash) -> Option<ContentPlace> {
        let record = self.slot_named(slot)?;
        let state = record.lock();
        state.has(record.id, hash)
    }

    /// The name of the plugin with this content, if it serves or waits in some slot.
    pub(crate) fn plugin_with(&self, hash: &ContentHash) -> Option<String> {
        let slots = self.slots.read().clone();
        slots.iter().find_map(|record| record.lock().plugin_with(hash))
    }

    /// The slots into which a file with this plugin is loaded: the one that was asked for; or those that are named for the plugin or the
    /// file, and those that were loaded from this file by [`Host::load_as`](crate::Host::load_as).
    pub(crate) fn slots_for(&self, request: &LoadRequest, plugin: &str) -> Vec<Arc<str>> {
        if let Some(slot) = &request.slot {
            return vec![slot.clone()];
        }
        let mut names = self.instances.of(plugin, &request.path);
        for record in self.slots().iter() {
            if !names.contains(&record.name) && record.lock().follows(&request.path, plugin) {
                names.push(record.name.clone());
            }
        }
        names
    }

    /// The slots that serve from a file.
    pub(crate) fn slots_from(&self, path: &Path) -> Vec<Arc<SlotRecord>> {
        let slots = self.slots.read().clone();
        let serves = |record: &&Arc<SlotRecord>| record.lock().current.as_ref().is_some_and(|current| current.path == path);
        slots.iter().filter(serves).cloned().collect()
    }

    /// Whether a slot was unloaded, and this file lies in the watched folder as it did then.
    pub(crate) fn still_unloaded(&self, slot: &str, path: &Path) -> bool {
        let Some(record) = self.slot_named(slot) else { return false };
        let state = record.lock();
        // What its owner is yet to unload has no list; whatever comes now is newer.
        let waits = state.staged.is_some() || state.together.is_some();
        state.unloaded().is_some_and(|left| !waits && left.files.still_has(path))
    }

    /// Nothing that was refused for a slot is tried again there by itself.
    pub(crate) fn forget_retries(&self, slot: &str) {
        self.given.forget_vetoed(slot);
        self.take_deferred(slot);
        self.waiting
            .lock()
            .retain(|(_, request)| request.slot.as_deref() != Some(slot));
    }

    /// As [`Host::unload`](crate::Host::unload).
    pub(crate) fn unload(&self, slot: &str, force: bool) -> Result<UnloadOutcome, UnloadError> {
        let record = self.known(slot)?;
        safe_point();
        let request = UnloadRequest {
            reason: UnloadReason::Requested,
            force,
        };
        let message = |answer| ReloadMessage::Unload { record, request, answer };
        self.ask_reload_thread(PathBuf::new(), message)
    }

    /// Why a content was refused in a slot before, or, without a slot, wherever it was to go.
    pub(crate) fn was_refused(&self, hash: &ContentHash, slot: Option<&str>) -> Option<Refusal> {
        let refused = self.refused.lock();
        let of = |(known, refusal): &&(ContentHash, Refusal)| {
            let there = slot.is_some_and(|slot| refusal.slot.as_deref() == Some(slot));
            known == hash && (there || refusal.cause.is_of_the_artifact_alone())
        };
        refused.iter().find(of).map(|(_, refusal)| refusal.clone())
    }

    /// What a hook of a candidate refused may fit the generation that serves from now on, so it is worth a new try.
    pub(crate) fn forget_refused_by_hooks(&self, slot: &str) {
        self.refused
            .lock()
            .retain(|(_, refusal)| refusal.slot.as_deref() != Some(slot) || !refusal.cause.is_of_what_serves());
    }

    /// What serves in a slot is no longer refused there, whatever was found wrong with it before.
    pub(crate) fn forget_refused(&self, slot: &str, hash: &ContentHash) {
        self.refused.lock().retain(|(known, refusal)| {
            let there = refusal.slot.as_deref().is_none_or(|of| of == slot);
            known != hash || !(there || refusal.cause.is_of_the_artifact_alone())
        });
    }

    pub(crate) fn remember_refused(&self, hash: ContentHash, refusal: Refusal) {
        let mut refused = self.refused.lock();
        refused.retain(|(known, before)| *known != hash || before.slot != refusal.slot);
        if refused.len() == REFUSED_KEPT {
            refused.pop_front();
        }
        refused.push_back((hash, refusal));
    }

    /// Counts this host among those that threads are called by.
    pub(super) fn register(self: &Arc<Self>) {
        let mut hosts = HOSTS.get().lock();
        hosts.retain(|known| known.strong_count() > 0);
        hosts.push(Arc::downgrade(self));
    }

    /// Asks every thread that has a reader or a claim, or waits for something of this host, to come to a safe point.
    fn request_safe_points(&self) {
        self.look_number.fetch_add(1, Ordering::Release);
        for record in self.slots.read().iter() {
            record.signals.request_safe_point();
        }
        // Without a reload thread the host is going.
        let _ = self.reload.send(ReloadMessage::SafePoint);
        self.hooks.request_safe_points();
        self.log.wake();
        self.tally.wake();
    }

    pub(crate) fn supervisor(&self) -> Sender<SupervisorMessage> {
        self.supervisor.clone()
    }

    /// Tells the supervisor. Without one the host is going.
    pub(crate) fn supervise(&self, message: SupervisorMessage) {
        let supervisor = self.supervisor.clone();
        defer(move || drop(supervisor.send(message)));
    }

    pub(crate) fn slots(&self) -> Arc<Vec<Arc<SlotRecord>>> {
        self.slots.read().clone()
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

    /// By slot, those that what serves in it calls.
    pub(crate) fn uses_of_serving(&self) -> UseGraph {
        let records = self.slots();
        let uses = records.iter().filter_map(|record| {
            let state = record.lock();
            let manifest = &state.current.as_ref()?.generation.instance().image().manifest;
            Some((record.name.clone(), manifest.uses.clone()))
        });
        uses.collect()
    }

    /// Those of these slots that have nothing.
    pub(crate) fn missing(&self, names: &[String]) -> Vec<String> {
        let has = |name: &&String| self.slot_named(name).is_some_and(|record| record.lock().current.is_some());
        names.iter().filter(|name| !has(name)).cloned().collect()
    }

    /// A file that was refused may do when this slot has something.
    pub(crate) fn wait_for_slot(&self, name: &str, request: LoadRequest) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|(known, waits)| known != name || *waits != request);
        waiting.push((name.to_owned(), request));
    }

    /// A slot has something for the first time: those who waited for that are tried again, in their turn.
    pub(crate) fn notify_slot_filled(&self, name: &str) {
        if let Some(record) = self.slot_named(name) {
            // The state that was left there may be large.
            let left = record.lock().emptied.take();
            defer(move || drop(left));
        }
        let mut waiting = self.waiting.lock();
        let (arrived, others) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition(|(known, _)| known == name);
        *waiting = others;
        drop(waiting);
        let arrived: Vec<(String, LoadRequest)> = arrived;
        for (_, request) in arrived {
            let reload = self.reload.clone();
            // Without a reload thread the host is gone.
            defer(move || drop(reload.send(ReloadMessage::Retry(request))));
        }
    }

    /// Something that its refusal was about is another now.
    pub(crate) fn forget_refused_from(&self, request: &LoadRequest) {
        self.refused.lock().retain(|(_, refusal)| {
            let there = request.slot.is_none() || refusal.slot.is_none() || refusal.slot == request.slot;
            refusal.path != request.path || !there
        });
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

    /// How large the slot's state was last, so that the next one needs not grow.
    pub(crate) fn snapshot_size(&self, slot: &str) -> usize {
        self.snapshot_sizes.lock().get(slot).copied().unwrap_or(0)
    }

    pub(crate) fn note_snapshot_size(&self, slot: &Arc<str>, bytes: usize) {
        // With room for what it may have grown by until the next time.
        self.snapshot_sizes.lock().insert(slot.clone(), bytes + bytes / 8);
    }

    /// What can no longer be called, and has nothing to go back to: calls into the slot answer an error.
    pub(crate) fn vacate(&self, record: &SlotRecord, generation: &Arc<Generation>) {
        generation.call_stats().die();
        let mut state = record.lock();
        let current = state.serve(None);
        let probation = state.probation.take();
        // The reason is another one than before, if it was unloaded once.
        state.emptied = None;
        record.vacant.is_unloaded(false);
        state.vacated = Some(generation.number());
        self.publish(vec![(record.index, record.id, None)]);
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
        self.tally.enters(&record.name, generation.number(), Phase::Retired);
        self.watch_retired(record, generation);
    }

    /// Has the reaper name the holders of a replaced generation, if it is held for too long.
    fn watch_retired(&self, record: &SlotRecord, generation: &Arc<Generation>) {
        let (reaper, slot, number) = (self.reaper.clone(), record.name.clone(), generation.number());
        // Without a reaper the process is ending.
        defer(move || drop(reaper.send(ReaperMessage::Retired { slot, number })));
    }

    /// Keeps a file in mind that cannot be loaded as long as the slot has so many quarantined images.
    pub(crate) fn defer(&self, slot: &Arc<str>, path: &Path) {
        self.deferred.lock().insert(slot.clone(), path.to_owned());
    }

    /// The slot has one image less: what was refused for that reason is tried again, in its turn.
    pub(crate) fn retry_deferred(&self, slot: &Arc<str>) {
        if self.given.expedite(slot) {
            self.look_at_given();
        }
        if self.deferred.lock().contains_key(slot) {
            // Without a reload thread the host is gone.
            let _ = self.reload.send(ReloadMessage::Deferred(slot.clone()));
        }
    }

    /// The file that is to be tried again; none any more once something newer has come.
    pub(crate) fn take_deferred(&self, slot: &str) -> Option<PathBuf> {
        self.deferred.lock().remove(slot)
    }

    /// Has the reload thread place what was staged for a claim that is gone.
    pub(crate) fn settle(&self, record: Arc<SlotRecord>) {
        // Without a reload thread the host is gone, and `let_go` has taken what was staged.
        let _ = self.reload.send(ReloadMessage::Settle(record));
    }

    /// The slot of this name, if there is one.
    pub(crate) fn slot_named(&self, name: &str) -> Option<Arc<SlotRecord>> {
        self.slots.read().iter().find(|record| &*record.name == name).cloned()
    }

    /// Why there is nothing to be had under this name. Not to be called with the slot's lock held.
    pub(crate) fn unknown(&self, name: &str) -> SlotError {
        if self.process.is_another() {
            return SlotError::ForkedProcess { name: name.to_owned() };
        }
        let empty = self.slot_named(name).and_then(|record| record.lock().why_empty(name));
        if let Some(why) = empty {
            return why;
        }
        if self.ending.load(Ordering::Acquire) {
            return SlotError::HostEnded { name: name.to_owned() };
        }
        let slots = self.slots.read().clone();
        let known = slots.iter().filter(|record| record.lock().current.is_some());
        let refused = self.refused.lock();
        SlotError::Unknown {
            name: name.to_owned(),
            known: known.map(|record| record.name.to_string()).collect(),
            refusals: refused
                .iter()
                .map(|(_, refusal)| refusal)
                .filter(|refusal| match refusal.slot.as_deref() {
                    Some(slot) => slot == name,
                    // A file that never said its name may have been this one, unless something good came from it since.
                    None => self.slots_from(&refusal.path).is_empty(),
                })
                .cloned()
                .collect(),
        }
    }

    /// How many images are their claims' to let go.
    pub(super) fn claimed(&self) -> usize {
        let slots = self.slots.read().clone();
        let of = |record: &Arc<SlotRecord>| {
            let state = record.lock();
            usize::from(state.mode == Mode::Claimed) + usize::from(state.adopting)
        };
        slots.iter().map(of).sum()
    }

    /// The host goes: it holds nothing any more. Answers what it let go of.
    pub(super) fn let_go(&self) -> Vec<Weak<Generation>> {
        self.log.push(Event::ShutDown);
        let mut let_go = Vec::new();
        for record in self.slots().iter() {
            let mut state = record.lock();
            state.gone = true;
            let (current, staged) = (state.let_go_of_current(), state.staged.take());
            let set = state.together.take();
            let standby = state.probation.take().and_then(|probation| probation.standby);
            let claimed = state.mode == Mode::Claimed;
            record.stage(false);
            record.vacant.host_ended();
            self.publish(vec![(record.index, record.id, None)]);
            drop(state);
            if let Some(current) = &current {
                current.generation.retire();
                if !claimed {
                    self.tally.enters(&record.name, current.generation.number(), Phase::Retired);
                }
                if !claimed {
                    let_go.push(Arc::downgrade(&current.generation));
                }
            }
            if let Some(standby) = &standby {
                standby.current.generation.retire();
                self.tally
                    .enters(&record.name, standby.current.generation.number(), Phase::Retired);
            }
            drop((current, staged, standby, set));
        }
        let_go
    }

    /// Names who still holds what the host has let go of.
    pub(super) fn name_holders(&self, let_go: &[Weak<Generation>]) {
        for generation in let_go.iter().filter_map(Weak::upgrade) {
            self.log.push(Event::DrainTimeout {
                slot: generation.slot().clone(),
                generation: generation.number(),
                holders: self.holders_of(generation.slot(), generation.number()),
            });
        }
    }
}
