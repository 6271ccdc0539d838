//! What the threads of one host share: its parts, each with one job and the methods for it. A function that needs one or two of them takes
//! those, so that its signature says what it can touch.

mod hook_runner;
mod retries;
mod scrubber;
mod storage;
mod threads;

use crate::{
    deferred_work::DeferredWork,
    engines::Engines,
    event::Log,
    inputs::InputStore,
    logs::LogLevels,
    policy::Policy,
    reload::ReloadMessage,
    safe_points::AskedForSafePoints,
    slot::{MappedImages, Slots},
};
pub(crate) use hook_runner::HookRunner;
use reslot_system::Process;
pub(crate) use retries::Retries;
pub(crate) use scrubber::{ScrubMessage, Scrubber, VerifyError};
use std::{sync::Arc, time::Duration};
pub(crate) use storage::Storage;
pub(crate) use threads::Threads;

/// The parts of one host.
pub(crate) struct Runtime {
    /// Where it was built. In a forked child of it nothing here may be locked, waited for or dropped.
    pub(crate) process: Process,
    /// What the embedder has chosen.
    pub(crate) options: Options,
    /// The slots, and the view by which they are called.
    pub(crate) slots: Arc<Slots>,
    /// The images that are mapped, and how far each has come.
    pub(crate) images: Arc<MappedImages>,
    /// The ways to the reload thread, the supervisor and the reaper.
    pub(crate) threads: Arc<Threads>,
    /// The engines, and which one runs an artifact.
    pub(crate) engines: Engines,
    /// Where hooks of plugins run.
    pub(crate) hooks: HookRunner,
    /// What plugins are given beside their state.
    pub(crate) inputs: Arc<InputStore>,
    /// Files that were refused for a reason which may pass.
    pub(crate) retries: Arc<Retries>,
    /// The private copies and the history.
    pub(crate) storage: Arc<Storage>,
    /// Events.
    pub(crate) log: Log,
    /// How much which slot is to log.
    pub(crate) log_levels: Arc<LogLevels>,
    /// What the end of the host waits for.
    pub(crate) deferred_work: DeferredWork,
    /// Compares images with their artifacts.
    pub(crate) scrubber: Scrubber,
}

/// What the embedder has chosen, and what stays so as long as the host lives.
pub(crate) struct Options {
    pub(crate) policy: Policy,
    /// How long calls may take to leave what is replaced.
    pub(crate) drain_deadline: Duration,
    /// Whether calls are counted, which has all of them take the way through the gate.
    pub(crate) count_calls: bool,
}

impl AskedForSafePoints for Runtime {
    fn request_safe_points(&self) {
        self.threads.send_to_reload(ReloadMessage::SafePoint);
        self.hooks.pool().request_safe_points();
        self.images.wake();
    }
}
