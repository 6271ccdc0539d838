//! Objects of plugins whose root table lies in this address space: loaded ones and linked ones. Every hook of such a plugin is called from
//! here, contained, with its refusal as a typed error.

use crate::{
    engine::{ImageId, Object},
    panics::{PanicReport, take_panic},
};
use reslot_plugin_api::{
    __private::{BoundsAbi, Buffer, ContextAbi, RResult, RString, RootRef, StateAnswer, StateOutcome, cut, stack_left},
    Backtrace, Health, MAX_STATE_LEVELS,
};
use reslot_process::hooks::with_stack;
use reslot_report::HookError;
use std::sync::atomic::{AtomicBool, Ordering};

/// A state with more levels of nesting than this is not encoded or decoded on the stack of the thread that asks for it. Most states have
/// fewer than ten.
const LEVELS_HERE: u32 = 32;
/// A thread with less stack left than this encodes and decodes nothing on it.
const LEAST_STACK: usize = 96 << 10;
/// How much stack there is for other states. Without optimisation serde's code takes 1.5 KiB of it for a level of a small struct, and
/// 20 times the size of a large one.
const DEEP_STACK: usize = 256 << 20;

/// The way to a plugin's root table.
///
/// # Safety
/// The table is that of a plugin with the layout that this build of `reslot-plugin-api` has, which was given the host's functions, and is
/// good until the image of this way is closed.
pub unsafe trait RootAccess: Clone + Send + Sync + 'static {
    /// Calls functions of the root.
    fn within<R>(&self, body: impl FnOnce(RootRef) -> R) -> R;
}

/// An object that is called through its plugin's root table.
pub struct RootObject<A> {
    access: A,
    image: ImageId,
    data: Data,
    /// To encode or decode its state took more stack than threads have, so its drop may, too.
    deep: AtomicBool,
}

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

// SAFETY: every plugin's type is `Send` (asked by `Implements`), and only the one whose object it is does something with it, or has another
// do it and waits; see the contract of `Object`.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

impl<A: RootAccess> RootObject<A> {
    /// Makes an object with its `Default`.
    ///
    /// # Errors
    /// If the constructor panics.
    pub fn create(access: &A, image: ImageId) -> Result<Self, HookError> {
        // SAFETY: the root is a verified one that has the host's functions, by the promise of `RootAccess`.
        let data = hook(image, access.within(|root| unsafe { root.create()() }))?;
        Ok(Self {
            access: access.clone(),
            image,
            data: Data(data),
            deep: AtomicBool::new(false),
        })
    }

    /// Calls the root with the object.
    fn on<R>(&self, body: impl FnOnce(RootRef, *mut ()) -> R) -> R {
        self.access.within(|root| body(root, self.data.get()))
    }

    /// Whether the plugin was built when there were bounds for states.
    fn has_bounds(&self) -> bool {
        self.access.within(|root| root.snapshot_within().is_some())
    }

    /// Decodes a state into an object of its plugin's.
    ///
    /// # Safety
    /// The object is live, and nobody else's.
    unsafe fn restore_into(&self, data: Data, state: &[u8]) -> Result<(), HookError> {
        self.within_bounds(|bounds| {
            self.access.within(|root| {
                let attempt = match root.restore_within() {
                    // SAFETY: the caller's promise.
                    Some(restore) => self.attempt(unsafe { restore(data.get(), state.into(), bounds) }),
                    // SAFETY: as above.
                    None => self.unbounded(unsafe { root.restore()(data.get(), state.into()) }.map(|()| StateOutcome::Done)),
                };
                attempt.map(|_| ())
            })
        })
    }

    /// Drops an object of its plugin's.
    ///
    /// # Safety
    /// The object is live, nobody else's, and not used again.
    unsafe fn drop_object(&self, data: Data) -> Result<(), HookError> {
        let drop = move || {
            // SAFETY: the caller's promise, and this is the last that is done with it: of the two calls below one runs, once.
            let answer = self.access.within(|root| unsafe { root.destroy()(data.get()) });
            hook(self.image, answer)
        };
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
            if !self.has_bounds() {
                return None;
            }
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
            Err(error) => here().unwrap_or_else(|| match self.has_bounds() {
                true => Err(no_stack(Some(error.to_string()))),
                // A plugin that was built before there were bounds has a limit of its own, for which any thread's stack suffices.
                false => match attempt(bounds) {
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
        Attempt::Done(hook(self.image, answer).map_err(|error| match error {
            HookError::Refused(words) if words == WORDS => HookError::TooDeep { most: LEVELS },
            other => other,
        }))
    }
}

// SAFETY: data and table are the plugin's own, and good as long as its image. The root's functions for `snapshot` and `health` take the
// object by a shared reference; `migrate`, `check_config` and `cannot_read` do not take it.
unsafe impl<A: RootAccess> Object for RootObject<A> {
    fn data(&self) -> *mut () {
        self.data.get()
    }

    fn table(&self) -> *const () {
        self.access.within(|root| root.table()())
    }

    /// The thread that calls this may not have enough stack for it. Then it is done on one that has, while this one waits.
    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        self.within_bounds(|bounds| {
            let mut state = Buffer::with_capacity(capacity);
            let attempt = self.on(|root, data| match root.snapshot_within() {
                // SAFETY: the object is live; nobody changes it meanwhile, by the contract of `Object`.
                Some(snapshot) => self.attempt(unsafe { snapshot(data, state.as_abi(), bounds) }),
                // SAFETY: as above.
                None => self.unbounded(
                    unsafe { root.snapshot()(data, state.as_abi()) }.map(|has_state| match has_state {
                        true => StateOutcome::Done,
                        false => StateOutcome::NoState,
                    }),
                ),
            });
            attempt.map(|outcome| (outcome == StateOutcome::Done).then(|| state.into_vec()))
        })
    }

    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.within_bounds(|bounds| {
            let mut migrated = Buffer::with_capacity(state.len());
            let attempt = self.access.within(|root| match root.migrate_within() {
                // SAFETY: the root is verified and has the host's functions; state and buffer live for the call.
                Some(migrate) => self.attempt(unsafe { migrate(from, to, state.into(), migrated.as_abi(), bounds) }),
                // SAFETY: as above.
                None => self.unbounded(
                    unsafe { root.migrate()(from, to, state.into(), migrated.as_abi()) }.map(|()| StateOutcome::Done),
                ),
            });
            attempt.map(|_| migrated.into_vec())
        })
    }

    fn cannot_read(&self, state: &[u8]) -> Option<String> {
        // SAFETY: the root is verified and has the host's functions.
        let data = hook(self.image, self.access.within(|root| unsafe { root.create()() })).ok()?;
        // SAFETY: the object was just made, and nobody else knows it.
        let answer = unsafe { self.restore_into(Data(data), state) };
        // SAFETY: as above, and this is the last that is done with it.
        let _ = unsafe { self.drop_object(Data(data)) };
        match answer {
            Err(HookError::Refused(words) | HookError::NotCarried(words)) => Some(words),
            _ => None,
        }
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        // SAFETY: the object is live; it is called by nobody meanwhile unless its type is `Sync`, by the contract of `Object`.
        let answer = self.on(|root, data| unsafe { root.health()(data, context) });
        Ok(hook(self.image, answer)?.into())
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.access.within(|root| match root.check_config() {
            Some(check) => hook(self.image, check(context, config.into())),
            None => Ok(()),
        })
    }

    fn workers(&self, own: bool) -> String {
        self.on(|root, data| match root.end_workers_of().filter(|_| own) {
            Some(end) => end(data).into(),
            None => root.end_workers()().into(),
        })
    }

    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        unsafe { self.restore_into(self.data, state) }
    }

    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.on(|root, data| match root.configure() {
            // SAFETY: the caller's promise.
            Some(configure) => hook(self.image, unsafe { configure(data, context, config.into()) }),
            // It was built before there was such a hook, and has none.
            None => Ok(()),
        })
    }

    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        self.on(|root, data| match root.resource() {
            // SAFETY: the caller's promise.
            Some(resource) => hook(self.image, unsafe { resource(data, context, name.into(), bytes.into()) }),
            None => Ok(()),
        })
    }

    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        hook(self.image, self.on(|root, data| unsafe { root.init()(data, context) }))
    }

    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        hook(self.image, self.on(|root, data| unsafe { root.start()(data, context) }))
    }

    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        hook(self.image, self.on(|root, data| unsafe { root.stop()(data, context) }))
    }

    unsafe fn destroy(&self) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        unsafe { self.drop_object(self.data) }
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

/// Copies a hook's answer out of the image. An empty text is the sign of a contained panic, whose words the plugin's panic hook has left on
/// this thread.
fn hook<T>(image: ImageId, answer: RResult<T, RString>) -> Result<T, HookError> {
    match answer {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(text) if text.is_empty() => Err(panicked(take_panic(image))),
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
