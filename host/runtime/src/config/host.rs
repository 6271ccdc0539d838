//! What a host makes of its settings: the table `host` is its own, each table `plugins.NAME` is given to the plugin in that slot, the
//! table `program` is the embedder's. A change is first shown to all plugins that it is about; only if none refuses is it published,
//! and then the reload thread brings the slots up with it.

use super::{ConfigError, Layers, Watched};
use crate::{given::Tables, host::Inner, policy::DeletedFile, watch::WatchOptions};
use parking_lot::Mutex;
use reslot_native::level::LogLevel;
use reslot_plugin_api::{__private::cut_words, ConfigValue};
use reslot_process::hooks::TookTooLong;
use reslot_report::{Event, HookError};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak, atomic::Ordering},
};

/// The table `host` of a host's settings: what is not given is as the program has it. `log_level` and `quarantine_cap` are taken at run
/// time; a change of the others is told ([`Event::Configured`](crate::Event::Configured)) and takes effect at the next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HostSettings {
    /// How much plugins log, in slots that have no level of their own: `off`, `error`, `warn`, `info`, `debug` or `trace`. It comes before
    /// what the program says ([`HostBuilder::log_level`](crate::HostBuilder::log_level)).
    pub log_level: Option<LogLevel>,
    /// [`HostBuilder::quarantine_cap`](crate::HostBuilder::quarantine_cap).
    pub quarantine_cap: Option<usize>,
    /// [`HostBuilder::drain_deadline`](crate::HostBuilder::drain_deadline), in milliseconds.
    pub drain_deadline_ms: Option<u64>,
    /// [`HostBuilder::thread_local_deadline`](crate::HostBuilder::thread_local_deadline), in milliseconds.
    pub thread_local_deadline_ms: Option<u64>,
    /// [`HostBuilder::debounce`](crate::HostBuilder::debounce), in milliseconds.
    pub debounce_ms: Option<u64>,
    /// [`Policy::hook_deadline`](crate::Policy::hook_deadline), in milliseconds.
    pub hook_deadline_ms: Option<u64>,
    /// [`Policy::probation`](crate::Policy::probation), in milliseconds.
    pub probation_ms: Option<u64>,
    /// [`Policy::probation_calls`](crate::Policy::probation_calls).
    pub probation_calls: Option<u64>,
    /// [`Policy::max_panics`](crate::Policy::max_panics).
    pub max_panics: Option<u32>,
    /// [`Policy::health_failures`](crate::Policy::health_failures).
    pub health_failures: Option<u32>,
    /// [`Policy::health_every`](crate::Policy::health_every), in milliseconds.
    pub health_every_ms: Option<u64>,
    /// [`Policy::history`](crate::Policy::history).
    pub history: Option<usize>,
    /// [`Policy::on_deleted_file`](crate::Policy::on_deleted_file): `keep` or `unload`.
    pub on_deleted_file: Option<DeletedFile>,
    /// [`HostBuilder::instances`](crate::HostBuilder::instances): by plugin or file, the slots. What the program says of others stays.
    pub instances: BTreeMap<String, Vec<String>>,
}

impl HostSettings {
    /// The keys whose values differ and that only the next start takes.
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
            ("instances", self.instances != new.instances),
        ];
        let differ = keys.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(key, _)| format!("host.{key}")).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Whole {
    host: HostSettings,
    plugins: BTreeMap<String, serde_json::Value>,
    /// The embedder's own.
    #[allow(dead_code)]
    program: serde_json::Value,
}

impl Whole {
    /// As they cross.
    fn tables(&self) -> Result<Tables, String> {
        let table = |(slot, value): (&String, &serde_json::Value)| {
            if !value.is_object() {
                return Err(format!("`plugins.{slot}` is no table"));
            }
            let bytes = ConfigValue::of(value).and_then(|value| value.to_bytes());
            let bytes = bytes.map_err(|error| format!("`plugins.{slot}` cannot be handed over: {error}"))?;
            Ok((slot.clone(), Arc::from(bytes)))
        };
        self.plugins.iter().map(table).collect()
    }
}

/// A host's settings, watched.
pub(crate) struct HostConfig {
    watched: Watched<Whole>,
    link: Arc<Link>,
}

/// Where what is read goes to, once there is a host.
#[derive(Default)]
struct Link {
    host: Mutex<Option<Weak<Inner>>>,
    /// The slot whose plugin has refused last.
    refused_by: Mutex<Option<Arc<str>>>,
    at_start: Mutex<HostSettings>,
    /// What the program says, for as long as the settings say nothing.
    programs_cap: usize,
}

/// Reads a host's settings, before there is a host.
pub(crate) fn start(layers: Layers, options: WatchOptions, programs_cap: usize) -> Result<HostConfig, ConfigError> {
    let link = Arc::new(Link {
        programs_cap,
        ..Link::default()
    });
    let files: Vec<PathBuf> = layers.files().map(ToOwned::to_owned).collect();
    let (validating, changing) = (link.clone(), link.clone());
    let (failing, waiting) = (link.clone(), link.clone());
    let watched = Watched::of(layers)
        .options(options)
        .validate(move |new: &Whole| validating.validate(new))
        .on_change({
            let files = files.clone();
            move |_, new| changing.publish(new, &files)
        })
        .on_waiting(move |error| {
            let Some(host) = waiting.host() else { return };
            if let Some(path) = error.file().map(ToOwned::to_owned) {
                let why = error.to_string();
                host.log.push(Event::Waiting { path, why });
            }
        })
        .on_error(move |error| {
            let Some(host) = failing.host() else { return };
            let slot = failing.refused_by.lock().take();
            let file = error.file().map(ToOwned::to_owned).or_else(|| files.first().cloned());
            // It may repeat a line of the file.
            let reason = cut_words(error);
            host.log.push(Event::ConfigRefused { file, slot, reason });
        })
        .start()?;
    let config = HostConfig { watched, link };
    *config.link.at_start.lock() = config.settings();
    Ok(config)
}

impl HostConfig {
    /// The table `host` as it is now.
    pub(crate) fn settings(&self) -> HostSettings {
        self.watched.load().host.clone()
    }

    /// From here on there is a host.
    pub(crate) fn attach(&self, host: &Arc<Inner>) {
        // What is published meanwhile comes after this.
        let mut attached = self.link.host.lock();
        if let Ok(tables) = self.watched.load().tables() {
            host.given.configure(tables);
        }
        host.given.has_settings(self.watched.looks_if_refused());
        let settings = self.watched.load();
        self.link.set_cap(host, settings.host.quarantine_cap);
        host.log_levels.set_for_all(settings.host.log_level);
        *attached = Some(Arc::downgrade(host));
    }

    pub(crate) fn look(&self) {
        self.watched.look();
    }
}

impl Link {
    fn host(&self) -> Option<Arc<Inner>> {
        self.host.lock().as_ref()?.upgrade()
    }

    fn set_cap(&self, host: &Inner, cap: Option<usize>) {
        host.quarantine_cap.store(cap.unwrap_or(self.programs_cap), Ordering::Relaxed);
    }

    /// Asks every plugin whose table is another one now.
    fn validate(&self, new: &Whole) -> Result<(), String> {
        *self.refused_by.lock() = None;
        let tables = new.tables()?;
        let Some(host) = self.host() else { return Ok(()) };
        for record in host.slots.all().iter() {
            let serving = record.lock().current.as_ref().map(|current| current.generation.clone());
            let Some(serving) = serving else { continue };
            let table = tables.get(&*record.name).cloned().unwrap_or_else(crate::given::empty);
            if host.given.table(&record.name).as_ref() == Some(&table) {
                continue;
            }
            let most = host.policy.hook_deadline;
            let check = move || serving.instance().check_config(&table);
            let answer = host
                .hooks
                .run(most, check)
                .unwrap_or_else(|TookTooLong| Err(HookError::TookTooLong(most)));
            if let Err(error) = answer {
                *self.refused_by.lock() = Some(record.name.clone());
                return Err(format!(
                    "the plugin in slot {:?} does not take `plugins.{}`: {error}",
                    record.name, record.name
                ));
            }
        }
        Ok(())
    }

    fn publish(&self, new: &Whole, files: &[PathBuf]) {
        let attached = self.host.lock();
        let Some(host) = attached.as_ref().and_then(Weak::upgrade) else {
            return;
        };
        let Ok(tables) = new.tables() else { return };
        host.given.configure(tables);
        self.set_cap(&host, new.host.quarantine_cap);
        drop(attached);
        host.set_log_level_of_all(new.host.log_level);
        let requires_restart = self.at_start.lock().requires_restart(&new.host);
        let files = files.to_vec();
        host.log.push(Event::Configured { files, requires_restart });
        host.look_at_given();
    }
}
