//! Objects of plugins whose root table lies in this address space, whether loaded or linked. All hooks of such plugins are called from
//! here: panics are contained, and errors of the plugin become typed errors.

use crate::{
    engine::{ImageId, Object},
    panics::{PanicReport, take_panic},
};
use reslot_plugin_api::{
    __private::{
        BoundsAbi, Buffer, BufferAbi, ContextAbi, LinkAbi, RResult, RString, RequestAbi, RootRef, StateAnswer, StateOutcome,
        cut, stack_left,
    },
    Backtrace, Health, MAX_STATE_LEVELS,
};
use reslot_report::HookError;
use reslot_sync::atomic::{AtomicBool, Ordering};
use reslot_system::hooks::with_stack;

/// The maximum nesting of a state that is encoded or decoded on the calling thread. Most states have fewer than ten levels.
const MAX_LEVELS_ON_CALLER_STACK: u32 = 32;
/// The stack that the calling thread must have left for that.
const MIN_CALLER_STACK: usize = 96 << 10;
/// The stack for other states. Without optimisation serde's code needs 1.5 KiB for each level of a small struct, and 20 times its size
/// for a large one.
const BIG_STACK: usize = 256 << 20;

/// Access to a plugin's root table.
///
/// # Safety
/// The implementer makes sure that the table has the layout of this build of `reslot-plugin-api`, that the plugin has got the host's
/// functions, and that the table is valid until the image is closed.
pub unsafe trait RootAccess: Clone + Send + Sync + 'static {
    /// Calls functions of the root.
    fn within<R>(&self, body: impl FnOnce(RootRef) -> R) -> R;
}

/// An object that is called through its plugin's root table.
pub struct RootObject<A> {
    access: A,
    image: ImageId,
    data: Data,
    table: Table,
    /// Encoding or decoding its state has needed a big stack, so its drop may need one, too.
    needs_big_stack: AtomicBool,
}

/// The result of encoding or decoding a state within bounds.
enum BoundedCall<T> {
    Done(Result<T, HookError>),
    /// The state exceeds the bounds.
    OutOfBounds(StateOutcome),
}

/// A pointer to an object of a plugin's type, which may be sent to another thread of the host.
#[derive(Clone, Copy)]
struct Data(*mut ());

impl Data {
    fn get(self) -> *mut () {
        self.0
    }
}

// SAFETY: every plugin's type is `Send` (a bound of `Implements`). Who may use the object at which time is the contract of `Object`, which
// its callers keep; a pointer to the object adds no other use.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

/// The functions of a plugin's interface.
#[derive(Clone, Copy)]
struct Table(*const ());

// SAFETY: it points to constant data of the plugin, which nobody changes; who may call the functions is the contract of `Object`.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl<A: RootAccess> RootObject<A> {
    /// Makes an object with its `Default`.
    ///
    /// # Errors
    /// If the constructor panics.
    pub fn create(access: &A, image: ImageId) -> Result<Self, HookError> {
        // SAFETY: `RootAccess` promises that the root is valid and that the plugin has the host's functions.
        let created = access.within(|root| unsafe { root.create()() }.map(|data| (Data(data), Table(root.table()()))));
        let (data, table) = hook(image, created)?;
        Ok(Self {
            access: access.clone(),
            image,
            data,
            table,
            needs_big_stack: AtomicBool::new(false),
        })
    }

    /// Calls `body` with the root and the object.
    fn on<R>(&self, body: impl FnOnce(RootRef, *mut ()) -> R) -> R {
        self.access.within(|root| body(root, self.data.get()))
    }

    /// Whether the plugin's SDK supports bounds for states.
    fn has_bounds(&self) -> bool {
        self.access.within(|root| root.snapshot_within().is_some())
    }

    /// Decodes a state into an object of the plugin.
    ///
    /// # Safety
    /// The object is live, and nobody else uses it during this call.
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

    /// Drops an object of the plugin.
    ///
    /// # Safety
    /// The object is live, nobody else uses it during this call, and nobody uses it afterwards.
    unsafe fn drop_object(&self, data: Data) -> Result<(), HookError> {
        let drop = move || {
            // SAFETY: the caller promises that this is the only and last use of the object. `drop` runs once: on the big stack, or here
            // if there is no such thread.
            let answer = self.access.within(|root| unsafe { root.destroy()(data.get()) });
            hook(self.image, answer)
        };
        match self.needs_big_stack.load(Ordering::Relaxed) {
            // If the system gives no such thread, drop it on this stack rather than leak it: a drop needs little stack.
            true => with_stack(BIG_STACK, drop).unwrap_or_else(|_| drop()),
            false => drop(),
        }
    }

    /// Encodes or decodes a state: on this thread if its stack is large enough, otherwise on a thread with a big stack.
    fn within_bounds<T: Send>(&self, attempt: impl Fn(BoundsAbi) -> BoundedCall<T> + Sync) -> Result<T, HookError> {
        let here = || {
            // Old plugins do not support bounds.
            if !self.has_bounds() {
                return None;
            }
            let left = stack_left();
            let bounds = BoundsAbi {
                levels: MAX_LEVELS_ON_CALLER_STACK,
                // Leave half of the stack for the functions that are called between two checks of the bounds.
                stack: if left < MIN_CALLER_STACK { 0 } else { left / 2 },
            };
            match attempt(bounds) {
                BoundedCall::Done(answer) => Some(answer),
                BoundedCall::OutOfBounds(_) => None,
            }
        };
        if !self.needs_big_stack.load(Ordering::Relaxed)
            && let Some(answer) = here()
        {
            return answer;
        }
        self.needs_big_stack.store(true, Ordering::Relaxed);
        let bounds = BoundsAbi {
            levels: MAX_STATE_LEVELS,
            stack: BIG_STACK / 2,
        };
        let no_stack = |system| HookError::StackTooSmall {
            bytes: BIG_STACK,
            system,
        };
        match with_stack(BIG_STACK, || attempt(bounds)) {
            Ok(BoundedCall::Done(answer)) => answer,
            Ok(BoundedCall::OutOfBounds(StateOutcome::TooDeep)) => Err(HookError::TooDeep { most: MAX_STATE_LEVELS }),
            Ok(BoundedCall::OutOfBounds(_)) => Err(no_stack(None)),
            // The system gives no such thread. The state may be smaller than it was, so try it on this one.
            Err(error) => here().unwrap_or_else(|| match self.has_bounds() {
                true => Err(no_stack(Some(error.to_string()))),
                // Old plugins have a limit of their own, for which the stack of any thread is enough.
                false => match attempt(bounds) {
                    BoundedCall::Done(answer) => answer,
                    BoundedCall::OutOfBounds(_) => Err(no_stack(None)),
                },
            }),
        }
    }

    /// Copies the answer out of the image. This runs on the thread of the call, because a panic's report is stored per thread.
    fn attempt(&self, answer: StateAnswer) -> BoundedCall<StateOutcome> {
        let outcome = StateOutcome::of(answer.outcome);
        match outcome {
            StateOutcome::TooDeep | StateOutcome::StackUsed => return BoundedCall::OutOfBounds(outcome),
            StateOutcome::Done | StateOutcome::NoState => return BoundedCall::Done(Ok(outcome)),
            StateOutcome::NotCarried => return BoundedCall::Done(Err(HookError::NotCarried(answer.words.to_string()))),
            StateOutcome::Refused => {}
        }
        self.unbounded(RResult::RErr(answer.words))
    }

    /// The same for a plugin without support for bounds, which has a fixed limit.
    fn unbounded(&self, answer: RResult<StateOutcome, RString>) -> BoundedCall<StateOutcome> {
        const WORDS: &str = "depth limit exceeded";
        const LEVELS: u32 = 1023;
        BoundedCall::Done(hook(self.image, answer).map_err(|error| match error {
            HookError::Refused(words) if words == WORDS => HookError::TooDeep { most: LEVELS },
            other => other,
        }))
    }
}

// SAFETY: data and table are the plugin's, do not change, and are valid until `destroy`, because the image is closed after that. The root's
// functions for `snapshot` and `health` take the object by a shared reference; those for `migrate`, `check_config` and `cannot_read` do not
// take it.
unsafe impl<A: RootAccess> Object for RootObject<A> {
    fn data(&self) -> *mut () {
        self.data.get()
    }

    /// It is asked for while a gate is closed, so this calls no code of the plugin or the program.
    fn table(&self) -> *const () {
        self.table.0
    }

    unsafe fn dispatch(&self, request: RequestAbi<'_>, reply: &mut BufferAbi, link: LinkAbi) -> Option<u32> {
        self.on(|root, data| {
            let dispatch = root.dispatch()?;
            // SAFETY: the object is live; the rest is the caller's promise.
            Some(unsafe { dispatch(data, request, reply, link) })
        })
    }

    fn has_dispatch(&self) -> bool {
        self.access.within(|root| root.dispatch().is_some())
    }

    /// If the stack of the calling thread is too small, another thread does this while the calling one waits.
    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        self.within_bounds(|bounds| {
            let mut state = Buffer::with_capacity(capacity);
            let attempt = self.on(|root, data| match root.snapshot_within() {
                // SAFETY: the object is live, and by the contract of `Object` nobody changes it during this call.
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
                // SAFETY: the root is verified, and the plugin has the host's functions; state and buffer live during the call.
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
        // SAFETY: the root is verified, and the plugin has the host's functions.
        let data = hook(self.image, self.access.within(|root| unsafe { root.create()() })).ok()?;
        // SAFETY: the object was made above, and no other code knows it.
        let answer = unsafe { self.restore_into(Data(data), state) };
        // SAFETY: as above, and the object is not used after this.
        let _ = unsafe { self.drop_object(Data(data)) };
        match answer {
            Err(HookError::Refused(words) | HookError::NotCarried(words)) => Some(words),
            _ => None,
        }
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        // SAFETY: the object is live. By the contract of `Object` no method of it runs meanwhile, unless its type is `Sync`.
        let answer = self.on(|root, data| unsafe { root.health()(data, context) });
        Ok(hook(self.image, answer)?.into())
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.access.within(|root| match root.check_config() {
            Some(check) => hook(self.image, check(context, config.into())),
            None => Ok(()),
        })
    }

    fn end_workers(&self, own: bool) -> String {
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
            // The plugin's SDK does not have this hook.
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

impl<T> BoundedCall<T> {
    fn map<R>(self, with: impl FnOnce(T) -> R) -> BoundedCall<R> {
        match self {
            Self::Done(answer) => BoundedCall::Done(answer.map(with)),
            Self::OutOfBounds(outcome) => BoundedCall::OutOfBounds(outcome),
        }
    }
}

/// Copies a hook's answer out of the image. An empty text means a contained panic, whose report the plugin's panic hook has stored for this
/// thread.
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
