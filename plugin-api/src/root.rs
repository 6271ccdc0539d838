//! The fixed root that every artifact exports, and the table of host functions that it gets in return. Both are abi_stable
//! prefix types: their layout is known to be the host's, or checked on the mapped image, before any of their functions is called. Interfaces have tables
//! of their own, described by `description`.

use crate::{
    inside::memory::{self, Allocator},
    interface::{Access, Implements, Owned},
    linked::{Attachment, with_current},
    manifest::SOURCES,
    peer::abi::{FaultAbi, LoadedAbi, PassAbi, PeerRefusalAbi},
    plugin::{Context, HealthAbi, Loadable, migrate_all},
    settings::ConfigValue,
    state::{self, Met},
    text::cut_words,
    workers,
};
use abi_stable::{
    StableAbi,
    prefix_type::WithMetadata,
    sabi_types::StaticRef,
    std_types::{ROption, RResult, RSlice, RStr, RString},
    type_layout::TypeLayout,
};
use std::{io::Write, marker::PhantomData};

mod buffer;
mod log;

pub use log::{LogKind, LogRecord, LogValue, NO_PARENT, SpanDeed, ValueKind};

pub use buffer::{Buffer, BufferAbi, Writer};

/// The symbol under which an artifact exports its [`Header`].
pub const ROOT_SYMBOL: &str = "reslot_root";
/// The first bytes of a [`Header`].
pub const MAGIC: [u8; 16] = *b"reslot header 2\0";
/// Virtual pthread keys begin here: a key below it is libc's own, made before the host's table arrived.
pub const VIRTUAL_KEYS: u32 = 0x4000_0000;

/// What [`ROOT_SYMBOL`] points to.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: [u8; 16],
    /// [`SOURCES`](crate::manifest::SOURCES) of the SDK that it was built with.
    pub sources: u64,
    /// The layout of the root, for the check.
    pub layout: &'static TypeLayout,
    /// The root itself, not to be used before the check.
    pub root: RootRef,
}

// SAFETY: a header is constant data and function pointers.
unsafe impl Sync for Header {}

impl Header {
    /// The header of the plugin `T` for the interface `I`.
    pub const fn new<T: Loadable, I: ?Sized + Implements<T>>() -> Self {
        Self {
            magic: MAGIC,
            sources: SOURCES,
            layout: <RootRef as StableAbi>::LAYOUT,
            root: Glue::<T, I>::ROOT,
        }
    }
}

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

/// Where the objects of a plugin's type are, and how its code is entered: `Owned` for loaded plugins, `Linked` for linked ones.
///
/// # Safety
/// `create` must answer what the functions of `Access` and of this trait take, until `destroy`. The table must be one for these objects.
pub(crate) unsafe trait Place<T>: Access<Target = T> {
    /// Whether the plugin's code is a part of the program.
    const IS_LINKED: bool;

    /// The interface's function table.
    fn table<I: ?Sized + Implements<T>>() -> *const ();

    /// Makes an object.
    fn create() -> *mut ()
    where
        T: Default;

    /// Drops an object.
    ///
    /// # Safety
    /// `data` must be an object that nobody uses any more.
    unsafe fn destroy(data: *mut ());

    /// Runs code of the plugin on behalf of an object, which the code may drop.
    ///
    /// # Safety
    /// `data` must be an object.
    unsafe fn inside<R>(data: *const (), body: impl FnOnce(Option<&Attachment>) -> R) -> R;
}

// SAFETY: an object is a `Box<T>`, which is what `Owned` takes.
unsafe impl<T> Place<T> for Owned<T> {
    const IS_LINKED: bool = false;

    fn table<I: ?Sized + Implements<T>>() -> *const () {
        I::TABLE
    }

    fn create() -> *mut ()
    where
        T: Default,
    {
        Box::into_raw(Box::<T>::default()).cast()
    }

    unsafe fn destroy(data: *mut ()) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(data.cast::<T>()) });
    }

    unsafe fn inside<R>(_: *const (), body: impl FnOnce(Option<&Attachment>) -> R) -> R {
        body(None)
    }
}

/// Makes the root of the plugin `T` for the interface `I`, as an artifact exports it.
pub struct Glue<T, I: ?Sized>(PhantomData<T>, PhantomData<I>);

impl<T: Loadable, I: ?Sized + Implements<T>> Glue<T, I> {
    /// The root.
    pub const ROOT: RootRef = Functions::<T, I, Owned<T>>::ROOT;
}

/// The functions of a root, for objects in the place `P`.
pub(crate) struct Functions<T, I: ?Sized, P>(PhantomData<T>, PhantomData<I>, PhantomData<P>);

impl<T: Loadable, I: ?Sized + Implements<T>, P: Place<T>> Functions<T, I, P> {
    const META: *const WithMetadata<Root> = &WithMetadata::new(Root {
        manifest: Self::manifest,
        initialise: Self::initialise,
        table: Self::table,
        create: Self::create,
        init: Self::init,
        start: Self::start,
        stop: Self::stop,
        health: Self::health,
        snapshot: Self::snapshot,
        restore: Self::restore,
        migrate: Self::migrate,
        end_workers: Self::end_workers,
        destroy: Self::destroy,
        shutdown: Self::shutdown,
        live_bytes: Self::live_bytes,
        remains: Self::remains,
        set_log_level: Self::set_log_level,
        configure: Self::configure,
        check_config: Self::check_config,
        resource: Self::resource,
        snapshot_within: Self::snapshot_within,
        restore_within: Self::restore_within,
        migrate_within: Self::migrate_within,
        end_workers_of: Self::end_workers_of,
    });

    /// The root.
    // SAFETY: META points to a constant, which lives as long as the image or the program.
    pub(crate) const ROOT: RootRef = RootRef(unsafe { StaticRef::from_raw(Self::META) }.as_prefix());

    extern "C" fn manifest() -> RSlice<'static, u8> {
        RSlice::from_slice(T::MANIFEST)
    }

    unsafe extern "C" fn initialise(host: HostTableRef, token: *const ()) -> usize {
        if P::IS_LINKED {
            // Its host comes with each attachment.
            return 0;
        }
        let early = crate::inside::install(host, token);
        if T::ALLOCATOR != Allocator::Own {
            // The standard output's buffer, 1 KiB, is never freed. Made here it lies in the image, whether the plugin ever prints or not.
            memory::in_the_image(|| drop(std::io::stdout()));
        }
        early
    }

    extern "C" fn table() -> *const () {
        P::table::<I>()
    }

    unsafe extern "C" fn create() -> RResult<*mut (), RString> {
        guarded(|| Ok(P::create()))
    }

    unsafe extern "C" fn init(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString> {
        // SAFETY: the host passes what `create` answered and calls nothing else on it meanwhile.
        unsafe {
            Self::on(instance, |host| {
                P::get_mut(instance).init(&Context::of(context, instance, host))
            })
        }
    }

    unsafe extern "C" fn start(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString> {
        // SAFETY: the host passes what `create` answered and calls nothing else on it meanwhile.
        unsafe {
            Self::on(instance, |host| {
                P::get_mut(instance).start(&Context::of(context, instance, host))
            })
        }
    }

    unsafe extern "C" fn stop(instance: *mut (), context: ContextAbi<'_>) -> RResult<(), RString> {
        let stop = |host: Option<&Attachment>| {
            workers::ask_to_end_of(instance.addr());
            // SAFETY: the host passes what `create` answered and calls nothing else on it meanwhile.
            unsafe { P::get_mut(instance) }.stop(&Context::of_stopping(context, instance, host))
        };
        // SAFETY: as above.
        unsafe { Self::on(instance, stop) }
    }

    unsafe extern "C" fn health(instance: *const (), context: ContextAbi<'_>) -> RResult<HealthAbi, RString> {
        let health = |host: Option<&Attachment>| {
            // SAFETY: the host passes what `create` answered; it calls this beside calls only if the type is `Sync`.
            let plugin = unsafe { P::get(instance.cast_mut()) };
            Ok(plugin.health(&Context::of(context, instance, host)).into())
        };
        // SAFETY: as above.
        unsafe { Self::on(instance, health) }
    }

    unsafe extern "C" fn snapshot(instance: *const (), into: &mut BufferAbi) -> RResult<bool, RString> {
        // SAFETY: the host passes what `create` answered; nothing changes it while the gate is closed or its owner syncs.
        unsafe { Self::on(instance, |_| P::get(instance.cast_mut()).snapshot(&mut Writer::new(into))) }
    }

    unsafe extern "C" fn restore(instance: *mut (), state: RSlice<'_, u8>) -> RResult<(), RString> {
        // SAFETY: the host passes what `create` answered; a candidate has no callers yet.
        unsafe { Self::on(instance, |_| P::get_mut(instance).restore(state.as_slice())) }
    }

    unsafe extern "C" fn migrate(from: u32, to: u32, state: RSlice<'_, u8>, into: &mut BufferAbi) -> RResult<(), RString> {
        guarded(|| migrate_all::<T>(from, to, state.as_slice(), &mut Writer::new(into)))
    }

    unsafe extern "C" fn snapshot_within(instance: *const (), into: &mut BufferAbi, bounds: BoundsAbi) -> StateAnswer {
        // SAFETY: as with `snapshot`.
        let snapshot = || match unsafe { P::get(instance.cast_mut()) }.snapshot(&mut Writer::new(into))? {
            true => Ok(StateOutcome::Done),
            false => Ok(StateOutcome::NoState),
        };
        // SAFETY: as with `snapshot`.
        unsafe { P::inside(instance, |_| within(bounds, snapshot)) }
    }

    unsafe extern "C" fn restore_within(instance: *mut (), state: RSlice<'_, u8>, bounds: BoundsAbi) -> StateAnswer {
        let restore = || {
            // SAFETY: as with `restore`.
            unsafe { P::get_mut(instance) }.restore(state.as_slice())?;
            Ok(StateOutcome::Done)
        };
        // SAFETY: as with `restore`.
        unsafe { P::inside(instance, |_| within(bounds, restore)) }
    }

    unsafe extern "C" fn migrate_within(
        from: u32,
        to: u32,
        state: RSlice<'_, u8>,
        into: &mut BufferAbi,
        bounds: BoundsAbi,
    ) -> StateAnswer {
        within(bounds, || {
            migrate_all::<T>(from, to, state.as_slice(), &mut Writer::new(into))?;
            Ok(StateOutcome::Done)
        })
    }

    unsafe extern "C" fn destroy(instance: *mut ()) -> RResult<(), RString> {
        let destroy = |_: Option<&Attachment>| {
            // SAFETY: the host passes what `create` answered, once, after the last call.
            unsafe { P::destroy(instance) };
            Ok(())
        };
        // SAFETY: as above.
        unsafe { Self::on(instance, destroy) }
    }

    extern "C" fn end_workers() -> RString {
        let mut names = RString::new();
        crate::interface::contain(|| names = Self::without_object(workers::ask_to_end).into());
        names
    }

    extern "C" fn end_workers_of(instance: *const ()) -> RString {
        let mut names = RString::new();
        crate::interface::contain(|| names = workers::ask_to_end_of(instance.addr()).into());
        names
    }

    extern "C" fn shutdown() {
        if P::IS_LINKED {
            return;
        }
        let _ = guarded(|| {
            // What was printed without a newline would be lost with the image's own buffer. If the plugin has an allocator of its own
            // and never printed, this makes the buffer: nobody can ask the standard library whether there is one.
            Ok(std::io::stdout().flush()?)
        });
    }

    extern "C" fn live_bytes() -> ROption<u64> {
        match T::ALLOCATOR {
            Allocator::Counting | Allocator::Freeing if !P::IS_LINKED => ROption::RSome(memory::live_bytes()),
            _ => ROption::RNone,
        }
    }

    extern "C" fn remains() -> RemainsAbi {
        RemainsAbi {
            registry: match T::ALLOCATOR {
                Allocator::Freeing if !P::IS_LINKED => memory::registry().cast(),
                _ => std::ptr::null(),
            },
            free: libc::free as *const (),
        }
    }

    extern "C" fn set_log_level(level: u8) {
        if P::IS_LINKED {
            // It has no logger of its own: the program's filters.
            return;
        }
        // A subscriber of the plugin's own, set for a scope, is asked anew what it wants, and may panic.
        let _ = crate::interface::contain(|| crate::inside::logs::set_level(level));
    }

    unsafe extern "C" fn configure(
        instance: *mut (),
        context: ContextAbi<'_>,
        config: RSlice<'_, u8>,
    ) -> RResult<(), RString> {
        let configure = |host: Option<&Attachment>| {
            let config = ConfigValue::read(config.as_slice())?;
            // SAFETY: the host passes what `create` answered; a candidate has no callers yet.
            unsafe { P::get_mut(instance) }.on_config(&Context::of(context, instance, host), &config)
        };
        // SAFETY: as above.
        unsafe { Self::on(instance, configure) }
    }

    extern "C" fn check_config(context: ContextAbi<'_>, config: RSlice<'_, u8>) -> RResult<(), RString> {
        let check = |host: Option<&Attachment>| {
            let config = ConfigValue::read(config.as_slice())?;
            T::check_config(&Context::of(context, std::ptr::null(), host), &config)
        };
        Self::without_object(|host| guarded(|| check(host)))
    }

    unsafe extern "C" fn resource(
        instance: *mut (),
        context: ContextAbi<'_>,
        name: RStr<'_>,
        bytes: RSlice<'_, u8>,
    ) -> RResult<(), RString> {
        let take = |host: Option<&Attachment>| {
            // SAFETY: the host passes what `create` answered; a candidate has no callers yet.
            let plugin = unsafe { P::get_mut(instance) };
            plugin.on_resource(&Context::of(context, instance, host), name.as_str(), bytes.as_slice())
        };
        // SAFETY: as above.
        unsafe { Self::on(instance, take) }
    }

    /// Runs what needs no object, on behalf of the attachment whose host has called it.
    fn without_object<R>(body: impl FnOnce(Option<&Attachment>) -> R) -> R {
        match P::IS_LINKED {
            true => with_current(body),
            false => body(None),
        }
    }

    /// Runs a hook of an object, contained.
    ///
    /// # Safety
    /// `instance` must be an object.
    unsafe fn on<R>(
        instance: *const (),
        body: impl FnOnce(Option<&Attachment>) -> Result<R, crate::PluginError>,
    ) -> RResult<R, RString> {
        // SAFETY: the caller's promise.
        unsafe { P::inside(instance, |host| guarded(|| body(host))) }
    }
}

/// [`guarded`], for what encodes or decodes a state.
fn within(bounds: BoundsAbi, body: impl FnOnce() -> Result<StateOutcome, crate::PluginError>) -> StateAnswer {
    let (answer, met) = state::within(bounds.levels, bounds.stack, || guarded(body));
    let (outcome, words) = match (answer, met) {
        // Even if the plugin has gone on: what it could not read, or not write, is lost in what it has made of the rest.
        (_, Some(Met::TooDeep)) => (StateOutcome::TooDeep, RString::new()),
        (_, Some(Met::StackUsed)) => (StateOutcome::StackUsed, RString::new()),
        (RResult::ROk(outcome), _) => (outcome, RString::new()),
        (RResult::RErr(words), Some(Met::NotCarried)) if !words.is_empty() => (StateOutcome::NotCarried, words),
        (RResult::RErr(words), _) => (StateOutcome::Refused, words),
    };
    let outcome = outcome as u8;
    StateAnswer { outcome, words }
}

fn guarded<R>(body: impl FnOnce() -> Result<R, crate::PluginError>) -> RResult<R, RString> {
    let mut result = RResult::RErr(RString::new());
    crate::interface::contain(|| {
        result = match body() {
            Ok(value) => RResult::ROk(value),
            // An empty text is the sign of a panic, whose words the hook has told already.
            Err(error) => RResult::RErr(match cut_words(error) {
                text if text.is_empty() => "the plugin gave no reason".into(),
                text => text.into(),
            }),
        }
    });
    result
}
