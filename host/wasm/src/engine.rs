//! The settings of the engine, and its place behind the seam.

use crate::{
    cache::Cache,
    code::Runtime,
    image::StagedModule,
    limits::Limits,
    lint::{self, MAGIC},
};
use reslot_artifact::lint::{LintError, Linted};
use reslot_engine::{Checkpoint, Engine, LintedBytes, StagedArtifact};
use reslot_report::{EngineKind, StageError};
use reslot_stage::StagedFile;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Runs plugins that are compiled to WebAssembly.
///
/// ```
/// use reslot_wasm::{Checkpoint, Wasm};
/// use std::time::Duration;
///
/// let engine = Wasm::new()
///     .memory(16 << 20)
///     .call_deadline(Duration::from_millis(5))
///     .checkpoint(Checkpoint::EveryCalls(1_000));
/// println!("{engine:?}");
/// ```
#[derive(Debug, Clone)]
pub struct Wasm {
    limits: Limits,
    stack: usize,
    cache: Option<PathBuf>,
    /// Made for the first artifact, with the settings of that moment.
    runtime: Arc<OnceLock<Result<Arc<Runtime>, String>>>,
}

impl Default for Wasm {
    fn default() -> Self {
        Self::new()
    }
}

impl Wasm {
    /// With 64 MiB of memory, a second for a call, ten for a hook, 512 KiB of stack, and no checkpoints.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits {
                memory: 64 << 20,
                call: Duration::from_secs(1),
                hook: Duration::from_secs(10),
                checkpoint: Checkpoint::Never,
            },
            stack: 512 << 10,
            cache: None,
            runtime: Arc::default(),
        }
    }

    /// The memory that an instance may have, in bytes. An allocation beyond it fails in the plugin; if the plugin cannot go on without it, the instance
    /// has ended.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// The time for a call, with the calls that it makes to objects that it was lent. A call that takes longer ends the instance, within two
    /// milliseconds after that. Code of the host that the plugin calls is not interrupted.
    #[must_use]
    pub fn call_deadline(mut self, limit: Duration) -> Self {
        self.limits.call = limit;
        self
    }

    /// The same for hooks, such as `start`, and for encoding and decoding a state.
    #[must_use]
    pub fn hook_deadline(mut self, limit: Duration) -> Self {
        self.limits.hook = limit;
        self
    }

    /// The stack for a call, in bytes. The plugin's code runs on the stack of the calling thread, which must have more than that left.
    #[must_use]
    pub fn stack(mut self, bytes: usize) -> Self {
        self.stack = bytes;
        self.runtime = Arc::default();
        self
    }

    /// When the plugin's state is saved. Default: [`Checkpoint::Never`].
    #[must_use]
    pub fn checkpoint(mut self, when: Checkpoint) -> Self {
        self.limits.checkpoint = when;
        self
    }

    /// Keeps compiled modules in this folder, so that a module is compiled once. The folder and its parents must be writable only for the user of this
    /// process, because its files are code that is run without the sandbox; a folder that others can use is not used. A file that was changed is not run.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self.runtime = Arc::default();
        self
    }

    fn runtime(&self) -> Result<Arc<Runtime>, String> {
        let made = self.runtime.get_or_init(|| {
            let cache = self.cache.as_ref().map(|folder| Cache::new(folder.clone()));
            Runtime::new(self.stack, cache)
                .map(Arc::new)
                .map_err(|error| format!("{error:#}"))
        });
        made.clone()
    }
}

impl Engine for Wasm {
    fn kind(&self) -> EngineKind {
        EngineKind::Wasm
    }

    fn format(&self) -> &'static str {
        "a WebAssembly module"
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        let runtime = self.runtime().map_err(lint::refused)?;
        lint::lint(bytes, &runtime)
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        _: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(StagedModule {
            bytes: linted.bytes.to_vec(),
            runtime: self.runtime(),
            limits: self.limits,
        }))
    }
}
