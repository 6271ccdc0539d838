//! One live object of a plugin's type, whatever engine has made it, and the right to change it. An instance owns its image; it does not know
//! whether anybody calls it.

use crate::engine::{Image, Object};
use parking_lot::{RwLock, RwLockWriteGuard};
use reslot_artifact::manifest::{Manifest, Method, Receiver, Shape, StateSchema};
use reslot_plugin_api::{__private::ContextAbi, Health};
use reslot_process::hooks::{Hooks, TookTooLong};
use reslot_report::HookError;
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// An image as its instances own it. There is one instance, except after a rollback that found somebody who might hold a borrow from it: then
/// there is a second one, until the first one's holders let go.
pub struct SharedImage(Arc<Owned>);

struct Owned {
    image: Box<dyn Image>,
    /// Instances that were made and not dropped.
    made: AtomicUsize,
    /// Instances that nobody has begun to end.
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

    /// The image itself, if no other instance owns it any more.
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

/// A live object. Dropping one leaks it: the reaper destroys it, on its own thread.
///
/// # Who keeps callers away
/// An instance cannot know who calls its object, so whoever makes one promises what [`create`](Self::create) asks for. From that follows
/// that its safe functions are sound, from any thread:
/// - `snapshot` and `health` reach the object by a shared reference. They keep off whoever has the right to change it by `looks`.
/// - `ExclusiveInstance` is the only way to the hooks that take it mutably.
pub struct Instance {
    object: Box<dyn Object>,
    image: SharedImage,
    slot: Arc<str>,
    generation: u64,
    started: AtomicBool,
    /// Held by those who only look, `snapshot` and `health`, and closed by whoever has the right to change it: a look that nobody
    /// waits for any more may still be under way.
    looks: RwLock<()>,
}

impl Instance {
    /// Makes the object with its `Default`.
    ///
    /// # Errors
    /// If its constructor fails, with the image, which is still to be closed.
    ///
    /// # Safety
    /// Of this instance, and of every [`second`](Self::second) one: if its plugin is not [shared](Self::is_shared), `snapshot` and `health`
    /// are called only while no method of the object is, and [`exclusive_instance`](Self::exclusive_instance) and
    /// [`destroy`](Self::destroy) only when no method of the object is or will be, and nobody holds what one has answered by reference.
    pub unsafe fn create(
        image: Box<dyn Image>,
        slot: Arc<str>,
        generation: u64,
    ) -> Result<Self, (Box<dyn Image>, HookError)> {
        // SAFETY: the instance owns the image, and nothing is called in the object after the instance has given it back.
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
        // SAFETY: as in `create`.
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
            looks: RwLock::new(()),
        }
    }

    /// Whether there may be a second object of its image.
    pub fn may_have_second(&self) -> bool {
        self.image.may_have_second()
    }

    /// Its end begins. Answers whether it is the last one of its image.
    pub fn begin_ending(&self) -> bool {
        self.image.0.in_use.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The object, as its function table takes it.
    pub fn data(&self) -> *mut () {
        self.object.data()
    }

    /// The function table of its interface.
    pub fn table(&self) -> *const () {
        self.object.table()
    }

    /// The image that it was made of.
    pub fn image(&self) -> &dyn Image {
        &*self.image
    }

    /// What its plugin says of itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        self.image.manifest()
    }

    /// How many bytes its image has allocated just now; none if its plugin counts none.
    pub fn live_bytes(&self) -> Option<u64> {
        self.image.live_bytes()
    }

    /// Whether its value is handed to its successor.
    pub fn has_state(&self) -> bool {
        self.schema().is_some()
    }

    /// The schemas that its plugin knows of its state; none if there is no state to hand over.
    pub fn schema(&self) -> Option<StateSchema> {
        self.manifest().state
    }

    /// The state, encoded into the host's memory. With room for `capacity` bytes to begin with, it need not grow so often.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        let _look = self.looks.read_recursive();
        self.object.snapshot(capacity)
    }

    /// Brings an encoded state from one schema to another, by the steps that this instance's plugin knows. The object is left alone.
    ///
    /// # Errors
    /// If one of the steps refuses.
    pub fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.object.migrate(from, to, state)
    }

    /// Why its plugin cannot read what it has written as its state, if that is so. Another object is made for the question.
    pub fn cannot_read(&self, state: &[u8]) -> Option<String> {
        self.object.cannot_read(state)
    }

    /// How it says that it is.
    ///
    /// # Errors
    /// If the check panics.
    pub fn health(&self) -> Result<Health, HookError> {
        let _look = self.looks.read_recursive();
        self.object.health(self.context())
    }

    /// Whether it was started, and not stopped since.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether it holds something of which there can be only one.
    pub fn is_exclusive(&self) -> bool {
        self.manifest().exclusive
    }

    /// Whether many threads may call it at once: no method takes it mutably, so it is `Sync`.
    pub fn is_shared(&self) -> bool {
        self.methods().all(|method| method.receiver == Receiver::Ref)
    }

    /// Whether a caller may hold a reference into it after a call has come back.
    pub fn answers_references(&self) -> bool {
        self.methods().any(is_lending)
    }

    /// The same of one of its methods.
    pub fn lends(&self, method: &str) -> bool {
        match self.methods().find(|known| known.name == method) {
            Some(known) => is_lending(known),
            // The plugin is older than the method: a default body runs, which may answer what any of its methods lends.
            None => self.answers_references(),
        }
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        self.manifest().interface.methods.iter()
    }

    /// The right to change it, of whoever has it for himself.
    pub fn exclusive_instance(&mut self) -> ExclusiveInstance<'_> {
        ExclusiveInstance(self, None)
    }

    /// The right to change it; none if somebody still looks at it by `deadline`.
    ///
    /// # Safety
    /// As long as it is used no call is inside, and nobody holds what a call has answered by reference.
    pub unsafe fn assume_exclusive(&self, deadline: Instant) -> Option<ExclusiveInstance<'_>> {
        let alone = self.looks.try_write_until(deadline)?;
        Some(ExclusiveInstance(self, Some(alone)))
    }

    /// Whether its plugin would take this configuration. The object is left alone.
    ///
    /// # Errors
    /// If it would not.
    pub fn check_config(&self, config: &[u8]) -> Result<(), HookError> {
        self.object.check_config(self.context(), config)
    }

    /// The names of its image's threads of `Context::spawn` that have not ended, after they were asked to; empty if none is left. With
    /// `own` of those alone that this object has started: another one of the image goes on.
    pub fn workers(&self, own: bool) -> String {
        self.object.workers(own)
    }

    /// Drops it. What is left is the image, once the others that own it have given it back as well.
    pub fn destroy(self) -> (SharedImage, Result<(), HookError>) {
        // SAFETY: this instance is the only way to the object, and gone after this; that no method of the object is called, its maker has
        // promised.
        let destroyed = unsafe { self.object.destroy() };
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

/// The right to change an instance: nobody is inside, nobody holds anything of it by reference, and nobody else has this right.
/// Given by whoever keeps callers away; see `slot/generation.rs` of reslot-runtime.
pub struct ExclusiveInstance<'a>(&'a Instance, Option<RwLockWriteGuard<'a, ()>>);

impl ExclusiveInstance<'_> {
    /// Replaces its value by a state that was encoded by a predecessor.
    ///
    /// # Errors
    /// If its plugin refuses the state.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.restore(state) }
    }

    /// Gives it its configuration. One that was built before there was such a hook has none.
    ///
    /// # Errors
    /// If it refuses.
    pub fn configure(&mut self, config: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.configure(self.0.context(), config) }
    }

    /// Gives it one of its resources.
    ///
    /// # Errors
    /// If it refuses.
    pub fn resource(&mut self, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.resource(self.0.context(), name, bytes) }
    }

    /// Lets it build what is derived from its state.
    ///
    /// # Errors
    /// If it refuses.
    pub fn init(&mut self) -> Result<(), HookError> {
        // SAFETY: the object is live and, by this right, nobody else's.
        unsafe { self.0.object.init(self.0.context()) }
    }

    /// Lets it acquire what it needs, unless it has.
    ///
    /// # Errors
    /// If it cannot.
    pub fn start(&mut self) -> Result<(), HookError> {
        let started = &self.0.started;
        if !started.load(Ordering::Relaxed) {
            // SAFETY: the object is live and, by this right, nobody else's.
            unsafe { self.0.object.start(self.0.context()) }?;
            started.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Stops it, if it was started, and asks its threads to end. It may be started again; whatever it answers, it counts as stopped.
    ///
    /// # Errors
    /// If it fails to give back what it has.
    pub fn stop(&mut self) -> Result<(), HookError> {
        match self.0.started.swap(false, Ordering::Relaxed) {
            // SAFETY: the object is live and, by this right, nobody else's.
            true => unsafe { self.0.object.stop(self.0.context()) },
            false => Ok(()),
        }
    }

    /// Whether it was started, and not stopped since.
    pub fn is_started(&self) -> bool {
        self.0.is_started()
    }

    /// Does something with it on a thread for hooks, where `keeps` keeps it alive. If that takes too long, nothing may be called in
    /// it any more: the caller leaves it alone for good.
    ///
    /// # Errors
    /// If it takes longer than `most`.
    pub fn elsewhere<T: Send + 'static>(
        self,
        hooks: &Hooks,
        most: Duration,
        keeps: impl Send + 'static,
        work: impl FnOnce(&mut ExclusiveInstance<'_>) -> T + Send + 'static,
    ) -> Result<T, TookTooLong> {
        /// An instance as it goes to the other thread.
        struct There<K>(*const Instance, K);
        // SAFETY: instances are `Send` and `Sync`.
        unsafe impl<K: Send> Send for There<K> {}
        impl<K> There<K> {
            fn take(self) -> (*const Instance, K) {
                (self.0, self.1)
            }
        }
        let Self(instance, _alone) = self;
        let there = There(instance, keeps);
        hooks.run(most, move || {
            let (instance, keeps) = there.take();
            // SAFETY: `keeps` keeps it alive, and the right is the other thread's, which waits; if it does not wait any more,
            // nobody calls anything in it, by the contract of this function.
            let answer = work(&mut ExclusiveInstance(unsafe { &*instance }, None));
            drop(keeps);
            answer
        })
    }
}

/// Whether a method answers a borrow.
fn is_lending(method: &Method) -> bool {
    matches!(method.returns, Shape::Str | Shape::Ref(_) | Shape::Slice(_))
}
