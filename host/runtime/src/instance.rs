//! Floor 2: one live object of a plugin's type. Every hook of the plugin is called from here, contained, with its refusal as a
//! typed error. An instance owns its image; it does not know whether anybody calls it.

use crate::{
    hooks::{Hooks, TookTooLong, with_stack},
    image::{
        Image, PanicReport,
        manifest::{Method, Receiver, Shape, StateSchema},
        take_panic,
    },
};
use parking_lot::{RwLock, RwLockWriteGuard};
use reslot_plugin_api::{
    __private::{BoundsAbi, Buffer, ContextAbi, RResult, RString, StateAnswer, StateOutcome, cut, stack_left},
    Backtrace, Health, MAX_STATE_LEVELS,
};
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
pub(crate) struct SharedImage(Arc<Owned>);

struct Owned {
    image: Image,
    /// Instances that were made and not dropped.
    made: AtomicUsize,
    /// Instances that nobody has begun to end.
    in_use: AtomicUsize,
}

impl SharedImage {
    fn new(image: Image) -> Self {
        Self(Arc::new(Owned {
            image,
            made: AtomicUsize::new(0),
            in_use: AtomicUsize::new(0),
        }))
    }

    /// The image itself, if no other instance owns it any more.
    pub(crate) fn alone(self) -> Result<Box<Image>, Self> {
        Arc::try_unwrap(self.0).map(|owned| Box::new(owned.image)).map_err(Self)
    }
}

impl Deref for SharedImage {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.0.image
    }
}

/// A live object. Dropping one leaks it: the reaper destroys it, on its own thread.
pub(crate) struct Instance {
    data: *mut (),
    image: SharedImage,
    slot: Arc<str>,
    generation: u64,
    started: AtomicBool,
    /// Held by those who only look, `snapshot` and `health`, and closed by whoever has the right to change it: a look that nobody
    /// waits for any more may still be under way.
    looks: RwLock<()>,
    /// To encode or decode its state took more stack than threads have, so its drop may, too.
    deep: AtomicBool,
}

/// A state with more levels of nesting than this is not encoded or decoded on the stack of the thread that asks for it. Most states have
/// fewer than ten.
const LEVELS_HERE: u32 = 32;
/// A thread with less stack left than this encodes and decodes nothing on it.
const LEAST_STACK: usize = 96 << 10;
/// How much stack there is for other states. Without optimisation serde's code takes 1.5 KiB of it for a level of a small struct, and
/// 20 times the size of a large one.
const DEEP_STACK: usize = 256 << 20;

/// What came of an attempt to encode or decode a state.
enum Attempt<T> {
    Done(Result<T, HookError>),
    /// It goes beyond the bounds.
    Beyond(StateOutcome),
}

/// An object of a plugin's type, on its way to another thread of the host's. Whoever makes one says that it is live, and for whom.
#[derive(Clone, Copy)]
struct Data(*mut ());

impl Data {
    fn get(self) -> *mut () {
        self.0
    }
}

// SAFETY: every plugin's type is `Send`, and only the one whose object it is does something with it, or has another do it and waits.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

// SAFETY: every plugin's type is `Send` (asked by `Implements`), and the hooks that take it mutably are those of `ExclusiveInstance`.
unsafe impl Send for Instance {}
// SAFETY: through `&self` only `snapshot` and `health` reach the object. They keep off whoever changes it by `looks`. Beside calls they
// are made only if the type is `Sync` (`is_shared`); otherwise on the thread of the one owner, or on another while that one waits for
// it (`within_bounds`), or while nobody can become the owner.
unsafe impl Sync for Instance {}

impl Instance {
    /// Makes the object with its `Default`.
    pub(crate) fn create(image: Box<Image>, slot: Arc<str>, generation: u64) -> Result<Self, (Box<Image>, HookError)> {
        // SAFETY: the image is verified and has the host's functions.
        match hook(&image, unsafe { image.root().create()() }) {
            Ok(data) => Ok(Self::of(data, SharedImage::new(*image), slot, generation)),
            Err(error) => Err((image, error)),
        }
    }

    /// Makes a second object in the same image.
    pub(crate) fn second(&self) -> Result<Self, HookError> {
        // SAFETY: the image is verified and has the host's functions.
        let data = hook(&self.image, unsafe { self.image.root().create()() })?;
        let image = SharedImage(self.image.0.clone());
        Ok(Self::of(data, image, self.slot.clone(), self.generation))
    }

    fn of(data: *mut (), image: SharedImage, slot: Arc<str>, generation: u64) -> Self {
        image.0.made.fetch_add(1, Ordering::Relaxed);
        image.0.in_use.fetch_add(1, Ordering::Relaxed);
        Self {
            data,
            image,
            slot,
            generation,
            started: AtomicBool::new(false),
            looks: RwLock::new(()),
            deep: AtomicBool::new(false),
        }
    }

    /// Whether its plugin tells the threads of one of its objects from those of another, so that there may be a second one.
    pub(crate) fn may_have_second(&self) -> bool {
        self.image.root().end_workers_of().is_some()
    }

    /// Its end begins. Answers whether it is the last one of its image.
    pub(crate) fn begin_ending(&self) -> bool {
        self.image.0.in_use.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn data(&self) -> *mut () {
        self.data
    }

    pub(crate) fn table(&self) -> *const () {
        self.image.root().table()()
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// How many bytes its image has allocated just now; none if its plugin counts none.
    pub(crate) fn live_bytes(&self) -> Option<u64> {
        self.image.live_bytes()
    }

    /// Whether its value is handed to its successor.
    pub(crate) fn has_state(&self) -> bool {
        self.schema().is_some()
    }

    /// The schemas that its plugin knows of its state; none if there is no state to hand over.
    pub(crate) fn schema(&self) -> Option<StateSchema> {
        self.image.manifest.state
    }

    /// The state, encoded into the host's memory. With room for `capacity` bytes to begin with, it need not grow so often.
    ///
    /// The thread that calls this may not have enough stack for it. Then it is done on one that has, while this one waits.
    pub(crate) fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        let _look = self.looks.read_recursive();
        self.within_bounds(|bounds| {
            let mut state = Buffer::with_capacity(capacity);
            let root = self.image.root();
            let attempt = match root.snapshot_within() {
                // SAFETY: the instance is live; nobody changes it meanwhile, see `Sync` above.
                Some(snapshot) => self.attempt(unsafe { snapshot(self.data, state.as_abi(), bounds) }),
                // SAFETY: as above.
                None => self.unbounded(unsafe { root.snapshot()(self.data, state.as_abi()) }.map(
                    |has_state| match has_state {
                        true => StateOutcome::Done,
                        false => StateOutcome::NoState,
                    },
                )),
            };
            attempt.map(|outcome| (outcome == StateOutcome::Done).then(|| state.into_vec()))
        })
    }

    /// Brings an encoded state from one schema to another, by the steps that this instance's plugin knows. The object is left alone.
    pub(crate) fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.within_bounds(|bounds| {
            let mut migrated = Buffer::with_capacity(state.len());
            let root = self.image.root();
            let attempt = match root.migrate_within() {
                // SAFETY: the image is verified and has the host's functions; state and buffer live for the call.
                Some(migrate) => self.attempt(unsafe { migrate(from, to, state.into(), migrated.as_abi(), bounds) }),
                // SAFETY: as above.
                None => self.unbounded(
                    unsafe { root.migrate()(from, to, state.into(), migrated.as_abi()) }.map(|()| StateOutcome::Done),
                ),
            };
            attempt.map(|_| migrated.into_vec())
        })
    }

    /// Why its plugin cannot read what it has written as its state, if that is so. Another object is made for the question.
    pub(crate) fn cannot_read(&self, state: &[u8]) -> Option<String> {
        let root = self.image.root();
        // SAFETY: the image is verified and has the host's functions.
        let data = hook(&self.image, unsafe { root.create()() }).ok()?;
        let answer = self.restore_into(Data(data), state);
        let _ = self.drop_object(Data(data));
        match answer {
            Err(HookError::Refused(words) | HookError::NotCarried(words)) => Some(words),
            _ => None,
        }
    }

    /// Decodes a state into an object of its plugin's, which must be nobody else's.
    fn restore_into(&self, data: Data, state: &[u8]) -> Result<(), HookError> {
        let root = self.image.root();
        self.within_bounds(|bounds| {
            let attempt = match root.restore_within() {
                // SAFETY: the object is live and nobody else's.
                Some(restore) => self.attempt(unsafe { restore(data.get(), state.into(), bounds) }),
                // SAFETY: as above.
                None => self.unbounded(unsafe { root.restore()(data.get(), state.into()) }.map(|()| StateOutcome::Done)),
            };
            attempt.map(|_| ())
        })
    }

    /// Drops an object of its plugin's, which must be nobody else's and is not used again.
    fn drop_object(&self, data: Data) -> Result<(), HookError> {
        // SAFETY: the object is live, and this is the last that is done with it: of the two calls below one runs, once.
        let drop = move || hook(&self.image, unsafe { self.image.root().destroy()(data.get()) });
        match self.deep.load(Ordering::Relaxed) {
            // Where no such thread can be had, a smaller stack is better than to keep it for ever: a drop takes little of it.
            true => with_stack(DEEP_STACK, drop).unwrap_or_else(|_| drop()),
            false => drop(),
        }
    }

    /// Has a state encoded or decoded: on this thread, if its stack is large enough, otherwise on one with more.
    fn within_bounds<T: Send>(&self, attempt: impl Fn(BoundsAbi) -> Attempt<T> + Sync) -> Result<T, HookError> {
        let here = || {
            // A plugin that was built before there were bounds does not keep to any.
            self.image.root().snapshot_within()?;
            let left = stack_left();
            let bounds = BoundsAbi {
                levels: LEVELS_HERE,
                // What is below the code that looks at the bounds needs the rest.
                stack: if left < LEAST_STACK { 0 } else { left / 2 },
            };
            match attempt(bounds) {
                Attempt::Done(answer) => Some(answer),
                Attempt::Beyond(_) => None,
            }
        };
        if !self.deep.load(Ordering::Relaxed)
            && let Some(answer) = here()
        {
            return answer;
        }
        self.deep.store(true, Ordering::Relaxed);
        let bounds = BoundsAbi {
            levels: MAX_STATE_LEVELS,
            stack: DEEP_STACK / 2,
        };
        let no_stack = |system| HookError::StackTooSmall {
            bytes: DEEP_STACK,
            system,
        };
        match with_stack(DEEP_STACK, || attempt(bounds)) {
            Ok(Attempt::Done(answer)) => answer,
            Ok(Attempt::Beyond(StateOutcome::TooDeep)) => Err(HookError::TooDeep { most: MAX_STATE_LEVELS }),
            Ok(Attempt::Beyond(_)) => Err(no_stack(None)),
            // It was deep once, and need not be any more.
            Err(error) => here().unwrap_or_else(|| match self.image.root().snapshot_within() {
                Some(_) => Err(no_stack(Some(error.to_string()))),
                // A plugin that was built before there were bounds has a limit of its own, for which any thread's stack suffices.
                None => match attempt(bounds) {
                    Attempt::Done(answer) => answer,
                    Attempt::Beyond(_) => Err(no_stack(None)),
                },
            }),
        }
    }

    /// Copies the answer out of the image, on the thread on which it was given.
    fn attempt(&self, answer: StateAnswer) -> Attempt<StateOutcome> {
        let outcome = StateOutcome::of(answer.outcome);
        match outcome {
            StateOutcome::TooDeep | StateOutcome::StackUsed => return Attempt::Beyond(outcome),
            StateOutcome::Done | StateOutcome::NoState => return Attempt::Done(Ok(outcome)),
            StateOutcome::NotCarried => return Attempt::Done(Err(HookError::NotCarried(answer.words.to_string()))),
            StateOutcome::Refused => {}
        }
        self.unbounded(RResult::RErr(answer.words))
    }

    /// The same for a plugin that was built before there were bounds. It has others of its own.
    fn unbounded(&self, answer: RResult<StateOutcome, RString>) -> Attempt<StateOutcome> {
        const WORDS: &str = "depth limit exceeded";
        const LEVELS: u32 = 1023;
        Attempt::Done(hook(&self.image, answer).map_err(|error| match error {
            HookError::Refused(words) if words == WORDS => HookError::TooDeep { most: LEVELS },
            other => other,
        }))
    }

    /// How it says that it is.
    pub(crate) fn health(&self) -> Result<Health, HookError> {
        let _look = self.looks.read_recursive();
        // SAFETY: the instance is live; it is called by nobody meanwhile unless it is `Sync`, see `Sync` above.
        let answer = unsafe { self.image.root().health()(self.data, self.context()) };
        Ok(hook(&self.image, answer)?.into())
    }

    /// Whether it was started, and not stopped since.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether it holds something of which there can be only one.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.image.manifest.exclusive
    }

    /// Whether many threads may call it at once: no method takes it mutably, so it is `Sync`.
    pub(crate) fn is_shared(&self) -> bool {
        self.methods().all(|method| method.receiver == Receiver::Ref)
    }

    /// Whether a caller may hold a reference into it after a call has come back.
    pub(crate) fn answers_references(&self) -> bool {
        self.methods().any(is_lending)
    }

    /// The same of one of its methods.
    pub(crate) fn lends(&self, method: &str) -> bool {
        match self.methods().find(|known| known.name == method) {
            Some(known) => is_lending(known),
            // The plugin is older than the method: a default body runs, which may answer what any of its methods lends.
            None => self.answers_references(),
        }
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        self.image.manifest.interface.methods.iter()
    }

    /// The right to change it, of whoever has it for himself.
    pub(crate) fn exclusive_instance(&mut self) -> ExclusiveInstance<'_> {
        ExclusiveInstance(self, None)
    }

    /// The right to change it; none if somebody still looks at it by `deadline`.
    ///
    /// # Safety
    /// As long as it is used no call is inside, and nobody holds what a call has answered by reference.
    pub(crate) unsafe fn assume_exclusive(&self, deadline: Instant) -> Option<ExclusiveInstance<'_>> {
        let alone = self.looks.try_write_until(deadline)?;
        Some(ExclusiveInstance(self, Some(alone)))
    }

    /// Whether its plugin would take this configuration. The object is left alone.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    pub(crate) fn check_config(&self, config: &[u8]) -> Result<(), HookError> {
        match self.image.root().check_config() {
            Some(check) => hook(&self.image, check(self.context(), config.into())),
            None => Ok(()),
        }
    }

    /// The names of its image's threads of `Context::spawn` that have not ended, after they were asked to; empty if none is left. With
    /// `own` of those alone that this object has started: another one of the image goes on.
    pub(crate) fn workers(&self, own: bool) -> String {
        match self.image.root().end_workers_of().filter(|_| own) {
            Some(end) => end(self.data).into(),
            None => self.image.root().end_workers()().into(),
        }
    }

    /// Drops it. What is left is the image, once the others that own it have given it back as well.
    pub(crate) fn destroy(self) -> (SharedImage, Result<(), HookError>) {
        let destroyed = self.drop_object(Data(self.data));
        if self.image.0.made.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.image.root().shutdown()();
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
/// Given by whoever keeps callers away; see `slot/generation.rs`.
pub(crate) struct ExclusiveInstance<'a>(&'a Instance, Option<RwLockWriteGuard<'a, ()>>);

impl ExclusiveInstance<'_> {
    /// Replaces its value by a state that was encoded by a predecessor.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), HookError> {
        // It is live and, by this right, nobody else's.
        self.0.restore_into(Data(self.0.data), state)
    }

    /// Gives it its configuration. One that was built before there was such a hook has none.
    pub(crate) fn configure(&mut self, config: &[u8]) -> Result<(), HookError> {
        let Instance { image, data, .. } = self.0;
        let Some(configure) = image.root().configure() else {
            return Ok(());
        };
        // SAFETY: the instance is live and, by this right, nobody else's.
        hook(image, unsafe { configure(*data, self.0.context(), config.into()) })
    }

    /// Gives it one of its resources.
    pub(crate) fn resource(&mut self, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        let Instance { image, data, .. } = self.0;
        let Some(resource) = image.root().resource() else {
            return Ok(());
        };
        // SAFETY: the instance is live and, by this right, nobody else's.
        hook(image, unsafe { resource(*data, self.0.context(), name.into(), bytes.into()) })
    }

    /// Lets it build what is derived from its state.
    pub(crate) fn init(&mut self) -> Result<(), HookError> {
        let Instance { image, data, .. } = self.0;
        // SAFETY: the instance is live and, by this right, nobody else's.
        hook(image, unsafe { image.root().init()(*data, self.0.context()) })
    }

    /// Lets it acquire what it needs, unless it has.
    pub(crate) fn start(&mut self) -> Result<(), HookError> {
        let Instance {
            image, data, started, ..
        } = self.0;
        if !started.load(Ordering::Relaxed) {
            // SAFETY: the instance is live and, by this right, nobody else's.
            hook(image, unsafe { image.root().start()(*data, self.0.context()) })?;
            started.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Stops it, if it was started, and asks its threads to end. It may be started again; whatever it answers, it counts as stopped.
    pub(crate) fn stop(&mut self) -> Result<(), HookError> {
        let Instance {
            image, data, started, ..
        } = self.0;
        match started.swap(false, Ordering::Relaxed) {
            // SAFETY: the instance is live and, by this right, nobody else's.
            true => hook(image, unsafe { image.root().stop()(*data, self.0.context()) }),
            false => Ok(()),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.0.is_started()
    }

    /// Does something with it on a thread for hooks, where `keeps` keeps it alive. If that takes too long, nothing may be called in
    /// it any more: the caller leaves it alone for good.
    pub(crate) fn elsewhere<T: Send + 'static>(
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

impl<T> Attempt<T> {
    fn map<R>(self, with: impl FnOnce(T) -> R) -> Attempt<R> {
        match self {
            Self::Done(answer) => Attempt::Done(answer.map(with)),
            Self::Beyond(outcome) => Attempt::Beyond(outcome),
        }
    }
}

/// Whether a method answers a borrow.
fn is_lending(method: &Method) -> bool {
    matches!(method.returns, Shape::Str | Shape::Ref(_) | Shape::Slice(_))
}

/// Copies a hook's answer out of the image. An empty text is the sign of a contained panic, whose words the image's panic
/// hook has left on this thread.
fn hook<T>(image: &Image, answer: RResult<T, RString>) -> Result<T, HookError> {
    match answer {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(text) if text.is_empty() => Err(panicked(take_panic(image.id()))),
        RResult::RErr(text) => Err(HookError::Refused(cut(&text).into_owned())),
    }
}

fn panicked(report: Option<PanicReport>) -> HookError {
    let (message, location, backtrace) = match report {
        Some(report) => (report.message, report.location, report.backtrace),
        None => ("no message was left".into(), None, Backtrace::default()),
    };
    HookError::Panicked {
        message,
        location,
        backtrace,
    }
}
