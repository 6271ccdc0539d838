//! How a host uses its settings: the table `host` is for the host, each table `plugins.NAME` for the plugin in that slot,
//! and the table `program` for the embedder. The host first checks a change with all affected plugins. Only if none refuses
//! it, the change is published, and the plugins get it.

use crate::{error::ConfigError, layers::Layers, watched::Watched};
use parking_lot::Mutex;
use reslot_runtime::{
    DamagedImage, DeletedFile, Event, LogLevel,
    surface::{HostHandle, PluginSettings, Setup, Steering, Surface, SurfaceError},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The longest duration: a century.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The table `host` of a host's settings. A missing key keeps the program's value. A change of `log_level` or `quarantine_cap` takes effect at once. A
/// change of another key takes effect at the next start, and [`Event::Configured`](reslot_runtime::Event::Configured) reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HostSettings {
    /// How much plugins log, in slots that have no level of their own: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    /// It overrides the program's value ([`HostBuilder::log_level`](reslot_runtime::HostBuilder::log_level)).
    pub log_level: Option<LogLevel>,
    /// [`HostBuilder::quarantine_cap`](reslot_runtime::HostBuilder::quarantine_cap).
    pub quarantine_cap: Option<usize>,
    /// [`HostBuilder::drain_deadline`](reslot_runtime::HostBuilder::drain_deadline), in milliseconds.
    pub drain_deadline_ms: Option<u64>,
    /// [`HostBuilder::thread_local_deadline`](reslot_runtime::HostBuilder::thread_local_deadline), in milliseconds.
    pub thread_local_deadline_ms: Option<u64>,
    /// [`HostBuilder::debounce`](reslot_runtime::HostBuilder::debounce), in milliseconds.
    pub debounce_ms: Option<u64>,
    /// [`Policy::hook_deadline`](reslot_runtime::Policy::hook_deadline), in milliseconds.
    pub hook_deadline_ms: Option<u64>,
    /// [`Policy::probation`](reslot_runtime::Policy::probation), in milliseconds.
    pub probation_ms: Option<u64>,
    /// [`Policy::probation_calls`](reslot_runtime::Policy::probation_calls).
    pub probation_calls: Option<u64>,
    /// [`Policy::max_panics`](reslot_runtime::Policy::max_panics).
    pub max_panics: Option<u32>,
    /// [`Policy::health_failures`](reslot_runtime::Policy::health_failures).
    pub health_failures: Option<u32>,
    /// [`Policy::health_every`](reslot_runtime::Policy::health_every), in milliseconds.
    pub health_every_ms: Option<u64>,
    /// [`Policy::history`](reslot_runtime::Policy::history).
    pub history: Option<usize>,
    /// [`Policy::on_deleted_file`](reslot_runtime::Policy::on_deleted_file): `keep` or `unload`.
    pub on_deleted_file: Option<DeletedFile>,
    /// [`Policy::scrub_every`](reslot_runtime::Policy::scrub_every), in milliseconds; 0: never.
    pub scrub_every_ms: Option<u64>,
    /// [`Policy::on_damaged_image`](reslot_runtime::Policy::on_damaged_image): `renew`, `rollback` or `report`.
    pub on_damaged_image: Option<DamagedImage>,
    /// [`HostBuilder::instances`](reslot_runtime::HostBuilder::instances): the slots of each plugin or file. The program's
    /// entries for other plugins and files stay.
    pub instances: BTreeMap<String, Vec<String>>,
}

impl HostSettings {
    /// Overrides values of the builder with those of the settings.
    fn override_builder(&self, setup: &mut Setup) {
        let time = |millis: u64| Duration::from_millis(millis).min(LONGEST);
        let policy = setup.policy();
        let set = |to: &mut Duration, from: Option<u64>| *to = from.map_or(*to, time);
        set(&mut policy.hook_deadline, self.hook_deadline_ms);
        set(&mut policy.probation, self.probation_ms);
        set(&mut policy.health_every, self.health_every_ms);
        policy.probation_calls = self.probation_calls.unwrap_or(policy.probation_calls);
        policy.max_panics = self.max_panics.unwrap_or(policy.max_panics);
        policy.health_failures = self.health_failures.unwrap_or(policy.health_failures);
        policy.history = self.history.unwrap_or(policy.history);
        policy.on_deleted_file = self.on_deleted_file.unwrap_or(policy.on_deleted_file);
        policy.on_damaged_image = self.on_damaged_image.unwrap_or(policy.on_damaged_image);
        if let Some(millis) = self.scrub_every_ms {
            policy.scrub_every = Some(time(millis)).filter(|every| !every.is_zero());
        }
        if let Some(deadline) = self.drain_deadline_ms {
            setup.change(|builder| builder.drain_deadline(time(deadline)));
        }
        if let Some(deadline) = self.thread_local_deadline_ms {
            setup.change(|builder| builder.thread_local_deadline(time(deadline)));
        }
        if let Some(quiet) = self.debounce_ms {
            setup.change(|builder| builder.debounce(time(quiet)));
        }
        if let Some(images) = self.quarantine_cap {
            setup.change(|builder| builder.quarantine_cap(images));
        }
        for (of, slots) in &self.instances {
            setup.change(|builder| builder.instances(of, slots.clone()));
        }
    }

    /// The changed keys that take effect only at the next start.
    fn requires_restart(&self, new: &Self) -> Vec<String> {
        let keys = [
            ("drain_deadline_ms", self.drain_deadline_ms != new.drain_deadline_ms),
            (
                "thread_local_deadline_ms",
                self.thread_local_deadline_ms != new.thread_local_deadline_ms,
            ),
            ("debounce_ms", self.debounce_ms != new.debounce_ms),
            ("hook_deadline_ms", self.hook_deadline_ms != new.hook_deadline_ms),
            ("probation_ms", self.probation_ms != new.probation_ms),
            ("probation_calls", self.probation_calls != new.probation_calls),
            ("max_panics", self.max_panics != new.max_panics),
            ("health_failures", self.health_failures != new.health_failures),
            ("health_every_ms", self.health_every_ms != new.health_every_ms),
            ("history", self.history != new.history),
            ("on_deleted_file", self.on_deleted_file != new.on_deleted_file),
            ("scrub_every_ms", self.scrub_every_ms != new.scrub_every_ms),
            ("on_damaged_image", self.on_damaged_image != new.on_damaged_image),
            ("instances", self.instances != new.instances),
        ];
        let differ = keys.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(key, _)| format!("host.{key}")).collect()
    }
}

/// All of a host's settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Whole {
    host: HostSettings,
    plugins: BTreeMap<String, serde_json::Value>,
    /// The embedder's own.
    #[allow(dead_code)]
    program: serde_json::Value,
}

impl Whole {
    /// The settings of the plugins, in the host's form.
    fn for_plugins(&self) -> Result<PluginSettings, String> {
        let mut settings = PluginSettings::new();
        for (slot, value) in &self.plugins {
            if !value.is_object() {
                return Err(format!("`plugins.{slot}` is not a table"));
            }
            let inserted = settings.insert(slot, value);
            inserted.map_err(|error| format!("`plugins.{slot}` cannot be handed over: {error}"))?;
        }
        Ok(settings)
    }
}

/// The settings of a host, for [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach). They are read before the host exists, and read again
/// when a file changes:
///
/// - the table `host` overrides the builder's values ([`HostSettings`]);
/// - each table `plugins.NAME` goes to the plugin in the slot NAME (`Plugin::on_config`);
/// - the table `program` is for the program. Any other key is refused.
///
/// If the layers have `environment("RESLOT")`, a variable such as `RESLOT__PLUGINS__MOMENTUM__THRESHOLD=0.1` sets a key.
///
/// ```
/// use reslot::{Host, config::{Configuration, Layers, LiveConfiguration}};
///
/// let settings = Layers::new().file("desk.toml").environment("RESLOT");
/// let host = Host::builder().attach(Configuration::of(settings)).build()?;
/// let configuration = host.surface::<LiveConfiguration>().expect("it is attached");
/// println!("{:?}", configuration.settings().quarantine_cap);
/// # Ok::<(), reslot::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Configuration {
    layers: Layers,
    read: Option<Read>,
}

/// The settings that were read before the host existed.
#[derive(Debug)]
struct Read {
    watched: Watched<Whole>,
    link: Arc<Link>,
    first: Arc<Whole>,
}

/// The watched settings of a running host, from [`Host::surface`](reslot_runtime::Host::surface).
///
/// ```
/// use reslot::{Host, config::{Configuration, Layers, LiveConfiguration}};
///
/// let settings = Layers::new().variables("DESK", [("DESK__HOST__QUARANTINE_CAP", "3")]);
/// let host = Host::builder().attach(Configuration::of(settings)).build()?;
/// let live = host.surface::<LiveConfiguration>().expect("it is attached");
/// assert_eq!(live.settings().quarantine_cap, Some(3));
/// live.read_again(); // as a program does on SIGHUP
/// # Ok::<(), reslot::BuildError>(())
/// ```
#[derive(Debug)]
pub struct LiveConfiguration {
    watched: Watched<Whole>,
}

/// The connection from the thread that reads the settings to the host.
#[derive(Debug)]
struct Link {
    host: OnceLock<HostHandle>,
    /// Each thread that publishes settings holds this lock, so that the newest settings are published last.
    publishing: Mutex<()>,
    files: Vec<PathBuf>,
    /// The slot whose plugin refused last.
    refused_by: Mutex<Option<Arc<str>>>,
    at_start: OnceLock<Arc<Whole>>,
    /// The program's value, which is used while the settings have none.
    programs_cap: usize,
}

impl Configuration {
    /// A configuration from these layers.
    #[must_use]
    pub fn of(layers: Layers) -> Self {
        Self { layers, read: None }
    }

    fn read(&self, setup: &Setup) -> Result<Read, ConfigError> {
        let link = Arc::new(Link {
            host: OnceLock::new(),
            publishing: Mutex::default(),
            files: self.layers.files().map(ToOwned::to_owned).collect(),
            refused_by: Mutex::default(),
            at_start: OnceLock::new(),
            programs_cap: setup.quarantine_cap(),
        });
        let (validating, changing) = (link.clone(), link.clone());
        let (failing, waiting) = (link.clone(), link.clone());
        let watched = Watched::of(self.layers.clone())
            .options(setup.watch_options())
            .validate(move |new: &Whole| validating.validate(new))
            .on_change(move |_, new| changing.changed(new))
            .on_waiting(move |error| waiting.report_waiting(error))
            .on_error(move |error| failing.report_refused(error))
            .start()?;
        let first = watched.load().clone();
        let _ = link.at_start.set(first.clone());
        Ok(Read { watched, link, first })
    }
}

impl Surface for Configuration {
    type Running = LiveConfiguration;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let cannot = |error| SurfaceError::from(error).context("the settings cannot be used");
        let read = self.read(setup).map_err(cannot)?;
        read.first.host.override_builder(setup);
        if let Ok(settings) = read.first.for_plugins() {
            setup.plugin_settings(settings);
        }
        // Another artifact may accept settings that the former one refused.
        let look = read.watched.looks_if_refused();
        setup.on_event(move |event| {
            if let Event::Swapped(_) | Event::RolledBack(_) = event {
                look();
            }
        });
        self.read = Some(read);
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<LiveConfiguration, SurfaceError> {
        let Some(Read { watched, link, first }) = self.read else {
            return Err("the settings were not read".into());
        };
        let publishing = link.publishing.lock();
        let _ = link.host.set(host);
        if let Some(host) = link.steer() {
            let now = watched.load();
            match Arc::ptr_eq(&now, &first) {
                true => host.set_default_log_level(first.host.log_level),
                // Nobody was notified of a change before the host existed.
                false => link.publish(&host, &now),
            }
        }
        drop(publishing);
        Ok(LiveConfiguration { watched })
    }
}

impl LiveConfiguration {
    /// The current table `host`.
    pub fn settings(&self) -> HostSettings {
        self.watched.load().host.clone()
    }

    /// Reads the settings again, for example after a change of the environment, which cannot be watched.
    pub fn read_again(&self) {
        self.watched.look();
    }
}

impl Link {
    /// The host, if it exists already and still exists.
    fn steer(&self) -> Option<Steering<'_>> {
        self.host.get()?.steer().ok()
    }

    /// Checks the settings with every plugin whose table has changed.
    fn validate(&self, new: &Whole) -> Result<(), String> {
        *self.refused_by.lock() = None;
        let settings = new.for_plugins()?;
        // Before the host exists there is no plugin to ask. A plugin that is loaded later checks its table itself.
        let Some(host) = self.steer() else { return Ok(()) };
        host.check_settings(&settings).map_err(|refused| {
            *self.refused_by.lock() = Some(refused.slot.clone());
            refused.to_string()
        })
    }

    fn changed(&self, new: &Whole) {
        let _publishing = self.publishing.lock();
        if let Some(host) = self.steer() {
            self.publish(&host, new);
        }
    }

    fn publish(&self, host: &Steering<'_>, new: &Whole) {
        let Ok(settings) = new.for_plugins() else { return };
        host.set_quarantine_cap(new.host.quarantine_cap.unwrap_or(self.programs_cap));
        host.set_default_log_level(new.host.log_level);
        let at_start = self.at_start.get();
        let requires_restart = at_start.map(|at_start| at_start.host.requires_restart(&new.host));
        host.apply_settings(settings, self.files.clone(), requires_restart.unwrap_or_default());
    }

    fn report_waiting(&self, error: &ConfigError) {
        if let (Some(host), Some(path)) = (self.steer(), error.file()) {
            host.report_waiting(path.to_owned(), error);
        }
    }

    fn report_refused(&self, error: &ConfigError) {
        let Some(host) = self.steer() else { return };
        let slot = self.refused_by.lock().take();
        let file = error.file().map(ToOwned::to_owned).or_else(|| self.files.first().cloned());
        host.report_refused_settings(file, slot, error);
    }
}
