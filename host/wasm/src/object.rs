//! An object of a plugin in its own sandbox. It saves its state, and when the sandbox ends it, that state is what is left of it.
//!
//! A sandbox runs on one thread at a time: calls wait for each other. A call that the plugin causes during its own call, by way of the host, is an error.

use crate::{
    image::Mapped,
    limits::Limits,
    sandbox::{Failure, Sandbox},
};
use reslot_artifact::manifest::Manifest;
use reslot_engine::{
    Object, SavedState, changing_methods,
    failures::{self, CallFailure},
    panics::take_panic,
};
use reslot_plugin_api::{
    __private::{
        ContextAbi, HealthAbi,
        marshal::{Call, Marshalling, RemoteInstance, Transport, TransportError},
    },
    EndCause, Health, InstanceEnd, MAX_STATE_LEVELS,
    guest::{Arguments, Hook, HookOutcome},
};
use reslot_report::HookError;
use reslot_sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use reslot_system::Process;
use std::sync::{Arc, OnceLock};

pub(crate) struct WasmObject {
    instance: RemoteInstance,
    remote: Arc<Remote>,
}

/// The way to the sandbox.
struct Remote {
    module: Arc<Mapped>,
    /// Whether a method may change the state, by its index.
    changes: Vec<bool>,
    has_state: bool,
    /// Where it was made.
    process: Process,
    /// None once it has ended.
    sandbox: Mutex<Option<Sandbox>>,
    /// The thread that uses the sandbox; 0 if none does.
    user: AtomicUsize,
    ended: OnceLock<InstanceEnd>,
    saved: Mutex<SavedState>,
}

/// A number for the calling thread.
fn this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// The sandbox, for one use.
struct Use<'a> {
    remote: &'a Remote,
    sandbox: MutexGuard<'a, Option<Sandbox>>,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.remote.user.store(0, Relaxed);
    }
}

impl Remote {
    /// None if this thread uses the sandbox already.
    fn enter(&self) -> Option<Use<'_>> {
        let me = this_thread();
        if self.user.load(Relaxed) == me {
            return None;
        }
        let sandbox = self.sandbox.lock();
        self.user.store(me, Relaxed);
        Some(Use { remote: self, sandbox })
    }

    fn limits(&self) -> &Limits {
        &self.module.limits
    }

    fn save(&self, state: Option<Vec<u8>>) {
        *self.saved.lock() = SavedState::new(state);
    }

    /// A call has returned.
    fn completed(&self, using: &mut Use<'_>, method: u32) {
        if !self.has_state || self.changes.get(method as usize) == Some(&false) {
            return;
        }
        let is_due = self.saved.lock().completed(self.limits().checkpoint);
        if is_due && let Ok((HookOutcome::Done, state)) = using.hook(Hook::Snapshot, (0, 0), Arguments::default()) {
            self.save(Some(state));
        }
    }
}

impl Use<'_> {
    /// The sandbox has ended the instance.
    fn end(&mut self, cause: EndCause) -> InstanceEnd {
        // Its memory is freed now.
        *self.sandbox = None;
        let lost = self.remote.saved.lock().lost_calls();
        self.remote.ended.get_or_init(|| InstanceEnd::new(cause, lost)).clone()
    }

    fn hook(
        &mut self,
        hook: Hook,
        numbers: (u32, u32),
        arguments: Arguments<'_>,
    ) -> Result<(HookOutcome, Vec<u8>), HookError> {
        let Some(sandbox) = &mut *self.sandbox else {
            return Err(HookError::InstanceEnded(self.remote.end_of()));
        };
        let called = sandbox.hook(hook, numbers, arguments);
        called.map_err(|cause| HookError::InstanceEnded(self.end(cause)))
    }
}

impl Remote {
    fn end_of(&self) -> InstanceEnd {
        let other = || {
            InstanceEnd::new(
                EndCause::Other {
                    what: "it was dropped".to_owned(),
                },
                0,
            )
        };
        self.ended.get().cloned().unwrap_or_else(other)
    }
}

impl Transport for Remote {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        let engine = |words: String| TransportError::Engine(words.into());
        if self.process.is_another() {
            return Err(engine(
                "a forked child of the host's process cannot call a plugin in WebAssembly, because it has no clock for the deadline".to_owned(),
            ));
        }
        let Some(mut using) = self.enter() else {
            return Err(engine(
                "the plugin is in a call, which has called the host, which called it again: a plugin in WebAssembly is not re-entered".to_owned(),
            ));
        };
        let Some(sandbox) = &mut *using.sandbox else {
            return Err(engine(self.end_of().to_string()));
        };
        match sandbox.call(call) {
            Ok(()) => {
                self.completed(&mut using, call.method());
                Ok(())
            }
            Err(Failure::NotCarried(error)) => {
                // The method may have run.
                self.completed(&mut using, call.method());
                Err(error)
            }
            Err(Failure::Ended(cause)) => Err(engine(using.end(cause).to_string())),
        }
    }

    fn failed(&self, _: u32, error: TransportError) {
        let failure = match self.ended.get() {
            Some(end) => CallFailure::Ended(end.clone()),
            None => CallFailure::NotCarried(error.to_string()),
        };
        failures::remember(self.module.owner.id, failure);
    }
}

impl WasmObject {
    pub(crate) fn create(module: &Arc<Mapped>, manifest: &Manifest) -> Result<Self, HookError> {
        let sandbox = created(module)?;
        let methods = &manifest.interface.methods;
        let remote = Arc::new(Remote {
            module: module.clone(),
            changes: changing_methods(&manifest.interface),
            has_state: manifest.state.is_some(),
            process: Process::this(),
            sandbox: Mutex::new(Some(sandbox)),
            user: AtomicUsize::new(0),
            ended: OnceLock::new(),
            saved: Mutex::default(),
        });
        Ok(Self {
            instance: RemoteInstance::new(methods.len(), remote.clone()),
            remote,
        })
    }

    /// Calls a hook of the object.
    fn hook(&self, hook: Hook, arguments: Arguments<'_>) -> Result<(HookOutcome, Vec<u8>), HookError> {
        let Some(mut using) = self.remote.enter() else {
            return Err(HookError::Refused(
                "the plugin is in a call of the same thread, and a plugin in WebAssembly is not re-entered".to_owned(),
            ));
        };
        using.hook(hook, (0, 0), arguments)
    }

    fn done(&self, hook: Hook, arguments: Arguments<'_>) -> Result<Vec<u8>, HookError> {
        let (outcome, bytes) = self.hook(hook, arguments)?;
        self.judge(outcome, bytes)
    }

    /// The same in an instance of its own, for hooks that do not use the object.
    fn elsewhere(&self, hook: Hook, numbers: (u32, u32), arguments: Arguments<'_>) -> Result<Vec<u8>, HookError> {
        let module = &self.remote.module;
        let mut sandbox = created(module)?;
        let called = sandbox.hook(hook, numbers, arguments);
        let (outcome, bytes) = called.map_err(|cause| HookError::InstanceEnded(InstanceEnd::new(cause, 0)))?;
        self.judge(outcome, bytes)
    }

    fn judge(&self, outcome: HookOutcome, bytes: Vec<u8>) -> Result<Vec<u8>, HookError> {
        judge(&self.remote.module, outcome, bytes)
    }
}

/// An instance with an object.
fn created(module: &Mapped) -> Result<Sandbox, HookError> {
    let made = Sandbox::new(&module.runtime, &module.code, &module.owner, module.limits);
    let (sandbox, outcome) = made.map_err(|cause| HookError::InstanceEnded(InstanceEnd::new(cause, 0)))?;
    judge(module, outcome, Vec::new())?;
    Ok(sandbox)
}

fn judge(module: &Mapped, outcome: HookOutcome, bytes: Vec<u8>) -> Result<Vec<u8>, HookError> {
    let words = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Err(match outcome {
        HookOutcome::Done | HookOutcome::NoState => return Ok(bytes),
        HookOutcome::Refused => HookError::Refused(words(bytes)),
        HookOutcome::NotCarried => HookError::NotCarried(words(bytes)),
        HookOutcome::TooDeep => HookError::TooDeep { most: MAX_STATE_LEVELS },
        HookOutcome::StackUsed => HookError::Refused("the stack of the module is too small for the state".to_owned()),
        HookOutcome::Panicked => match take_panic(module.owner.id) {
            Some(report) => HookError::Panicked {
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            },
            None => HookError::Refused("it panicked, and did not say why".to_owned()),
        },
        HookOutcome::Invalid => HookError::Refused("the module did not understand the host".to_owned()),
    })
}

fn arguments<'a>(context: &'a ContextAbi<'_>) -> Arguments<'a> {
    Arguments {
        slot: context.slot.as_str(),
        generation: context.generation,
        ..Arguments::default()
    }
}

// SAFETY: object and table are those of the remote instance, which lives as long as this. Only the sandbox uses the plugin's object.
unsafe impl Object for WasmObject {
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
        self.remote.ended.get().cloned()
    }

    fn snapshot(&self, _: usize) -> Result<Option<Vec<u8>>, HookError> {
        match self.hook(Hook::Snapshot, Arguments::default()) {
            Ok((HookOutcome::NoState, _)) => Ok(None),
            Ok((outcome, bytes)) => {
                let state = self.judge(outcome, bytes)?;
                self.remote.save(Some(state.clone()));
                Ok(Some(state))
            }
            // Without a saved state the successor begins with none; the end says how many calls are lost.
            Err(HookError::InstanceEnded(_)) => Ok(self.remote.saved.lock().state()),
            Err(error) => Err(error),
        }
    }

    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        let arguments = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        self.elsewhere(Hook::Migrate, (from, to), arguments)
    }

    fn cannot_read(&self, state: &[u8]) -> Option<String> {
        let arguments = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        let error = self.elsewhere(Hook::CannotRead, (0, 0), arguments).err()?;
        Some(error.to_string())
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        let reply = self.done(Hook::Health, arguments(&context))?;
        let Some((result, message)) = reply.split_first_chunk() else {
            return Err(HookError::Refused("the module gave no answer".to_owned()));
        };
        let abi = HealthAbi {
            result: u32::from_le_bytes(*result),
            message: String::from_utf8_lossy(message).into_owned().into(),
        };
        Ok(abi.into())
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        let arguments = Arguments {
            bytes: config,
            ..arguments(&context)
        };
        self.elsewhere(Hook::CheckConfig, (0, 0), arguments).map(drop)
    }

    fn end_workers(&self, _: bool) -> String {
        // There are no threads.
        String::new()
    }

    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError> {
        let arguments = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        self.done(Hook::Restore, arguments)?;
        self.remote.save(Some(state.to_vec()));
        Ok(())
    }

    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        let arguments = Arguments {
            bytes: config,
            ..arguments(&context)
        };
        self.done(Hook::Configure, arguments).map(drop)
    }

    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        let arguments = Arguments {
            name,
            bytes,
            ..arguments(&context)
        };
        self.done(Hook::Resource, arguments).map(drop)
    }

    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.done(Hook::Init, arguments(&context)).map(drop)
    }

    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.done(Hook::Start, arguments(&context))?;
        // An instance that ends before its first checkpoint is what it was here.
        if self.remote.has_state && !self.remote.saved.lock().is_some() {
            let _ = self.snapshot(0);
        }
        Ok(())
    }

    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.done(Hook::Stop, arguments(&context)).map(drop)
    }

    unsafe fn destroy(&self) -> Result<(), HookError> {
        let dropped = self.done(Hook::Destroy, Arguments::default());
        // The memory of the sandbox is freed with all that the plugin has left in it.
        if let Some(using) = self.remote.enter().as_mut() {
            *using.sandbox = None;
        }
        match dropped {
            Err(HookError::InstanceEnded(_)) => Ok(()),
            dropped => dropped.map(drop),
        }
    }
}
