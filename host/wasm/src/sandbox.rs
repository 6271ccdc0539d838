//! One instance of a module, with its memory: requests go in, replies come out, and whatever goes wrong inside is a cause for its end.

use crate::{
    code::{Code, Runtime},
    limits::Limits,
    owner::Owner,
    ticker::{self, Running},
};
use reslot_plugin_api::{
    __private::marshal::{ActiveLentObjects, Call, LentObjects, MarshalError, Transport, TransportError},
    EndCause,
    guest::{ABI, Arguments, Hook, HookOutcome, unpack},
};
use std::{cell::RefCell, fmt, sync::Arc, time::Duration};
use wasmtime::{AsContext, AsContextMut, Caller, Memory, ResourceLimiter, Store, Trap, TypedFunc};

thread_local! {
    /// What the host has lent in the innermost call of this thread.
    pub(crate) static LENT: ActiveLentObjects = const { ActiveLentObjects::new() };
}

/// Runs code of a module that is not to reach what a call around it has lent, perhaps to another plugin.
fn with_nothing_lent<R>(body: impl FnOnce() -> R) -> R {
    LENT.with(|lent| lent.enter(LentObjects::default(), body))
}

/// The module broke the rules of the ABI.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// What a sandbox has for the functions that the module imports.
pub(crate) struct Data {
    pub(crate) owner: Arc<Owner>,
    limiter: Limiter,
    pub(crate) memory: Option<Memory>,
    exports: Option<Arc<Exports>>,
    /// Address and size of the module's rooms for requests, by the depth of calls.
    rooms: Vec<(u32, u32)>,
    depth: u32,
    /// The last reply to the module.
    pub(crate) reply: Vec<u8>,
    /// Memory for copies of requests.
    pub(crate) buffers: Vec<Vec<u8>>,
    /// A nested call has ended the instance. The calls around it end, too.
    pub(crate) fatal: Option<wasmtime::Error>,
    /// The last panic since the outermost call began.
    pub(crate) panic: Option<String>,
}

struct Exports {
    room: TypedFunc<(u32, u32), u32>,
    call: TypedFunc<(u64, u32, u32, u32), u64>,
    hook: TypedFunc<(u32, u32, u32, u32, u32), u64>,
    log_level: TypedFunc<u32, ()>,
}

/// Counts all memory of a sandbox.
struct Limiter {
    most: usize,
    used: usize,
    /// Memory was refused since the outermost call began.
    refused: bool,
}

/// The most elements of a table, which holds functions.
const TABLE: usize = 1 << 20;

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.most;
        match fits {
            true => self.used = used,
            false => self.refused = true,
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let grows = desired.saturating_sub(current).saturating_mul(size_of::<usize>());
        let used = self.used.saturating_add(grows);
        let fits = desired <= TABLE && used <= self.most;
        match fits {
            true => self.used = used,
            false => self.refused = true,
        }
        Ok(fits)
    }
}

/// Why a call was not made.
pub(crate) enum Failure {
    /// The instance lives.
    NotCarried(TransportError),
    /// The instance has ended.
    Ended(EndCause),
}

/// The same within the sandbox.
enum Inner {
    NotCarried(TransportError),
    Fatal(wasmtime::Error),
}

impl From<MarshalError> for Inner {
    fn from(error: MarshalError) -> Self {
        Self::NotCarried(error.into())
    }
}

impl From<wasmtime::Error> for Inner {
    fn from(error: wasmtime::Error) -> Self {
        Self::Fatal(error)
    }
}

/// An instance of a module.
pub(crate) struct Sandbox {
    store: Store<Data>,
    exports: Arc<Exports>,
    limits: Limits,
    level: u8,
}

impl Sandbox {
    /// Makes an instance, and in it an object with the plugin's `Default`.
    pub(crate) fn new(
        runtime: &Runtime,
        code: &Code,
        owner: &Arc<Owner>,
        limits: Limits,
    ) -> Result<(Self, HookOutcome), EndCause> {
        let data = Data {
            owner: owner.clone(),
            limiter: Limiter {
                most: limits.memory,
                used: 0,
                refused: false,
            },
            memory: None,
            exports: None,
            rooms: Vec::new(),
            depth: 0,
            reply: Vec::new(),
            buffers: Vec::new(),
            fatal: None,
            panic: None,
        };
        let mut store = Store::new(&runtime.engine, data);
        store.limiter(|data| &mut data.limiter);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(ticker::ticks(limits.hook));
        let running = Running::begin();
        let made = start(&mut store, code).map_err(|error| cause(&error, store.data(), limits.hook));
        drop(running);
        let mut sandbox = Self {
            exports: made?,
            store,
            limits,
            level: 0,
        };
        let (outcome, _) = sandbox.hook(Hook::Create, (0, 0), Arguments::default())?;
        Ok((sandbox, outcome))
    }

    /// Prepares a call of the module from outside.
    fn begin(&mut self, limit: Duration) -> wasmtime::Result<Running> {
        let running = Running::begin();
        self.store.set_epoch_deadline(ticker::ticks(limit));
        let data = self.store.data_mut();
        (data.limiter.refused, data.panic, data.depth) = (false, None, 0);
        let level = data.owner.level();
        if level != self.level {
            self.level = level;
            let exports = self.exports.clone();
            with_nothing_lent(|| exports.log_level.call(&mut self.store, level.into()))?;
        }
        Ok(running)
    }

    fn cause(&self, error: &wasmtime::Error, limit: Duration) -> EndCause {
        cause(error, self.store.data(), limit)
    }

    /// One call of the interface.
    pub(crate) fn call(&mut self, call: &mut Call<'_>) -> Result<(), Failure> {
        let limit = self.limits.call;
        let _running = self.begin(limit).map_err(|error| Failure::Ended(self.cause(&error, limit)))?;
        match call_within(&mut self.store, &self.exports, call) {
            Ok(()) => Ok(()),
            Err(Inner::NotCarried(error)) => Err(Failure::NotCarried(error)),
            Err(Inner::Fatal(error)) => Err(Failure::Ended(self.cause(&error, limit))),
        }
    }

    /// Calls a hook.
    pub(crate) fn hook(
        &mut self,
        hook: Hook,
        (first, second): (u32, u32),
        arguments: Arguments<'_>,
    ) -> Result<(HookOutcome, Vec<u8>), EndCause> {
        let limit = self.limits.hook;
        let _running = self.begin(limit).map_err(|error| self.cause(&error, limit))?;
        let called = with_nothing_lent(|| hook_within(&mut self.store, &self.exports, hook, (first, second), arguments));
        called.map_err(|error| self.cause(&error, limit))
    }
}

fn start(store: &mut Store<Data>, code: &Code) -> wasmtime::Result<Arc<Exports>> {
    let instance = code.linked()?.instantiate(&mut *store)?;
    let abi = instance
        .get_typed_func::<(), u32>(&mut *store, "reslot_abi")?
        .call(&mut *store, ())?;
    if abi != ABI {
        return Err(Invalid(format!(
            "its ABI has version {abi}, and this host has {ABI}: rebuild the plugin"
        ))
        .into());
    }
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| Invalid("it exports no memory".to_owned()))?;
    let exports = Arc::new(Exports {
        room: instance.get_typed_func(&mut *store, "reslot_room")?,
        call: instance.get_typed_func(&mut *store, "reslot_call")?,
        hook: instance.get_typed_func(&mut *store, "reslot_hook")?,
        log_level: instance.get_typed_func(&mut *store, "reslot_log_level")?,
    });
    let data = store.data_mut();
    data.memory = Some(memory);
    data.exports = Some(exports.clone());
    Ok(exports)
}

fn cause(error: &wasmtime::Error, data: &Data, limit: Duration) -> EndCause {
    if let Some(Invalid(what)) = error.downcast_ref() {
        return EndCause::Protocol { what: what.clone() };
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::Interrupt) {
        return EndCause::Deadline { limit };
    }
    if data.limiter.refused {
        return EndCause::MemoryLimit {
            bytes: data.limiter.most as u64,
        };
    }
    let what = match (trap, &data.panic) {
        (Some(Trap::UnreachableCodeReached), Some(panic)) => format!("it panicked where nothing catches it: {panic}"),
        (Some(trap), _) => trap.to_string(),
        (None, _) => format!("{error:#}"),
    };
    EndCause::Trap { what }
}

fn memory(context: &impl AsContext<Data = Data>) -> wasmtime::Result<Memory> {
    let memory = context.as_context().data().memory;
    memory.ok_or_else(|| Invalid("it has no memory".to_owned()).into())
}

/// The address of room for a request at the present depth; none if the module has no memory for it.
fn room(context: &mut impl AsContextMut<Data = Data>, exports: &Exports, len: usize) -> wasmtime::Result<Option<u32>> {
    let Ok(len) = u32::try_from(len) else { return Ok(None) };
    let mut context = context.as_context_mut();
    let data = context.data_mut();
    let depth = data.depth as usize;
    if data.rooms.len() <= depth {
        data.rooms.resize(depth + 1, (0, 0));
    }
    let (address, size) = data.rooms[depth];
    if size >= len && size > 0 {
        return Ok(Some(address));
    }
    // More than is needed now, so that it is asked for seldom.
    let size = len.checked_next_power_of_two().unwrap_or(len).max(1 << 10);
    let address = with_nothing_lent(|| exports.room.call(&mut context, (depth as u32, size)))?;
    if address == 0 {
        return Ok(None);
    }
    context.data_mut().rooms[depth] = (address, size);
    Ok(Some(address))
}

fn range(address: u32, len: usize) -> std::ops::Range<usize> {
    address as usize..(address as usize).saturating_add(len)
}

fn outside() -> wasmtime::Error {
    Invalid("it gave the host an address outside of its memory".to_owned()).into()
}

fn call_within(context: &mut impl AsContextMut<Data = Data>, exports: &Exports, call: &mut Call<'_>) -> Result<(), Inner> {
    let memory = memory(context)?;
    let len = call.request_len()?;
    let address = room(context, exports, len)?.ok_or(MarshalError::BufferSize { needed: len as u64 })?;
    let request = memory
        .data_mut(&mut *context)
        .get_mut(range(address, len))
        .ok_or_else(outside)?;
    call.encode(request)?;
    context.as_context_mut().data_mut().depth += 1;
    let (target, method, lends) = (call.target(), call.method(), call.lends());
    let answer = LENT.with(|lent| {
        lent.enter(lends, || {
            exports.call.call(&mut *context, (target, method, address, len as u32))
        })
    });
    context.as_context_mut().data_mut().depth -= 1;
    let (code, at, len) = unpack(answer?);
    // The module does not run while its reply is decoded, so it cannot change it.
    let reply = memory.data(&*context).get(range(at, len as usize)).ok_or_else(outside)?;
    call.complete(code, reply).map_err(Inner::NotCarried)
}

fn hook_within(
    store: &mut Store<Data>,
    exports: &Exports,
    hook: Hook,
    (first, second): (u32, u32),
    arguments: Arguments<'_>,
) -> wasmtime::Result<(HookOutcome, Vec<u8>)> {
    let memory = memory(store)?;
    let mut message = Vec::with_capacity(arguments.encoded_len());
    arguments.encode(&mut message);
    let Some(address) = room(store, exports, message.len())? else {
        let words = format!("the plugin has no memory for a message of {} bytes", message.len());
        return Ok((HookOutcome::Refused, words.into_bytes()));
    };
    let given = memory
        .data_mut(&mut *store)
        .get_mut(range(address, message.len()))
        .ok_or_else(outside)?;
    given.copy_from_slice(&message);
    store.data_mut().depth += 1;
    let answer = exports
        .hook
        .call(&mut *store, (hook as u32, first, second, address, message.len() as u32));
    store.data_mut().depth -= 1;
    let (outcome, at, len) = unpack(answer?);
    let reply = memory.data(&*store).get(range(at, len as usize)).ok_or_else(outside)?;
    Ok((HookOutcome::of(outcome), reply.to_vec()))
}

/// Carries calls to objects that the module has lent to an object of the host, while the module waits.
pub(crate) struct Back<'a, 'b>(RefCell<&'a mut Caller<'b, Data>>);

impl<'a, 'b> Back<'a, 'b> {
    pub(crate) fn new(caller: &'a mut Caller<'b, Data>) -> Self {
        Self(RefCell::new(caller))
    }
}

impl Transport for Back<'_, '_> {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        let engine = |words: String| TransportError::Engine(words.into());
        let mut caller = self
            .0
            .try_borrow_mut()
            .map_err(|_| engine("the object is in use by another call".to_owned()))?;
        if caller.data().fatal.is_some() {
            return Err(engine("the instance has ended".to_owned()));
        }
        let exports = caller.data().exports.clone();
        let exports = exports.ok_or_else(|| engine("the instance was not started".to_owned()))?;
        match call_within(&mut **caller, &exports, call) {
            Ok(()) => Ok(()),
            Err(Inner::NotCarried(error)) => Err(error),
            Err(Inner::Fatal(error)) => {
                let words = format!("the instance has ended: {error:#}");
                caller.data_mut().fatal = Some(error);
                Err(engine(words))
            }
        }
    }

    fn failed(&self, method: u32, error: TransportError) {
        tracing::debug!(method, "a call to an object of a plugin failed: {error}");
    }
}
