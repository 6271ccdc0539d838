//! The engines of a host, and which one runs an artifact: the one that maps files, one that the builder was given for the slot, or, for a plugin
//! that is linked into the program, one of its own. No other file of the runtime chooses an engine; `lib.rs` re-exports what embedders may use of them, and reports name the kind.
//!
//! A linked plugin has no file. What stands for its file in requests, reports and refusals is `linked:` with the plugin's name; what stands
//! for its bytes is its manifest.

use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_engine::Engine;
use reslot_linked::LinkedEngine;
use reslot_native::NativeEngine;
use reslot_plugin_api::LinkedPlugin;
use reslot_report::Cause;
use reslot_stage::{Bytes, Source};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The engines of a host.
pub(crate) struct Engines {
    /// Runs files in slots that have no engines of their own.
    files: Arc<dyn Engine>,
    /// The engines of slots for which the builder was given some, newest last.
    of_slots: BTreeMap<String, Vec<Arc<dyn Engine>>>,
    linked: Vec<Linked>,
}

/// A plugin that is linked into the program.
pub(crate) struct Linked {
    /// What stands for its file.
    pub(crate) path: PathBuf,
    /// Which version it is: of its manifest.
    pub(crate) hash: ContentHash,
    plugin: LinkedPlugin,
    engine: Arc<dyn Engine>,
}

impl Engines {
    /// The engine for files: it maps them.
    pub(crate) fn native() -> Arc<dyn Engine> {
        Arc::new(NativeEngine)
    }

    pub(crate) fn new(
        files: Arc<dyn Engine>,
        of_slots: BTreeMap<String, Vec<Arc<dyn Engine>>>,
        linked: &[LinkedPlugin],
    ) -> Self {
        let linked = linked.iter().map(|plugin| Linked {
            path: Self::path_of(plugin.name()),
            hash: ContentHash::of(plugin.manifest()),
            plugin: *plugin,
            engine: Arc::new(LinkedEngine::new(*plugin)),
        });
        Self {
            files,
            of_slots,
            linked: linked.collect(),
        }
    }

    /// The engine that lints these bytes. The slot is known only after that. If no engine has this format, the one for files says so.
    pub(crate) fn for_lint(&self, path: &Path, bytes: &[u8]) -> &dyn Engine {
        if let Some(linked) = self.at(path) {
            return &*linked.engine;
        }
        let known = std::iter::once(&self.files).chain(self.of_slots.values().flatten());
        &**known
            .into_iter()
            .find(|engine| engine.has_format(bytes))
            .unwrap_or(&self.files)
    }

    /// The engine that runs these bytes in this slot: the newest of the slot's that has this format.
    ///
    /// # Errors
    /// If the slot has no such engine.
    pub(crate) fn for_slot(&self, slot: &str, path: &Path, bytes: &[u8]) -> Result<&dyn Engine, Cause> {
        if let Some(linked) = self.at(path) {
            return Ok(&*linked.engine);
        }
        let of_slot = self
            .of_slots
            .get(slot)
            .map_or(std::slice::from_ref(&self.files), Vec::as_slice);
        match of_slot.iter().rev().find(|engine| engine.has_format(bytes)) {
            Some(engine) => Ok(&**engine),
            None => Err(Cause::NoEngine {
                slot: slot.to_owned(),
                engines: of_slot.iter().map(|engine| engine.kind()).collect(),
                format: self.for_lint(path, bytes).format(),
            }),
        }
    }

    /// What stands for the file of a linked plugin.
    pub(crate) fn path_of(plugin: &str) -> PathBuf {
        format!("linked:{plugin}").into()
    }

    /// Whether a linked plugin stands behind this.
    pub(crate) fn is_linked(&self, path: &Path) -> bool {
        self.at(path).is_some()
    }

    /// What stands for a linked plugin's file and bytes.
    pub(crate) fn linked_source(&self, path: &Path) -> Option<Source> {
        self.at(path).map(Linked::source)
    }

    /// All plugins that are linked into the program.
    pub(crate) fn linked(&self) -> impl Iterator<Item = &Linked> {
        self.linked.iter()
    }

    fn at(&self, path: &Path) -> Option<&Linked> {
        self.linked.iter().find(|linked| linked.path == path)
    }
}

impl Linked {
    /// The plugin's name.
    pub(crate) fn name(&self) -> &'static str {
        self.plugin.name()
    }

    /// What the plugin says of itself.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        Manifest::parse(self.plugin.manifest()).ok()
    }

    /// What stands for its file and bytes.
    pub(crate) fn source(&self) -> Source {
        let bytes = self.plugin.manifest();
        Source {
            path: self.path.clone(),
            bytes: Bytes::of(bytes.to_vec()),
            hash: self.hash,
            len: bytes.len() as u64,
        }
    }
}
