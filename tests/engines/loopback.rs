//! An engine for these tests: it maps an artifact as the native engine does, but makes each call as bytes, and fails on demand. So it has
//! what a sandbox and a process of its own have in common, and nothing of either.

use reslot::{EndCause, EngineKind, HookError, InstanceEnd, OpenError};
use reslot::{Engine, Native};
use reslot_artifact::{
    ContentHash,
    lint::{LintError, Linted},
    manifest::Manifest,
};
use reslot_engine::{
    Holding, Image, ImageId, ImageOwner, LintedBytes, Object, Opened, Resources, StagedArtifact, Trial, Unloading,
    failures::{self, CallFailure},
};
use reslot_plugin_api::{
    __private::{
        ContextAbi,
        marshal::{
            ActiveLentObjects, Call, INSTANCE, Marshalling, RemoteInstance, Transport, TransportError, dispatch_instance,
        },
    },
    Health, Interface,
};
use reslot_report::StageError;
use reslot_stage::StagedFile;
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What happens to the next call of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is lost on its way, and the instance lives.
    Lost,
    /// The instance ends.
    Ends,
    /// The instance ends before the next check of its health, without a call.
    EndsAlone,
    /// The instance ends while it encodes its state.
    EndsInSnapshot,
}

/// What happens to the next calls through an engine.
pub type Faults = Arc<Mutex<Vec<Fault>>>;

/// Runs plugins with the interface of `marshalling`.
#[derive(Debug)]
pub struct Loopback {
    marshalling: Marshalling,
    faults: Faults,
}

thread_local! {
    static HOST: ActiveLentObjects = const { ActiveLentObjects::new() };
    static PLUGIN: ActiveLentObjects = const { ActiveLentObjects::new() };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loopback {
    /// For plugins with the interface `I`.
    pub fn new<I: ?Sized + Interface>(faults: &Faults) -> Self {
        Self {
            marshalling: Marshalling::of::<I>(),
            faults: faults.clone(),
        }
    }
}

impl Engine for Loopback {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    fn format(&self) -> &'static str {
        Native.format()
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        Native.has_format(bytes)
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        Native.lint(bytes)
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(Around {
            inner: Native.stage(linted, write_copy)?,
            marshalling: self.marshalling,
            faults: self.faults.clone(),
        }))
    }
}

/// A step of the native engine, and what this engine needs later.
struct Around<T> {
    inner: T,
    marshalling: Marshalling,
    faults: Faults,
}

impl<T> Around<T> {
    fn with<U>(&self, inner: U) -> Around<U> {
        Around {
            inner,
            marshalling: self.marshalling,
            faults: self.faults.clone(),
        }
    }
}

impl StagedArtifact for Around<Box<dyn StagedArtifact>> {
    fn copy(&self) -> Option<&StagedFile> {
        self.inner.copy()
    }

    fn trial(&self) -> Option<&dyn Trial> {
        None
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError> {
        let next = self.with(());
        Ok(Box::new(next.with(self.inner.open(owner)?)))
    }
}

impl Opened for Around<Box<dyn Opened>> {
    fn resources(&self) -> Arc<dyn Resources> {
        self.inner.resources()
    }

    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError> {
        let next = self.with(());
        Ok(Box::new(next.with(self.inner.verify(manifest, written)?)))
    }
}

// SAFETY: the objects of the native image are valid until it is closed, and those that are made here hold such an object.
unsafe impl Image for Around<Box<dyn Image>> {
    fn engine(&self) -> EngineKind {
        EngineKind::Process
    }

    fn id(&self) -> ImageId {
        self.inner.id()
    }

    fn manifest(&self) -> &Arc<Manifest> {
        self.inner.manifest()
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.inner.resources()
    }

    fn copy(&self) -> Option<&Path> {
        self.inner.copy()
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        self.inner.copy_hash()
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        // SAFETY: the caller's promise.
        let inner = unsafe { self.inner.create() }?;
        let wire = Arc::new(Wire {
            image: self.id(),
            instance: (inner.data().expose_provenance(), inner.table().expose_provenance()),
            marshalling: self.marshalling,
            faults: self.faults.clone(),
            saved: Mutex::new(Saved {
                state: inner.snapshot(0)?,
                calls_since: 0,
                end: None,
            }),
        });
        let functions = self.manifest().interface.methods.len();
        Ok(Box::new(Remote {
            instance: RemoteInstance::new(functions, wire.clone()),
            inner,
            wire,
        }))
    }

    fn may_have_second(&self) -> bool {
        self.inner.may_have_second()
    }

    fn shutdown(&self) {
        self.inner.shutdown();
    }

    fn live_bytes(&self) -> Option<u64> {
        self.inner.live_bytes()
    }

    fn holding(&self) -> Holding {
        self.inner.holding()
    }

    fn close(self: Box<Self>) -> Unloading {
        let next = self.with(());
        match self.inner.close() {
            Unloading::Stays(image, reason) => Unloading::Stays(Box::new(next.with(image)), reason),
            Unloading::Busy(image) => Unloading::Busy(Box::new(next.with(image))),
            ended => ended,
        }
    }
}

/// The way to an instance.
struct Wire {
    image: ImageId,
    /// The addresses of the object and its table.
    instance: (usize, usize),
    marshalling: Marshalling,
    faults: Faults,
    saved: Mutex<Saved>,
}

/// What is known when the instance ends.
struct Saved {
    state: Option<Vec<u8>>,
    calls_since: u64,
    end: Option<InstanceEnd>,
}

impl Wire {
    fn end(&self) -> Option<InstanceEnd> {
        lock(&self.saved).end.clone()
    }

    fn ends(&self) {
        let mut saved = lock(&self.saved);
        let cause = EndCause::Trap {
            what: "the test says so".to_owned(),
        };
        saved.end = Some(InstanceEnd::new(cause, saved.calls_since));
    }

    fn alive(&self) -> Result<(), HookError> {
        self.end().map_or(Ok(()), |end| Err(HookError::InstanceEnded(end)))
    }

    fn save(&self, state: Option<Vec<u8>>) {
        let mut saved = lock(&self.saved);
        (saved.state, saved.calls_since) = (state, 0);
    }

    fn send(&self, call: &mut Call<'_>, to_plugin: bool) -> Result<(), TransportError> {
        let mut request = vec![0; call.request_len()?];
        call.encode(&mut request)?;
        let (target, method, mut reply) = (call.target(), call.method(), Vec::new());
        let here = if to_plugin { &HOST } else { &PLUGIN };
        let (code, _) = here.with(|here| {
            here.enter(call.lends(), || match (to_plugin, target) {
                (true, INSTANCE) => {
                    let instance = (self.instance.0 as *mut (), self.instance.1 as *const ());
                    // SAFETY: the object lives as long as the remote one that calls it. The host keeps calls apart as the receivers of the
                    // methods say, because it knows them from the manifest.
                    unsafe { dispatch_instance(&self.marshalling, instance, method, &request, &mut reply, &ToHost(self)) }
                }
                (true, handle) => PLUGIN.with(|plugin| plugin.serve(handle, method, &request, &mut reply, &ToHost(self))),
                (false, handle) => HOST.with(|host| host.serve(handle, method, &request, &mut reply, self)),
            })
        });
        call.complete(code, &reply)
    }
}

impl Transport for Wire {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        if self.end().is_some() {
            return Err(TransportError::Engine("it has ended".into()));
        }
        match lock(&self.faults).pop() {
            Some(Fault::Lost) => return Err(TransportError::Engine("it was lost".into())),
            Some(Fault::Ends) => {
                self.ends();
                return Err(TransportError::Engine("it ends".into()));
            }
            Some(Fault::EndsAlone | Fault::EndsInSnapshot) | None => {}
        }
        self.send(call, true)?;
        lock(&self.saved).calls_since += 1;
        Ok(())
    }

    fn failed(&self, _: u32, error: TransportError) {
        let failure = match self.end() {
            Some(end) => CallFailure::Ended(end),
            None => CallFailure::NotCarried(error.to_string()),
        };
        failures::remember(self.image, failure);
    }
}

/// The plugin's way to objects of the host.
struct ToHost<'a>(&'a Wire);

impl Transport for ToHost<'_> {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        self.0.send(call, false)
    }

    fn failed(&self, method: u32, error: TransportError) {
        self.0.failed(method, error);
    }
}

/// An object that is called through a [`Wire`], except for its hooks.
struct Remote {
    instance: RemoteInstance,
    inner: Box<dyn Object>,
    wire: Arc<Wire>,
}

// SAFETY: data and table are those of a `RemoteInstance`, which stays where it is as long as `self`. The hooks are the native object's.
unsafe impl Object for Remote {
    fn data(&self) -> *mut () {
        self.instance.data()
    }

    fn table(&self) -> *const () {
        self.instance.table()
    }

    fn is_bound(&self) -> bool {
        self.instance.is_bound()
    }

    unsafe fn bind(&self, marshalling: &Marshalling) {
        self.instance.bind(marshalling);
    }

    fn ended(&self) -> Option<InstanceEnd> {
        self.wire.end()
    }

    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        if lock(&self.wire.faults)
            .pop_if(|fault| *fault == Fault::EndsInSnapshot)
            .is_some()
        {
            self.wire.ends();
        }
        if self.wire.end().is_some() {
            return Ok(lock(&self.wire.saved).state.clone());
        }
        let state = self.inner.snapshot(capacity)?;
        self.wire.save(state.clone());
        Ok(state)
    }

    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.wire.alive()?;
        self.inner.migrate(from, to, state)
    }

    fn cannot_read(&self, state: &[u8]) -> Option<String> {
        self.inner.cannot_read(state)
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        if lock(&self.wire.faults).pop_if(|fault| *fault == Fault::EndsAlone).is_some() {
            self.wire.ends();
        }
        self.wire.alive()?;
        self.inner.health(context)
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.wire.alive()?;
        self.inner.check_config(context, config)
    }

    fn end_workers(&self, own: bool) -> String {
        self.inner.end_workers(own)
    }

    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: the caller's promise, here and below.
        unsafe { self.inner.restore(state) }?;
        self.wire.save(Some(state.to_vec()));
        Ok(())
    }

    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: as above.
        unsafe { self.inner.configure(context, config) }
    }

    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: as above.
        unsafe { self.inner.resource(context, name, bytes) }
    }

    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: as above.
        unsafe { self.inner.init(context) }
    }

    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: as above.
        unsafe { self.inner.start(context) }
    }

    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.wire.alive()?;
        // SAFETY: as above.
        unsafe { self.inner.stop(context) }
    }

    unsafe fn destroy(&self) -> Result<(), HookError> {
        // SAFETY: as above. The object has memory in the process, also after its remote instance has ended.
        unsafe { self.inner.destroy() }
    }
}

/// An engine whose format no file of these tests has.
#[derive(Debug)]
pub struct OtherFormat;

impl Engine for OtherFormat {
    fn kind(&self) -> EngineKind {
        EngineKind::Wasm
    }

    fn format(&self) -> &'static str {
        "a file of another kind"
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"another")
    }

    fn lint(&self, _: &mut [u8]) -> Result<Linted, LintError> {
        unreachable!("no file has the format")
    }

    fn stage(
        &self,
        _: LintedBytes<'_>,
        _: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        unreachable!("no file has the format")
    }
}
