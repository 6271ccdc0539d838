//! Floor 2: one live object of a plugin's type. Every hook of the plugin is called from here, contained, with its refusal as a
//! typed error. An instance owns its image; it does not know whether anybody calls it.

use crate::{
    hooks::{Hooks, TookTooLong},
    image::{
        Image, PanicReport,
        manifest::{Receiver, Shape, StateSchema},
        take_panic,
    },
};
use parking_lot::{RwLock, RwLockWriteGuard};
use reslot_plugin_api::{
    __private::{Buffer, ContextAbi, RResult, RString, cut},
    Backtrace, Health,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Why a hook of a plugin refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// It answered `Err`, with these words. Longer ones than 16 KiB are cut there, and end with how many bytes are missing.
    Refused(String),
    /// It panicked; the panic was contained.
    Panicked {
        /// The panic's message. One that is longer than 16 KiB is cut there, and ends with how many bytes are missing.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from.
        backtrace: Backtrace,
    },
    /// It did not come back in this time. It still runs, and its image stays mapped until it comes back.
    TookTooLong(Duration),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, location, backtrace) = match self {
            Self::Refused(reason) => return f.write_str(reason),
            Self::TookTooLong(most) => return write!(f, "it did not come back within {most:?}"),
            Self::Panicked {
                message,
                location,
                backtrace,
            } => (message, location, backtrace),
        };
        write!(f, "it panicked: {message}")?;
        if let Some(location) = location {
            write!(f, " (at {location})")?;
        }
        match f.alternate() && !backtrace.is_empty() {
            true => write!(f, "\n{backtrace}"),
            false => Ok(()),
        }
    }
}

impl std::error::Error for HookError {}

impl HookError {
    /// The same with what it is about.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Refused(reason) => Self::Refused(format!("{what:?}: {reason}")),
            other => other,
        }
    }

    /// Where the plugin panicked, if that is what happened.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match self {
            Self::Panicked { backtrace, .. } => Some(backtrace),
            Self::Refused(_) | Self::TookTooLong(_) => None,
        }
    }
}

/// A live object. Dropping one leaks it: the reaper destroys it, on its own thread.
pub(crate) struct Instance {
    data: *mut (),
    image: Box<Image>,
    slot: Arc<str>,
    generation: u64,
    started: AtomicBool,
    /// Held by those who only look, `snapshot` and `health`, and closed by whoever has the right to change it: a look that nobody
    /// waits for any more may still be under way.
    looks: RwLock<()>,
}

// SAFETY: every plugin's type is `Send` (asked by `Implements`), and the hooks that take it mutably are those of `Quiet`.
unsafe impl Send for Instance {}
// SAFETY: through `&self` only `snapshot` and `health` reach the object. They keep off whoever changes it by `looks`. Beside calls they
// are made only if the type is `Sync` (`is_shared`); otherwise on the thread of the one owner, or while nobody can become that.
unsafe impl Sync for Instance {}

impl Instance {
    /// Makes the object with its `Default`.
    pub(crate) fn create(image: Box<Image>, slot: Arc<str>, generation: u64) -> Result<Self, (Box<Image>, HookError)> {
        // SAFETY: the image is verified and has the host's functions.
        match hook(&image, unsafe { image.root().create()() }) {
            Ok(data) => Ok(Self {
                data,
                image,
                slot,
                generation,
                started: AtomicBool::new(false),
                looks: RwLock::new(()),
            }),
            Err(error) => Err((image, error)),
        }
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
    pub(crate) fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        let mut state = Buffer::with_capacity(capacity);
        let _look = self.looks.read_recursive();
        // SAFETY: the instance is live; nobody changes it meanwhile, see `Sync` above.
        let answer = unsafe { self.image.root().snapshot()(self.data, state.as_abi()) };
        let has_state = hook(&self.image, answer)?;
        Ok(has_state.then(|| state.into_vec()))
    }

    /// Brings an encoded state from one schema to another, by the steps that this instance's plugin knows. The object is left alone.
    pub(crate) fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        let mut migrated = Buffer::with_capacity(state.len());
        // SAFETY: the image is verified and has the host's functions; state and buffer live for the call.
        let answer = unsafe { self.image.root().migrate()(from, to, state.into(), migrated.as_abi()) };
        hook(&self.image, answer)?;
        Ok(migrated.into_vec())
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
        let mut methods = self.image.manifest.interface.methods.iter();
        methods.all(|method| method.receiver == Receiver::Ref)
    }

    /// Whether a caller may hold a reference into it after a call has come back.
    pub(crate) fn answers_references(&self) -> bool {
        let mut methods = self.image.manifest.interface.methods.iter();
        methods.any(|method| matches!(method.returns, Shape::Str | Shape::Ref(_) | Shape::Slice(_)))
    }

    /// The right to change it, of whoever has it for himself.
    pub(crate) fn quiet(&mut self) -> Quiet<'_> {
        Quiet(self, None)
    }

    /// The right to change it; none if somebody still looks at it by `deadline`.
    ///
    /// # Safety
    /// As long as it is used no call is inside, and nobody holds what a call has answered by reference.
    pub(crate) unsafe fn assume_quiet(&self, deadline: Instant) -> Option<Quiet<'_>> {
        let alone = self.looks.try_write_until(deadline)?;
        Some(Quiet(self, Some(alone)))
    }

    /// Whether its plugin would take this configuration. The object is left alone.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    pub(crate) fn check_config(&self, config: &[u8]) -> Result<(), HookError> {
        match self.image.root().check_config() {
            Some(check) => hook(&self.image, check(self.context(), config.into())),
            None => Ok(()),
        }
    }

    /// The names of its threads of `Context::spawn` that have not ended, after they were asked to; empty if none is left.
    pub(crate) fn workers(&self) -> String {
        self.image.root().end_workers()().into()
    }

    /// Drops it. What is left is the image.
    pub(crate) fn destroy(self) -> (Box<Image>, Result<(), HookError>) {
        // SAFETY: the instance is live; this takes it by value, so nothing is called on it again.
        let destroyed = hook(&self.image, unsafe { self.image.root().destroy()(self.data) });
        self.image.root().shutdown()();
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
pub(crate) struct Quiet<'a>(&'a Instance, Option<RwLockWriteGuard<'a, ()>>);

impl Quiet<'_> {
    /// Replaces its value by a state that was encoded by a predecessor.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), HookError> {
        let Instance { image, data, .. } = self.0;
        // SAFETY: the instance is live and, by this right, nobody else's.
        hook(image, unsafe { image.root().restore()(*data, state.into()) })
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
        work: impl FnOnce(&mut Quiet<'_>) -> T + Send + 'static,
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
            let answer = work(&mut Quiet(unsafe { &*instance }, None));
            drop(keeps);
            answer
        })
    }
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
