//! One live object of a plugin's type, for all engines, and the right to change it. An instance owns its image; it does not know its
//! callers.

use crate::engine::{Image, Object};
use reslot_artifact::manifest::{Manifest, Method, Receiver, Shape, StateSchema};
use reslot_plugin_api::{
    __private::{ContextAbi, marshal::Marshalling},
    Health, InstanceEnd,
};
use reslot_report::HookError;
use reslot_sync::{
    Instant, RwLock, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use reslot_system::{
    awake,
    hooks::{Hooks, TookTooLong},
};
use std::{ops::Deref, sync::Arc, time::Duration};

/// An image, owned by its instances. Usually there is one instance. There is a second one after a rollback in which a caller might still
/// hold a borrow from the standby, until the holders of the first instance have dropped it.
pub struct SharedImage(Arc<Owned>);

struct Owned {
    image: Box<dyn Image>,
    /// How many instances were made and not destroyed.
    made: AtomicUsize,
    /// How many instances have not begun to end.
    in_use: AtomicUsize,
}

impl SharedImage {
    fn new(image: Box<dyn Image>) -> Self {
        Self(Arc::new(Owned {
            image,
            made: AtomicUsize::new(0),
            in_use: AtomicUsize::new(0),
        }))
    }

    /// The image itself, unless another instance still owns it.
    pub fn alone(self) -> Result<Box<dyn Image>, Self> {
        Arc::try_unwrap(self.0).map(|owned| owned.image).map_err(Self)
    }
}

impl Deref for SharedImage {
    type Target = dyn Image;

    fn deref(&self) -> &Self::Target {
        &*self.0.image
    }
}

/// A live object. Dropping an `Instance` leaks the object. The runtime's reaper ends it with [`destroy`](Self::destroy), on a thread for
/// hooks.
///
/// # Who keeps callers away
/// An instance does not know the callers of its object, so the caller of [`create`](Self::create) promises the rules that stand there.
/// By these rules its safe functions are sound on any thread:
/// - `snapshot` and `health` use the object by a shared reference. The lock `access` excludes them from an `ExclusiveInstance`.
/// - The hooks that take the object mutably are reached only through an `ExclusiveInstance`.
pub struct Instance {
    object: Box<dyn Object>,
    image: SharedImage,
    slot: Arc<str>,
    generation: u64,
    started: AtomicBool,
    /// Read lock: `snapshot` and `health`. Write lock: `assume_exclusive`. It is needed because a snapshot or a check that has timed out
    /// may still be running.
    access: RwLock<()>,
}

impl Instance {
    /// Makes the object with its `Default`.
    ///
    /// # Errors
    /// If its constructor fails, with the image, which must still be closed.
    ///
    /// # Safety
    /// The caller keeps these rules, for this instance and for every [`second`](Self::second) one:
    /// 1. If the plugin is not [shared](Self::is_shared), `snapshot` and `health` are called only while no method of the object runs.
    /// 2. While [`exclusive_instance`](Self::exclusive_instance) is used, no method of the object runs, and nobody holds a reference that
    ///    a method has returned.
    /// 3. The same is true when [`destroy`](Self::destroy) is called, and no method of the object is called after that.
    pub unsafe fn create(
        image: Box<dyn Image>,
        slot: Arc<str>,
        generation: u64,
    ) -> Result<Self, (Box<dyn Image>, HookError)> {
        // SAFETY: the instance owns the image. It gives it back only in `destroy`, and after that nothing is called in the object.
        match unsafe { image.create() } {
            Ok(object) => Ok(Self::of(object, SharedImage::new(image), slot, generation)),
            Err(error) => Err((image, error)),
        }
    }

    /// Makes a second object in the same image.
    ///
    /// # Errors
    /// If its constructor fails.
    pub fn second(&self) -> Result<Self, HookError> {
        // SAFETY: as in `create`; both instances own the image.
        let object = unsafe { self.image.create() }?;
        let image = SharedImage(self.image.0.clone());
        Ok(Self::of(object, image, self.slot.clone(), self.generation))
    }

    fn of(object: Box<dyn Object>, image: SharedImage, slot: Arc<str>, generation: u64) -> Self {
        image.0.made.fetch_add(1, Ordering::Relaxed);
        image.0.in_use.fetch_add(1, Ordering::Relaxed);
        Self {
            object,
            image,
            slot,
            generation,
            started: AtomicBool::new(false),
            access: RwLock::new(()),
        }
    }

    /// Whether there may be a second object of its image.
    pub fn may_have_second(&self) -> bool {
        self.image.may_have_second()
    }

    /// Begins the end of this instance. Returns whether it is the last one of its image.
    pub fn begin_ending(&self) -> bool {
        self.image.0.in_use.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The object pointer that the functions of [`table`](Self::table) take.
    pub fn data(&self) -> *mut () {
        self.object.data()
    }

    /// The function table of the plugin's interface.
    pub fn table(&self) -> *const () {
        self.object.table()
    }

    /// Whether the table may be called. That of a remote instance is to be [bound](Self::bind) first.
    pub fn is_bound(&self) -> bool {
        self.object.is_bound()
    }

    /// Completes the table of a remote instance.
    ///
    /// # Safety
    /// The caller has compared the interface of `marshalling` with that of the plugin's manifest.
    pub unsafe fn bind(&self, marshalling: &Marshalling) {
        // SAFETY: the caller's promise.
        unsafe { self.object.bind(marshalling) };
    }

    /// How a remote instance has ended, if it has.
    pub fn ended(&self) -> Option<InstanceEnd> {
        self.object.ended()
    }

    /// The image of the object.
    pub fn image(&self) -> &dyn Image {
        &*self.image
    }

    /// The manifest of the plugin.
    pub fn manifest(&self) -> &Arc<Manifest> {
        self.image.manifest()
    }

    /// How many bytes the image has allocated; none if the plugin does not count them.
    pub fn live_bytes(&self) -> Option<u64> {
        self.image.live_bytes()
    }

    /// Whether the plugin has a state, which is handed over to the next generation.
    pub fn has_state(&self) -> bool {
        self.schema().is_some()
    }

    /// The schemas of the state that the plugin knows; none without a state.
    pub fn schema(&self) -> Option<StateSchema> {
        self.manifest().state
    }

    /// The state, encoded into the host's memory. `capacity` is the expected size, which saves reallocations.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        let _shared = self.access.read_recursive();
        self.object.snapshot(capacity)
    }

    /// Migrates an encoded state from one schema to another, with the steps of this instance's plugin. The object is not used.
    ///
    /// # Errors
    /// If one of the steps fails.
    pub fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.object.migrate(from, to, state)
    }

    /// Decodes a state into a temporary object. Returns the plugin's error, if it cannot read the state that it has written.
    pub fn cannot_read(&self, state: &[u8]) -> Option<String> {
        self.object.cannot_read(state)
    }

    /// Calls the plugin's `health`.
    ///
    /// # Errors
    /// If the check panics.
    pub fn health(&self) -> Result<Health, HookError> {
        let _shared = self.access.read_recursive();
        self.object.health(self.context())
    }

    /// Whether `start` has succeeded, and `stop` was not called since.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether the plugin holds a resource that only one instance can have.
    pub fn is_exclusive(&self) -> bool {
        self.manifest().exclusive
    }

    /// Whether several threads may call it at once: no method takes it mutably, so its type is `Sync`.
    pub fn is_shared(&self) -> bool {
        self.methods().all(|method| method.receiver == Receiver::Ref)
    }

    /// Whether a caller may hold a reference into the object after a call has returned.
    pub fn answers_references(&self) -> bool {
        self.methods().any(is_lending)
    }

    /// The same for one method.
    pub fn lends(&self, method: &str) -> bool {
        match self.methods().find(|known| known.name == method) {
            Some(known) => is_lending(known),
            // The plugin is older than the method, so its default body runs, which may return a reference that any of the other
            // methods returns.
            None => self.answers_references(),
        }
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        self.manifest().interface.methods.iter()
    }

    /// The right to change the object, for the owner of the instance.
    pub fn exclusive_instance(&mut self) -> ExclusiveInstance<'_> {
        ExclusiveInstance(self, None)
    }

    /// The right to change a shared instance; none if a snapshot or a health check is still running at `deadline`.
    ///
    /// # Safety
    /// While the answer is used, no method of the object runs, and nobody holds a reference that a method has returned.
    pub unsafe fn assume_exclusive(&self, deadline: Instant) -> Option<ExclusiveInstance<'_>> {
        let access = &self.access;
        let exclusive = access
            .try_write()
            .or_else(|| awake::wait_until(deadline, |until| access.try_write_until(until)))?;
        Some(ExclusiveInstance(self, Some(exclusive)))
    }

    /// Checks whether the plugin accepts this configuration. The object is not used.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_config(&self, config: &[u8]) -> Result<(), HookError> {
        self.object.check_config(self.context(), config)
    }

    /// Asks the threads of `Context::spawn` to end, and returns the names of those that still run; empty if there are none. With `own`,
    /// only the threads that this object has started, because the image has another object.
    pub fn end_workers(&self, own: bool) -> String {
        self.object.end_workers(own)
    }

    /// Drops the object, and gives the image back. It can be closed after the other instances have given it back, too.
    pub fn destroy(self) -> (SharedImage, Result<(), HookError>) {
        // SAFETY: `self` is consumed, and it was the only way to the object's hooks; the caller of `create` has promised that no method
        // runs now or later (rule 3).
        let destroyed = unsafe { self.object.destroy() };
        // What has ended has nothing to drop, so its hook cannot fail.
        let destroyed = if self.ended().is_some() { Ok(()) } else { destroyed };
        if self.image.0.made.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.image.shutdown();
        }
        (self.image, destroyed)
    }

    fn context(&self) -> ContextAbi<'_> {
        ContextAbi {
            slot: (&*self.slot).into(),
            generation: self.generation,
        }
    }
}

/// The right to change an instance: no method of the object runs, nobody holds a reference into it, and nobody else has this right.
/// [`Instance::exclusive_instance`] and the callers of [`Instance::assume_exclusive`] keep that.
pub struct ExclusiveInstance<'a>(&'a Instance, Option<RwLockWriteGuard<'a, ()>>);

impl ExclusiveInstance<'_> {
    /// The instance, for what does not use the object: `snapshot` and `health` would wait for the lock that this right may hold.
    pub(crate) fn instance(&self) -> &Instance {
        self.0
    }

    /// Replaces the object's value by a state that an earlier generation has encoded.
    ///
    /// # Errors
    /// If the plugin refuses the state.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.restore(state) }
    }

    /// Gives the plugin its configuration. A plugin that was built with an SDK without this hook gets none.
    ///
    /// # Errors
    /// If it refuses.
    pub fn configure(&mut self, config: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.configure(self.0.context(), config) }
    }

    /// Gives the plugin one of its resources.
    ///
    /// # Errors
    /// If it refuses.
    pub fn resource(&mut self, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.resource(self.0.context(), name, bytes) }
    }

    /// Calls `init`, in which the plugin builds the values that it derives from its state.
    ///
    /// # Errors
    /// If it refuses.
    pub fn init(&mut self) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.init(self.0.context()) }
    }

    /// Calls `start`, in which the plugin acquires what it needs, unless it is started already.
    ///
    /// # Errors
    /// If it fails.
    pub fn start(&mut self) -> Result<(), HookError> {
        let started = &self.0.started;
        if !started.load(Ordering::Relaxed) {
            // SAFETY: the object is live and, by this right, nobody else's.
            unsafe { self.0.object.start(self.0.context()) }?;
            started.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Calls `stop`, if the plugin is started and its instance has not ended, and asks its threads to end. It counts as stopped even if `stop`
    /// fails, and may be started again.
    ///
    /// # Errors
    /// If `stop` fails.
    pub fn stop(&mut self) -> Result<(), HookError> {
        match self.0.started.swap(false, Ordering::Relaxed) && self.0.ended().is_none() {
            // SAFETY: the object is live and, by this right, nobody else's.
            true => unsafe { self.0.object.stop(self.0.context()) },
            false => Ok(()),
        }
    }

    /// Whether `start` has succeeded, and `stop` was not called since.
    pub fn is_started(&self) -> bool {
        self.0.is_started()
    }

    /// Does `work` on a thread for hooks, where `keep_alive` keeps the instance alive. After a timeout the work may still be running, so
    /// the caller must not call anything in the instance any more.
    ///
    /// # Errors
    /// If it takes longer than `timeout`.
    pub fn on_hook_thread<T: Send + 'static>(
        self,
        hooks: &Hooks,
        timeout: Duration,
        keep_alive: impl Send + 'static,
        work: impl FnOnce(&mut ExclusiveInstance<'_>) -> T + Send + 'static,
    ) -> Result<T, TookTooLong> {
        /// An instance on its way to the other thread.
        struct Sent<K>(*const Instance, K);
        // SAFETY: `Instance` is `Send` and `Sync`.
        unsafe impl<K: Send> Send for Sent<K> {}
        impl<K> Sent<K> {
            fn take(self) -> (*const Instance, K) {
                (self.0, self.1)
            }
        }
        let Self(instance, _exclusive) = self;
        let sent = Sent(instance, keep_alive);
        hooks.run(timeout, move || {
            let (instance, keep_alive) = sent.take();
            // SAFETY: `keep_alive` keeps the instance alive during `work`. This thread has the right to change it: the calling thread has
            // given it away and waits, or, after the timeout, does not use the instance any more, by the contract of this function.
            let answer = work(&mut ExclusiveInstance(unsafe { &*instance }, None));
            drop(keep_alive);
            answer
        })
    }
}

/// Whether a method returns a reference.
fn is_lending(method: &Method) -> bool {
    matches!(method.returns, Shape::Str | Shape::Ref(_) | Shape::Slice(_))
}
