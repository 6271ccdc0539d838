//! The fixed root that every artifact exports, and the table of host functions that it gets. Both are abi_stable prefix
//! types: the host checks their layout on the mapped image before it calls any of their functions, unless it is known to be
//! equal. Interfaces have tables of their own, described by `description`.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RResult, RSlice, RStr, RString},
};

mod buffer;
mod calls;
mod log;
mod peer;

pub use log::{LogKind, LogRecord, LogValue, NO_PARENT, SpanDeed, ValueKind};

pub use buffer::{Buffer, BufferAbi, Writer};

pub use calls::{LentAbi, LinkAbi, RequestAbi};

pub use peer::{FaultAbi, LoadedAbi, PassAbi, PeerRefusalAbi};

/// The symbol under which an artifact exports its [`Header`](crate::exports::Header).
pub const ROOT_SYMBOL: &str = "reslot_root";
/// The first bytes of a [`Header`](crate::exports::Header).
pub const MAGIC: [u8; 16] = *b"reslot header 2\0";
/// The first virtual pthread key. A key below it is libc's own, made before the host's table was installed.
pub const VIRTUAL_KEYS: u32 = 0x4000_0000;

/// The functions that the host calls in an image, beside those of its interface.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(panic))]
pub struct Root {
    /// The manifest in the mapped image, for a comparison with the linted one.
    pub manifest: extern "C" fn() -> RSlice<'static, u8>,
    /// Installs the host's functions. It is called once, before anything else. Returns the number of earlier requests of
    /// static constructors that tie the image to libc.
    pub initialise: unsafe extern "C" fn(host: HostTableRef, token: *const ()) -> usize,
    /// The interface's function table.
    pub table: extern "C" fn() -> *const (),
    /// Makes an instance.
    pub create: unsafe extern "C" fn() -> RResult<*mut (), RString>,
    /// Runs `init`.
    pub init: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// Runs `start`.
    pub start: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// Runs `stop`.
    pub stop: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// Runs `health`.
    pub health: unsafe extern "C" fn(instance: *const (), context: ContextAbi<'_>) -> RResult<HealthAbi, RString>,
    /// Encodes the instance's state at the end of a buffer of the host; `false` if the plugin is stateless.
    pub snapshot: unsafe extern "C" fn(instance: *const (), into: &mut BufferAbi) -> RResult<bool, RString>,
    /// Replaces the instance's value by a decoded state.
    pub restore: unsafe extern "C" fn(instance: *mut (), state: RSlice<'_, u8>) -> RResult<(), RString>,
    /// Migrates an encoded state from one schema to another, step by step, and encodes the result at the end of a buffer of
    /// the host. It needs no instance.
    pub migrate:
        unsafe extern "C" fn(from: u32, to: u32, state: RSlice<'_, u8>, into: &mut BufferAbi) -> RResult<(), RString>,
    /// Asks the threads of `Context::spawn` to end, and returns the names of running ones, separated by commas.
    pub end_workers: extern "C" fn() -> RString,
    /// Drops the instance.
    pub destroy: unsafe extern "C" fn(instance: *mut ()) -> RResult<(), RString>,
    /// Flushes the image's buffers. It is the last call into the plugin's code.
    pub shutdown: extern "C" fn(),
    /// The number of bytes that the image has allocated; none if it does not count. It may be called from any thread at any
    /// time.
    pub live_bytes: extern "C" fn() -> ROption<u64>,
    /// The address of the table of allocated blocks. It is the last call into the image before it is closed.
    #[sabi(last_prefix_field)]
    pub remains: extern "C" fn() -> RemainsAbi,
    /// Sets the highest level of records that cross to the host: 0 is none, 1 errors, 5 everything. It is called right after
    /// `initialise`, and later from any thread at any time.
    #[sabi(missing_field(option))]
    pub set_log_level: extern "C" fn(level: u8),
    /// Gives the instance its configuration, as MessagePack.
    #[sabi(missing_field(option))]
    pub configure:
        unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>, config: RSlice<'_, u8>) -> RResult<(), RString>,
    /// Whether the plugin accepts a configuration. It needs no instance.
    #[sabi(missing_field(option))]
    pub check_config: extern "C" fn(context: ContextAbi<'_>, config: RSlice<'_, u8>) -> RResult<(), RString>,
    /// Gives the instance one of its resources.
    #[sabi(missing_field(option))]
    pub resource: unsafe extern "C" fn(
        instance: *mut (),
        context: ContextAbi<'_>,
        name: RStr<'_>,
        bytes: RSlice<'_, u8>,
    ) -> RResult<(), RString>,
    /// `snapshot` within bounds.
    #[sabi(missing_field(option))]
    pub snapshot_within: unsafe extern "C" fn(instance: *const (), into: &mut BufferAbi, bounds: BoundsAbi) -> StateAnswer,
    /// `restore` within bounds.
    #[sabi(missing_field(option))]
    pub restore_within: unsafe extern "C" fn(instance: *mut (), state: RSlice<'_, u8>, bounds: BoundsAbi) -> StateAnswer,
    /// `migrate` within bounds.
    #[sabi(missing_field(option))]
    pub migrate_within: unsafe extern "C" fn(
        from: u32,
        to: u32,
        state: RSlice<'_, u8>,
        into: &mut BufferAbi,
        bounds: BoundsAbi,
    ) -> StateAnswer,
    /// Like `end_workers`, for the threads of one instance. An image with this function may have several instances.
    #[sabi(missing_field(option))]
    pub end_workers_of: extern "C" fn(instance: *const ()) -> RString,
    /// Makes a call of the instance that has come as bytes. Writes the reply, and returns its [`code`](crate::marshal::code). `link` leads to
    /// the objects that the caller has lent.
    #[sabi(missing_field(option))]
    pub dispatch:
        unsafe extern "C" fn(instance: *mut (), request: RequestAbi<'_>, reply: &mut BufferAbi, link: LinkAbi) -> u32,
}

/// [`Health`](crate::Health) as it crosses.
#[repr(C)]
#[derive(StableAbi)]
pub struct HealthAbi {
    /// The index of the variant, from 0.
    pub result: u32,
    /// Its message; empty for `Ok`.
    pub message: RString,
}

/// The limits for encoding or decoding a state.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct BoundsAbi {
    /// The highest number of nesting levels.
    pub levels: u32,
    /// The highest number of bytes of the calling thread's stack.
    pub stack: usize,
}

/// The result of encoding or decoding a state.
#[repr(C)]
#[derive(StableAbi)]
pub struct StateAnswer {
    /// One of [`StateOutcome`]'s numbers.
    pub outcome: u8,
    /// The error message; empty after a success or a panic.
    pub words: RString,
}

/// The outcome of encoding or decoding a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StateOutcome {
    /// It is done.
    Done,
    /// Success, but there is no state, because the plugin is stateless.
    NoState,
    /// The plugin returned an error, or panicked.
    Refused,
    /// The plugin returned an error because serde cannot carry a value from one side to the other.
    NotCarried,
    /// The state has more levels than the limit.
    TooDeep,
    /// The state needs more stack than the limit.
    StackUsed,
}

impl StateOutcome {
    /// The outcome with this number. An unknown number of a later version counts as a refusal.
    pub fn of(number: u8) -> Self {
        let all = [Self::Done, Self::NoState, Self::NotCarried, Self::TooDeep, Self::StackUsed];
        all.into_iter().find(|one| *one as u8 == number).unwrap_or(Self::Refused)
    }
}

/// The table of an image's blocks. It is outside of the image, so that it can be read after the image is gone.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RemainsAbi {
    /// The `Registry`; null if the plugin does not use `allocator = freeing`.
    pub registry: *const (),
    /// libc's `free`, as linked in the image. It frees the blocks and the table.
    pub free: *const (),
}

/// Information about an instance, for its hooks.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ContextAbi<'a> {
    /// The slot's name.
    pub slot: RStr<'a>,
    /// The generation's number.
    pub generation: u64,
}

/// A panic inside an image, reported by the panic hook before the stack is unwound.
#[repr(C)]
#[derive(StableAbi)]
pub struct PanicRecord<'a> {
    /// The message, cut.
    pub message: RStr<'a>,
    /// `file:line:column`
    pub location: RStr<'a>,
    /// Return addresses, innermost first.
    pub addresses: RSlice<'a, usize>,
}

/// The host's functions for an image, some of which replace libc's. `token` identifies the image.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostTableRef)))]
#[sabi(missing_field(panic))]
pub struct HostTable {
    /// `__cxa_thread_atexit_impl`
    pub thread_atexit: unsafe extern "C" fn(token: *const (), destructor: *const (), object: *mut ()) -> i32,
    /// `pthread_key_create`; destructor may be null.
    pub key_create: unsafe extern "C" fn(token: *const (), key: *mut u32, destructor: *const ()) -> i32,
    /// `pthread_key_delete`
    pub key_delete: unsafe extern "C" fn(token: *const (), key: u32) -> i32,
    /// `pthread_setspecific`
    pub set_specific: unsafe extern "C" fn(token: *const (), key: u32, value: *const ()) -> i32,
    /// `pthread_getspecific`
    pub get_specific: unsafe extern "C" fn(token: *const (), key: u32) -> *mut (),
    /// `pthread_create`: thread and attributes as libc's.
    pub thread_create: unsafe extern "C" fn(
        token: *const (),
        thread: *mut (),
        attributes: *const (),
        start: *const (),
        argument: *mut (),
    ) -> i32,
    /// `mmap64`
    pub map: unsafe extern "C" fn(
        token: *const (),
        address: *mut (),
        len: usize,
        protection: i32,
        flags: i32,
        file: i32,
        offset: i64,
    ) -> *mut (),
    /// `munmap`
    pub unmap: unsafe extern "C" fn(token: *const (), address: *mut (), len: usize) -> i32,
    /// Reports a panic.
    pub panicked: unsafe extern "C" fn(token: *const (), record: &PanicRecord<'_>),
    /// Finds another plugin's slot, to be called by the interface described as in a manifest. The handle is valid as long as
    /// the image is mapped.
    pub peer_find: unsafe extern "C" fn(
        token: *const (),
        name: RStr<'_>,
        interface: RSlice<'_, u8>,
    ) -> RResult<*const (), PeerRefusalAbi>,
    /// Takes a hold on the current generation.
    pub peer_load: unsafe extern "C" fn(token: *const (), handle: *const ()) -> LoadedAbi,
    /// Releases the hold.
    pub peer_release: unsafe extern "C" fn(token: *const (), hold: *const ()),
    /// Calls `body` with the data and the table of the current state.
    pub peer_pass: unsafe extern "C" fn(token: *const (), core: *const (), body: PassAbi) -> ROption<FaultAbi>,
    /// The error of a call that ended with this status.
    pub peer_fault: unsafe extern "C" fn(token: *const (), core: *const (), method: RStr<'_>, status: u32) -> FaultAbi,
    /// Why there was no generation to hold.
    #[sabi(last_prefix_field)]
    pub peer_absent: unsafe extern "C" fn(token: *const (), handle: *const ()) -> FaultAbi,
    /// Reports an event and returns 0; or reports a new span and returns its number, 0 if no subscriber wants it. The host
    /// keeps nothing of the record.
    #[sabi(missing_field(option))]
    pub log_record: unsafe extern "C" fn(token: *const (), record: &LogRecord<'_>) -> u64,
    /// Reports an operation on a span, see [`SpanDeed`]. The host keeps nothing of the values.
    #[sabi(missing_field(option))]
    pub log_span:
        unsafe extern "C" fn(token: *const (), span: u64, deed: u8, other: u64, values: RSlice<'_, LogValue<'_>>) -> bool,
    /// Reports the message of a panic that was just caught on this thread. If the panic hook has reported it with
    /// `panicked`, the message is the same; for any other panic (`resume_unwind`, another hook) this is the only report.
    /// `own_thread` is set at the end of a thread of `Context::spawn`, which has no caller.
    #[sabi(missing_field(option))]
    pub contained: unsafe extern "C" fn(token: *const (), message: RStr<'_>, own_thread: bool),
}
