//! The inputs of plugins besides their state: the configuration and the resources of each slot. This module holds the
//! current values and the refusals. It does not know where settings come from; `resources` reads the resources, and
//! `reload/inputs.rs` passes the inputs to plugins.
//!
//! An instance gets its inputs once, before it serves. For later changes the host makes a new instance of the same artifact
//! by an ordinary reload: on the owner's thread if the slot is claimed, behind the gate if the plugin has a state, and
//! otherwise without any waiting caller. So an instance never changes while it is called, and a failure costs only a
//! candidate.

mod delayed_retry;
mod resources;

use crate::{instances::LoadRequest, watch::WatchOptions};
use delayed_retry::DelayedRetry;
use reslot_artifact::ContentHash;
use reslot_plugin_api::ConfigValue;
use reslot_report::HookError;
use reslot_sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use resources::Resources;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

pub(crate) use resources::{Notices, Read};

/// The settings of plugins, by slot. A plugin in a slot without settings gets an empty table.
///
/// ```
/// use reslot::surface::PluginSettings;
/// use std::collections::BTreeMap;
///
/// let mut settings = PluginSettings::new();
/// settings.insert("momentum", &BTreeMap::from([("threshold", 0.25)]))?;
/// assert_ne!(settings, PluginSettings::new());
/// # Ok::<(), reslot::surface::NotEncodable>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginSettings(BTreeMap<String, Arc<[u8]>>);

/// The error for settings that cannot be encoded for a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotEncodable(String);

/// The error of a plugin that refused settings.
#[derive(Debug, thiserror::Error)]
#[error("the plugin in slot {slot:?} does not take `plugins.{slot}`: {error}")]
#[non_exhaustive]
pub struct SettingsRefused {
    /// The slot.
    pub slot: Arc<str>,
    /// The plugin's error.
    pub error: HookError,
}

impl PluginSettings {
    /// Creates settings for no slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the settings of the plugin in a slot: a value that is encoded as a table, such as a struct or a map.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn insert(&mut self, slot: impl Into<String>, settings: &impl Serialize) -> Result<(), NotEncodable> {
        let bytes = ConfigValue::of(settings).and_then(|value| value.to_bytes());
        let bytes = bytes.map_err(|error| NotEncodable(error.to_string()))?;
        self.0.insert(slot.into(), bytes.into());
        Ok(())
    }

    fn of(&self, slot: &str) -> Arc<[u8]> {
        // An empty map in MessagePack.
        self.0.get(slot).cloned().unwrap_or_else(|| Arc::from([0x80].as_slice()))
    }
}

/// A resource's content.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: Vec<u8>,
}

/// The inputs of one instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginInputs {
    /// None in a host without a configuration.
    pub(crate) config: Option<Arc<[u8]>>,
    /// The existing resources, in the order of the manifest.
    pub(crate) resources: Vec<(String, Arc<Content>)>,
}

impl PluginInputs {
    /// The name and the bytes of each resource.
    pub(crate) fn resources(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.resources.iter().map(|(name, content)| (&**name, &content.bytes[..]))
    }
}

impl PartialEq for PluginInputs {
    fn eq(&self, other: &Self) -> bool {
        let names =
            |inputs: &Self| -> Vec<_> { inputs.resources.iter().map(|(name, of)| (name.clone(), of.hash)).collect() };
        self.config == other.config && names(self) == names(other)
    }
}

/// The inputs that a slot's plugin has refused.
struct Refused {
    what: PluginInputs,
    /// The inputs that the current generation has instead.
    instead: PluginInputs,
    /// The artifacts that have refused them; another artifact may accept them.
    by: Vec<ContentHash>,
}

/// An artifact that was refused because of its inputs.
struct Vetoed {
    slot: Arc<str>,
    path: PathBuf,
    table: Option<Arc<[u8]>>,
    /// The number of resource changes at that time; none if the configuration was the reason.
    resources: Option<u64>,
}

/// The inputs of a host's plugins.
pub(crate) struct InputStore {
    /// Whether the host has any inputs. Most hosts have none, and must not pay for this feature.
    asked: AtomicBool,
    settings: Mutex<Option<PluginSettings>>,
    resources: Option<Resources>,
    /// By slot.
    refused: Mutex<BTreeMap<Arc<str>, Refused>>,
    /// By slot, a new instance that failed for a temporary reason.
    put_off: Mutex<BTreeMap<Arc<str>, DelayedRetry>>,
    /// By slot, the available inputs at the time of the last candidate.
    tried: Mutex<BTreeMap<Arc<str>, PluginInputs>>,
    /// The number of changes of resources.
    changes: AtomicU64,
    vetoed: Mutex<Vec<Vetoed>>,
}

impl InputStore {
    pub(crate) fn new(
        settings: Option<PluginSettings>,
        resources: Option<PathBuf>,
        options: &WatchOptions,
        notices: Notices,
    ) -> Arc<Self> {
        Arc::new(Self {
            asked: AtomicBool::new(settings.is_some() || resources.is_some()),
            settings: Mutex::new(settings),
            resources: resources.map(|folder| Resources::new(folder, options.clone(), notices)),
            refused: Mutex::default(),
            put_off: Mutex::default(),
            tried: Mutex::default(),
            changes: AtomicU64::new(0),
            vetoed: Mutex::default(),
        })
    }

    /// Whether the host has any inputs.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Replaces the settings of plugins.
    pub(crate) fn configure(&self, settings: PluginSettings) {
        *self.settings.lock() = Some(settings);
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The slot's current table; none without a configuration.
    pub(crate) fn table(&self, slot: &str) -> Option<Arc<[u8]>> {
        Some(self.settings.lock().as_ref()?.of(slot))
    }

    /// The table of these settings for a slot, if it differs from the current one.
    pub(crate) fn changed_table(&self, slot: &str, settings: &PluginSettings) -> Option<Arc<[u8]>> {
        let new = settings.of(slot);
        (self.table(slot).as_ref() != Some(&new)).then_some(new)
    }

    /// Reads the resources with these names, unless they are known, and watches them from now on. Must not run on a caller's
    /// thread.
    pub(crate) fn learn(&self, names: &[String]) -> Vec<Read> {
        self.resources
            .as_ref()
            .map_or_else(Vec::new, |resources| resources.learn(names))
    }

    /// Ends all watches.
    pub(crate) fn end(&self) {
        if let Some(resources) = &self.resources {
            resources.end();
        }
    }

    /// Reads a resource again. Returns none if it has not changed.
    pub(crate) fn read_again(&self, name: &str) -> Option<Read> {
        let read = self.resources.as_ref()?.read_again(name);
        if matches!(read, Some(Read::Changed)) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        read
    }

    /// The available inputs for a plugin with these resources in a slot.
    fn there(&self, slot: &str, names: &[String]) -> PluginInputs {
        PluginInputs {
            config: self.table(slot),
            resources: self
                .resources
                .as_ref()
                .map_or_else(Vec::new, |resources| resources.known(names)),
        }
    }

    /// The inputs for an artifact with these resources in a slot: the available ones, unless it has refused them.
    pub(crate) fn inputs(&self, slot: &str, names: &[String], artifact: Option<&ContentHash>) -> PluginInputs {
        if !self.is_asked() {
            return PluginInputs::default();
        }
        let there = self.there(slot, names);
        match self.refused.lock().get(slot) {
            Some(refused) if refused.what == there && artifact.is_some_and(|artifact| refused.by.contains(artifact)) => {
                refused.instead.clone()
            }
            _ => there,
        }
    }

    /// The inputs for a candidate.
    pub(crate) fn try_on(&self, slot: &Arc<str>, names: &[String], artifact: Option<&ContentHash>) -> PluginInputs {
        let inputs = self.inputs(slot, names, artifact);
        if self.is_asked() {
            self.tried.lock().insert(slot.clone(), self.there(slot, names));
        }
        inputs
    }

    /// Begins with a candidate that has no inputs yet.
    pub(crate) fn begin_trial(&self, slot: &str) {
        self.tried.lock().remove(slot);
    }

    /// The slot's plugin has refused new inputs, and keeps its present ones.
    pub(crate) fn refuse(&self, slot: &Arc<str>, names: &[String], artifact: ContentHash, has: PluginInputs) {
        let tried = self.tried.lock().remove(slot);
        let refused = Refused {
            what: tried.unwrap_or_else(|| self.there(slot, names)),
            instead: has,
            by: vec![artifact],
        };
        self.put_off.lock().remove(slot);
        self.refused.lock().insert(slot.clone(), refused);
    }

    /// A new artifact has refused the available inputs. If the current generation has refused them as well, the artifact
    /// gets that generation's inputs from now on. Returns whether this is so.
    pub(crate) fn falls_back(&self, slot: &str, artifact: &ContentHash) -> bool {
        let tried = self.tried.lock();
        let mut refused = self.refused.lock();
        match (tried.get(slot), refused.get_mut(slot)) {
            (Some(tried), Some(refused)) if refused.what == *tried && !refused.by.contains(artifact) => {
                refused.by.push(*artifact);
                true
            }
            _ => false,
        }
    }

    /// The slot's generation now serves with these inputs. If they are not the ones that it used in place of refused inputs,
    /// the refusal is forgotten, so that the refused inputs may be tried again.
    pub(crate) fn serves_with(&self, slot: &str, inputs: &PluginInputs) {
        if !self.is_asked() {
            return;
        }
        self.put_off.lock().remove(slot);
        let mut refused = self.refused.lock();
        if refused.get(slot).is_some_and(|refused| refused.instead != *inputs) {
            refused.remove(slot);
        }
    }

    /// A newer artifact has come for the slot: artifacts that were refused before are not tried again.
    pub(crate) fn forget_vetoed(&self, slot: &str) {
        self.vetoed.lock().retain(|known| *known.slot != *slot);
    }

    /// An artifact has refused the available inputs: it is tried again when they change.
    pub(crate) fn refuse_inputs(&self, slot: &Arc<str>, path: PathBuf, of_resource: bool) {
        // Records the available inputs, even if the artifact got others; otherwise the host would try it without end.
        let tried = self.tried.lock().get(slot).cloned();
        let table = tried.map_or_else(|| self.table(slot), |tried| tried.config);
        let resources = of_resource.then(|| self.changes.load(Ordering::Relaxed));
        let mut vetoed = self.vetoed.lock();
        vetoed.retain(|known| known.path != path || known.slot != *slot);
        vetoed.push(Vetoed {
            slot: slot.clone(),
            path,
            table,
            resources,
        });
    }

    /// The artifacts whose inputs have changed since their refusal.
    pub(crate) fn to_try_again(&self) -> Vec<LoadRequest> {
        let all = std::mem::take(&mut *self.vetoed.lock());
        let changed = |one: &Vetoed| {
            let changes = self.changes.load(Ordering::Relaxed);
            self.table(&one.slot) != one.table || one.resources.is_some_and(|before| before != changes)
        };
        let (again, still): (Vec<_>, Vec<_>) = all.into_iter().partition(changed);
        self.vetoed.lock().extend(still);
        let wanted = |one: Vetoed| LoadRequest::of_slot(one.path, &one.slot);
        again.into_iter().map(wanted).collect()
    }
}
