//! Builds and starts a host: its options, its threads, the first scan of the folder.

use super::{
    Host, HostHandle, LONGEST,
    build_error::BuildError,
    going_back::{load_instead, revert_unconfirmed},
    requests::ask_for,
    surface::{AnySurface, Setup, Surface, Surfaces},
};
use crate::{
    artifact::inspect,
    deferred_work::DeferredWork,
    engines::Engines,
    event::{Log, Observers},
    history::History,
    inputs::{InputStore, PluginSettings},
    instances::{self, Instances},
    logs::LogLevels,
    policy::Policy,
    reload::{self, Deadlines, Reaper, ReloadMessage, sort_by_uses},
    runtime::{HookRunner, Options, Retries, Runtime, Scrubber, Storage, Threads},
    safe_points, scrub,
    slot::{Interfaces, MappedImages, Slots},
    testing::Injections,
    watch::{Watch, WatchOptions, scan},
};
use reslot_engine::{Engine, LogLevel};
use reslot_plugin_api::{__private::marshal::Marshalling, LinkedPlugin};
use reslot_report::Event;
use reslot_stage::{PrivateCopies, StageLimits, StagingFolder, sweep};
use reslot_sync::{mpsc, thread::JoinHandle};
use reslot_system::{
    Process,
    background::{self, Kind},
};
use std::{collections::BTreeMap, mem::take, path::PathBuf, sync::Arc, time::Duration};

/// How a host is built.
///
/// ```
/// use reslot::{Host, Policy};
/// use std::time::Duration;
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder()
///     .watch(&plugins)
///     .policy(Policy::production().preflight(None))
///     .drain_deadline(Duration::from_secs(1))
///     .instances("pricer", ["pricer-eur", "pricer-usd"]) // one artifact, two slots
///     .build()?;
/// let slots: Vec<_> = host.slots().into_iter().map(|slot| slot.name).collect();
/// assert!(slots.contains(&"pricer-eur".to_owned()) && slots.contains(&"pricer-usd".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HostBuilder {
    folder: Option<PathBuf>,
    pub(super) watch: WatchOptions,
    private: PathBuf,
    copies: Option<PrivateCopies>,
    drain_deadline: Duration,
    thread_local_deadline: Duration,
    pub(super) quarantine_cap: usize,
    track_guards: bool,
    count_calls: bool,
    limits: StageLimits,
    pub(super) policy: Policy,
    history: Option<PathBuf>,
    resources: Option<PathBuf>,
    injections: Injections,
    log_level: Option<LogLevel>,
    instances: instances::Said,
    linked: Vec<LinkedPlugin>,
    files: Arc<dyn Engine>,
    engines: BTreeMap<String, Vec<Arc<dyn Engine>>>,
    interfaces: Vec<Marshalling>,
    surfaces: Vec<Box<dyn AnySurface>>,
}

impl HostBuilder {
    pub(super) fn new() -> Self {
        Self {
            folder: None,
            watch: WatchOptions::default(),
            private: std::env::temp_dir(),
            copies: None,
            drain_deadline: Duration::from_secs(5),
            thread_local_deadline: Duration::from_millis(250),
            quarantine_cap: 8,
            track_guards: false,
            count_calls: false,
            limits: StageLimits::default(),
            policy: Policy::default(),
            history: None,
            resources: None,
            injections: Injections::default(),
            log_level: None,
            instances: instances::Said::new(),
            linked: Vec::new(),
            files: Engines::native(),
            engines: BTreeMap::new(),
            interfaces: Vec::new(),
            surfaces: Vec::new(),
        }
    }

    /// Makes hooks of this host's plugins fail on demand. Only with the feature `testing`.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn inject(mut self, injections: &Injections) -> Self {
        self.injections = injections.clone();
        self
    }

    /// Chooses the engine for the plugins of a slot: `Wasm` of the crate reslot-wasm, or `Process` of reslot-process, which both need the feature
    /// `remote` of this crate. Default: [`Native`](crate::Native). It may be called again to give the slot another engine; of two engines for the same
    /// kind of file the last one is used. A file for which the slot has no engine is refused ([`Cause::NoEngine`](crate::Cause::NoEngine)).
    ///
    /// ```
    /// use reslot::{EngineKind, Host, Native, SlotInfo};
    ///
    /// # let plugins = example_plugins::folder();
    /// let host = Host::builder().engine("pricer", Native).watch(&plugins).build()?;
    /// let is_native = |slot: &SlotInfo| slot.name == "pricer" && slot.engine == Some(EngineKind::Native);
    /// assert!(host.slots().iter().any(is_native));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn engine(mut self, slot: impl Into<String>, engine: impl Engine + 'static) -> Self {
        self.engines.entry(slot.into()).or_default().push(Arc::new(engine));
        self
    }

    /// Registers an interface by which only other plugins call a plugin in a sandbox or in a process of its own. An interface that the program uses for
    /// a claim or a slot is registered by that.
    #[cfg(feature = "remote")]
    #[must_use]
    pub fn interface<I: ?Sized + reslot_plugin_api::Interface>(mut self) -> Self {
        self.interfaces.push(Marshalling::of::<I>());
        self
    }

    /// Runs files with this engine. Only in a build for exploration, whose artifacts are no libraries.
    #[cfg(reslot_explore)]
    #[doc(hidden)]
    #[must_use]
    pub fn file_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.files = engine;
        self
    }

    /// Sets the policy for faulty versions. Default: [`Policy::development`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the folder of the history: it keeps good artifacts and the status of each version for the next host with this
    /// folder. That host rolls back a version that had not passed its probation when this host ended. Only one host at a
    /// time can use the folder. Default: a folder in the private folder, which is deleted with it.
    #[must_use]
    pub fn history(mut self, folder: impl Into<PathBuf>) -> Self {
        self.history = Some(folder.into());
        self
    }

    /// Passes to plugins the files below this folder that they name in `resources = ["…"]` of `export_plugin!`, and watches
    /// these files. A missing file is not passed; if a file is deleted, its last content stays in use. Each file may have at
    /// most 64 MiB. Without a folder, plugins get no resources.
    #[must_use]
    pub fn resources(mut self, folder: impl Into<PathBuf>) -> Self {
        self.resources = Some(folder.into());
        self
    }

    /// Watches a folder for artifacts, and loads those that it contains. The folder may be created later.
    #[must_use]
    pub fn watch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Loads artifacts of a plugin into each of these slots, instead of the slot with the plugin's name: for example one
    /// strategy for five instruments. Each slot has its own instance, with its own state, configuration (`plugins.SLOT`),
    /// history, log level and probation, and its own private copy of the image, so that not even statics are shared. A new
    /// build reloads all these slots independently: a slot that refuses it keeps its current generation.
    ///
    /// `of` may also be the name of a file (`"canary.so"`): that file is then loaded into these slots, whatever is set for
    /// its plugin. So two files with the same plugin can be in two slots. A second call for the same name replaces the
    /// first.
    #[must_use]
    pub fn instances<S: Into<String>>(mut self, of: impl Into<String>, slots: impl IntoIterator<Item = S>) -> Self {
        self.instances.insert(of.into(), slots.into_iter().map(Into::into).collect());
        self
    }

    /// Loads a plugin that is linked into the program when the host starts, into the slot with its name or those that
    /// [`instances`](Self::instances) names. Claims, views, handles, state, configuration, rollback and events work as with a plugin from a
    /// file; [`SlotInfo::engine`](crate::SlotInfo::engine) tells the two apart. If two linked plugins have the same name, the last one is used.
    ///
    /// A file with the same plugin replaces the linked one, as any newer version would, if it comes to the watched folder
    /// ([`watch`](Self::watch)) or is loaded with [`Host::load`]. [`Host::load_linked`] loads the linked plugin again. So a program reloads files
    /// while it is developed, and its release, which is given no files, runs what is linked.
    ///
    /// The plugin's crate has `crate-type = ["cdylib", "rlib"]`; [`export_plugin!`](reslot_plugin_api::export_plugin) defines the constant
    /// `PLUGIN` in it.
    ///
    /// ```no_run
    /// # mod my_plugin {
    /// #     use reslot_plugin_api::LinkedPlugin;
    /// #     pub fn plugin() -> LinkedPlugin { unimplemented!() }
    /// # }
    /// # let plugin = my_plugin::plugin();
    /// // With a plugin's crate: `let plugin = my_plugin::PLUGIN;`
    /// let host = reslot::Host::builder().link(plugin).build()?;
    /// # Ok::<(), reslot::BuildError>(())
    /// ```
    #[must_use]
    pub fn link(mut self, plugin: LinkedPlugin) -> Self {
        self.linked.retain(|before| before.name() != plugin.name());
        self.linked.push(plugin);
        self
    }

    /// How long a file that was not renamed into place must be quiet before it is taken. Default: 4 ms. One that was renamed
    /// into place, as `cargo xtask build-plugin` does, is taken at once.
    #[must_use]
    pub fn debounce(mut self, quiet: Duration) -> Self {
        self.watch.debounce = quiet;
        self
    }

    /// Scans the folder at this interval instead of asking the system for events: for network mounts, and containers without
    /// events.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.watch.polling = Some(interval);
        self
    }

    /// Sets the folder in which the host creates its private folder. Default: the system's folder for temporary files. It
    /// must be writable; if it is mounted noexec, see [`private_copies`](Self::private_copies).
    #[must_use]
    pub fn private_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.private = base.into();
        self
    }

    /// Sets the kind of the private copies. Default: files; or memory, with a warning, if the private folder is mounted
    /// noexec. The host does not deviate from an explicit choice: with [`PrivateCopies::Files`] on such a mount, each
    /// artifact is refused.
    #[must_use]
    pub fn private_copies(mut self, copies: PrivateCopies) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Sets three limits: how long a retired generation may be held before its holders are reported, how long the threads of
    /// a stopped plugin may take to end before its image is quarantined, and how long running calls may delay a handover of
    /// state before the candidate is refused. Default: 5 s.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline.min(LONGEST);
        self
    }

    /// Sets how long an ended plugin's image stays mapped for threads that have thread-locals of it, so that they can drop
    /// them at their next [safe point](crate::safe_point). After that the host skips and counts these thread-locals, and
    /// unloads the image. Default: 250 ms.
    #[must_use]
    pub fn thread_local_deadline(mut self, deadline: Duration) -> Self {
        self.thread_local_deadline = deadline.min(LONGEST);
        self
    }

    /// Sets how many quarantined images a slot may have, including retired images that are held for longer than the [drain
    /// deadline](Self::drain_deadline). At this number the slot keeps serving, but its reloads are refused until one of
    /// these images is unmapped; the host then loads the file that was refused last. Default: 8.
    #[must_use]
    pub fn quarantine_cap(mut self, images: usize) -> Self {
        self.quarantine_cap = images;
        self
    }

    /// For debugging: records the place and the thread of each call of [`Slot::load`](crate::Slot::load), so that
    /// [`Host::who_holds`] and the reports can name the holders of its guards. This costs an allocation and a lock per call.
    #[must_use]
    pub fn track_guards(mut self, track: bool) -> Self {
        self.track_guards = track;
        self
    }

    /// Counts calls, for [`SlotInfo::calls`](crate::SlotInfo::calls). Each call then passes through a lock and a counter
    /// that all callers of the slot share, as during a probation, which costs many times as much as a plain call. Default:
    /// calls are not counted, at no cost.
    #[must_use]
    pub fn count_calls(mut self, count: bool) -> Self {
        self.count_calls = count;
        self
    }

    /// Sets the log level of plugins in slots without their own level ([`Host::set_log_level`]). A record above the level
    /// never leaves the plugin, and costs it a load and a comparison. Default: the maximum level of this process's
    /// subscribers ([`LevelFilter::current`](tracing::level_filters::LevelFilter::current)) when an image is loaded. Without
    /// a subscriber no record leaves a plugin, whatever the level.
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Attaches a [surface](crate::surface): it observes, queries or controls the host, as a control socket, a metrics
    /// endpoint, or the settings of plugins do. It lives as long as the host; [`Host::surface`] returns its running part. A
    /// host has one surface of each type: a second one replaces the first. Default: no surface, and no thread for one.
    #[must_use]
    pub fn attach(mut self, surface: impl Surface) -> Self {
        let surface: Box<dyn AnySurface> = Box::new(surface);
        self.surfaces.retain(|before| before.of_type() != surface.of_type());
        self.surfaces.push(surface);
        self
    }

    /// Starts the host, and loads the artifacts in the watched folder before it returns. A refused artifact is no error
    /// here: [`Host::events`], [`Host::claim`] and [`Host::slot`] report it.
    ///
    /// # Errors
    /// If the private folder cannot be created, the folder cannot be watched, a thread cannot be started, or a surface
    /// cannot be started, for example because its address is in use.
    pub fn build(mut self) -> Result<Host, BuildError> {
        let mut surfaces = take(&mut self.surfaces);
        // Surfaces are prepared first, because a second host with the same socket or port must fail before it changes
        // anything, and because settings may change the builder's options.
        let setup = Setup::of_all(self, &mut surfaces).map_err(BuildError::Surface)?;
        let (configured, observers, settings) = setup.into_parts();
        let watch = configured.watch.clone();
        let mut host = configured.start(observers, settings)?;
        for surface in surfaces {
            let handle = HostHandle::of(&host.inner);
            host.surfaces.start(surface, handle).map_err(BuildError::Surface)?;
        }
        host.load_first(watch)?;
        Ok(host)
    }

    /// Creates the host and starts its threads with the present options. It loads no artifact yet.
    fn start(self, observers: Observers, settings: Option<PluginSettings>) -> Result<Host, BuildError> {
        self.policy.check()?;
        let instances = Instances::checked(&self.instances)?;
        let folder = self
            .folder
            .as_ref()
            .map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        // The host starts even if a leftover of an ended process cannot be removed.
        if let Err(error) = sweep(&self.private) {
            tracing::warn!(%error, "leftovers of earlier hosts could not be looked for");
        }
        let (reload_sender, reload_receiver) = mpsc::channel();
        let (reaper_sender, reaper_receiver) = mpsc::channel();
        let (supervisor_sender, supervisor_receiver) = mpsc::channel();
        let private = StagingFolder::create(&self.private, self.copies)?;
        let (history, troubles) = match &self.history {
            Some(folder) => History::persistent(folder, self.policy.history)?,
            None => (History::of_process(private.clone(), self.policy.history), Vec::new()),
        };
        let log = Log::new(observers);
        for error in troubles {
            log.push(Event::HistoryFailed { slot: None, error });
        }
        let resource_sender = reload_sender.clone();
        let notices = move |name| {
            // Sending fails only while the host ends.
            let _ = resource_sender.send(ReloadMessage::Resource(name));
        };
        let process = Process::this();
        let slots = Slots::new(
            process,
            folder.clone(),
            instances,
            Interfaces::new(self.interfaces),
            self.track_guards,
        );
        let images = MappedImages::new(self.quarantine_cap, reaper_sender.clone(), log.clone());
        let threads = Threads::new(slots.clone(), reload_sender, supervisor_sender, reaper_sender);
        let inputs = InputStore::new(settings, self.resources, &self.watch, Arc::new(notices));
        let options = Options {
            policy: self.policy.clone(),
            drain_deadline: self.drain_deadline,
            count_calls: self.count_calls,
        };
        let engines = Engines::new(self.files, self.engines, &self.linked);
        let linked = engines.linked().map(|linked| linked.hash).collect();
        let inner = Arc::new(Runtime {
            process,
            slots,
            images,
            engines,
            hooks: HookRunner::new(options.policy.hook_deadline, self.injections),
            options,
            retries: Retries::new(inputs.clone(), threads.clone()),
            threads,
            inputs,
            storage: Storage::new(history.with_linked(linked), private, self.limits, log.clone()),
            log,
            log_levels: Arc::new(LogLevels::new(self.log_level)),
            deferred_work: DeferredWork::default(),
            scrubber: Scrubber::default(),
        });
        inner.log.register_for_safe_points();
        safe_points::register(&inner.slots);
        safe_points::register(&inner);
        let deadlines = Deadlines {
            drain: self.drain_deadline,
            threads: self.drain_deadline,
            thread_locals: self.thread_local_deadline,
            hooks: self.policy.hook_deadline.min(LONGEST),
        };
        let reaper = Reaper::new(&inner, deadlines);
        // If the system refuses one of the threads, the drop of this host ends those that were started.
        let mut host = Host {
            inner,
            watch: None,
            reload: None,
            reaper: None,
            supervisor: None,
            surfaces: Surfaces::default(),
            folder,
        };
        host.reaper = Some(spawn(Kind::Background, "reslot-reaper", move || {
            reaper.run(&reaper_receiver);
        })?);
        let working = host.inner.clone();
        let reload = move || reload::run(&working, &reload_receiver);
        let reload = spawn(Kind::Background, "reslot-reload", reload)?;
        host.inner.threads.set_reload_thread(reload.thread().id());
        host.reload = Some(reload);
        let judging = host.inner.clone();
        let supervise = move || reload::supervise(&judging, &supervisor_receiver);
        host.supervisor = Some(spawn(Kind::Foreground, "reslot-supervisor", supervise)?);
        if host.inner.options.policy.scrub_every.is_some() {
            scrub::start(&host.inner);
        }
        Ok(host)
    }
}

impl Host {
    /// Watches the folder, and loads its artifacts.
    fn load_first(&mut self, options: WatchOptions) -> Result<(), BuildError> {
        let reverted = revert_unconfirmed(&self.inner.storage, &self.inner.log);
        let mut refusals = Vec::new();
        let linked = self.inner.engines.linked().map(|linked| linked.path.clone()).collect();
        for path in callers_last(&self.inner, linked) {
            // By name: the program may be another build than the one in which the history has noted this version as bad.
            let outcomes = ask_for(&self.inner.threads, instances::LoadRequest::file(path), true);
            refusals.extend(outcomes.into_iter().filter_map(Result::err));
        }
        if let Some(folder) = &self.folder {
            let threads = self.inner.threads.clone();
            // The watch starts before the first scan: both see a change in between, and the second load skips it.
            self.watch = Some(Watch::start(folder.clone(), options, move |notice| {
                threads.send_to_reload(ReloadMessage::Noticed(notice));
            })?);
            for path in callers_last(&self.inner, scan(folder)) {
                let outcomes = ask_for(&self.inner.threads, instances::LoadRequest::file(path), false);
                refusals.extend(outcomes.into_iter().filter_map(Result::err));
            }
        }
        // After this, the host has retried the files that waited for another slot.
        self.flush();
        load_instead(&self.inner, &reverted, &refusals);
        self.flush();
        Ok(())
    }
}

/// Orders files so that a plugin is loaded before its callers.
fn callers_last(host: &Runtime, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    // A file appears once for each of its slots.
    let artifacts = paths.into_iter().flat_map(|path| {
        // What cannot be read is refused in its turn, with words.
        let manifest = match host.engines.linked().find(|linked| linked.path == path) {
            Some(linked) => linked.manifest(),
            None => std::fs::read(&path).ok().and_then(|bytes| inspect(&bytes).manifest),
        };
        let (name, uses) = manifest.map_or_else(Default::default, |manifest| (manifest.name, manifest.uses));
        let slots = host.slots.instances().of(&name, &path).into_iter();
        slots.map(move |slot| (path.clone(), slot, uses.clone())).collect::<Vec<_>>()
    });
    let sorted = sort_by_uses(artifacts.collect(), |(_, slot, _)| slot, |(.., uses)| uses);
    let mut paths: Vec<PathBuf> = Vec::new();
    for (path, ..) in sorted {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn spawn(kind: Kind, name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BuildError> {
    background::spawn(kind, name, body).map_err(|source| BuildError::Thread { name, source })
}
