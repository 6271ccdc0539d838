//! What an image has in this process beside its code: its owner, its logs and its panics.

use reslot_engine::{
    Holding, ImageId, ImageOwner, LogLevel, Resources, next_image_id,
    panics::{self, PanicReport},
};
use reslot_plugin_api::Backtrace;
use reslot_report::{Comparison, EngineKind};
use reslot_sync::atomic::{AtomicU8, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) struct Owner {
    pub(crate) id: ImageId,
    owner: ImageOwner,
    level: AtomicU8,
}

impl Owner {
    pub(crate) fn new(owner: ImageOwner) -> Self {
        let level = AtomicU8::new((owner.log_level)() as u8);
        Self {
            id: next_image_id(),
            owner,
            level,
        }
    }

    /// The level of records that the module is to send.
    pub(crate) fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// The module's panic hook ran.
    pub(crate) fn panicked(&self, message: &str, location: &str) {
        panics::remember(self.id, PanicReport::new(message, location, Backtrace::default()));
    }

    /// A panic was caught at the module's boundary.
    pub(crate) fn contained(&self, message: &str) {
        // Nothing of the module runs without a caller, so the caller takes the report.
        let _ = panics::contained(self.id, message);
    }

    /// The module has sent a record.
    pub(crate) fn record(&self, level: u32, target: &str, message: &str) {
        let (slot, generation) = (&*self.owner.slot, self.owner.generation);
        // The program's subscriber may panic, and that is no trap of the module.
        let _ = catch_unwind(AssertUnwindSafe(|| match level {
            1 => tracing::error!(slot, generation, plugin_target = target, "{message}"),
            2 => tracing::warn!(slot, generation, plugin_target = target, "{message}"),
            3 => tracing::info!(slot, generation, plugin_target = target, "{message}"),
            4 => tracing::debug!(slot, generation, plugin_target = target, "{message}"),
            _ => tracing::trace!(slot, generation, plugin_target = target, "{message}"),
        }));
    }
}

impl Resources for Owner {
    fn engine(&self) -> EngineKind {
        EngineKind::Wasm
    }

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn log_level_changed(&self) {
        let level: LogLevel = (self.owner.log_level)();
        self.level.store(level as u8, Ordering::Relaxed);
    }

    fn holding(&self) -> Holding {
        Holding::Nothing
    }

    fn running_threads(&self) -> Vec<String> {
        Vec::new()
    }

    fn threads_with_values(&self) -> Vec<String> {
        Vec::new()
    }

    fn compare(&self, _: &dyn Fn() -> bool) -> Comparison {
        Comparison::NotApplicable
    }

    fn watch(&self) {}

    fn end(&self) {}
}
