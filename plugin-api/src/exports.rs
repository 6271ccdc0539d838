//! The functions of a root for a plugin's type: each hook of the plugin, with the signature from [`root`](crate::root), and
//! with panics caught.

use crate::{
    attachment::{Attachment, with_current},
    error::PluginError,
    inside::{
        self, logs,
        memory::{self, Allocator},
    },
    interface::{Access, Call, Implements, LentObjects, Marshalling, Owned, Transport, code, contain, dispatch_instance},
    manifest::SOURCES,
    marshal::error::TransportError,
    plugin::{Context, Loadable, migrate_all},
    root::{
        BoundsAbi, Buffer, BufferAbi, ContextAbi, HealthAbi, HostTableRef, LentAbi, LinkAbi, MAGIC, RemainsAbi, RequestAbi,
        Root, RootRef, StateAnswer, StateOutcome, Writer,
    },
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

/// What [`ROOT_SYMBOL`](crate::root::ROOT_SYMBOL) points to.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: [u8; 16],
    /// [`SOURCES`](crate::manifest::SOURCES) of the SDK that it was built with.
    pub sources: u64,
    /// The layout of the root, for the check.
    pub layout: &'static TypeLayout,
    /// The root itself. It must not be used before the check.
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

/// How the objects of a plugin's type are stored, and how its code is entered: `Owned` for loaded plugins, `Linked` for
/// linked ones.
///
/// # Safety
/// `create` must return a pointer that the functions of `Access` and of this trait accept until `destroy`. The table must be
/// one for these objects.
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
    /// `data` must be an object that is not used any more.
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
        dispatch: Self::dispatch,
    });

    /// The root.
    // SAFETY: META points to a constant, which lives as long as the image or the program.
    pub(crate) const ROOT: RootRef = RootRef(unsafe { StaticRef::from_raw(Self::META) }.as_prefix());

    extern "C" fn manifest() -> RSlice<'static, u8> {
        RSlice::from_slice(T::MANIFEST)
    }

    unsafe extern "C" fn initialise(host: HostTableRef, token: *const ()) -> usize {
        if P::IS_LINKED {
            // A linked plugin gets its host with each attachment.
            return 0;
        }
        let early = inside::install(host, token);
        if T::ALLOCATOR != Allocator::Own {
            // The standard output's buffer of 1 KiB is never freed. It is made here, so that it is in the image, even if the
            // plugin never prints.
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
        contain(|| names = Self::without_object(workers::ask_to_end).into());
        names
    }

    extern "C" fn end_workers_of(instance: *const ()) -> RString {
        let mut names = RString::new();
        contain(|| names = workers::ask_to_end_of(instance.addr()).into());
        names
    }

    unsafe extern "C" fn dispatch(instance: *mut (), request: RequestAbi<'_>, into: &mut BufferAbi, link: LinkAbi) -> u32 {
        if P::IS_LINKED {
            // A linked plugin is called through its table.
            return code::FAILED;
        }
        let mut reply = Vec::new();
        let object = (instance, P::table::<I>());
        let bytes = request.bytes.as_slice();
        // SAFETY: the host passes what `create` answered, and keeps calls apart as the receivers of the methods say.
        let (code, _) = unsafe {
            dispatch_instance(
                &Marshalling::of::<I>(),
                object,
                request.method,
                bytes,
                &mut reply,
                &ToCaller(link),
            )
        };
        Writer::new(into).put(&reply);
        code
    }

    extern "C" fn shutdown() {
        if P::IS_LINKED {
            return;
        }
        let _ = guarded(|| {
            // Text without a final newline would be lost with the image's buffer. If the plugin has its own allocator and
            // never printed, this makes the buffer, because the standard library does not tell whether it exists.
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
            // A linked plugin has no logger of its own; the program's logger filters.
            return;
        }
        // A scoped subscriber of the plugin is asked again for its filters, and may panic.
        let _ = contain(|| logs::set_level(level));
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

    /// Runs code without an object, for the attachment whose host has called it.
    fn without_object<R>(body: impl FnOnce(Option<&Attachment>) -> R) -> R {
        match P::IS_LINKED {
            true => with_current(body),
            false => body(None),
        }
    }

    /// Runs a hook of an object, and catches panics.
    ///
    /// # Safety
    /// `instance` must be an object.
    unsafe fn on<R>(
        instance: *const (),
        body: impl FnOnce(Option<&Attachment>) -> Result<R, PluginError>,
    ) -> RResult<R, RString> {
        // SAFETY: the caller's promise.
        unsafe { P::inside(instance, |host| guarded(|| body(host))) }
    }
}

/// Carries calls to objects that the caller has lent.
struct ToCaller(LinkAbi);

impl Transport for ToCaller {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        let mut bytes = vec![0; call.request_len()?];
        call.encode(&mut bytes)?;
        let request = RequestAbi {
            target: call.target(),
            method: call.method(),
            bytes: bytes[..].into(),
        };
        let lends = call.lends();
        let lent = LentAbi {
            context: (&raw const lends).cast(),
            serve: serve_lent,
        };
        let mut reply = Buffer::with_capacity(0);
        // SAFETY: the link is valid during the call of the instance, which this is a part of. All arguments live until it is back.
        let code = unsafe { (self.0.call)(self.0.context, request, reply.as_abi(), lent) };
        call.complete(code, &reply.into_vec())
    }

    fn failed(&self, method: u32, error: TransportError) {
        let words = cut_words(error);
        // SAFETY: as above.
        unsafe { (self.0.failed)(self.0.context, method, words.as_str().into()) };
    }
}

/// Calls what the plugin has lent in one call.
unsafe extern "C" fn serve_lent(context: *const (), request: RequestAbi<'_>, into: &mut BufferAbi, link: LinkAbi) -> u32 {
    // SAFETY: `ToCaller::call` has made the context, and has not returned; this is its thread.
    let lends = unsafe { *context.cast::<LentObjects<'_>>() };
    let mut reply = Vec::new();
    let bytes = request.bytes.as_slice();
    let (code, _) = lends.serve(request.target, request.method, bytes, &mut reply, &ToCaller(link));
    Writer::new(into).put(&reply);
    code
}

/// [`guarded`], for code that encodes or decodes a state.
fn within(bounds: BoundsAbi, body: impl FnOnce() -> Result<StateOutcome, PluginError>) -> StateAnswer {
    let (answer, met) = state::within(bounds.levels, bounds.stack, || guarded(body));
    let (outcome, words) = match (answer, met) {
        // This is an error even if the plugin has continued, because the part that it could not read or write is lost.
        (_, Some(Met::TooDeep)) => (StateOutcome::TooDeep, RString::new()),
        (_, Some(Met::StackUsed)) => (StateOutcome::StackUsed, RString::new()),
        (RResult::ROk(outcome), _) => (outcome, RString::new()),
        (RResult::RErr(words), Some(Met::NotCarried)) if !words.is_empty() => (StateOutcome::NotCarried, words),
        (RResult::RErr(words), _) => (StateOutcome::Refused, words),
    };
    let outcome = outcome as u8;
    StateAnswer { outcome, words }
}

fn guarded<R>(body: impl FnOnce() -> Result<R, PluginError>) -> RResult<R, RString> {
    let mut result = RResult::RErr(RString::new());
    contain(|| {
        result = match body() {
            Ok(value) => RResult::ROk(value),
            // An empty text means a panic, whose message the panic hook has reported already.
            Err(error) => RResult::RErr(match cut_words(error) {
                text if text.is_empty() => "the plugin gave no reason".into(),
                text => text.into(),
            }),
        }
    });
    result
}
