//! The fixed root that every artifact exports, and the table of host functions that it gets in return. Both are abi_stable
//! prefix types: their layout is known to be the host's, or checked on the mapped image, before any of their functions is called. Interfaces have tables
//! of their own, described by `description`.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RResult, RSlice, RStr, RString},
};

mod buffer;
mod log;
mod peer;

pub use log::{LogKind, LogRecord, LogValue, NO_PARENT, SpanDeed, ValueKind};

pub use buffer::{Buffer, BufferAbi, Writer};

pub use peer::{FaultAbi, LoadedAbi, PassAbi, PeerRefusalAbi};

/// The symbol under which an artifact exports its [`Header`](crate::exports::Header).
pub const ROOT_SYMBOL: &str = "reslot_root";
/// The first bytes of a [`Header`](crate::exports::Header).
pub const MAGIC: [u8; 16] = *b"reslot header 2\0";
/// Virtual pthread keys begin here: a key below it is libc's own, made before the host's table arrived.
pub const VIRTUAL_KEYS: u32 = 0x4000_0000;

/// The functions that the host calls in an image, beside those of its interface.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(panic))]
pub struct Root {
    /// The manifest as mapped, to be compared with the one that was linted.
    pub manifest: extern "C" fn() -> RSlice<'static, u8>,
    /// Hands over the host's functions; called once, before anything else. Answers how many requests of static constructors
    /// went to libc before, and tie the image to it.
    pub initialise: unsafe extern "C" fn(host: HostTableRef, token: *const ()) -> usize,
    /// The interface's function table.
    pub table: extern "C" fn() -> *const (),
    /// Makes an instance.
    pub create: unsafe extern "C" fn() -> RResult<*mut (), RString>,
    /// Lets the instance build what is derived from its state.
    pub init: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// Lets the instance acquire what it needs.
    pub start: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// Lets the instance give back what it acquired.
    pub stop: unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString>,
    /// How the instance is.
    pub health: unsafe extern "C" fn(instance: *const (), context: ContextAbi<'_>) -> RResult<HealthAbi, RString>,
    /// Encodes the instance's state at the end of a buffer of the host's; `false` if the plugin has declared that it has none.
    pub snapshot: unsafe extern "C" fn(instance: *const (), into: &mut BufferAbi) -> RResult<bool, RString>,
    /// Replaces the instance's value by a decoded state.
    pub restore: unsafe extern "C" fn(instance: *mut (), state: RSlice<'_, u8>) -> RResult<(), RString>,
    /// Brings an encoded state from one schema to another, step by step, and encodes what came of it at the end of a buffer of
    /// the host's. It needs no instance.
    pub migrate:
        unsafe extern "C" fn(from: u32, to: u32, state: RSlice<'_, u8>, into: &mut BufferAbi) -> RResult<(), RString>,
    /// Asks the threads of `Context::spawn` to end, and answers the names of those that have not, with commas between them.
    pub end_workers: extern "C" fn() -> RString,
    /// Drops the instance.
    pub destroy: unsafe extern "C" fn(instance: *mut ()) -> RResult<(), RString>,
    /// Flushes what the image has buffered; the last call into the plugin's code.
    pub shutdown: extern "C" fn(),
    /// How many bytes the image has allocated just now; none if it does not count. From any thread, at any time.
    pub live_bytes: extern "C" fn() -> ROption<u64>,
    /// Where the table of what it has allocated stands; the last call into it before it is closed.
    #[sabi(last_prefix_field)]
    pub remains: extern "C" fn() -> RemainsAbi,
    /// From now on events up to this level cross to the host: 0 is none, 1 errors, 5 everything. Called right after `initialise`,
    /// and then from any thread, at any time.
    #[sabi(missing_field(option))]
    pub set_log_level: extern "C" fn(level: u8),
    /// Gives the instance its configuration, as MessagePack.
    #[sabi(missing_field(option))]
    pub configure:
        unsafe extern "C" fn(instance: *mut (), context: ContextAbi<'_>, config: RSlice<'_, u8>) -> RResult<(), RString>,
    /// Whether the plugin would take a configuration. It needs no instance.
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
    /// As `end_workers`, of the threads that one instance has started. An image that has this may have several instances.
    #[sabi(missing_field(option))]
    pub end_workers_of: extern "C" fn(instance: *const ()) -> RString,
}

/// [`Health`](crate::Health) as it crosses.
#[repr(C)]
#[derive(StableAbi)]
pub struct HealthAbi {
    /// Which of them, counted from nought in their order.
    pub result: u32,
    /// Its words; empty for `Ok`.
    pub message: RString,
}

/// How far a plugin may go while it encodes or decodes a state.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct BoundsAbi {
    /// So many levels of nesting.
    pub levels: u32,
    /// So many bytes of the stack of the thread on which it is called.
    pub stack: usize,
}

/// What a plugin answers when it has encoded or decoded a state.
#[repr(C)]
#[derive(StableAbi)]
pub struct StateAnswer {
    /// One of [`StateOutcome`]'s numbers.
    pub outcome: u8,
    /// Why it refused; empty if it has not, or if it panicked.
    pub words: RString,
}

/// What has come of the encoding or decoding of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StateOutcome {
    /// It is done.
    Done,
    /// It is done, and there is no state: the plugin has declared that.
    NoState,
    /// The plugin refuses, or has panicked.
    Refused,
    /// The plugin refuses because serde does not carry a value from one side to the other.
    NotCarried,
    /// There are more levels than the bounds allow.
    TooDeep,
    /// More stack is needed than the bounds allow.
    StackUsed,
}

impl StateOutcome {
    /// The outcome with this number. One that a later build of this crate has added counts as a refusal.
    pub fn of(number: u8) -> Self {
        let all = [Self::Done, Self::NoState, Self::NotCarried, Self::TooDeep, Self::StackUsed];
        all.into_iter().find(|one| *one as u8 == number).unwrap_or(Self::Refused)
    }
}

/// Where the table of an image's blocks stands: outside of the image, so that it can be read once that is gone.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RemainsAbi {
    /// The `Registry`; null if the plugin did not ask that its blocks be freed.
    pub registry: *const (),
    /// libc's `free`, as the image knows it: by which the blocks and the table go back.
    pub free: *const (),
}

/// What a plugin is told about where it lives.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ContextAbi<'a> {
    /// The slot's name.
    pub slot: RStr<'a>,
    /// The generation's number.
    pub generation: u64,
}

/// A panic inside an image, told by its hook while the stack still stands.
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

/// The host's functions that stand in for libc's inside an image. `token` is the host's name for the image.
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
    /// Tells of a panic.
    pub panicked: unsafe extern "C" fn(token: *const (), record: &PanicRecord<'_>),
    /// Finds another plugin's slot, to be called by the interface described as in a manifest. The handle is good as long as
    /// the image is mapped.
    pub peer_find: unsafe extern "C" fn(
        token: *const (),
        name: RStr<'_>,
        interface: RSlice<'_, u8>,
    ) -> RResult<*const (), PeerRefusalAbi>,
    /// Takes hold of the generation that serves there now.
    pub peer_load: unsafe extern "C" fn(token: *const (), handle: *const ()) -> LoadedAbi,
    /// Lets go of it.
    pub peer_release: unsafe extern "C" fn(token: *const (), hold: *const ()),
    /// Calls `body` with the data and the table that hold the state now.
    pub peer_pass: unsafe extern "C" fn(token: *const (), core: *const (), body: PassAbi) -> ROption<FaultAbi>,
    /// What is to be said of a call that ended with this status.
    pub peer_fault: unsafe extern "C" fn(token: *const (), core: *const (), method: RStr<'_>, status: u32) -> FaultAbi,
    /// Why nothing could be taken hold of.
    #[sabi(last_prefix_field)]
    pub peer_absent: unsafe extern "C" fn(token: *const (), handle: *const ()) -> FaultAbi,
    /// Tells of an event, and answers 0; or of a new span, and answers the host's number for it, 0 if nobody wants it. Keeps
    /// nothing of the record.
    #[sabi(missing_field(option))]
    pub log_record: unsafe extern "C" fn(token: *const (), record: &LogRecord<'_>) -> u64,
    /// Does something with a span, see [`SpanDeed`]. Keeps nothing of the values.
    #[sabi(missing_field(option))]
    pub log_span:
        unsafe extern "C" fn(token: *const (), span: u64, deed: u8, other: u64, values: RSlice<'_, LogValue<'_>>) -> bool,
    /// Tells with which words a panic ended that was contained on this thread just now: of one that has met the hook of
    /// `panicked`, the same words; of any other (`resume_unwind`, another hook), all that is known. `own_thread` is set at the end of a
    /// thread of `Context::spawn`, which has no caller who is told.
    #[sabi(missing_field(option))]
    pub contained: unsafe extern "C" fn(token: *const (), message: RStr<'_>, own_thread: bool),
}
