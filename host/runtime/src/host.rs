//! The host and its builder: what an embedder holds. The work is done in `reload/` and `slot/`.

mod build_error;
mod builder;
mod claim;
mod examine;
mod going_back;
mod handle;
mod infos;
mod requests;
mod shadow;
mod shutdown;
mod surface;

pub(crate) use crate::deadline::{LONGEST, after};
pub use build_error::BuildError;
pub use builder::HostBuilder;
pub use claim::{AnyClaim, Claim, SyncOutcome};
pub use examine::{Examination, Obstacle, Unnoticed};
pub use going_back::{RollbackError, RollbackTarget};
pub use handle::{Asking, HostEnded, HostHandle, Steering};
pub use shadow::Shadow;
use shutdown::{Patience, Progress};
pub use surface::{Setup, Surface, SurfaceError};

use crate::{
    engines::Engines,
    event::Events,
    instances::LoadRequest,
    policy::Policy,
    reload::{Counts, LoadOutcome, ReloadMessage, SavedState, UnloadOutcome},
    runtime::Runtime,
    slot::{Change, Generation, Mode, Reader, Slot, SlotState, Taken, who_holds},
    watch::{Watch, scan},
};
use reslot_artifact::{
    ContentHash,
    manifest::{Interface as Described, is_name},
};
use reslot_engine::LogLevel;
use reslot_plugin_api::{Health, Interface, Shared};
use reslot_process::{never_dropped, safe_point};
pub use reslot_report::GenerationHolders;
use reslot_report::{Cause, EngineKind, Refusal, SlotError, UnloadError};
use reslot_stage::PrivateCopies;
use std::{
    mem::forget,
    panic::Location,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};
use surface::Surfaces;

/// A host: embedded in a program, it swaps native plugins under it.
///
/// ```
/// use reslot::{Claim, Host, SyncOutcome};
/// use sample_interfaces::Strategy;
/// use std::time::Duration;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?; // loads what lies in the folder
/// let mut strategy = host.claim::<dyn Strategy>("momentum")?;
/// assert_eq!(strategy.summary()?.ticks, 0);
///
/// # let new_build = plugins.new_build("momentum");
/// host.load(new_build)?; // the host does the same when a build is published in the folder
/// assert_eq!(Claim::sync(&mut strategy), SyncOutcome::Adopted { generation: 2 });
///
/// drop(strategy);
/// let report = host.shutdown(Duration::from_secs(10));
/// assert!(report.is_complete(), "{report}"); // nothing of the plugins is mapped any more
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it ends the watch, waits for a reload that is under way, and unloads every generation that nobody holds. For those
/// that a view still holds it waits as long as the drain deadline, names the holders in [`Event::DrainTimeout`], and leaves them: they
/// go when their holders do. So drop a thread's [`Reader`] and what [`Slot::load`] answered before the host. Claims are not waited
/// for: they go on working, and their images go with them. [`shutdown`](Self::shutdown) does the same within a time of your choice, and
/// reports what became of each image.
///
/// # In a forked child
/// A child of `fork` has a copy of the host, but none of its threads. There, dropping the host or anything that came from it does nothing;
/// what can answer an error answers one ([`Cause::ForkedProcess`], [`SlotError::ForkedProcess`]), and what cannot answers that there is
/// nothing. So fork before [`HostBuilder::build`].
///
/// [`Event::DrainTimeout`]: crate::Event::DrainTimeout
pub struct Host {
    inner: Arc<Runtime>,
    watch: Option<Watch>,
    reload: Option<JoinHandle<()>>,
    reaper: Option<JoinHandle<()>>,
    supervisor: Option<JoinHandle<()>>,
    surfaces: Surfaces,
    folder: Option<PathBuf>,
}

impl Host {
    /// A builder with the defaults: no folder, 5 s for draining.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// Makes the caller the one owner of a slot's instance.
    ///
    /// # Errors
    /// If there is no slot of this name, nothing serves in it, it has another interface, or it is claimed or shared already.
    #[track_caller]
    pub fn claim<I: ?Sized + Interface>(&self, name: &str) -> Result<Claim<I>, SlotError> {
        let record = self.inner.slots.serving(name)?;
        safe_point();
        let mut state = record.lock_settled();
        match state.mode() {
            Mode::Claimed => return Err(SlotError::Claimed { name: name.to_owned() }),
            Mode::Open { handles: 0 } => {}
            Mode::Open { handles } => {
                return Err(SlotError::Shared {
                    name: name.to_owned(),
                    handles,
                });
            }
        }
        let (generation, _) = self.bind::<I>(name, &mut state)?;
        let owner = Taken::here(Location::caller());
        self.inner.slots.publish(&record, &mut state, Change::Claimed(owner));
        drop(state);
        Ok(Claim::new(generation, record, self.inner.clone()))
    }

    /// A handle to a slot that many threads call.
    ///
    /// # Errors
    /// If there is no slot of this name, nothing serves in it, it has another interface, or it is claimed.
    pub fn slot<I: ?Sized + Shared>(&self, name: &str) -> Result<Slot<I>, SlotError> {
        let record = self.inner.slots.serving(name)?;
        safe_point();
        let mut state = record.lock_settled();
        if state.is_claimed() {
            return Err(SlotError::Claimed { name: name.to_owned() });
        }
        let (_, since) = self.bind::<I>(name, &mut state)?;
        state.add_handle();
        drop(state);
        Ok(Slot::new(record, self.inner.slots.clone(), since))
    }

    /// A reader; one a thread.
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.slots.clone())
    }

    /// The host's events, from the oldest that is still kept.
    pub fn events(&self) -> Events {
        self.inner.log.stream()
    }

    /// Loads an artifact from a file, in order with those that the watch notices, and waits for what becomes of it. A content
    /// that was refused before is tried again.
    ///
    /// It is for the slot that has its plugin's name, or for each of those that [`HostBuilder::instances`] names.
    ///
    /// # Errors
    /// If it is refused; the slot keeps what it has. If it is for several slots and some of them refuse it, this is the first refusal;
    /// the others move on all the same, and events tell of each.
    pub fn load(&self, path: impl Into<PathBuf>) -> Result<LoadOutcome, Refusal> {
        requests::load(&self.inner.threads, LoadRequest::file(path))
    }

    /// Loads the plugin of this name that is linked into the program ([`HostBuilder::link`]) as [`load`](Self::load) loads a file: a slot that
    /// a file has replaced it in comes back to it, with the state.
    ///
    /// # Errors
    /// If it is refused; the slot keeps what it has. Also if no plugin of this name was linked.
    pub fn load_linked(&self, plugin: &str) -> Result<LoadOutcome, Refusal> {
        let (path, engines) = (Engines::path_of(plugin), &self.inner.engines);
        if !engines.is_linked(&path) {
            let known = engines.linked().map(|linked| linked.name().to_owned()).collect();
            let plugin = plugin.to_owned();
            return Err(Refusal::before_it_was_read(path, Cause::NotLinked { plugin, known }));
        }
        requests::load(&self.inner.threads, LoadRequest::file(path))
    }

    /// Loads an artifact from a file into the slot of this name, whatever its plugin is called: so one plugin can serve in several slots,
    /// each with its own state, configuration, history and log level. Each slot has its own private copy of the image, so statics are not
    /// shared either. `Context::slot` tells an instance where it is.
    ///
    /// If the file lies in the watched folder, the slot follows it from then on: each build of the plugin that is published there
    /// reloads this slot too. To have files taken so by themselves, from the start, see [`HostBuilder::instances`].
    ///
    /// # Errors
    /// If it is refused; the slot keeps what it has. If the slot has a generation, the file must be a version of the same plugin.
    pub fn load_as(&self, slot: &str, path: impl Into<PathBuf>) -> Result<LoadOutcome, Refusal> {
        requests::load(&self.inner.threads, named(slot, path.into())?)
    }

    /// Loads an artifact from a file into a slot in which nothing serves, as [`load_as`](Self::load_as), with the state of a plugin that was
    /// [unloaded](Self::unload): it goes on from there. The state is migrated if need be, as in a reload.
    ///
    /// # Errors
    /// If it is refused: also because something serves in the slot, or because the state is another plugin's or has a schema that this
    /// version does not take ([`Cause::SavedState`]).
    pub fn load_from(&self, slot: &str, path: impl Into<PathBuf>, state: SavedState) -> Result<LoadOutcome, Refusal> {
        requests::load_from(&self.inner.threads, named(slot, path.into())?, state)
    }

    /// Looks at the watched folder again, as at the start, and waits for what becomes of each file: for a signal, or where a file system
    /// tells of nothing. What was refused or gone back from is not tried again. Nothing without a watched folder.
    pub fn rescan(&self) -> Vec<Result<LoadOutcome, Refusal>> {
        let files = self.folder.iter().flat_map(|folder| scan(folder));
        files
            .flat_map(|path| requests::ask_for(&self.inner.threads, LoadRequest::file(path), false))
            .collect()
    }

    /// Loads several artifacts, each for another slot, as one: all of them come to serve, or none. Those that others of them call
    /// (`uses` in `export_plugin!`) get their states and are started first, the others find them there already, and no view shows
    /// some of them new and some old.
    ///
    /// If some of the slots are claimed, the set waits for their owner, who adopts it with [`sync_together`](Self::sync_together), or
    /// with [`Claim::sync`] if it is one claim only. A newer artifact for one of the slots takes the place of the whole set.
    ///
    /// # Errors
    /// If one of them is refused; all slots keep what they have.
    pub fn load_together<P: Into<PathBuf>>(&self, paths: impl IntoIterator<Item = P>) -> Result<Vec<LoadOutcome>, Refusal> {
        let request = paths.into_iter().map(LoadRequest::file).collect();
        requests::load_together(&self.inner.threads, request)
    }

    /// The same with the slot of each artifact, as for [`load_as`](Self::load_as): one artifact may be there for several slots.
    ///
    /// # Errors
    /// If one of them is refused; all slots keep what they have.
    pub fn load_together_as<P: Into<PathBuf>>(
        &self,
        artifacts: impl IntoIterator<Item = (impl AsRef<str>, P)>,
    ) -> Result<Vec<LoadOutcome>, Refusal> {
        let request = artifacts.into_iter().map(|(slot, path)| named(slot.as_ref(), path.into()));
        requests::load_together(&self.inner.threads, request.collect::<Result<_, _>>()?)
    }

    /// The safe point of several claims: each of them does what [`Claim::sync`] does, and a set that was
    /// [loaded together](Self::load_together) for them is adopted for all of them at once, or for none. Answers what each did.
    #[must_use = "each slot says whether its next calls run earlier code (`RolledBack`) or answer errors (`Unloaded`)"]
    pub fn sync_together(&self, claims: &mut [&mut dyn AnyClaim]) -> Vec<SyncOutcome> {
        claim::sync_together(&self.inner, claims)
    }

    /// Unloads the current generation of a slot, without a successor, in order with loads, and answers its state.
    ///
    /// Calls in flight come to their end first, if the plugin has state or is exclusive; then its state is taken, and no call's effect
    /// is lost. From then on calls answer [`Fault::Unloaded`](crate::Fault::Unloaded); a view that is older still reaches a plugin
    /// without state. What stands by, and what waits for `sync`, goes with it. The image goes as every retired one does, when the last
    /// holder lets go: [`wait_until_unmapped`](Self::wait_until_unmapped).
    ///
    /// A claimed slot is unloaded by its owner's next [`Claim::sync`], which answers [`SyncOutcome::Unloaded`]; until then this answers
    /// [`UnloadOutcome::Staged`]. The owner himself has [`Claim::unload`].
    ///
    /// Nothing is loaded into the slot by itself until a build is published anew: not the file that still lies in the watched folder, nor
    /// by [`rescan`](Self::rescan). [`load`](Self::load) loads it by name. Either starts from nothing, [`load_from`](Self::load_from)
    /// from the state. The next host that watches the folder loads what lies there.
    ///
    /// # Errors
    /// If nothing serves there, if the current generation of another slot says that it calls this one (`uses`), or if its state cannot be had: then
    /// it serves on.
    pub fn unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.inner.threads, &self.inner.slots, slot, false)
    }

    /// As [`unload`](Self::unload), also if other plugins call this one, whose calls then answer an error, and if its state cannot be had,
    /// which is then lost. A call that is still inside comes to its end, and keeps the image until then.
    ///
    /// # Errors
    /// If nothing serves there.
    pub fn force_unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.inner.threads, &self.inner.slots, slot, true)
    }

    /// The state that an unloaded plugin left, as long as nothing has come to serve in its slot again: for whoever was not there when it
    /// was unloaded, because its owner did it, or because its file was deleted.
    pub fn left_state(&self, slot: &str) -> Option<SavedState> {
        if self.inner.process.is_another() {
            return None;
        }
        let record = self.inner.slots.named(slot)?;
        let state = record.lock();
        state.unloaded()?.state.clone()
    }

    /// Waits until the image of a generation is proven unmapped. False if that takes longer than `timeout`, or if it is quarantined; true
    /// also if there is no such generation. The calling thread is at a [safe point](crate::safe_point) meanwhile.
    #[must_use = "`false` says that the image is still mapped"]
    pub fn wait_until_unmapped(&self, slot: &str, generation: u64, timeout: Duration) -> bool {
        if self.inner.process.is_another() {
            return false;
        }
        self.inner.images.wait_until_gone(slot, generation, after(timeout))
    }

    /// Waits until everything is done that was asked for before.
    fn flush(&self) {
        let (done, is_done) = mpsc::channel();
        self.inner.threads.tell_reload(ReloadMessage::Flush(done));
        let _ = is_done.recv();
    }

    /// How many images are mapped, and how many of them quarantined.
    pub fn images(&self) -> Counts {
        if self.inner.process.is_another() {
            return Counts::default();
        }
        self.inner.images.counts()
    }

    /// Every slot, with its current generation.
    pub fn slots(&self) -> Vec<SlotInfo> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        infos::all(&self.inner)
    }

    /// Sets how much a slot's plugin logs: of every generation of it that is mapped, at once, and of all that follow. There need
    /// not be such a slot yet. With `None` it is the builder's [`log_level`](HostBuilder::log_level) again, and the process's
    /// subscribers are looked at anew. Answers what that comes to now: [`LogLevel::Off`] without a subscriber.
    ///
    /// What crosses is still the subscriber's to filter, by the plugin's own targets.
    pub fn set_log_level(&self, slot: &str, level: Option<LogLevel>) -> LogLevel {
        if self.inner.process.is_another() {
            return LogLevel::Off;
        }
        self.inner.log_levels.set(&self.inner.images, slot, level)
    }

    /// Every mapped generation of a slot, oldest first, and who keeps it for how long: the slot itself, claims, readers,
    /// threads of the plugin, thread-locals. What [`Slot::load`] answered is among them if the host was built with
    /// [`HostBuilder::track_guards`]. Empty if there is no such slot.
    pub fn who_holds(&self, slot: &str) -> Vec<GenerationHolders> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        let record = self.inner.slots.named(slot);
        record
            .map(|record| who_holds(&self.inner.slots, &self.inner.images, &record))
            .unwrap_or_default()
    }

    /// What runs of a [surface](crate::surface) that was attached to this host, by its type; none if there is none of that type. See
    /// [`HostBuilder::attach`].
    pub fn surface<R: 'static>(&self) -> Option<&R> {
        self.surfaces.get()
    }

    /// The folder of the host's private copies. If somebody removes it, the next reload makes another one, which is told by
    /// [`Event::PrivateFolderRestored`](crate::Event::PrivateFolderRestored).
    pub fn private_folder(&self) -> &Path {
        self.inner.storage.private().path()
    }

    /// What the private copies are: what was asked for, or what the mount of their folder allows.
    pub fn private_copies(&self) -> PrivateCopies {
        self.inner.storage.private().copies()
    }

    /// Waits until only current generations, standbys and candidates that wait for their owners are mapped, quarantined images aside; false
    /// if that takes longer than `timeout`. The calling thread is at a [safe point](crate::safe_point) meanwhile.
    #[must_use = "`false` says that an old generation is still mapped"]
    pub fn wait_until_retired(&self, timeout: Duration) -> bool {
        if self.inner.process.is_another() {
            return false;
        }
        let records = self.inner.slots.all();
        let serving = records.iter().map(|record| {
            let state = record.lock();
            usize::from(state.current().is_some())
                + usize::from(state.staged.is_some())
                + usize::from(state.staged_set.is_some())
        });
        let serving = serving.sum();
        self.inner.images.wait_for(serving, after(timeout))
    }

    /// Adds the interface to the slot's contracts. Answers the current generation, and the number of the view from which on the slot's generations
    /// have the interface.
    fn bind<I: ?Sized + Interface>(&self, name: &str, state: &mut SlotState) -> Result<(Arc<Generation>, u64), SlotError> {
        let Some(current) = state.serving().cloned() else {
            return Err(state.why_empty(name).unwrap_or_else(|| SlotError::Unknown {
                name: name.to_owned(),
                known: Vec::new(),
                refusals: Vec::new(),
                folder: self.inner.slots.watched_folder(),
            }));
        };
        let view = self.inner.slots.view().load().number();
        let since = state
            .bind(Described::from(I::DESCRIPTION), view)
            .map_err(|differences| SlotError::Interface {
                name: name.to_owned(),
                differences,
            })?;
        Ok((current, since))
    }
}

/// A file for the slot of this name.
fn named(slot: &str, path: PathBuf) -> Result<LoadRequest, Refusal> {
    match is_name(slot) {
        true => Ok(LoadRequest::of_slot(path, &slot.into())),
        false => Err(Refusal::before_it_was_read(path, Cause::SlotName(slot.to_owned()))),
    }
}

/// The longest time that all hooks of one rollback may take: stop, migrate, restore, init, start, and one more.
fn after_all_hooks(policy: &Policy) -> Duration {
    policy.hook_deadline.min(LONGEST / 8) * 6
}

impl Drop for Host {
    fn drop(&mut self) {
        // A forked child: everything is the parent's, who goes on with it.
        if self.inner.process.is_another() {
            never_dropped(&self.inner);
            forget(self.watch.take());
            forget((self.reload.take(), self.reaper.take(), self.supervisor.take()));
            self.surfaces.forget();
            return;
        }
        self.end(Patience::DrainDeadline, &Progress::new(&self.inner.images));
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

/// A slot at one moment.
///
/// ```
/// # use reslot::Host;
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// for slot in host.slots() {
///     assert_eq!((slot.generation, slot.claimed), (Some(1), false));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotInfo {
    /// Its name.
    pub name: String,
    /// The name of the plugin that serves, which may serve in other slots as well.
    pub plugin: Option<String>,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The name of the interface of the current generation.
    pub interface: Option<String>,
    /// The version of the current generation, as its package has it.
    pub version: Option<String>,
    /// The hash of the artifact that serves: which of [`Host::history`]'s versions it is.
    pub hash: Option<ContentHash>,
    /// The file that it came from; none if its plugin is linked into the program.
    pub path: Option<PathBuf>,
    /// The engine that runs the code of what serves: whether it came from a file, or is linked into the program.
    pub engine: Option<EngineKind>,
    /// The number of the newest generation that was made for the slot, whether it came to serve or not; none if there was none.
    pub newest: Option<u64>,
    /// Whether nothing serves because the slot was unloaded.
    pub unloaded: bool,
    /// If the slot was unloaded, the file that it was loaded from.
    pub unloaded_from: Option<PathBuf>,
    /// A candidate that waits for the owner's `sync`.
    pub staged: Option<u64>,
    /// The generation that served before, and stands by until this one has proved itself.
    pub standby: Option<u64>,
    /// Whether the current generation has yet to prove itself.
    pub on_probation: bool,
    /// What it answered when it was last asked for its health; none if it has not been asked yet.
    pub health: Option<Health>,
    /// Whether it has an owner.
    pub claimed: bool,
    /// How many bytes the generation that serves has allocated at this moment; none if nothing serves, or if its plugin counts
    /// none (`allocator = own`).
    pub live_bytes: Option<u64>,
    /// How many calls have come to a plugin in it since the host began, whichever generations they were of; none if they are not
    /// counted. It never falls. See [`HostBuilder::count_calls`].
    pub calls: Option<u64>,
    /// How many calls into it have answered an error since the host began, whichever generations they were of; those that
    /// came to no plugin, because nothing served or a state was being handed over, are among them. It never falls.
    pub faults: u64,
    /// How much its plugin logs, if that is the slot's own affair: [`Host::set_log_level`].
    pub log_level: Option<LogLevel>,
    /// How many images of its generations are mapped.
    pub mapped: usize,
    /// Of them, those that were replaced and are still held by somebody: [`Host::who_holds`].
    pub retired: usize,
    /// Of them, those that cannot be unloaded.
    pub quarantined: usize,
}
