//! What an engine must do: artifact, image, object, and the end of them. Each trait says what its caller keeps to and what its implementer
//! does.

use crate::{
    level::LogLevel,
    neighbours::Neighbours,
    panics::PanicReport,
    preflight::{Preflight, PreflightCandidate},
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_plugin_api::{__private::ContextAbi, Health};
use reslot_report::{HookError, OpenError, PreflightError, PreflightReport, QuarantineReason, UnloadReport};
use reslot_stage::StagedFile;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What makes the code of artifacts runnable.
pub trait Engine: Send + Sync {
    /// Makes the code of a linted copy runnable, on behalf of `owner`. Code of the artifact may run in here for the first time.
    ///
    /// # Errors
    /// If it cannot be had. Then nothing of it is left in the process.
    fn open(&self, copy: StagedFile, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError>;

    /// Tries a linted copy out where a crash costs nothing, with the state of what serves and the number of its schema.
    ///
    /// # Errors
    /// If it crashes, hangs or refuses, or cannot be tried.
    fn preflight(
        &self,
        how: &Preflight,
        candidate: &PreflightCandidate<'_>,
        state: Option<(u32, &[u8])>,
    ) -> Result<PreflightReport, PreflightError>;
}

/// For whom an image is opened, and what it tells and asks while it lives.
pub struct ImageOwner {
    /// The slot that it is for.
    pub slot: Arc<str>,
    /// Its number there.
    pub generation: u64,
    /// The plugins beside it.
    pub neighbours: Box<dyn Neighbours>,
    /// How much it is to log, at any time.
    pub log_level: Box<dyn Fn() -> LogLevel + Send + Sync>,
    /// Called whenever there is less that keeps it, from when [`Resources::watch`] was called.
    pub when_less: Box<dyn Fn() + Send + Sync>,
    /// Called for each panic on a thread that it started, which no caller sees.
    pub on_thread_panic: Box<dyn Fn(PanicReport) + Send + Sync>,
}

impl ImageOwner {
    /// What a person calls the image.
    #[must_use]
    pub fn image_name(&self) -> String {
        format!("plugin {:?}, generation {},", self.slot, self.generation)
    }
}

/// Code that can run, of which it is not yet known whether it is what was linted. It may have left something in the process, so dropping it
/// may leave it there for good.
pub trait Opened: Send {
    /// What it has in this process.
    fn resources(&self) -> Arc<dyn Resources>;

    /// Checks that it is what was linted. `written` is the hash of the linted manifest's text.
    ///
    /// # Errors
    /// If it is something else. It is not closed then.
    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError>;
}

/// The number of an image, unique in this process.
pub type ImageId = u64;

/// A new number for an image.
#[must_use]
pub fn next_image_id() -> ImageId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An artifact whose code can run. It is closed with [`close`](Self::close); whoever drops one instead leaks it.
///
/// # Safety
/// The objects that `create` answers, and their tables, are good until `close` was called.
pub unsafe trait Image: Send + Sync {
    /// Its number.
    fn id(&self) -> ImageId;

    /// What the artifact says of itself.
    fn manifest(&self) -> &Arc<Manifest>;

    /// What it has in this process.
    fn resources(&self) -> Arc<dyn Resources>;

    /// The private copy that it was opened from, if there is one.
    fn copy(&self) -> Option<&Path>;

    /// Makes an object with its `Default`.
    ///
    /// # Errors
    /// If the constructor refuses or panics.
    ///
    /// # Safety
    /// Nothing is called in the object once the image is closed.
    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError>;

    /// Whether it tells the threads of one of its objects from those of another, so that there may be a second one.
    fn may_have_second(&self) -> bool;

    /// Its last object is dropped: it tidies up what it has outside of objects.
    fn shutdown(&self);

    /// How many bytes it has allocated just now; none if it counts none. None of the plugin's own code runs for that.
    fn live_bytes(&self) -> Option<u64>;

    /// What keeps it after its last object, looked at without doing anything.
    fn holding(&self) -> Holding;

    /// Closes it, and proves that it is gone. Its objects are dropped, no thread runs in it, and this is the only thread that closes images.
    fn close(self: Box<Self>) -> Unloading;
}

/// What an image has in this process beside its memory, for those who ask about it while it lives and while it ends. It may be asked at any
/// time, also when the image is gone.
pub trait Resources: Send + Sync {
    /// How many bytes it has allocated just now; none if it counts none, or is gone.
    fn live_bytes(&self) -> Option<u64>;

    /// What [`ImageOwner::log_level`] answers may have changed.
    fn log_level_changed(&self);

    /// What keeps the image, leaving callers aside.
    fn holding(&self) -> Holding;

    /// The names of the threads that run in it.
    fn running_threads(&self) -> Vec<String>;

    /// The names of the program's threads that have thread-local values of it.
    fn threads_with_values(&self) -> Vec<String>;

    /// Its end begins: from here on [`ImageOwner::when_less`] is called.
    fn watch(&self);

    /// Its last object is gone: threads may drop what they have of it at their safe points, this one right now.
    fn end(&self);
}

/// What keeps an image whose instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Nothing: it can be closed.
    Nothing,
    /// Thread-local values of threads that live on, and no more. It can be closed, and they are skipped.
    Values,
    /// Threads run in it.
    Threads,
}

/// How closing an image went.
pub enum Unloading {
    /// Neither the loader nor the kernel knows the image any more, and its private copy is deleted.
    Unmapped(UnloadReport),
    /// It stays, with the reason. It can be tried again.
    Stays(Box<dyn Image>, QuarantineReason),
    /// A thread has just begun to run something in it: nothing was done.
    Busy(Box<dyn Image>),
}

/// An object of a plugin's type. Dropping this value leaks the object; [`destroy`](Self::destroy) ends it.
///
/// Of a plugin whose type is not `Sync`, `snapshot` and `health` are called only while no method of the object is.
///
/// # Safety
/// `data` and `table` are what clients of the plugin's interface take, always the same, and good until `destroy`. The functions that take
/// `&self` and are not `unsafe` touch the object through a shared reference only.
pub unsafe trait Object: Send + Sync {
    /// The object, as its function table takes it.
    fn data(&self) -> *mut ();

    /// The function table of its interface.
    fn table(&self) -> *const ();

    /// The state, encoded into the host's memory; none if it has none. With room for `capacity` bytes to begin with, it need not grow so
    /// often.
    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError>;

    /// Brings an encoded state from one schema to another. The object is left alone.
    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError>;

    /// Why its plugin cannot read what it has written as its state, if that is so. Another object is made for the question.
    fn cannot_read(&self, state: &[u8]) -> Option<String>;

    /// How it says that it is.
    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError>;

    /// Whether its plugin would take this configuration. The object is left alone.
    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError>;

    /// The names of its image's threads of `Context::spawn` that have not ended, after they were asked to; empty if none is left. With
    /// `own` of those alone that this object has started.
    fn workers(&self, own: bool) -> String;

    /// Replaces its value by a state that was encoded by a predecessor.
    ///
    /// # Safety
    /// No other call is inside of the object, and nobody holds what a call has answered by reference. The same is true of the functions
    /// below.
    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError>;

    /// Gives it its configuration.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError>;

    /// Gives it one of its resources.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError>;

    /// Lets it build what is derived from its state.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Lets it acquire what it needs.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Lets it give that back, and asks its threads to end.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Drops it.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore); and nothing is done with it after that.
    unsafe fn destroy(&self) -> Result<(), HookError>;
}
