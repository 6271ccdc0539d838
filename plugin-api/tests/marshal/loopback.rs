//! A minimal engine: two sides in one process that exchange only bytes.

use crate::client;
use reslot_plugin_api::{
    __private::{
        Callee, Connection, Status,
        marshal::{
            ActiveLentObjects, Call, INSTANCE, MarshalError, Marshalling, RemoteInstance, Transport, TransportError, code,
            dispatch_instance,
        },
    },
    CallError, Implements, Interface,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use crate::client::{Outcome, words};

/// A message that goes to the other side, or the reply to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// Whether it goes from the host to the plugin, or the opposite way.
    pub(crate) to_plugin: bool,
    pub(crate) target: u64,
    pub(crate) method: u32,
    /// None of a request.
    pub(crate) code: Option<u32>,
    pub(crate) bytes: Vec<u8>,
}

/// What changes messages on their way, as a hostile side does.
pub(crate) type Tamper = Box<dyn FnMut(&mut Message) + Send>;

thread_local! {
    static HOST: ActiveLentObjects = const { ActiveLentObjects::new() };
    static PLUGIN: ActiveLentObjects = const { ActiveLentObjects::new() };
}

pub(crate) struct Wire {
    data: usize,
    table: usize,
    marshalling: Marshalling,
    tamper: Mutex<Option<Tamper>>,
    failures: Mutex<Vec<(u32, String)>>,
    /// What the serving sides have refused.
    refusals: Mutex<Vec<MarshalError>>,
    /// Ends the call with this error, or with a panic.
    pub(crate) broken: Mutex<Option<&'static str>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    fn pass(&self, mut message: Message) -> Message {
        // Not held while the closure runs a call of its own.
        let tamper = lock(&self.tamper).take();
        if let Some(mut tamper) = tamper {
            tamper(&mut message);
            *lock(&self.tamper) = Some(tamper);
        }
        message
    }

    fn call(&self, call: &mut Call<'_>, to_plugin: bool) -> Result<(), TransportError> {
        let (target, method) = (call.target(), call.method());
        match lock(&self.broken).take() {
            Some("panic") => panic!("the transport's own"),
            Some("no reply") => return Ok(()),
            Some(words) => return Err(TransportError::Engine(words.into())),
            None => {}
        }
        let mut bytes = vec![0xAA; call.request_len()?];
        call.encode(&mut bytes)?;
        let request = Message {
            to_plugin,
            target,
            method,
            code: None,
            bytes,
        };
        let request = self.pass(request);
        let mut bytes = Vec::new();
        let here = if to_plugin { &HOST } else { &PLUGIN };
        let (ended, refused) = here.with(|here| {
            here.enter(call.lends(), || match (to_plugin, request.target) {
                (true, INSTANCE) => {
                    let instance = (self.data as *mut (), self.table as *const ());
                    let back = ToHost(self);
                    // SAFETY: the instance is leaked, with its table; a claim is the only caller.
                    unsafe {
                        dispatch_instance(&self.marshalling, instance, request.method, &request.bytes, &mut bytes, &back)
                    }
                }
                (true, handle) => {
                    PLUGIN.with(|plugin| plugin.serve(handle, request.method, &request.bytes, &mut bytes, &ToHost(self)))
                }
                (false, handle) => HOST.with(|host| host.serve(handle, request.method, &request.bytes, &mut bytes, self)),
            })
        });
        lock(&self.refusals).extend(refused);
        let reply = self.pass(Message {
            to_plugin,
            target,
            method,
            code: Some(ended),
            bytes,
        });
        call.complete(reply.code.unwrap_or(code::OK), &reply.bytes)
    }
}

impl Transport for Wire {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        self.call(call, true)
    }

    fn failed(&self, method: u32, error: TransportError) {
        assert!(!error.to_string().is_empty());
        lock(&self.failures).push((method, format!("{error:?}")));
    }
}

/// The plugin's side.
struct ToHost<'a>(&'a Wire);

impl Transport for ToHost<'_> {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        self.0.call(call, false)
    }

    fn failed(&self, method: u32, error: TransportError) {
        lock(&self.0.failures).push((method, format!("{error:?}")));
    }
}

/// The host's side of an engine: the error of the call has the transport's.
struct Told(Arc<Wire>);

impl Callee for Told {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        let message = match status {
            Status::PANICKED => "panicked".to_owned(),
            Status::CALLBACK => "callback".to_owned(),
            _ => {
                let failures: Vec<String> = lock(&self.0.failures).drain(..).map(|(_, words)| words).collect();
                failures.join(", then ")
            }
        };
        client::failed(method, message)
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(client::vacant(method))
    }
}

/// What a client behind bytes needs.
pub(crate) struct Loopback {
    pub(crate) wire: Arc<Wire>,
    _instance: Box<RemoteInstance>,
    _callee: Box<Told>,
}

/// A client in front of an instance behind bytes.
pub(crate) type Served<I> = client::Served<I, Loopback>;

impl<I: ?Sized + Interface> Served<I> {
    /// Changes each message from now on.
    pub(crate) fn tamper(&self, tamper: impl FnMut(&mut Message) + Send + 'static) {
        *lock(&self.kept.wire.tamper) = Some(Box::new(tamper));
    }

    /// Every message of what `body` calls.
    pub(crate) fn messages(&mut self, body: impl FnOnce(&mut Self)) -> Vec<Message> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        self.tamper(move |message| lock(&into).push(message.clone()));
        body(self);
        *lock(&self.kept.wire.tamper) = None;
        std::mem::take(&mut *lock(&seen))
    }

    /// What the serving sides have refused since.
    pub(crate) fn refusals(&self) -> Vec<MarshalError> {
        std::mem::take(&mut *lock(&self.kept.wire.refusals))
    }
}

/// An instance whose plugin was built when the interface had so many methods.
pub(crate) fn connect_older<I, T>(instance: T, functions: usize) -> Served<I>
where
    I: ?Sized + Implements<T>,
{
    let marshalling = Marshalling::of::<I>();
    let wire = Arc::new(Wire {
        data: (&raw mut *Box::leak(Box::new(instance))).expose_provenance(),
        table: <I as Implements<T>>::TABLE.expose_provenance(),
        marshalling,
        tamper: Mutex::default(),
        failures: Mutex::default(),
        refusals: Mutex::default(),
        broken: Mutex::default(),
    });
    let instance = Box::new(RemoteInstance::new(functions, wire.clone()));
    assert!(!instance.is_bound());
    instance.bind(&marshalling);
    assert!(instance.is_bound());
    let callee = Box::new(Told(wire.clone()));
    let told: *const dyn Callee = &*callee;
    // SAFETY: data and table are those of a remote instance for `I`, and live as long as the connection, as the callee does.
    let connection = unsafe { Connection::new(instance.data(), instance.table(), told, false) };
    let kept = Loopback {
        wire,
        _instance: instance,
        _callee: callee,
    };
    Served::new(connection, kept)
}

pub(crate) fn connect<I, T>(instance: T) -> Served<I>
where
    I: ?Sized + Implements<T>,
{
    connect_older(instance, I::DESCRIPTION.methods.len())
}

/// The index of a method of `I`.
pub(crate) fn index<I: ?Sized + Interface>(method: &str) -> u32 {
    let at = I::DESCRIPTION.methods.iter().position(|one| one.name == method);
    u32::try_from(at.expect("a method")).expect("few")
}
