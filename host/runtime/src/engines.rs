//! The engines of a host, and which one runs an artifact: the one that maps files, or, for a plugin that is linked into the program, one of
//! its own. No other file of the runtime chooses an engine; `lib.rs` re-exports what embedders may use of them, and reports name the kind.
//!
//! A linked plugin has no file. What stands for its file in requests, reports and refusals is `linked:` with the plugin's name; what stands
//! for its bytes is its manifest.

use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_engine::Engine;
use reslot_linked::LinkedEngine;
use reslot_native::NativeEngine;
use reslot_plugin_api::LinkedPlugin;
use reslot_stage::{Bytes, Source};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The engines of a host.
pub(crate) struct Engines {
    /// Runs what comes from files.
    files: Arc<dyn Engine>,
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

    pub(crate) fn new(files: Arc<dyn Engine>, linked: &[LinkedPlugin]) -> Self {
        let linked = linked.iter().map(|plugin| Linked {
            path: Self::path_of(plugin.name()),
            hash: ContentHash::of(plugin.manifest()),
            plugin: *plugin,
            engine: Arc::new(LinkedEngine::new(*plugin)),
        });
        Self {
            files,
            linked: linked.collect(),
        }
    }

    /// The engine for what comes from here.
    pub(crate) fn of(&self, path: &Path) -> &dyn Engine {
        match self.at(path) {
            Some(linked) => &*linked.engine,
            None => &*self.files,
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
