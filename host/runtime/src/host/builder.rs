//! How a host is built and started: its options, its threads, the first look at the folder.

use super::{Host, Inner, LONGEST};
#[cfg(feature = "prometheus")]
use crate::metrics::endpoint::{self, Endpoint, LoadRequest};
use crate::{
    artifact::inspect,
    control::{ControlTally, Listening, Server},
    deferred_work::DeferredWork,
    error::BuildError,
    event::Log,
    given::InputStore,
    history::History,
    instances::{self, Instances},
    logs::LogLevels,
    metrics::MetricsRecorder,
    policy::Policy,
    reload::{self, Deadlines, Reaper, ReloadMessage, sort_by_uses},
    safe_points,
    slot::{MappedImages, Slots},
    testing::Injections,
    watch::{Watch, WatchOptions, scan},
};
use parking_lot::Mutex;
use reslot_native::level::LogLevel;
use reslot_process::Process;
use reslot_process::{
    background::{self, Kind},
    hooks::Hooks,
};
use reslot_report::Event;
use reslot_stage::{PrivateCopies, StageLimits, StagingFolder, sweep};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicUsize, mpsc},
    thread::JoinHandle,
    time::Duration,
};

/// How a host is built.
#[derive(Debug, Clone)]
pub struct HostBuilder {
    folder: Option<PathBuf>,
    watch: WatchOptions,
    private: PathBuf,
    copies: Option<PrivateCopies>,
    drain_deadline: Duration,
    thread_local_deadline: Duration,
    quarantine_cap: usize,
    track_guards: bool,
    count_calls: bool,
    limits: StageLimits,
    policy: Policy,
    history: Option<PathBuf>,
    #[cfg(feature = "prometheus")]
    prometheus: Option<LoadRequest>,
    resources: Option<PathBuf>,
    #[cfg(feature = "config")]
    config: Option<crate::config::Layers>,
    injections: Injections,
    log_level: Option<LogLevel>,
    control: Option<PathBuf>,
    instances: instances::Said,
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
            #[cfg(feature = "prometheus")]
            prometheus: None,
            resources: None,
            #[cfg(feature = "config")]
            config: None,
            injections: Injections::default(),
            log_level: None,
            control: None,
            instances: instances::Said::new(),
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

    /// Takes settings from these layers, and watches their files: the table `host` overrides what was said to this builder
    /// ([`HostSettings`](crate::config::HostSettings)), each table `plugins.NAME` is given to the plugin in the slot NAME
    /// (`Plugin::on_config`), and the table `program` is the embedder's own. Anything else is refused. The environment may say
    /// `RESLOT__PLUGINS__MOMENTUM__THRESHOLD=0.1`, if the layers have `environment("RESLOT")`. Only with the feature `config`.
    #[cfg(feature = "config")]
    #[must_use]
    pub fn config(mut self, layers: crate::config::Layers) -> Self {
        self.config = Some(layers);
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

    /// Serves the host's metrics at `http://ADDRESS/metrics`, for a Prometheus to fetch, as long as the host lives. The address must be
    /// one of loopback; with port 0 a free port is taken, which [`Host::prometheus_addr`] tells. Only with the feature `prometheus`.
    ///
    /// Nobody is asked for a password: whoever can connect to this machine's loopback can read the numbers, and the slots' names.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn prometheus(mut self, address: impl Into<std::net::SocketAddr>) -> Self {
        self.prometheus = Some(LoadRequest {
            at: address.into(),
            beyond_loopback: false,
        });
        self
    }

    /// As [`prometheus`](Self::prometheus), and at any address: everybody who reaches it can read the numbers, without a password and
    /// without encryption. Only with the feature `prometheus`.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn prometheus_beyond_loopback(mut self, address: impl Into<std::net::SocketAddr>) -> Self {
        self.prometheus = Some(LoadRequest {
            at: address.into(),
            beyond_loopback: true,
        });
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

    /// Opens a Unix socket here, by which the program `reslot` and [`control::Client`](crate::control::Client) look at the running
    /// host and steer it. Its file belongs to the process's user and has mode 0600 from the moment at which it appears, and who
    /// connects must be that user or root. Missing parent folders are made with mode 0700; what a dead process left there is
    /// replaced; the file is removed when the host goes. Default: none, and no thread for it.
    #[must_use]
    pub fn control_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.control = Some(path.into());
        self
    }

    /// Starts the host. What is in the watched folder already is loaded before this returns; what of it is refused is told
    /// by [`Host::events`] and by [`Host::claim`] and [`Host::slot`], and is no error here.
    ///
    /// # Errors
    /// If the private folder cannot be made, the folder cannot be watched, a thread cannot be started, the address for Prometheus
    /// cannot be had, or the control socket cannot be opened: another process listens there, or something else lies there.
    pub fn build(self) -> Result<Host, BuildError> {
        #[cfg(feature = "config")]
        let (this, config) = self.configured()?;
        #[cfg(feature = "config")]
        let attach = |host: &Arc<Inner>| config.iter().for_each(|config| config.attach(host));
        #[cfg(not(feature = "config"))]
        let (this, attach) = (self, |_: &Arc<Inner>| {});
        #[cfg_attr(not(feature = "config"), allow(unused_mut))]
        let mut host = this.started(attach)?;
        #[cfg(feature = "config")]
        {
            host.config = config;
        }
        Ok(host)
    }

    /// Reads the settings, and takes from them what is the host's.
    #[cfg(feature = "config")]
    fn configured(mut self) -> Result<(Self, Option<crate::config::HostConfig>), BuildError> {
        let Some(layers) = self.config.take() else {
            return Ok((self, None));
        };
        let config = crate::config::start(layers, self.watch.clone(), self.quarantine_cap)?;
        let settings = config.settings();
        let set = |to: &mut Duration, from: Option<u64>| {
            if let Some(from) = from {
                *to = Duration::from_millis(from).min(LONGEST);
            }
        };
        set(&mut self.drain_deadline, settings.drain_deadline_ms);
        set(&mut self.thread_local_deadline, settings.thread_local_deadline_ms);
        set(&mut self.watch.debounce, settings.debounce_ms);
        set(&mut self.policy.hook_deadline, settings.hook_deadline_ms);
        set(&mut self.policy.probation, settings.probation_ms);
        set(&mut self.policy.health_every, settings.health_every_ms);
        self.quarantine_cap = settings.quarantine_cap.unwrap_or(self.quarantine_cap);
        self.instances.extend(settings.instances);
        self.policy.probation_calls = settings.probation_calls.unwrap_or(self.policy.probation_calls);
        self.policy.max_panics = settings.max_panics.unwrap_or(self.policy.max_panics);
        self.policy.health_failures = settings.health_failures.unwrap_or(self.policy.health_failures);
        self.policy.history = settings.history.unwrap_or(self.policy.history);
        self.policy.on_deleted_file = settings.on_deleted_file.unwrap_or(self.policy.on_deleted_file);
        Ok((self, Some(config)))
    }

    /// Starts the host with the options as they are; `attach` is given what its parts share before anything is loaded.
    fn started(self, attach: impl Fn(&Arc<Inner>)) -> Result<Host, BuildError> {
        let instances = Instances::checked(&self.instances)?;
        let folder = self
            .folder
            .as_ref()
            .map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        // A leftover that cannot be removed is no reason not to start.
        if let Err(error) = sweep(&self.private) {
            tracing::warn!(%error, "leftovers of earlier hosts could not be looked for");
        }
        // First of all, so that a second host on the same socket does nothing before it is told that there is one.
        let listening = self.control.as_deref().map(Listening::open).transpose()?;
        let (reload_sender, reload_receiver) = mpsc::channel();
        let (reaper_sender, reaper_receiver) = mpsc::channel();
        let (supervisor_sender, supervisor_receiver) = mpsc::channel();
        let private = StagingFolder::create(&self.private, self.copies)?;
        let (history, troubles) = match &self.history {
            Some(folder) => History::persistent(folder, self.policy.history)?,
            None => (History::of_process(private.clone(), self.policy.history), Vec::new()),
        };
        #[cfg(feature = "prometheus")]
        let (bound, metrics_recorder) = match self.prometheus.map(endpoint::bind).transpose()? {
            Some((bound, metrics_recorder)) => (Some(bound), metrics_recorder),
            None => (None, MetricsRecorder::default()),
        };
        #[cfg(not(feature = "prometheus"))]
        let metrics_recorder = MetricsRecorder::default();
        let log = Log::new(metrics_recorder);
        let tally = listening.as_ref().map(|_| ControlTally::listen(&log));
        for error in troubles {
            log.push(Event::HistoryFailed { slot: None, error });
        }
        let resource_sender = reload_sender.clone();
        let notices = move |name| {
            // The host is going; nothing is noticed any more.
            let _ = resource_sender.send(ReloadMessage::Resource(name));
        };
        let process = Process::this();
        let inner = Arc::new(Inner {
            process,
            slots: Slots::new(process, folder.clone(), self.track_guards),
            count_calls: self.count_calls,
            reload_thread: OnceLock::new(),
            quarantine_cap: AtomicUsize::new(self.quarantine_cap),
            deferred: Mutex::default(),
            images: MappedImages::new(log.clone()),
            log,
            private,
            hooks: Hooks::new(),
            deferred_work: DeferredWork::default(),
            instances,
            folder: folder.clone(),
            given: InputStore::new(self.resources, &self.watch, Arc::new(notices)),
            injections: self.injections,
            log_levels: Arc::new(LogLevels::new(self.log_level)),
            history,
            waiting: Mutex::default(),
            snapshot_sizes: Mutex::default(),
            supervisor: supervisor_sender,
            limits: self.limits,
            policy: self.policy.clone(),
            drain_deadline: self.drain_deadline,
            reload: reload_sender.clone(),
            reaper: reaper_sender,
        });
        attach(&inner);
        safe_points::register(&inner.slots);
        safe_points::register(&inner);
        inner.log.metrics_recorder().attach(&inner);
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
        let _ = inner.reload_thread.set(reload.thread().id());
        let judging = inner.clone();
        let supervise = move || reload::supervise(&judging, &supervisor_receiver);
        let supervisor = spawn(Kind::Foreground, "reslot-supervisor", supervise)?;
        let mut host = Host {
            inner,
            watch: None,
            reload: Some(reload),
            reaper: Some(reaper),
            supervisor: Some(supervisor),
            #[cfg(feature = "prometheus")]
            prometheus: None,
            control: None,
            folder: None,
            #[cfg(feature = "config")]
            config: None,
        };
        #[cfg(feature = "prometheus")]
        if let Some(bound) = bound {
            let started = Endpoint::start(bound, host.inner.log.clone());
            let name = "reslot-metrics";
            host.prometheus = Some(started.map_err(|source| BuildError::Thread { name, source })?);
        }
        host.folder.clone_from(&folder);
        if let Some((listening, tally)) = listening.zip(tally) {
            host.control = Some(Server::start(listening, &host.inner, tally, folder)?);
        }
        let reverted = host.inner.revert_unconfirmed();
        let mut refusals = Vec::new();
        if let Some(folder) = self.folder {
            // What is told of a file must not depend on whether it was there first or came later.
            let folder = std::path::absolute(&folder).unwrap_or(folder);
            // First the watch, then the look: what changes in between is seen by both and skipped once.
            host.watch = Some(Watch::start(folder.clone(), self.watch, move |notice| {
                // The host is going; nothing is noticed any more.
                let _ = reload_sender.send(ReloadMessage::Noticed(notice));
            })?);
            for path in callers_last(&host.inner, scan(&folder)) {
                let outcomes = host.inner.ask_for(instances::LoadRequest::file(path), false);
                refusals.extend(outcomes.into_iter().filter_map(Result::err));
            }
        }
        // Those that waited for another one have had their turn.
        host.flush();
        host.inner.load_instead(&reverted, &refusals);
        host.flush();
        Ok(host)
    }
}

/// Those that others call are loaded before them.
fn callers_last(host: &Inner, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    // Once for each slot that a file is for.
    let told = paths.into_iter().flat_map(|path| {
        // What cannot be read is refused in its turn, with words.
        let manifest = std::fs::read(&path).ok().and_then(|bytes| inspect(&bytes).manifest);
        let (name, uses) = manifest.map_or_else(Default::default, |manifest| (manifest.name, manifest.uses));
        let slots = host.instances.of(&name, &path).into_iter();
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
