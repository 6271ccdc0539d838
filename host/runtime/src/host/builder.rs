//! How a host is built and started: its options, its threads, the first look at the folder.

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
    runtime::{HookRunner, Options, Retries, Runtime, Storage, Threads},
    safe_points,
    slot::{MappedImages, Slots},
    testing::Injections,
    watch::{Watch, WatchOptions, scan},
};
use reslot_engine::LogLevel;
use reslot_plugin_api::LinkedPlugin;
use reslot_process::{
    Process,
    background::{self, Kind},
};
use reslot_report::Event;
use reslot_stage::{PrivateCopies, StageLimits, StagingFolder, sweep};
use std::{
    mem::take,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

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
            surfaces: Vec::new(),
        }
    }

    /// Has hooks of this host's plugins fail on demand. Only with the feature `testing`.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn inject(mut self, injections: &Injections) -> Self {
        self.injections = injections.clone();
        self
    }

    /// What is done about versions that turn out badly. Default: [`Policy::development`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Where good artifacts are kept, and what is thought of which version, so that the next host that is built with this folder
    /// knows it, too: it goes on without a version that had not proved itself when this one ended. One host at a time. Default: in
    /// the private folder, and gone with it.
    #[must_use]
    pub fn history(mut self, folder: impl Into<PathBuf>) -> Self {
        self.history = Some(folder.into());
        self
    }

    /// Gives plugins the files below this folder that they name in `resources = ["…"]` of `export_plugin!`, and watches those. What is
    /// not there is not given; a file that goes leaves what was known of it. At most 64 MiB each. Without a folder none is given.
    #[must_use]
    pub fn resources(mut self, folder: impl Into<PathBuf>) -> Self {
        self.resources = Some(folder.into());
        self
    }

    /// Watches a folder for artifacts, and loads what is there. The folder may come later.
    #[must_use]
    pub fn watch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Has artifacts of a plugin loaded into each of these slots, instead of the one that has the plugin's name: one strategy for five
    /// instruments, say. Each slot has an instance of its own, with its own state, configuration (`plugins.SLOT`), history, log level and
    /// probation, on a private copy of the image, so that not even statics are shared. A new build reloads all of them, each for
    /// itself: one that refuses it keeps what it has.
    ///
    /// In place of the plugin's name this may be a file's (`"canary.so"`): that file is then loaded into these slots, whatever is said of
    /// its plugin. So two files with the same plugin can be two slots. Said twice of the same, the later counts.
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

    /// Looks at the folder in this interval instead of asking the system for events: for network mounts, and containers that
    /// get none.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.watch.polling = Some(interval);
        self
    }

    /// Where the host makes the private folder for its copies. Default: the system's folder for temporary files. It must be
    /// writable; if it is mounted noexec, see [`private_copies`](Self::private_copies).
    #[must_use]
    pub fn private_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.private = base.into();
        self
    }

    /// What the private copies are. Default: files; or memory, with a warning, where the private folder is mounted noexec. What is
    /// asked for here is done, and not tried otherwise: with [`PrivateCopies::Files`] on such a mount, each artifact is refused.
    #[must_use]
    pub fn private_copies(mut self, copies: PrivateCopies) -> Self {
        self.copies = Some(copies);
        self
    }

    /// How long a retired generation may be held before its holders are named, how long the threads of a stopped plugin may
    /// take to end before its image is quarantined, and how long calls may take to leave a plugin whose state is handed over
    /// before the candidate is refused. Default: 5 s.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline.min(LONGEST);
        self
    }

    /// How long an ended plugin's image is kept for threads that live on and have thread-locals of it, so that they can drop
    /// them at their next [safe point](crate::safe_point). After that they are skipped, counted, and the image goes. Default:
    /// 250 ms.
    #[must_use]
    pub fn thread_local_deadline(mut self, deadline: Duration) -> Self {
        self.thread_local_deadline = deadline.min(LONGEST);
        self
    }

    /// How many quarantined images a slot may have, those included that were replaced and are held for longer than the
    /// [drain deadline](Self::drain_deadline). A slot that has so many serves on, and its reloads are refused until one
    /// of them is gone; the file that was refused last is then taken up by itself. Default: 8.
    #[must_use]
    pub fn quarantine_cap(mut self, images: usize) -> Self {
        self.quarantine_cap = images;
        self
    }

    /// For debugging: notes where and by which thread each [`Slot::load`](crate::Slot::load) was called, so that
    /// [`Host::who_holds`] and the reports can name who keeps what it answered. That costs an allocation and a lock a call.
    #[must_use]
    pub fn track_guards(mut self, track: bool) -> Self {
        self.track_guards = track;
        self
    }

    /// Counts calls, for [`SlotInfo::calls`](crate::SlotInfo::calls). That has every call take the way on which a probation counts
    /// them: through a lock and a number that all callers of the slot share, which is many times the cost of a plain call.
    /// Default: calls are not counted, and cost nothing.
    #[must_use]
    pub fn count_calls(mut self, count: bool) -> Self {
        self.count_calls = count;
        self
    }

    /// How much plugins log, if it is not told otherwise for a slot ([`Host::set_log_level`]). What is above that never leaves the
    /// plugin, and costs it a load and a compare. Default: what the subscribers of this process let through at most
    /// ([`LevelFilter::current`](tracing::level_filters::LevelFilter::current)), looked at when an image is loaded. Without a subscriber nothing
    /// crosses, whatever is said here.
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Attaches a [surface](crate::surface): something that observes, asks or steers the host, such as a control socket, an endpoint for
    /// metrics, or the settings of plugins. It lives as long as the host; [`Host::surface`] finds what runs of it. A host has one surface of
    /// each type: of two, the later counts. Default: none, and no thread for any.
    #[must_use]
    pub fn attach(mut self, surface: impl Surface) -> Self {
        let surface: Box<dyn AnySurface> = Box::new(surface);
        self.surfaces.retain(|before| before.of_type() != surface.of_type());
        self.surfaces.push(surface);
        self
    }

    /// Starts the host. What is in the watched folder already is loaded before this returns; what of it is refused is told
    /// by [`Host::events`] and by [`Host::claim`] and [`Host::slot`], and is no error here.
    ///
    /// # Errors
    /// If the private folder cannot be made, the folder cannot be watched, a thread cannot be started, or a surface cannot be had: its
    /// address is taken, say.
    pub fn build(mut self) -> Result<Host, BuildError> {
        let mut surfaces = take(&mut self.surfaces);
        // Surfaces first: a second host with the same socket or port must fail before it touches anything. And settings may change what was
        // said to the builder.
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

    /// Makes the host and starts its threads, with the options as they are by now. Nothing is loaded yet.
    fn start(self, observers: Observers, settings: Option<PluginSettings>) -> Result<Host, BuildError> {
        self.policy.check()?;
        let instances = Instances::checked(&self.instances)?;
        let folder = self
            .folder
            .as_ref()
            .map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        // A leftover that cannot be removed is no reason not to start.
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
            // The host is going; nothing is noticed any more.
            let _ = resource_sender.send(ReloadMessage::Resource(name));
        };
        let process = Process::this();
        let slots = Slots::new(process, folder.clone(), instances, self.track_guards);
        let images = MappedImages::new(self.quarantine_cap, reaper_sender.clone(), log.clone());
        let threads = Threads::new(slots.clone(), reload_sender, supervisor_sender, reaper_sender);
        let inputs = InputStore::new(settings, self.resources, &self.watch, Arc::new(notices));
        let options = Options {
            policy: self.policy.clone(),
            drain_deadline: self.drain_deadline,
            count_calls: self.count_calls,
        };
        let engines = Engines::new(&self.linked);
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
        let reaper = spawn(Kind::Background, "reslot-reaper", move || reaper.run(&reaper_receiver))?;
        let working = inner.clone();
        let reload = move || reload::run(&working, &reload_receiver);
        let reload = spawn(Kind::Background, "reslot-reload", reload)?;
        inner.threads.set_reload_thread(reload.thread().id());
        let judging = inner.clone();
        let supervise = move || reload::supervise(&judging, &supervisor_receiver);
        let supervisor = spawn(Kind::Foreground, "reslot-supervisor", supervise)?;
        Ok(Host {
            inner,
            watch: None,
            reload: Some(reload),
            reaper: Some(reaper),
            supervisor: Some(supervisor),
            surfaces: Surfaces::default(),
            folder,
        })
    }
}

impl Host {
    /// Watches the folder, and loads what lies there.
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
            // First the watch, then the look: what changes in between is seen by both and skipped once.
            self.watch = Some(Watch::start(folder.clone(), options, move |notice| {
                threads.tell_reload(ReloadMessage::Noticed(notice));
            })?);
            for path in callers_last(&self.inner, scan(folder)) {
                let outcomes = ask_for(&self.inner.threads, instances::LoadRequest::file(path), false);
                refusals.extend(outcomes.into_iter().filter_map(Result::err));
            }
        }
        // After this, files that waited for another slot have been tried again.
        self.flush();
        load_instead(&self.inner, &reverted, &refusals);
        self.flush();
        Ok(())
    }
}

/// Those that others call are loaded before them.
fn callers_last(host: &Runtime, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    // Once for each slot that a file is for.
    let told = paths.into_iter().flat_map(|path| {
        // What cannot be read is refused in its turn, with words.
        let manifest = match host.engines.linked().find(|linked| linked.path == path) {
            Some(linked) => linked.manifest(),
            None => std::fs::read(&path).ok().and_then(|bytes| inspect(&bytes).manifest),
        };
        let (name, uses) = manifest.map_or_else(Default::default, |manifest| (manifest.name, manifest.uses));
        let slots = host.slots.instances().of(&name, &path).into_iter();
        slots.map(move |slot| (path.clone(), slot, uses.clone())).collect::<Vec<_>>()
    });
    let sorted = sort_by_uses(told.collect(), |(_, slot, _)| slot, |(.., uses)| uses);
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
