//! Floor 5: the host and its builder. What an embedder holds; the work is done on the floors below.

use crate::{
    error::{BuildError, Cause, Refusal, SlotError},
    event::{Event, Events, Log},
    image::{
        manifest::Interface as Described,
        stage::{StageLimits, StagingFolder, sweep},
    },
    reload::{self, Counts, LoadOutcome, Reaper, ReaperMessage, ReloadMessage, Tally},
    slot::{Claim, Generation, Mode, Reader, ReaderRecord, Slot, SlotRecord, SlotState, View},
    watch::{Watch, WatchOptions, scan},
};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use reslot_plugin_api::{Interface, Shared};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How many refused contents are remembered.
const REFUSED_KEPT: usize = 64;

/// How a host is built.
#[derive(Debug, Clone)]
pub struct HostBuilder {
    folder: Option<PathBuf>,
    watch: WatchOptions,
    private: PathBuf,
    drain_deadline: Duration,
    limits: StageLimits,
}

impl HostBuilder {
    /// Watches a folder for artifacts, and loads what is there. The folder may come later.
    #[must_use]
    pub fn watch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// How long a file that was not renamed into place must be quiet before it is taken. Default: 5 ms. One that was renamed
    /// into place, as `cargo xtask build-plugin` does, is taken at once.
    #[must_use]
    pub fn debounce(mut self, quiet: Duration) -> Self {
        self.watch.debounce = quiet;
        self
    }

    /// Looks at the folder in this interval instead of asking the system for events: for network mounts, and containers that
    /// get none.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.watch.polling = Some(interval);
        self
    }

    /// Where the host makes the private folder for its copies. Default: the system's folder for temporary files. It must
    /// allow execution.
    #[must_use]
    pub fn private_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.private = base.into();
        self
    }

    /// How long a retired generation may be held before its holders are named, how long the threads of a stopped plugin may
    /// take to end before its image is quarantined, and how long calls may take to leave a plugin whose state is handed over
    /// before the candidate is refused. Default: 5 s.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Starts the host. What is in the watched folder already is loaded before this returns; what of it is refused is told
    /// by [`Host::events`] and by [`Host::claim`] and [`Host::slot`], and is no error here.
    ///
    /// # Errors
    /// If the private folder cannot be made, the folder cannot be watched, or a thread cannot be started.
    pub fn build(self) -> Result<Host, BuildError> {
        // A leftover that cannot be removed is no reason not to start.
        if let Err(error) = sweep(&self.private) {
            tracing::warn!(%error, "leftovers of earlier hosts could not be looked for");
        }
        let log = Log::new();
        let tally = Tally::new();
        let (reload_sender, reload_receiver) = mpsc::channel();
        let (reaper_sender, reaper_receiver) = mpsc::channel();
        let inner = Arc::new(Inner {
            view: Arc::new(ArcSwap::from_pointee(View::empty())),
            view_number: AtomicU64::new(1),
            no_view: Arc::new(View::empty()),
            publishing: Mutex::new(()),
            slots: RwLock::default(),
            readers: Mutex::default(),
            refused: Mutex::default(),
            log: log.clone(),
            tally: tally.clone(),
            private: StagingFolder::create(&self.private)?,
            limits: self.limits,
            drain_deadline: self.drain_deadline,
            reload: reload_sender.clone(),
            reaper: reaper_sender.clone(),
        });
        let reaper = Reaper {
            log,
            tally,
            drain_deadline: self.drain_deadline,
            thread_deadline: self.drain_deadline,
            retired: Vec::new(),
            quarantine: Vec::new(),
        };
        let reaper = spawn("reslot-reaper", move || reaper.run(&reaper_receiver))?;
        let working = inner.clone();
        let reload = spawn("reslot-reload", move || reload::run(&working, &reload_receiver))?;
        let mut host = Host {
            inner,
            watch: None,
            reload: Some(reload),
            reaper: Some(reaper),
        };
        if let Some(folder) = self.folder {
            // First the watch, then the look: what changes in between is seen by both and skipped once.
            host.watch = Some(Watch::start(folder.clone(), self.watch, move |notice| {
                // The host is going; nothing is noticed any more.
                let _ = reload_sender.send(ReloadMessage::Noticed(notice));
            })?);
            for path in scan(&folder) {
                let _ = host.load(path);
            }
        }
        Ok(host)
    }
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BuildError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|source| BuildError::Thread { name, source })
}

/// A host: embedded in a program, it swaps native plugins under it.
///
/// ```no_run
/// # use reslot::Host;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::builder().watch("target/reslot/plugins").build()?;
/// for record in host.events() {
///     println!("{:?}", record.event);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it ends the watch and the reloads, and unloads every generation that nobody holds; those that are still held go
/// when their holders do. It waits for that only as long as the drain deadline.
pub struct Host {
    inner: Arc<Inner>,
    watch: Option<Watch>,
    reload: Option<JoinHandle<()>>,
    reaper: Option<JoinHandle<()>>,
}

impl Host {
    /// A builder with the defaults: no folder, 5 s for draining.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            folder: None,
            watch: WatchOptions::default(),
            private: std::env::temp_dir(),
            drain_deadline: Duration::from_secs(5),
            limits: StageLimits::default(),
        }
    }

    /// Makes the caller the one owner of a slot's instance.
    ///
    /// # Errors
    /// If there is no slot of this name, it has another interface, or it is claimed or shared already.
    pub fn claim<I: ?Sized + Interface>(&self, name: &str) -> Result<Claim<I>, SlotError> {
        let record = self.known(name)?;
        let mut state = record.lock_settled();
        match state.mode {
            Mode::Claimed => return Err(SlotError::Claimed { name: name.to_owned() }),
            Mode::Open { handles: 0 } => {}
            Mode::Open { handles } => {
                return Err(SlotError::Shared {
                    name: name.to_owned(),
                    handles,
                });
            }
        }
        let generation = self.bind::<I>(name, &mut state)?;
        state.mode = Mode::Claimed;
        // A claimed instance is its owner's alone: it leaves the view.
        self.inner.publish(record.index, record.id, None);
        drop(state);
        Ok(Claim::new(generation, record, self.inner.clone()))
    }

    /// A handle to a slot that many threads call.
    ///
    /// # Errors
    /// If there is no slot of this name, it has another interface, or it is claimed.
    pub fn slot<I: ?Sized + Shared>(&self, name: &str) -> Result<Slot<I>, SlotError> {
        let record = self.known(name)?;
        let mut state = record.lock_settled();
        if state.mode == Mode::Claimed {
            return Err(SlotError::Claimed { name: name.to_owned() });
        }
        self.bind::<I>(name, &mut state)?;
        if let Mode::Open { handles } = &mut state.mode {
            *handles += 1;
        }
        drop(state);
        Ok(Slot::new(record, self.inner.clone()))
    }

    /// A reader; one a thread.
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.clone())
    }

    /// The host's events, from the oldest that is still kept.
    pub fn events(&self) -> Events {
        self.inner.log.stream()
    }

    /// Loads an artifact from a file, in order with those that the watch notices, and waits for what becomes of it. A content
    /// that was refused before is tried again.
    ///
    /// # Errors
    /// If it is refused; the slot keeps what it has.
    pub fn load(&self, path: impl Into<PathBuf>) -> Result<LoadOutcome, Refusal> {
        let (answer, outcome) = mpsc::channel();
        let path = path.into();
        let sent = self.inner.reload.send(ReloadMessage::Load { path, answer });
        match sent.ok().and_then(|()| outcome.recv().ok()) {
            Some(outcome) => outcome,
            None => unreachable!("the reload thread lives as long as its host"),
        }
    }

    /// How many images are mapped, and how many of them quarantined.
    pub fn images(&self) -> Counts {
        self.inner.tally.counts()
    }

    /// Every slot, with what serves in it.
    pub fn slots(&self) -> Vec<SlotInfo> {
        let records = self.inner.slots.read().clone();
        records
            .iter()
            .map(|record| {
                let state = record.lock();
                SlotInfo {
                    name: record.name.to_string(),
                    generation: state.current.as_ref().map(|current| current.generation.number()),
                    path: state.current.as_ref().map(|current| current.path.clone()),
                    staged: state.staged.as_ref().map(|staged| staged.generation.number()),
                    claimed: state.mode == Mode::Claimed,
                }
            })
            .collect()
    }

    /// The folder of the host's private copies.
    pub fn private_folder(&self) -> &Path {
        self.inner.private.path()
    }

    /// Waits until nothing but what serves (or waits for its owner) is mapped, quarantined images aside; false if that takes
    /// longer than `timeout`.
    pub fn wait_until_retired(&self, timeout: Duration) -> bool {
        let records = self.inner.slots.read().clone();
        let serving = records.iter().map(|record| {
            let state = record.lock();
            usize::from(state.current.is_some()) + usize::from(state.staged.is_some())
        });
        let serving = serving.sum();
        self.inner.tally.wait_for(serving, Instant::now() + timeout)
    }

    fn known(&self, name: &str) -> Result<Arc<SlotRecord>, SlotError> {
        let record = self.inner.slots.read().iter().find(|record| &*record.name == name).cloned();
        record
            .filter(|record| record.lock().current.is_some())
            .ok_or_else(|| self.inner.unknown(name))
    }

    fn bind<I: ?Sized + Interface>(&self, name: &str, state: &mut SlotState) -> Result<Arc<Generation>, SlotError> {
        state
            .bind(Described::from(I::DESCRIPTION))
            .map_err(|differences| SlotError::Interface {
                name: name.to_owned(),
                differences,
            })?;
        match &state.current {
            Some(current) => Ok(current.generation.clone()),
            None => Err(self.inner.unknown(name)),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.watch = None;
        let _ = self.inner.reload.send(ReloadMessage::End);
        if let Some(reload) = self.reload.take() {
            let _ = reload.join();
        }
        self.inner.let_go();
        let deadline = Instant::now() + self.inner.drain_deadline;
        let gone = self.inner.tally.wait_for(self.inner.claimed(), deadline);
        let _ = self.inner.reaper.send(ReaperMessage::End);
        // With claims or views out, the reaper goes on by itself until the last of them has let go.
        if let Some(reaper) = self.reaper.take()
            && gone
            && self.inner.claimed() == 0
        {
            let _ = reaper.join();
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

/// A slot at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotInfo {
    /// Its name.
    pub name: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The file that it came from.
    pub path: Option<PathBuf>,
    /// A candidate that waits for the owner's `sync`.
    pub staged: Option<u64>,
    /// Whether it has an owner.
    pub claimed: bool,
}

/// What the host's parts share.
pub(crate) struct Inner {
    pub(crate) view: Arc<ArcSwap<View>>,
    /// The current view's number, raised after the view was stored.
    pub(crate) view_number: AtomicU64,
    /// What a reader that has let go holds instead of a view.
    pub(crate) no_view: Arc<View>,
    publishing: Mutex<()>,
    slots: RwLock<Vec<Arc<SlotRecord>>>,
    readers: Mutex<Vec<Weak<ReaderRecord>>>,
    refused: Mutex<VecDeque<(blake3::Hash, Refusal)>>,
    pub(crate) log: Log,
    pub(crate) tally: Arc<Tally>,
    pub(crate) private: StagingFolder,
    pub(crate) limits: StageLimits,
    pub(crate) drain_deadline: Duration,
    reload: Sender<ReloadMessage>,
    reaper: Sender<ReaperMessage>,
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
        slots.push(record.clone());
        record
    }

    /// Replaces the view by one in which one slot has changed. The caller holds the slot's lock, so that what is published
    /// is in the order of what was decided.
    pub(crate) fn publish(&self, index: usize, slot: u64, generation: Option<Arc<Generation>>) {
        let _one_at_a_time = self.publishing.lock();
        let next = Arc::new(self.view.load().with(index, slot, generation));
        let number = next.number();
        self.view.store(next);
        self.view_number.store(number, Ordering::Release);
    }

    /// The slot that serves this content already.
    pub(crate) fn serving(&self, hash: &blake3::Hash) -> Option<(Arc<str>, u64)> {
        let slots = self.slots.read().clone();
        slots.iter().find_map(|record| {
            let state = record.lock();
            let staged = state.staged.as_ref().map(|staged| (staged.hash, staged.generation.number()));
            // A staged candidate is what will serve, so what serves now is no longer the answer.
            let (known, number) = match staged {
                Some(staged) => staged,
                None => state
                    .current
                    .as_ref()
                    .map(|current| (current.hash, current.generation.number()))?,
            };
            (known == *hash).then(|| (record.name.clone(), number))
        })
    }

    /// The slot that a file serves.
    pub(crate) fn slot_from(&self, path: &Path) -> Option<Arc<SlotRecord>> {
        let slots = self.slots.read().clone();
        let serves = |record: &SlotRecord| record.lock().current.as_ref().is_some_and(|current| current.path == path);
        slots.into_iter().find(|record| serves(record))
    }

    pub(crate) fn was_refused(&self, hash: &blake3::Hash) -> Option<Refusal> {
        let refused = self.refused.lock();
        refused
            .iter()
            .find(|(known, _)| known == hash)
            .map(|(_, refusal)| refusal.clone())
    }

    /// What a hook of a candidate refused may fit the generation that serves from now on, so it is worth a new try.
    pub(crate) fn forget_refused_by_hooks(&self, slot: &str) {
        let by_hook = |refusal: &Refusal| matches!(&*refusal.cause, Cause::Hook(..));
        self.refused
            .lock()
            .retain(|(_, refusal)| refusal.slot.as_deref() != Some(slot) || !by_hook(refusal));
    }

    pub(crate) fn remember_refused(&self, hash: blake3::Hash, refusal: Refusal) {
        let mut refused = self.refused.lock();
        refused.retain(|(known, _)| *known != hash);
        if refused.len() == REFUSED_KEPT {
            refused.pop_front();
        }
        refused.push_back((hash, refusal));
    }

    pub(crate) fn enlist_reader(&self, reader: &Arc<ReaderRecord>) {
        let mut readers = self.readers.lock();
        readers.retain(|known| known.strong_count() > 0);
        readers.push(Arc::downgrade(reader));
    }

    /// Has the reaper name the holders of a replaced generation, if it is held for too long.
    pub(crate) fn watch_retired(self: &Arc<Self>, record: &SlotRecord, generation: &Arc<Generation>) {
        let view = self.view_number.load(Ordering::Acquire);
        let inner = Arc::downgrade(self);
        let message = ReaperMessage::Retired {
            slot: record.name.clone(),
            number: generation.number(),
            holders: Box::new(move || {
                inner
                    .upgrade()
                    .map(|inner| inner.holders_older_than(view))
                    .unwrap_or_default()
            }),
        };
        // Without a reaper the process is ending.
        let _ = self.reaper.send(message);
    }

    fn holders_older_than(&self, view: u64) -> Vec<String> {
        let readers: Vec<_> = self.readers.lock().iter().filter_map(Weak::upgrade).collect();
        let mut names: Vec<String> = readers
            .iter()
            .filter_map(|reader| reader.holds_older_than(view))
            .map(|thread| format!("the reader of thread {thread:?}"))
            .collect();
        if names.is_empty() {
            names.push("what `slot.load()` answered, or a borrow of it, kept by somebody".to_owned());
        }
        names
    }

    /// Has the reload thread place what was staged for a claim that is gone.
    pub(crate) fn settle(&self, record: Arc<SlotRecord>) {
        // Without a reload thread the host is gone, and `let_go` has taken what was staged.
        let _ = self.reload.send(ReloadMessage::Settle(record));
    }

    fn unknown(&self, name: &str) -> SlotError {
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
                    None => self.slot_from(&refusal.path).is_none(),
                })
                .cloned()
                .collect(),
        }
    }

    /// How many images are their claims' to let go.
    fn claimed(&self) -> usize {
        let slots = self.slots.read().clone();
        slots.iter().filter(|record| record.lock().mode == Mode::Claimed).count()
    }

    /// The host goes: it holds nothing any more.
    fn let_go(&self) {
        self.log.push(Event::ShutDown);
        let slots = self.slots.read().clone();
        for record in slots {
            let mut state = record.lock();
            let (current, staged) = (state.current.take(), state.staged.take());
            record.has_staged.store(false, Ordering::Relaxed);
            self.publish(record.index, record.id, None);
            drop(state);
            if let Some(current) = &current {
                current.generation.retire();
            }
            drop((current, staged));
        }
    }
}
