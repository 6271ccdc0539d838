//! A host in miniature: it writes down what a linked plugin tells it, and finds other plugins by their names. The `unsafe` of these tests
//! stands here, where that of a host stands.

use reslot_plugin_api::{
    __private::{
        Buffer, Callee, Connection, ContextAbi, FaultAbi, HostTable, HostTableRef, LinkedHost, LinkedImage, LoadedAbi,
        LogRecord, LogValue, PanicRecord, PassAbi, PeerRefusalAbi, ROption, RResult, RSlice, RStr, RString, RootRef, Status,
        WithMetadata,
    },
    Backtrace, CallError, Fault, Interface, LinkedPlugin, PeerErrorKind,
};
use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    ptr::{null, null_mut},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

/// What a host was told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// By the panic hook: the words, and where.
    Panicked(String, String),
    /// By the boundary: the words, and whether it was the end of a thread of the plugin's.
    Contained(String, bool),
    ThreadStarts(u64),
    ThreadRuns(u64),
    ThreadEnded(u64),
    Enter,
    Leave,
}

#[derive(Default)]
pub(crate) struct Host {
    told: Mutex<Vec<Told>>,
    told_more: Condvar,
    peers: Mutex<HashMap<String, BoundPeer>>,
    threads: AtomicU64,
    pub(crate) lets_no_thread_start: AtomicBool,
    pub(crate) panics_on_enter: AtomicBool,
}

/// Another plugin's object.
#[derive(Clone, Copy)]
struct BoundPeer {
    data: *mut (),
    table: *const (),
    gated: bool,
}

// SAFETY: objects of shared interfaces may be called from any thread, and the tests drop them last.
unsafe impl Send for BoundPeer {}

impl Host {
    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.told).clone()
    }

    fn tell(&self, what: Told) {
        lock(&self.told).push(what);
        self.told_more.notify_all();
    }

    /// Waits until it was told this.
    pub(crate) fn until(&self, what: &Told) {
        let missing = |told: &mut Vec<Told>| !told.contains(what);
        drop(
            self.told_more
                .wait_while(lock(&self.told), missing)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What was told of panics, and no more.
    pub(crate) fn panics(&self) -> Vec<Told> {
        let mut told = self.told();
        told.retain(|told| matches!(told, Told::Panicked(..) | Told::Contained(..)));
        told
    }

    pub(crate) fn knows(&self, name: &str, object: &Object, gated: bool) {
        let peer = BoundPeer {
            data: object.data,
            table: object.image.within(|root| root.table()()),
            gated,
        };
        lock(&self.peers).insert(name.to_owned(), peer);
    }

    pub(crate) fn forgets(&self, name: &str) {
        lock(&self.peers).remove(name);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: the functions take the address of a `Host`, which is this value's as long as it lives in its `Arc`.
unsafe impl LinkedHost for Host {
    fn table(&self) -> HostTableRef {
        HostTableRef(TABLE.static_as_prefix())
    }

    fn token(&self) -> *const () {
        (&raw const *self).cast()
    }

    fn thread_starts(&self) -> Option<u64> {
        if self.lets_no_thread_start.load(SeqCst) {
            return None;
        }
        let number = self.threads.fetch_add(1, SeqCst);
        self.tell(Told::ThreadStarts(number));
        Some(number)
    }

    fn thread_runs(&self, number: u64) {
        self.tell(Told::ThreadRuns(number));
    }

    fn thread_ended(&self, number: u64) {
        self.tell(Told::ThreadEnded(number));
    }

    fn enter(&self) {
        self.tell(Told::Enter);
        assert!(!self.panics_on_enter.load(SeqCst), "the program's subscriber");
    }

    fn leave(&self) {
        self.tell(Told::Leave);
    }
}

/// A function that a linked plugin does not call: it has the program's own libc and logger. The test ends with these words, because
/// nothing may unwind out of it.
macro_rules! not_asked {
    (fn($($argument:ty),*) -> $answer:ty) => {{
        unsafe extern "C" fn not_asked($(_: $argument),*) -> $answer {
            eprintln!("a linked plugin has asked its host for what it has itself");
            std::process::abort()
        }
        not_asked
    }};
}

const TABLE: &WithMetadata<HostTable> = &WithMetadata::new(HostTable {
    thread_atexit: not_asked!(fn(*const (), *const (), *mut ()) -> i32),
    key_create: not_asked!(fn(*const (), *mut u32, *const ()) -> i32),
    key_delete: not_asked!(fn(*const (), u32) -> i32),
    set_specific: not_asked!(fn(*const (), u32, *const ()) -> i32),
    get_specific: not_asked!(fn(*const (), u32) -> *mut ()),
    thread_create: not_asked!(fn(*const (), *mut (), *const (), *const (), *mut ()) -> i32),
    map: not_asked!(fn(*const (), *mut (), usize, i32, i32, i32, i64) -> *mut ()),
    unmap: not_asked!(fn(*const (), *mut (), usize) -> i32),
    panicked,
    peer_find,
    peer_load,
    peer_release,
    peer_pass,
    peer_fault,
    peer_absent,
    log_record: not_asked!(fn(*const (), &LogRecord<'_>) -> u64),
    log_span: not_asked!(fn(*const (), u64, u8, u64, RSlice<'_, LogValue<'_>>) -> bool),
    contained,
});

/// # Safety
/// `token` must be a host's.
unsafe fn host<'a>(token: *const ()) -> &'a Host {
    // SAFETY: the caller's promise.
    unsafe { &*token.cast() }
}

unsafe extern "C" fn panicked(token: *const (), record: &PanicRecord<'_>) {
    assert!(!record.addresses.is_empty(), "the stack still stands");
    let told = Told::Panicked(record.message.to_string(), record.location.to_string());
    // SAFETY: called by a plugin that is attached to this host.
    unsafe { host(token) }.tell(told);
}

unsafe extern "C" fn contained(token: *const (), message: RStr<'_>, own_thread: bool) {
    // SAFETY: as above.
    unsafe { host(token) }.tell(Told::Contained(message.to_string(), own_thread));
}

unsafe extern "C" fn peer_find(token: *const (), name: RStr<'_>, _: RSlice<'_, u8>) -> RResult<*const (), PeerRefusalAbi> {
    // SAFETY: as above.
    match lock(&unsafe { host(token) }.peers).contains_key(name.as_str()) {
        // A handle is good for ever.
        true => RResult::ROk((&raw const *Box::leak(Box::new(name.to_string()))).cast()),
        false => RResult::RErr(PeerRefusalAbi::new(PeerErrorKind::Unknown, "nothing of this name is loaded")),
    }
}

unsafe extern "C" fn peer_load(token: *const (), handle: *const ()) -> LoadedAbi {
    // SAFETY: as above, with a handle that `peer_find` has answered.
    let (host, name) = unsafe { (host(token), &*handle.cast::<String>()) };
    match lock(&host.peers).get(name) {
        Some(found) => LoadedAbi {
            hold: handle,
            core: handle,
            data: found.data,
            table: found.table,
            gated: found.gated,
        },
        None => LoadedAbi {
            hold: null(),
            core: null(),
            data: null_mut(),
            table: null(),
            gated: true,
        },
    }
}

unsafe extern "C" fn peer_release(_: *const (), _: *const ()) {}

unsafe extern "C" fn peer_pass(token: *const (), core: *const (), body: PassAbi) -> ROption<FaultAbi> {
    // SAFETY: as above.
    let (host, name) = unsafe { (host(token), &*core.cast::<String>()) };
    let found = lock(&host.peers).get(name).copied();
    match found {
        Some(found) => {
            // SAFETY: the object lives; the body is the calling plugin's.
            unsafe { (body.call)(body.context, found.data, found.table, core) };
            ROption::RNone
        }
        None => ROption::RSome(FaultAbi::from(&CallError::new(name, 0, "", Fault::HandingOver))),
    }
}

unsafe extern "C" fn peer_fault(token: *const (), core: *const (), _: RStr<'_>, status: u32) -> FaultAbi {
    // SAFETY: as above.
    let (_, name) = unsafe { (host(token), &*core.cast::<String>()) };
    let fault = Fault::Panicked {
        message: format!("{:?}", Status(status)).into(),
        location: None,
        backtrace: Backtrace::default(),
    };
    FaultAbi::from(&CallError::new(name, 1, "", fault))
}

unsafe extern "C" fn peer_absent(token: *const (), handle: *const ()) -> FaultAbi {
    // SAFETY: as above.
    let (_, name) = unsafe { (host(token), &*handle.cast::<String>()) };
    FaultAbi::from(&CallError::new(name, 0, "", Fault::Vacant))
}

/// What the program's own panic hook was told, by all threads.
static SEEN_BY_PROGRAM: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether the program's own panic hook was told of a panic with these words.
pub(crate) fn program_saw(words: &str) -> bool {
    lock(&SEEN_BY_PROGRAM).iter().any(|seen| seen.contains(words))
}

/// Attaches a plugin, in a program that has a panic hook of its own.
pub(crate) fn attach(plugin: LinkedPlugin, host: &Arc<Host>) -> Arc<LinkedImage> {
    static PROGRAM_BEGINS: Once = Once::new();
    PROGRAM_BEGINS.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            lock(&SEEN_BY_PROGRAM).push(info.to_string());
            usual(info);
        }));
    });
    Arc::new(plugin.attach(host.clone()))
}

/// An object of a plugin, as a host has it.
pub(crate) struct Object {
    pub(crate) image: Arc<LinkedImage>,
    data: *mut (),
}

impl Object {
    pub(crate) fn create(image: &Arc<LinkedImage>) -> Result<Self, String> {
        // SAFETY: the root is this program's own.
        let data = done(image.within(|root| unsafe { root.create()() }))?;
        let image = image.clone();
        Ok(Self { image, data })
    }

    fn on<R>(&self, of: impl FnOnce(RootRef, *mut ()) -> R) -> R {
        self.image.within(|root| of(root, self.data))
    }

    pub(crate) fn init(&self) -> Result<(), String> {
        // SAFETY: the object is live, and nobody else's.
        done(self.on(|root, data| unsafe { root.init()(data, context()) }))
    }

    pub(crate) fn start(&self) -> Result<(), String> {
        // SAFETY: as above.
        done(self.on(|root, data| unsafe { root.start()(data, context()) }))
    }

    pub(crate) fn stop(&self) -> Result<(), String> {
        // SAFETY: as above.
        done(self.on(|root, data| unsafe { root.stop()(data, context()) }))
    }

    pub(crate) fn snapshot(&self) -> Result<Option<Vec<u8>>, String> {
        let mut buffer = Buffer::with_capacity(1);
        // SAFETY: as above.
        let has_state = done(self.on(|root, data| unsafe { root.snapshot()(data, buffer.as_abi()) }))?;
        Ok(has_state.then(|| buffer.into_vec()))
    }

    pub(crate) fn restore(&self, state: &[u8]) -> Result<(), String> {
        // SAFETY: as above.
        done(self.on(|root, data| unsafe { root.restore()(data, state.into()) }))
    }

    /// The names of its threads that run, after they were asked to end.
    pub(crate) fn end_workers(&self) -> String {
        self.on(|root, data| root.end_workers_of().expect("it has this")(data).into())
    }

    pub(crate) fn destroy(self) -> Result<(), String> {
        // SAFETY: this is the last use of it.
        done(self.on(|root, data| unsafe { root.destroy()(data) }))
    }

    /// A client in front of it. Its errors tell what the boundary has told this host last.
    pub(crate) fn client<'a, I: ?Sized + Interface>(&'a self, host: &Arc<Host>) -> Client<'a, I> {
        let caller = Box::into_raw(Box::new(Caller(host.clone())));
        let table = self.on(|root, _| root.table()());
        Client {
            // SAFETY: data and table are of one object for this interface, as the test says that calls this; the box lives as long as the
            // client.
            connection: unsafe { Connection::new(self.data, table, caller.cast_const(), false) },
            caller,
            of: std::marker::PhantomData,
        }
    }
}

/// An encoded state, brought from one schema to another.
pub(crate) fn migrate(image: &LinkedImage, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, String> {
    let mut buffer = Buffer::with_capacity(0);
    // SAFETY: the root is this program's own; state and buffer live for the call.
    done(image.within(|root| unsafe { root.migrate()(from, to, state.into(), buffer.as_abi()) }))?;
    Ok(buffer.into_vec())
}

fn context() -> ContextAbi<'static> {
    ContextAbi {
        slot: "main".into(),
        generation: 1,
    }
}

fn done<T>(answer: RResult<T, RString>) -> Result<T, String> {
    answer.into_result().map_err(|words| words.to_string())
}

pub(crate) struct Client<'a, I: ?Sized> {
    connection: Connection,
    caller: *mut Caller,
    of: std::marker::PhantomData<(&'a Object, Box<I>)>,
}

impl<I: ?Sized + Interface> Deref for Client<'_, I> {
    type Target = I::Client;

    fn deref(&self) -> &I::Client {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Interface> DerefMut for Client<'_, I> {
    fn deref_mut(&mut self) -> &mut I::Client {
        I::client_mut(&mut self.connection)
    }
}

impl<I: ?Sized> Drop for Client<'_, I> {
    fn drop(&mut self) {
        // SAFETY: made of a box, and this is the last use.
        drop(unsafe { Box::from_raw(self.caller) });
    }
}

/// Makes an error of a call of what the host was told, as a host does.
struct Caller(Arc<Host>);

impl Callee for Caller {
    fn fault(&self, method: &'static str, _: Status) -> CallError {
        let told = self.0.panics();
        let Some(Told::Contained(message, _)) = told.last() else {
            panic!("the boundary has told nothing: {told:?}");
        };
        let location = told.iter().rev().find_map(|told| match told {
            Told::Panicked(words, location) if words == message => Some(location.clone()),
            _ => None,
        });
        let fault = Fault::Panicked {
            message: message.as_str().into(),
            location,
            backtrace: Backtrace::default(),
        };
        CallError::new("main", 1, method, fault)
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(CallError::new("main", 1, method, Fault::Vacant))
    }
}
