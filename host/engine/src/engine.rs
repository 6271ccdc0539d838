//! The traits of an engine: it opens artifacts, makes objects from images, and closes images. Each trait states the duties of its callers
//! and of its implementers.

use crate::{
    level::LogLevel,
    panics::PanicReport,
    peer_table::PeerTable,
    preflight::{Preflight, PreflightCandidate},
};
use reslot_artifact::{
    ContentHash,
    lint::{LintError, Linted},
    manifest::Manifest,
};
use reslot_plugin_api::{
    __private::{BufferAbi, ContextAbi, LinkAbi, RequestAbi, marshal::Marshalling},
    Health, InstanceEnd,
};
use reslot_report::{
    Comparison, EngineKind, HookError, OpenError, PreflightError, PreflightReport, QuarantineReason, StageError,
    UnloadReport,
};
use reslot_stage::StagedFile;
use reslot_sync::atomic::{AtomicU64, Ordering};
use std::{path::Path, sync::Arc};

/// Makes the code of artifacts runnable.
/// A program gives one to `HostBuilder::engine`, and calls none of these functions.
pub trait Engine: std::fmt::Debug + Send + Sync {
    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// What a file for this engine is, such as "a shared library".
    fn format(&self) -> &'static str;

    /// Whether these bytes have the format that this engine runs. This looks at their beginning; [`lint`](Self::lint) decides.
    fn has_format(&self, bytes: &[u8]) -> bool;

    /// Decides from the bytes alone whether they may be loaded, and may change them so that they can. None of the artifact's code runs.
    ///
    /// # Errors
    /// What is wrong with them.
    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError>;

    /// Prepares an artifact that has passed the lint. None of its code runs. `write_copy` writes its bytes into a private file, for engines that
    /// open one.
    ///
    /// # Errors
    /// If the copy cannot be written.
    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError>;
}

impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn kind(&self) -> EngineKind {
        (**self).kind()
    }

    fn format(&self) -> &'static str {
        (**self).format()
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        (**self).has_format(bytes)
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        (**self).lint(bytes)
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        (**self).stage(linted, write_copy)
    }
}

/// The bytes of an artifact as the lint has left them. An engine keeps what it needs to compare the image with them later: their hash proves
/// of a copy that it has the same bytes.
#[derive(Clone, Copy)]
pub struct LintedBytes<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Their hash.
    pub hash: ContentHash,
    /// The file that was published. It may be another one by now, and the lint may have changed bytes of it.
    pub file: &'a Path,
}

/// An artifact that is ready to be opened.
pub trait StagedArtifact {
    /// The private copy, if there is one.
    fn copy(&self) -> Option<&StagedFile>;

    /// Its trial, if this engine has one.
    fn trial(&self) -> Option<&dyn Trial>;

    /// Makes its code runnable for `owner`. Code of the artifact may run here for the first time.
    ///
    /// # Errors
    /// If it cannot be opened. Then nothing of it is left in the process.
    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError>;
}

/// Tries a staged artifact out where a crash does not harm the host.
pub trait Trial {
    /// Tries it out. `state` is the current generation's state and its schema.
    ///
    /// # Errors
    /// If it crashes, hangs or refuses, or if it cannot be tried out.
    fn preflight(
        &self,
        how: &Preflight,
        candidate: &PreflightCandidate<'_>,
        state: Option<(u32, &[u8])>,
    ) -> Result<PreflightReport, PreflightError>;
}

/// The owner of an image, and the functions that the image calls while it lives.
pub struct ImageOwner {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation number.
    pub generation: u64,
    /// The image's peers.
    pub peers: Box<dyn PeerTable>,
    /// Returns the image's current log level.
    pub log_level: Box<dyn Fn() -> LogLevel + Send + Sync>,
    /// After [`Resources::watch`]: called whenever something that keeps the image has ended.
    pub when_less: Box<dyn Fn() + Send + Sync>,
    /// Called for each panic on a thread that the plugin has started, because no caller sees it.
    pub on_thread_panic: Box<dyn Fn(PanicReport) + Send + Sync>,
}

impl ImageOwner {
    /// The image's name in messages.
    #[must_use]
    pub fn image_name(&self) -> String {
        format!("plugin {:?}, generation {},", self.slot, self.generation)
    }
}

/// Code that can run, but is not verified yet. It may already have registered something in the process, so dropping this may leak it.
pub trait Opened: Send {
    /// Its resources in this process.
    fn resources(&self) -> Arc<dyn Resources>;

    /// Checks that this code is the linted artifact. `written` is the hash of the linted manifest's text.
    ///
    /// # Errors
    /// If it is not. Then it is leaked and not closed.
    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError>;
}

/// The id of an image, unique in this process.
pub type ImageId = u64;

/// Returns a new id.
#[must_use]
pub fn next_image_id() -> ImageId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A verified artifact whose code can run. It is closed with [`close`](Self::close); dropping it leaks it.
///
/// # Safety
/// The implementer keeps the objects that `create` returns, and their tables, valid until `close` is called.
pub unsafe trait Image: Send + Sync {
    /// The engine that has made it.
    fn engine(&self) -> EngineKind;

    /// Its id.
    fn id(&self) -> ImageId;

    /// The artifact's manifest.
    fn manifest(&self) -> &Arc<Manifest>;

    /// Its resources in this process.
    fn resources(&self) -> Arc<dyn Resources>;

    /// The private copy from which it was opened, if there is one.
    fn copy(&self) -> Option<&Path>;

    /// The hash of the bytes that were written to that copy.
    fn copy_hash(&self) -> Option<ContentHash>;

    /// Makes an object with its `Default`.
    ///
    /// # Errors
    /// If the constructor refuses or panics.
    ///
    /// # Safety
    /// The caller calls nothing in the object after the image is closed.
    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError>;

    /// Whether the plugin's SDK keeps worker threads per object, which is needed for a second object.
    fn may_have_second(&self) -> bool;

    /// Lets the plugin clean up what it has outside of objects. To be called after its last object was dropped.
    fn shutdown(&self);

    /// How many bytes it has allocated; none if it does not count them. No code of the plugin's author runs for that.
    fn live_bytes(&self) -> Option<u64>;

    /// What keeps the image after its last object is dropped. This only looks, and changes nothing.
    fn holding(&self) -> Holding;

    /// Closes it, and proves that it is gone. To be called after its objects are dropped and its threads have ended, on the one thread that
    /// closes images.
    fn close(self: Box<Self>) -> Unloading;
}

/// The resources of an image in this process beside its memory: threads, thread-locals, its log level. These functions may be called at
/// any time, also after the image is gone.
pub trait Resources: Send + Sync {
    /// The engine that runs the image's code.
    fn engine(&self) -> EngineKind;

    /// How many bytes the image has allocated; none if it does not count them, or is gone.
    fn live_bytes(&self) -> Option<u64>;

    /// To be called when [`ImageOwner::log_level`] may have changed.
    fn log_level_changed(&self);

    /// What keeps the image, without regard to callers.
    fn holding(&self) -> Holding;

    /// The names of the threads that run in the image.
    fn running_threads(&self) -> Vec<String>;

    /// The names of the program's threads that have thread-local values of the image.
    fn threads_with_values(&self) -> Vec<String>;

    /// Compares the image's read-only memory with the linted bytes. It keeps nothing mapped, and takes no lock that a caller or a reload may wait
    /// for: `may_continue`, which it calls again and again, may wait. It ends soon after `may_continue` answers `false`.
    fn compare(&self, may_continue: &dyn Fn() -> bool) -> Comparison;

    /// Begins the end of the image: from now on it calls [`ImageOwner::when_less`].
    fn watch(&self);

    /// To be called after the last object is dropped: from now on threads run the image's thread-local destructors at their safe points.
    /// The calling thread runs its own ones here.
    fn end(&self);
}

/// What keeps an image whose instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Nothing: it can be closed.
    Nothing,
    /// Only thread-local values of threads that live on. It can be closed, and the destructors of the values are skipped.
    Values,
    /// Threads run in it.
    Threads,
}

/// The result of closing an image.
pub enum Unloading {
    /// Neither the loader nor the kernel lists the image any more, and its private copy is deleted.
    Unmapped(UnloadReport),
    /// The code is a part of the program, so there was nothing to unmap.
    Linked,
    /// Its process has ended and was reaped.
    ProcessEnded {
        /// The number of the process.
        pid: u32,
    },
    /// Its sandbox is freed, and the kernel's map does not list its code any more.
    SandboxFreed,
    /// The image is still there, for this reason. Closing can be tried again.
    Stays(Box<dyn Image>, QuarantineReason),
    /// Nothing was done, because a thread has just begun to run code of the image.
    Busy(Box<dyn Image>),
}

/// An object of a plugin's type. Dropping this value leaks the object; [`destroy`](Self::destroy) ends it.
///
/// If the plugin's type is not `Sync`, callers call `snapshot` and `health` only while no method of the object runs.
///
/// # Safety
/// The implementer makes sure that `data` and `table` are valid for clients of the plugin's interface until `destroy` and never change, and
/// that the functions that take `&self` and are not `unsafe` use the object only through a shared reference.
pub unsafe trait Object: Send + Sync {
    /// The object pointer that the functions of the table take.
    fn data(&self) -> *mut ();

    /// The function table of the plugin's interface. It may be called once it is [bound](Self::is_bound).
    fn table(&self) -> *const ();

    /// Whether the table is complete. A table of stubs is not before [`bind`](Self::bind).
    fn is_bound(&self) -> bool {
        true
    }

    /// Completes a table of stubs. Only the first call does something.
    ///
    /// # Safety
    /// The caller has compared the interface of `marshalling` with that of the plugin's manifest.
    unsafe fn bind(&self, marshalling: &Marshalling) {
        let _ = marshalling;
    }

    /// How the instance has ended, if it has: its sandbox or its process is gone. From then on each call and each hook fails, and `snapshot`
    /// answers the state that was saved last.
    fn ended(&self) -> Option<InstanceEnd> {
        None
    }

    /// Makes a call that has come as bytes, in a process that has mapped the plugin for a host elsewhere. Writes the reply, and returns its code;
    /// none if the plugin's SDK cannot do that.
    ///
    /// # Safety
    /// The caller keeps calls apart as the receivers of the methods say. `link` is valid during this call.
    unsafe fn dispatch(&self, request: RequestAbi<'_>, reply: &mut BufferAbi, link: LinkAbi) -> Option<u32> {
        let _ = (request, reply, link);
        None
    }

    /// Whether [`dispatch`](Self::dispatch) can call it.
    fn has_dispatch(&self) -> bool {
        false
    }

    /// The state, encoded into the host's memory; none if the plugin has no state. `capacity` is the expected size, which saves
    /// reallocations.
    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError>;

    /// Migrates an encoded state from one schema to another. The object is not used.
    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError>;

    /// Decodes a state into a temporary object. Returns the plugin's error, if it cannot read the state that it has written.
    fn cannot_read(&self, state: &[u8]) -> Option<String>;

    /// Calls the plugin's `health`.
    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError>;

    /// Checks whether the plugin accepts this configuration. The object is not used.
    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError>;

    /// Asks the threads of `Context::spawn` to end, and returns the names of those that still run; empty if there are none. With `own`,
    /// only the threads that this object has started.
    fn end_workers(&self, own: bool) -> String;

    /// Replaces the object's value by a state that an earlier generation has encoded.
    ///
    /// # Safety
    /// During this call no other call runs in the object, and nobody holds a reference that a method has returned.
    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError>;

    /// Gives the plugin its configuration.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError>;

    /// Gives the plugin one of its resources.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError>;

    /// Calls `init`, in which the plugin builds the values that it derives from its state.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Calls `start`, in which the plugin acquires what it needs.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Calls `stop`, in which the plugin gives that back, and asks its threads to end.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore).
    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError>;

    /// Drops the object.
    ///
    /// # Safety
    /// As with [`restore`](Self::restore), and the object is not used afterwards.
    unsafe fn destroy(&self) -> Result<(), HookError>;
}
