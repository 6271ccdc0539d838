//! Floor 2: one live object of a plugin's type. Every hook of the plugin is called from here, contained, with its refusal as a
//! typed error. An instance owns its image; it does not know whether anybody calls it.

use crate::image::{Image, PanicReport, manifest::StateSchema, take_panic};
use reslot_plugin_api::{
    __private::{Buffer, ContextAbi, RResult, RString},
    Backtrace, Health,
};
use std::{fmt, sync::Arc};

/// Why a hook of a plugin refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// It answered `Err`.
    Refused(String),
    /// It panicked; the panic was contained.
    Panicked {
        /// The panic's message.
        message: String,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from.
        backtrace: Backtrace,
    },
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, location, backtrace) = match self {
            Self::Refused(reason) => return f.write_str(reason),
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
    /// Where the plugin panicked, if that is what happened.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match self {
            Self::Panicked { backtrace, .. } => Some(backtrace),
            Self::Refused(_) => None,
        }
    }
}

/// A live object. Dropping one leaks it: the reaper destroys it, on its own thread.
pub(crate) struct Instance {
    data: *mut (),
    image: Box<Image>,
    slot: Arc<str>,
    generation: u64,
    started: bool,
}

// SAFETY: every plugin's type is `Send` (asked by `Implements`), and the hooks that take it mutably take `&mut self` here.
unsafe impl Send for Instance {}
// SAFETY: through `&self` only `snapshot` and `health` reach the object, which their callers exclude from running beside calls
// unless the type is `Sync`: the owner of a claim calls them from its own thread; otherwise the type is `Sync`, and a gate is
// closed around the former. `migrate` needs no object.
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
                started: false,
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
    #[allow(dead_code, reason = "the probation that asks for it is built beside this")]
    pub(crate) fn health(&self) -> Result<Health, HookError> {
        // SAFETY: the instance is live; it is called by nobody meanwhile unless it is `Sync`, see `Sync` above.
        let answer = unsafe { self.image.root().health()(self.data, self.context()) };
        Ok(hook(&self.image, answer)?.into())
    }

    /// Replaces its value by a state that was encoded by a predecessor.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), HookError> {
        // SAFETY: the instance is live and, by `&mut`, nobody else's.
        hook(&self.image, unsafe { self.image.root().restore()(self.data, state.into()) })
    }

    /// Lets it build what is derived from its state; once, before it is started.
    pub(crate) fn init(&mut self) -> Result<(), HookError> {
        // SAFETY: the instance is live and, by `&mut`, nobody else's.
        hook(&self.image, unsafe { self.image.root().init()(self.data, self.context()) })
    }

    /// Lets it acquire what it needs, unless it has.
    pub(crate) fn start(&mut self) -> Result<(), HookError> {
        if !self.started {
            // SAFETY: the instance is live and, by `&mut`, nobody else's.
            hook(&self.image, unsafe { self.image.root().start()(self.data, self.context()) })?;
            self.started = true;
        }
        Ok(())
    }

    /// Stops it, if it was started, and asks its threads to end. The last call has come back: the caller is its only holder. It
    /// may be started again; whatever it answers, it counts as stopped.
    pub(crate) fn stop(&mut self) -> Result<(), HookError> {
        match std::mem::take(&mut self.started) {
            // SAFETY: the instance is live and, by `&mut`, nobody else's.
            true => hook(&self.image, unsafe { self.image.root().stop()(self.data, self.context()) }),
            false => Ok(()),
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

/// Copies a hook's answer out of the image. An empty text is the sign of a contained panic, whose words the image's panic
/// hook has left on this thread.
fn hook<T>(image: &Image, answer: RResult<T, RString>) -> Result<T, HookError> {
    match answer {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(text) if text.is_empty() => Err(panicked(take_panic(image.id()))),
        RResult::RErr(text) => Err(HookError::Refused(text.to_string())),
    }
}

fn panicked(report: Option<PanicReport>) -> HookError {
    let (message, location, backtrace) = match report {
        Some(report) => (report.message, report.location, report.backtrace),
        None => ("no message was left".to_owned(), None, Backtrace::default()),
    };
    HookError::Panicked {
        message,
        location,
        backtrace,
    }
}
