//! What plugins are given beside their state: which configuration and which contents of resources are to be given to whom. What lives
//! here is the answer as of now, and what was refused; where settings come from is not known here, where resources come from is
//! `resources`, and how a plugin gets anything is `reload/inputs.rs`.
//!
//! An instance is given what there is once, before it serves. What changes later comes with another instance of the same artifact, by
//! an ordinary reload: on its owner's thread if it is claimed, behind its gate if it has a state, and otherwise with nobody waiting. So
//! an instance is never changed under its callers, and whatever goes wrong costs a candidate.

mod delayed_retry;
mod resources;

use crate::{instances::LoadRequest, watch::WatchOptions};
use delayed_retry::DelayedRetry;
use parking_lot::Mutex;
use reslot_artifact::ContentHash;
use reslot_plugin_api::ConfigValue;
use reslot_report::HookError;
use resources::Resources;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub(crate) use resources::{Notices, Read};

/// The settings of plugins, by slot. A plugin in a slot that is not named here is given an empty table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginSettings(BTreeMap<String, Arc<[u8]>>);

/// Settings that cannot be encoded for a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotEncodable(String);

/// A plugin does not take settings.
#[derive(Debug, thiserror::Error)]
#[error("the plugin in slot {slot:?} does not take `plugins.{slot}`: {error}")]
#[non_exhaustive]
pub struct SettingsRefused {
    /// The slot.
    pub slot: Arc<str>,
    /// What the plugin said.
    pub error: HookError,
}

impl PluginSettings {
    /// None for any slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the settings of the plugin in a slot: something that is encoded as a table, such as a struct or a map.
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

/// What one instance is given.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginInputs {
    /// None of a host without a configuration.
    pub(crate) config: Option<Arc<[u8]>>,
    /// Those that exist, in the order of the manifest.
    pub(crate) resources: Vec<(String, Arc<Content>)>,
}

impl PartialEq for PluginInputs {
    fn eq(&self, other: &Self) -> bool {
        let names =
            |inputs: &Self| -> Vec<_> { inputs.resources.iter().map(|(name, of)| (name.clone(), of.hash)).collect() };
        self.config == other.config && names(self) == names(other)
    }
}

/// What a slot's plugin has refused.
struct Refused {
    what: PluginInputs,
    /// What serves has this instead.
    instead: PluginInputs,
    /// The artifacts that have refused it: another one may take it.
    by: Vec<ContentHash>,
}

/// An artifact that was refused because of what it was given.
struct Vetoed {
    slot: Arc<str>,
    path: PathBuf,
    table: Option<Arc<[u8]>>,
    /// How often a resource had changed by then; none if it was about the configuration.
    resources: Option<u64>,
}

/// A host's.
pub(crate) struct InputStore {
    /// Whether anybody is given anything: most hosts give nothing, and are not to pay for it.
    asked: AtomicBool,
    settings: Mutex<Option<PluginSettings>>,
    resources: Option<Resources>,
    /// By slot.
    refused: Mutex<BTreeMap<Arc<str>, Refused>>,
    /// By slot, another instance that could not be had for a reason that may pass.
    put_off: Mutex<BTreeMap<Arc<str>, DelayedRetry>>,
    /// By slot, what there was when a candidate was given something last.
    tried: Mutex<BTreeMap<Arc<str>, PluginInputs>>,
    /// How often a resource has changed.
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

    /// Whether anybody is given anything.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// From now on these are the settings of plugins.
    pub(crate) fn configure(&self, settings: PluginSettings) {
        *self.settings.lock() = Some(settings);
        self.asked.store(true, Ordering::Relaxed);
    }

    /// What the slot's table is now; none if nobody gives settings.
    pub(crate) fn table(&self, slot: &str) -> Option<Arc<[u8]>> {
        Some(self.settings.lock().as_ref()?.of(slot))
    }

    /// The table that these settings have for a slot, if that is another one than now.
    pub(crate) fn changed_table(&self, slot: &str, settings: &PluginSettings) -> Option<Arc<[u8]>> {
        let new = settings.of(slot);
        (self.table(slot).as_ref() != Some(&new)).then_some(new)
    }

    /// Reads the resources of these names, unless they are known, and watches them from now on. Not on a caller's thread.
    pub(crate) fn learn(&self, names: &[String]) -> Vec<Read> {
        self.resources
            .as_ref()
            .map_or_else(Vec::new, |resources| resources.learn(names))
    }

    /// Nothing is noticed any more.
    pub(crate) fn end(&self) {
        if let Some(resources) = &self.resources {
            resources.end();
        }
    }

    /// Reads a resource again, which may have changed. None if it has not.
    pub(crate) fn read_again(&self, name: &str) -> Option<Read> {
        let read = self.resources.as_ref()?.read_again(name);
        if matches!(read, Some(Read::Changed)) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        read
    }

    /// What there is for a plugin with these resources in a slot.
    fn there(&self, slot: &str, names: &[String]) -> PluginInputs {
        PluginInputs {
            config: self.table(slot),
            resources: self
                .resources
                .as_ref()
                .map_or_else(Vec::new, |resources| resources.known(names)),
        }
    }

    /// What an artifact with these resources is given in a slot, as of now: what there is, unless it has refused that.
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

    /// What a candidate is given.
    pub(crate) fn try_on(&self, slot: &Arc<str>, names: &[String], artifact: Option<&ContentHash>) -> PluginInputs {
        let inputs = self.inputs(slot, names, artifact);
        if self.is_asked() {
            self.tried.lock().insert(slot.clone(), self.there(slot, names));
        }
        inputs
    }

    /// A candidate comes that was given nothing yet.
    pub(crate) fn begin_trial(&self, slot: &str) {
        self.tried.lock().remove(slot);
    }

    /// The slot's plugin does not take what its candidate was given, and goes on with what it has.
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

    /// A new artifact does not take what its candidate was given. Answers whether there is something else for it, which it gets from now
    /// on: what serves has refused the same, and has that instead.
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

    /// Something serves in the slot with this: what was refused, and is not what it had instead, is tried again when it comes back.
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

    /// Something newer is for the slot: what was refused before is not tried again.
    pub(crate) fn forget_vetoed(&self, slot: &str) {
        self.vetoed.lock().retain(|known| *known.slot != *slot);
    }

    /// An artifact does not take what is there: it is tried again when that is something else.
    pub(crate) fn refuse_inputs(&self, slot: &Arc<str>, path: PathBuf, of_resource: bool) {
        // What there was, also if it got something else instead: with that it would be tried without end.
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

    /// The artifacts for which it is something else by now.
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
