//! The host and its builder: the embedder's interface. `reload/` and `slot/` do the work.

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
    scrub,
    slot::{Acquisition, Change, Generation, Mode, Reader, Slot, SlotState, who_holds},
    watch::{Watch, scan},
};
use reslot_artifact::{
    ContentHash,
    manifest::{Interface as Described, is_name},
};
use reslot_engine::LogLevel;
use reslot_plugin_api::{Health, Interface, Shared};
pub use reslot_report::GenerationHolders;
use reslot_report::{Cause, EngineKind, ImageReport, Refusal, SlotError, UnloadError};
use reslot_stage::PrivateCopies;
use reslot_sync::{mpsc, thread::JoinHandle};
use reslot_system::{never_dropped, safe_point};
use std::{
    mem::forget,
    panic::Location,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use surface::Surfaces;

/// A host: it loads native plugins into a program, and replaces them while the program runs.
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
/// Dropping the host ends the watch, waits for a running reload, and unloads each generation that has no holder. For
/// generations that a view still holds, it waits until the drain deadline, names the holders in [`Event::DrainTimeout`], and
/// leaves the images mapped: they are unloaded when the last holder releases them. So drop each thread's [`Reader`] and each
/// [`SlotGuard`](crate::SlotGuard) before the host. The drop does not wait for claims: they keep working, and their images
/// are unloaded with them. [`shutdown`](Self::shutdown) does the same within a time of your choice, and reports the end of
/// each image.
///
/// # In a forked child
/// A child of `fork` has a copy of the host, but none of its threads. There, dropping the host or any of its handles does
/// nothing. A function that can return an error returns [`Cause::ForkedProcess`] or [`SlotError::ForkedProcess`]; any other
/// returns an empty result. So fork before [`HostBuilder::build`].
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

    /// Makes the caller the only owner of a slot's instance.
    ///
    /// # Errors
    /// If no slot has this name, or if the slot is empty, has another interface, or is claimed or shared already.
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
        let owner = Acquisition::here(Location::caller());
        self.inner.slots.publish(&record, &mut state, Change::Claimed(owner));
        drop(state);
        Ok(Claim::new(generation, record, self.inner.clone()))
    }

    /// A handle to a slot that many threads call.
    ///
    /// # Errors
    /// If no slot has this name, or if the slot is empty, has another interface, or is claimed.
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

    /// A reader. Each thread needs its own.
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.slots.clone())
    }

    /// The host's events, from the oldest that is still kept.
    pub fn events(&self) -> Events {
        self.inner.log.stream()
    }

    /// Loads an artifact from a file, in order with the files that the watch finds, and waits for the outcome. It tries a
    /// content again even if it was refused before.
    ///
    /// The artifact is loaded into the slot with its plugin's name, or into each slot that [`HostBuilder::instances`] names.
    ///
    /// # Errors
    /// If the artifact is refused; the slot keeps its current generation. If it is for several slots and some of them refuse
    /// it, this is the first refusal; the other slots are swapped, and events report each outcome.
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

    /// Loads an artifact from a file into the slot of this name, also if its plugin has another name: so one plugin can serve in several slots,
    /// each with its own state, configuration, history and log level. Each slot has its own private copy of the image, so statics are not
    /// shared either. `Context::slot` tells an instance where it is.
    ///
    /// If the file is in the watched folder, the slot follows it from then on: each build of the plugin that is published
    /// there reloads this slot too. For several slots from the start, see [`HostBuilder::instances`].
    ///
    /// # Errors
    /// If it is refused; the slot keeps what it has. If the slot has a generation, the file must be a version of the same plugin.
    pub fn load_as(&self, slot: &str, path: impl Into<PathBuf>) -> Result<LoadOutcome, Refusal> {
        requests::load(&self.inner.threads, named(slot, path.into())?)
    }

    /// Loads an artifact from a file into an empty slot, as [`load_as`](Self::load_as) does, with the state of a plugin that
    /// was [unloaded](Self::unload). The state is migrated if necessary, as in a reload.
    ///
    /// # Errors
    /// If the artifact is refused: also because the slot is not empty, or because the state belongs to another plugin or has
    /// a schema that this version does not accept ([`Cause::SavedState`]).
    pub fn load_from(&self, slot: &str, path: impl Into<PathBuf>, state: SavedState) -> Result<LoadOutcome, Refusal> {
        requests::load_from(&self.inner.threads, named(slot, path.into())?, state)
    }

    /// Scans the watched folder again, as at the start, and waits for the outcome of each file. Use it after a signal, or on
    /// a file system without events. A version that was refused or rolled back is not tried again. Without a watched folder
    /// it does nothing.
    pub fn rescan(&self) -> Vec<Result<LoadOutcome, Refusal>> {
        let files = self.folder.iter().flat_map(|folder| scan(folder));
        files
            .flat_map(|path| requests::ask_for(&self.inner.threads, LoadRequest::file(path), false))
            .collect()
    }

    /// Loads several artifacts, each for another slot, as one group: either all of them are published, or none. Plugins that
    /// others of the group call (`uses` in `export_plugin!`) get their states and are started first, so that their callers
    /// find them ready. No view shows some of them new and some old.
    ///
    /// If some of the slots are claimed, the group waits for their owner, who adopts it with
    /// [`sync_together`](Self::sync_together), or with [`Claim::sync`] if it contains only one claim. A newer artifact for
    /// one of the slots replaces the whole group.
    ///
    /// # Errors
    /// If one of them is refused; all slots keep their current generations.
    pub fn load_together<P: Into<PathBuf>>(&self, paths: impl IntoIterator<Item = P>) -> Result<Vec<LoadOutcome>, Refusal> {
        let request = paths.into_iter().map(LoadRequest::file).collect();
        requests::load_together(&self.inner.threads, request)
    }

    /// The same with an explicit slot for each artifact, as for [`load_as`](Self::load_as): one artifact may be loaded into
    /// several slots.
    ///
    /// # Errors
    /// If one of them is refused; all slots keep their current generations.
    pub fn load_together_as<P: Into<PathBuf>>(
        &self,
        artifacts: impl IntoIterator<Item = (impl AsRef<str>, P)>,
    ) -> Result<Vec<LoadOutcome>, Refusal> {
        let request = artifacts.into_iter().map(|(slot, path)| named(slot.as_ref(), path.into()));
        requests::load_together(&self.inner.threads, request.collect::<Result<_, _>>()?)
    }

    /// The safe point of several claims: each of them does what [`Claim::sync`] does, and a group that was [loaded
    /// together](Self::load_together) for them is adopted for all of them at once, or for none. Returns the outcome of each
    /// claim.
    #[must_use = "each slot says whether its next calls run earlier code (`RolledBack`) or answer errors (`Unloaded`)"]
    pub fn sync_together(&self, claims: &mut [&mut dyn AnyClaim]) -> Vec<SyncOutcome> {
        claim::sync_together(&self.inner, claims)
    }

    /// Unloads the current generation of a slot, without a successor, in order with loads, and answers its state.
    ///
    /// If the plugin has state or is exclusive, the host first waits for running calls and then takes the state, so that no
    /// call's effect is lost. From then on calls return [`Fault::Unloaded`](crate::Fault::Unloaded); an older view still
    /// reaches a plugin without state. The standby, and a candidate that waits for `sync`, are unloaded too. Each image is
    /// unmapped when its last holder releases it: [`wait_until_unmapped`](Self::wait_until_unmapped).
    ///
    /// For a claimed slot this returns [`UnloadOutcome::Staged`], and the owner's next [`Claim::sync`] unloads it and
    /// returns [`SyncOutcome::Unloaded`]. The owner can use [`Claim::unload`].
    ///
    /// The slot stays empty until a new build is published: neither the old file in the watched folder nor
    /// [`rescan`](Self::rescan) fills it. [`load`](Self::load) loads a file explicitly. Both start with a new state;
    /// [`load_from`](Self::load_from) starts with the saved one. The next host that watches the folder loads the file there.
    ///
    /// # Errors
    /// If nothing serves there, if the current generation of another slot says that it calls this one (`uses`), or if its state cannot be had: then
    /// it stays current.
    pub fn unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.inner.threads, &self.inner.slots, slot, false)
    }

    /// Unloads as [`unload`](Self::unload) does, but even if other plugins call this one (their calls then return an error),
    /// and even if its state cannot be taken (it is then lost). A running call continues to its end, and keeps the image
    /// mapped until then.
    ///
    /// # Errors
    /// If the slot is empty.
    pub fn force_unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.inner.threads, &self.inner.slots, slot, true)
    }

    /// The saved state of an unloaded plugin, as long as its slot stays empty. Use it if the unload happened elsewhere: by
    /// the owner, or because the file was deleted.
    pub fn left_state(&self, slot: &str) -> Option<SavedState> {
        if self.inner.process.is_another() {
            return None;
        }
        let record = self.inner.slots.named(slot)?;
        let state = record.lock();
        state.unloaded()?.state.clone()
    }

    /// Waits until the image of a generation is proven unmapped. Returns false if that takes longer than `timeout`, or if
    /// the image is quarantined; true also if the generation does not exist. The calling thread is at a [safe
    /// point](crate::safe_point) meanwhile.
    #[must_use = "`false` says that the image is still mapped"]
    pub fn wait_until_unmapped(&self, slot: &str, generation: u64, timeout: Duration) -> bool {
        if self.inner.process.is_another() {
            return false;
        }
        self.inner.images.wait_until_gone(slot, generation, after(timeout))
    }

    /// What the watch does when it has noticed a file. Only in a build for exploration, which has no watch.
    #[cfg(reslot_explore)]
    #[doc(hidden)]
    pub fn notice(&self, path: PathBuf) {
        self.inner
            .threads
            .send_to_reload(ReloadMessage::Noticed(crate::watch::Notice::Artifact {
                path,
                complete: true,
                at: reslot_sync::Instant::now(),
            }));
    }

    /// What the watch does when a file is gone.
    #[cfg(reslot_explore)]
    #[doc(hidden)]
    pub fn notice_deleted(&self, path: PathBuf) {
        let at = reslot_sync::Instant::now();
        let notice = crate::watch::Notice::Deleted { path, at };
        self.inner.threads.send_to_reload(ReloadMessage::Noticed(notice));
    }

    /// Waits until all earlier requests are done.
    fn flush(&self) {
        let (done, is_done) = mpsc::channel();
        self.inner.threads.send_to_reload(ReloadMessage::Flush(done));
        let _ = is_done.recv();
    }

    /// The number of mapped images, and of quarantined ones among them.
    pub fn images(&self) -> Counts {
        if self.inner.process.is_another() {
            return Counts::default();
        }
        self.inner.images.counts()
    }

    /// Compares the read-only memory of each mapped image with its artifact: code, constants, and constants that contain addresses. It answers
    /// one report for each image, and waits for the comparison, which is done in short steps, mostly while a processor is idle, and disturbs no
    /// caller. On a machine that is never idle the call takes up to fifty times as long as on an idle one. It also waits for a comparison that
    /// runs already, and returns when the host ends. The host does the same by itself if the policy says so ([`Policy::scrub_every`]).
    ///
    /// What differs is also reported as [`Event::ImageDamaged`](crate::Event::ImageDamaged), and then the host does what the policy says
    /// ([`Policy::on_damaged_image`]); this function does not wait for that. A tool that writes into the code of a running program, such as a debugger's
    /// breakpoint, is a difference, too.
    ///
    /// Each image is compared with checksums of the bytes that the lint accepted, not with the file: the image and its file may share the page in which a
    /// bit has flipped. Not compared are writable data, the heap, plugins that are linked into the program
    /// ([`Comparison::NotApplicable`](crate::Comparison::NotApplicable)), and libraries without the SDK.
    ///
    /// An image that could not be compared has [`Comparison::Failed`](crate::Comparison::Failed) with the reason; with the end of the host, or of
    /// the image, it is [`Comparison::Ended`](crate::Comparison::Ended).
    ///
    /// Empty in a forked child, and when an observer of events calls it on the thread that reports a difference.
    pub fn verify_images(&self) -> Vec<ImageReport> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        scrub::verify(&self.inner)
    }

    /// Every slot, with its current generation.
    pub fn slots(&self) -> Vec<SlotInfo> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        infos::all(&self.inner)
    }

    /// Sets the log level of a slot's plugin, at once for each mapped generation and for all later ones. The slot need not
    /// exist yet. `None` restores the builder's [`log_level`](HostBuilder::log_level), and reads the maximum level of the
    /// process's subscribers again. Returns the resulting level: [`LogLevel::Off`] without a subscriber.
    ///
    /// The subscriber can still filter the records, by the plugin's own targets.
    pub fn set_log_level(&self, slot: &str, level: Option<LogLevel>) -> LogLevel {
        if self.inner.process.is_another() {
            return LogLevel::Off;
        }
        self.inner.log_levels.set(&self.inner.images, slot, level)
    }

    /// All mapped generations of a slot, oldest first, with their holders and the time since when each holds: the slot
    /// itself, claims, readers, threads of the plugin, thread-locals. The list includes [`SlotGuard`](crate::SlotGuard)s if
    /// the host was built with [`HostBuilder::track_guards`]. Empty if the slot does not exist.
    pub fn who_holds(&self, slot: &str) -> Vec<GenerationHolders> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        let record = self.inner.slots.named(slot);
        record
            .map(|record| who_holds(&self.inner.slots, &self.inner.images, &record))
            .unwrap_or_default()
    }

    /// The running part of an attached [surface](crate::surface), by its type; none if no such surface is attached. See
    /// [`HostBuilder::attach`].
    pub fn surface<R: 'static>(&self) -> Option<&R> {
        self.surfaces.get()
    }

    /// The folder of the host's private copies. If it is removed, the next reload creates it again and reports
    /// [`Event::PrivateFolderRestored`](crate::Event::PrivateFolderRestored).
    pub fn private_folder(&self) -> &Path {
        self.inner.storage.private().path()
    }

    /// The kind of the private copies: the configured kind, or the one that the mount of their folder allows.
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

    /// Adds the interface to the slot's contracts. Returns the current generation, and the number of the first view whose
    /// generations all have the interface.
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
        self.inner.slots.interfaces.add::<I>();
        match self.inner.slots.interfaces.bind(&current) {
            true => Ok((current, since)),
            false => Err(SlotError::NoStubs {
                name: name.to_owned(),
                engine: current.instance().image().engine(),
            }),
        }
    }
}

/// A request for the slot with this name.
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
        // In a forked child everything belongs to the parent, which keeps using it.
        if self.inner.process.is_another() {
            never_dropped(&self.inner);
            forget(self.watch.take());
            forget((self.reload.take(), self.reaper.take(), self.supervisor.take()));
            self.inner.scrubber.forget();
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
    /// The name of its plugin, which may serve in other slots as well.
    pub plugin: Option<String>,
    /// The current generation.
    pub generation: Option<u64>,
    /// The name of the interface of the current generation.
    pub interface: Option<String>,
    /// The version of the current generation, as its package has it.
    pub version: Option<String>,
    /// The hash of the current artifact; it identifies the version in [`Host::history`].
    pub hash: Option<ContentHash>,
    /// The file that it came from; none if its plugin is linked into the program.
    pub path: Option<PathBuf>,
    /// The engine that runs the code of what serves: whether it came from a file, or is linked into the program.
    pub engine: Option<EngineKind>,
    /// The number of the newest generation that was made for the slot, whether it came to serve or not; none if there was none.
    pub newest: Option<u64>,
    /// Whether the slot is empty because it was unloaded.
    pub unloaded: bool,
    /// If the slot was unloaded, the file that its last generation was loaded from.
    pub unloaded_from: Option<PathBuf>,
    /// A candidate that waits for the owner's `sync`.
    pub staged: Option<u64>,
    /// The standby: the previous generation, until the current one has passed its probation.
    pub standby: Option<u64>,
    /// Whether the current generation has yet to prove itself.
    pub on_probation: bool,
    /// The result of its last health check; none before the first check.
    pub health: Option<Health>,
    /// Whether it has an owner.
    pub claimed: bool,
    /// The number of bytes that the current generation has allocated at this moment; none if the slot is empty, or if its
    /// plugin does not count them (`allocator = own`).
    pub live_bytes: Option<u64>,
    /// The number of calls to the slot's plugins since the host's start, over all generations; none if calls are not
    /// counted. It never decreases. See [`HostBuilder::count_calls`].
    pub calls: Option<u64>,
    /// The number of calls into the slot that returned a fault since the host's start, over all generations. It includes
    /// calls that reached no plugin, because the slot was empty or was handing over its state. It never decreases.
    pub faults: u64,
    /// The slot's own log level, if it has one: [`Host::set_log_level`].
    pub log_level: Option<LogLevel>,
    /// The number of mapped images of its generations.
    pub mapped: usize,
    /// The number of them that are retired and still held: [`Host::who_holds`].
    pub retired: usize,
    /// The number of them that cannot be unloaded.
    pub quarantined: usize,
}
