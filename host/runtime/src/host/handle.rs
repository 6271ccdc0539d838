//! A surface's access to a running host: a handle that does not keep the host alive, for events, queries and commands.

use super::{
    Examination, RollbackError, RollbackTarget, SlotInfo, after, examine::examine, going_back, infos, named, requests,
};
use crate::{
    deferred_work::UnderWay,
    event::Events,
    history::HistoryEntry,
    inputs::{PluginSettings, SettingsRefused},
    instances::LoadRequest,
    reload::{Counts, LoadOutcome, UnloadOutcome},
    runtime::Runtime,
    scrub,
    slot::who_holds,
};
use reslot_engine::LogLevel;
use reslot_plugin_api::__private::cut_words;
use reslot_report::{Event, GenerationHolders, ImageReport, QuarantineReason, Refusal, SlotError, StageError, UnloadError};
use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

/// A way to a running host that does not keep it alive, for a [`Surface`](super::Surface). Cheap to clone.
///
/// ```
/// use reslot::{Host, surface::{HostHandle, Surface, SurfaceError}};
///
/// struct Remote;
///
/// impl Surface for Remote {
///     type Running = HostHandle;
///
///     fn start(self, host: HostHandle) -> Result<HostHandle, SurfaceError> {
///         Ok(host) // most surfaces start a thread here, and give it the handle
///     }
/// }
///
/// let host = Host::builder().attach(Remote).build()?;
/// let handle = host.surface::<HostHandle>().expect("it is attached").clone();
/// assert!(handle.ask()?.slots().is_empty());
/// drop(host); // the handle does not keep it
/// assert!(handle.ask().is_err() && handle.steer().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HostHandle {
    host: Weak<Runtime>,
}

/// The host has ended, or is ending and accepts no commands; or this process is a forked child of the host's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has ended")]
pub struct HostEnded;

/// Queries to a host, from [`HostHandle::ask`]. Keep it only for one query or a few, because while it lives the memory of an
/// ended host is not freed.
///
/// Nothing here waits for anything but short locks, and no code of a plugin runs.
///
/// ```
/// # use reslot::{Host, surface::{HostHandle, Surface, SurfaceError}};
/// # struct Remote;
/// # impl Surface for Remote {
/// #     type Running = HostHandle;
/// #     fn start(self, host: HostHandle) -> Result<HostHandle, SurfaceError> {
/// #         Ok(host)
/// #     }
/// # }
/// # let plugins = example_plugins::folder();
/// # let host = Host::builder().watch(&plugins).attach(Remote).build()?;
/// # let handle = host.surface::<HostHandle>().expect("it is attached");
/// let asking = handle.ask()?;
/// assert_eq!(asking.slot("pricer")?.generation, Some(1));
/// assert!(asking.find_slot("prizer").is_none());
/// let known = asking.examine(&plugins.join("libpricer.so"))?;
/// assert_eq!(known.places.len(), 1); // it serves in one slot
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Asking<'h> {
    host: Arc<Runtime>,
    of: std::marker::PhantomData<&'h HostHandle>,
}

/// Commands to a host, from [`HostHandle::steer`]. Keep it only for one request: the end of the host waits until it is
/// dropped (at most as long as all hooks of a rollback may take), so that a command that has begun is completed.
///
/// What needs the reload thread waits for its turn there, and for what becomes of it. Called on that thread, as by an observer of events, it is
/// refused ([`Cause::Reentrant`](crate::Cause::Reentrant)).
///
/// ```
/// # use reslot::{Host, surface::{HostHandle, Surface, SurfaceError}};
/// # struct Remote;
/// # impl Surface for Remote {
/// #     type Running = HostHandle;
/// #     fn start(self, host: HostHandle) -> Result<HostHandle, SurfaceError> {
/// #         Ok(host)
/// #     }
/// # }
/// # let plugins = example_plugins::folder();
/// # let new_build = plugins.new_build("pricer");
/// # let host = Host::builder().watch(&plugins).attach(Remote).build()?;
/// # let handle = host.surface::<HostHandle>().expect("it is attached");
/// let steering = handle.steer()?;
/// let outcomes = steering.load(new_build);
/// assert!(outcomes.iter().all(Result::is_ok));
/// steering.confirm("pricer")?; // its probation is over
/// # drop(steering);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Steering<'h> {
    asking: Asking<'h>,
    _under_way: UnderWay,
}

impl HostHandle {
    pub(super) fn of(host: &Arc<Runtime>) -> Self {
        let host = Arc::downgrade(host);
        Self { host }
    }

    /// The host for queries, also while it is ending.
    ///
    /// # Errors
    /// If the host has ended.
    pub fn ask(&self) -> Result<Asking<'_>, HostEnded> {
        let host = self.host.upgrade().ok_or(HostEnded)?;
        if host.process.is_another() {
            // It belongs to the parent, and must not be dropped here.
            std::mem::forget(host);
            return Err(HostEnded);
        }
        let of = std::marker::PhantomData;
        Ok(Asking { host, of })
    }

    /// The host for commands and queries.
    ///
    /// # Errors
    /// If the host has ended, or has begun to end.
    pub fn steer(&self) -> Result<Steering<'_>, HostEnded> {
        let asking = self.ask()?;
        // The order matters: an ending host first sets its flag, and then waits for running requests.
        let under_way = asking.host.deferred_work.begin();
        match asking.is_ending() {
            true => Err(HostEnded),
            false => Ok(Steering {
                asking,
                _under_way: under_way,
            }),
        }
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").finish_non_exhaustive()
    }
}

/// Observing.
impl Asking<'_> {
    /// The host's events, from the oldest that is still kept. The stream outlives the host, and ends after the host's last event.
    pub fn events(&self) -> Events {
        self.host.log.stream()
    }

    /// The host's events from this number on, or from the oldest one that is still kept.
    pub fn events_from(&self, sequence: u64) -> Events {
        self.host.log.stream_from(sequence)
    }

    /// The number of the next event.
    pub fn next_event(&self) -> u64 {
        self.host.log.next()
    }
}

/// Asking.
impl Asking<'_> {
    /// Whether the host has begun to end, and accepts no commands any more.
    pub fn is_ending(&self) -> bool {
        self.host.slots.is_ending()
    }

    /// As [`Host::slots`](crate::Host::slots).
    pub fn slots(&self) -> Vec<SlotInfo> {
        infos::all(&self.host)
    }

    /// The present state of a slot, also of an empty one.
    ///
    /// # Errors
    /// If there is no slot of this name.
    pub fn slot(&self, name: &str) -> Result<SlotInfo, SlotError> {
        self.find_slot(name).ok_or_else(|| self.why_empty(name))
    }

    /// The present state of a slot, if the slot exists. [`slot`](Self::slot) lists the watched folder to explain a missing
    /// slot; this function reads no file, so use it in code that runs for each event.
    pub fn find_slot(&self, name: &str) -> Option<SlotInfo> {
        let record = self.host.slots.named(name)?;
        Some(infos::of(&self.host, &record))
    }

    /// The error that explains why a slot is empty or missing.
    pub fn why_empty(&self, name: &str) -> SlotError {
        self.host.slots.why_not(name)
    }

    /// As [`Host::images`](crate::Host::images).
    pub fn images(&self) -> Counts {
        self.host.images.counts()
    }

    /// As [`Host::verify_images`](crate::Host::verify_images). Unlike the other questions this one waits for long on a busy machine.
    pub fn verify_images(&self) -> Vec<ImageReport> {
        scrub::verify(&self.host)
    }

    /// The reason for each quarantined image.
    pub fn quarantined(&self) -> Vec<QuarantineReason> {
        self.host.images.quarantined()
    }

    /// As [`Host::who_holds`](crate::Host::who_holds).
    pub fn who_holds(&self, slot: &str) -> Vec<GenerationHolders> {
        let record = self.host.slots.named(slot);
        record
            .map(|record| who_holds(&self.host.slots, &self.host.images, &record))
            .unwrap_or_default()
    }

    /// As [`Host::history`](crate::Host::history).
    pub fn history(&self, slot: &str) -> Vec<HistoryEntry> {
        self.host.storage.history.entries(slot)
    }

    /// Examines a file: it explains why the file is not loaded, or would not be. Nothing is loaded, and no code of the file
    /// is executed.
    ///
    /// # Errors
    /// If the file cannot be read completely.
    pub fn examine(&self, path: &Path) -> Result<Examination, StageError> {
        examine(&self.host, path)
    }

    /// The folder that the host watches.
    pub fn folder(&self) -> Option<&Path> {
        self.host.slots.folder()
    }

    /// As [`Host::wait_until_unmapped`](crate::Host::wait_until_unmapped).
    pub fn wait_until_unmapped(&self, slot: &str, generation: u64, timeout: Duration) -> bool {
        self.host.images.wait_until_gone(slot, generation, after(timeout))
    }
}

/// Versions.
impl Steering<'_> {
    /// As [`Host::load`](crate::Host::load), with the outcome in each of the file's slots.
    pub fn load(&self, path: impl Into<PathBuf>) -> Vec<Result<LoadOutcome, Refusal>> {
        requests::ask_for(&self.host.threads, LoadRequest::file(path), true)
    }

    /// As [`Host::load_as`](crate::Host::load_as).
    ///
    /// # Errors
    /// If the artifact is refused; the slot keeps its current generation.
    pub fn load_as(&self, slot: &str, path: impl Into<PathBuf>) -> Result<LoadOutcome, Refusal> {
        requests::load(&self.host.threads, named(slot, path.into())?)
    }

    /// As [`Host::rollback`](crate::Host::rollback).
    ///
    /// # Errors
    /// If the slot or the version does not exist, or the version cannot be loaded any more; the current generation keeps
    /// serving.
    pub fn rollback(&self, slot: &str, to: RollbackTarget) -> Result<LoadOutcome, RollbackError> {
        going_back::rollback(&self.host, slot, to, None)
    }

    /// As [`Host::confirm`](crate::Host::confirm).
    ///
    /// # Errors
    /// If the slot is empty or does not exist.
    pub fn confirm(&self, slot: &str) -> Result<bool, SlotError> {
        going_back::confirm(&self.host, slot)
    }

    /// As [`Host::unload`](crate::Host::unload).
    ///
    /// # Errors
    /// As there.
    pub fn unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.host.threads, &self.host.slots, slot, false)
    }

    /// As [`Host::force_unload`](crate::Host::force_unload).
    ///
    /// # Errors
    /// As there.
    pub fn force_unload(&self, slot: &str) -> Result<UnloadOutcome, UnloadError> {
        requests::unload(&self.host.threads, &self.host.slots, slot, true)
    }
}

/// Logs, limits, and the settings of plugins.
impl Steering<'_> {
    /// As [`Host::set_log_level`](crate::Host::set_log_level).
    pub fn set_log_level(&self, slot: &str, level: Option<LogLevel>) -> LogLevel {
        self.host.log_levels.set(&self.host.images, slot, level)
    }

    /// Sets the log level of slots without their own level; none: the program's level.
    pub fn set_default_log_level(&self, level: Option<LogLevel>) {
        self.host.log_levels.set_for_all(&self.host.images, level);
    }

    /// Sets the [quarantine cap](crate::HostBuilder::quarantine_cap).
    pub fn set_quarantine_cap(&self, images: usize) {
        self.host.images.set_quarantine_cap(images);
    }

    /// Calls `Plugin::check_config` of each current plugin whose settings would change. Changes nothing. Waits for these
    /// hooks, for each at most the policy's hook deadline.
    ///
    /// # Errors
    /// If a plugin refuses its settings.
    pub fn check_settings(&self, settings: &PluginSettings) -> Result<(), SettingsRefused> {
        requests::check_settings(&self.host, settings)
    }

    /// Applies settings: for each plugin whose settings have changed, the reload thread makes a new generation with them.
    /// [`Event::Configured`] reports it, with the settings' files and the keys that need a restart of the host.
    pub fn apply_settings(&self, settings: PluginSettings, files: Vec<PathBuf>, requires_restart: Vec<String>) {
        self.host.inputs.configure(settings);
        self.host.log.push(Event::Configured { files, requires_restart });
        self.host.threads.recheck_inputs(&self.host.inputs);
    }

    /// Reports refused settings as [`Event::ConfigRefused`], with the file and the slot, if known. A long reason is cut.
    pub fn report_refused_settings(&self, file: Option<PathBuf>, slot: Option<Arc<str>>, reason: impl fmt::Display) {
        let reason = cut_words(reason);
        self.host.log.push(Event::ConfigRefused { file, slot, reason });
    }

    /// Reports as [`Event::Waiting`] that a file is not read yet, because it is open for writing.
    pub fn report_waiting(&self, path: PathBuf, why: impl fmt::Display) {
        let why = why.to_string();
        self.host.log.push(Event::Waiting { path, why });
    }
}

impl<'h> Deref for Steering<'h> {
    type Target = Asking<'h>;

    fn deref(&self) -> &Asking<'h> {
        &self.asking
    }
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Steering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("slots", &self.slots())
            .finish_non_exhaustive()
    }
}
