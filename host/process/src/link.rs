//! The host's end of one instance: carries calls and hooks to the child, keeps the last saved state, and knows how the instance has ended.

use crate::{
    channel::{ChannelError, Head, Kind, Patience},
    process::ChildProcess,
    settings::Settings,
    task::Panic,
};
use reslot_artifact::manifest::Manifest;
use reslot_engine::{
    ImageId, SavedState, changing_methods,
    failures::{self, CallFailure},
    panics::{self, PanicReport},
};
use reslot_plugin_api::{
    __private::marshal::{ActiveLentObjects, Call, INSTANCE, MarshalError, Transport, TransportError, code},
    Backtrace, EndCause, InstanceEnd, MAX_STATE_LEVELS,
    guest::{Arguments, Hook, HookOutcome},
};
use reslot_report::HookError;
use reslot_sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};
use reslot_system::Process;
use std::{fmt, time::Duration};

/// The stack that the child gives to a deep state.
const STATE_STACK: usize = 256 << 20;

thread_local! {
    /// What this thread has lent in its innermost call of any instance.
    static LENT: ActiveLentObjects = const { ActiveLentObjects::new() };
    /// Its address is the thread's number.
    static THREAD: u8 = const { 0 };
}

/// One instance in its process.
pub(crate) struct Link {
    pub(crate) child: ChildProcess,
    pub(crate) image: ImageId,
    pub(crate) settings: Settings,
    pub(crate) slot: String,
    /// Where the child was started.
    process: Process,
    has_state: bool,
    /// Whether a method may change the state, by its index.
    changes: Vec<bool>,
    turn: Turn,
    saved: Mutex<Saved>,
}

/// What is known when the instance ends.
#[derive(Default)]
struct Saved {
    state: SavedState,
    end: Option<InstanceEnd>,
}

/// Why a message got no reply.
#[derive(Debug)]
enum NoReply {
    /// It was not sent.
    TooLong { len: usize, most: usize },
    /// The instance has ended.
    Ended(InstanceEnd),
    /// This is a forked child of the host's process. The plugin's process is the parent's.
    Forked,
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, most } => write!(
                f,
                "a message of {len} bytes is longer than the {most} that the process engine carries (`Process::message_bytes`)"
            ),
            Self::Ended(end) => write!(f, "the instance has ended: {end}"),
            Self::Forked => {
                f.write_str("a forked child of the host's process cannot call a plugin that runs in a process of its own")
            }
        }
    }
}

impl std::error::Error for NoReply {}

/// Serves a call from the child: returns its code and its reply.
type Serve<'a> = &'a mut dyn FnMut(Head, &[u8]) -> (u32, Vec<u8>);

/// One thread at a time talks to the child. It may do so again from a call back of the child.
#[derive(Default)]
struct Turn {
    lock: Mutex<()>,
    /// The thread that has the lock; 0 if none has.
    owner: AtomicUsize,
    depth: AtomicU32,
}

struct HasTurn<'a> {
    turn: &'a Turn,
    _lock: Option<MutexGuard<'a, ()>>,
}

impl Turn {
    fn take(&self) -> HasTurn<'_> {
        let own = THREAD.with(|thread| std::ptr::from_ref(thread).addr());
        // Only this thread stores its own number, so it is found here only if this thread has the lock.
        let lock = (self.owner.load(Ordering::Relaxed) != own).then(|| self.lock.lock());
        if lock.is_some() {
            self.owner.store(own, Ordering::Relaxed);
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        HasTurn { turn: self, _lock: lock }
    }
}

impl HasTurn<'_> {
    fn is_outermost(&self) -> bool {
        self._lock.is_some()
    }
}

impl Drop for HasTurn<'_> {
    fn drop(&mut self) {
        self.turn.depth.fetch_sub(1, Ordering::Relaxed);
        if self.is_outermost() {
            self.turn.owner.store(0, Ordering::Relaxed);
        }
    }
}

impl Link {
    pub(crate) fn new(child: ChildProcess, image: ImageId, settings: Settings, slot: String, manifest: &Manifest) -> Self {
        Self {
            child,
            image,
            settings,
            slot,
            process: Process::this(),
            has_state: manifest.state.is_some(),
            changes: changing_methods(&manifest.interface),
            turn: Turn::default(),
            saved: Mutex::default(),
        }
    }

    /// How the instance has ended, if it has.
    pub(crate) fn end(&self) -> Option<InstanceEnd> {
        if !self.child.has_ended() {
            return self.saved.lock().end.clone();
        }
        Some(self.ends(|| self.child.end_cause(self.settings.bounds.memory)))
    }

    /// Notes the end, unless it is noted already.
    fn ends(&self, cause: impl FnOnce() -> EndCause) -> InstanceEnd {
        let mut saved = self.saved.lock();
        let lost = if self.has_state { saved.state.lost_calls() } else { 0 };
        saved.end.get_or_insert_with(|| InstanceEnd::new(cause(), lost)).clone()
    }

    /// Ends the child that has not answered as it should.
    fn break_off(&self, error: ChannelError, limit: Duration) -> InstanceEnd {
        match error {
            ChannelError::Ended if self.child.has_ended() => self.ends(|| self.child.end_cause(self.settings.bounds.memory)),
            ChannelError::Ended => {
                let end = self.ends(|| EndCause::Protocol {
                    what: "it said that it had ended, and had not".to_owned(),
                });
                self.child.kill();
                end
            }
            ChannelError::TimedOut => {
                let end = self.ends(|| EndCause::Deadline { limit });
                self.child.kill();
                end
            }
            ChannelError::Protocol(what) => {
                let end = self.ends(|| EndCause::Protocol { what });
                self.child.kill();
                end
            }
        }
    }

    /// Sends a message, serves the child's calls until the reply comes, and returns the reply.
    fn exchange(&self, head: Head, bytes: &[u8], limit: Duration, serve: Serve<'_>) -> Result<(u32, Vec<u8>), NoReply> {
        // The lock of another thread may stay locked for ever here.
        if self.process.is_another() {
            return Err(NoReply::Forked);
        }
        let _turn = self.turn.take();
        if let Some(end) = self.end() {
            return Err(NoReply::Ended(end));
        }
        let channel = &self.child.channel;
        let most = channel.max_message();
        if bytes.len() > most {
            return Err(NoReply::TooLong { len: bytes.len(), most });
        }
        /// Ends the instance if this thread unwinds in the middle: the child waits for an answer that never comes.
        struct Unfinished<'a>(&'a Link);
        impl Drop for Unfinished<'_> {
            fn drop(&mut self) {
                self.0.ends(|| EndCause::Other {
                    what: "the host panicked while it served the plugin".to_owned(),
                });
                self.0.child.kill();
            }
        }
        let unfinished = Unfinished(self);
        let mut patience = Patience {
            left: Some(limit),
            spin: self.settings.spin,
        };
        let mut talk = || {
            let mut reply = Vec::new();
            channel.send(head, bytes, &mut patience)?;
            loop {
                let head = channel.receive(&mut reply, &mut patience)?;
                match head.kind {
                    Kind::Reply => return Ok((head.code, reply)),
                    Kind::Call => {}
                    kind => {
                        return Err(ChannelError::Protocol(format!(
                            "a message of the kind {kind:?} from the child"
                        )));
                    }
                }
                let (mut code, mut answer) = serve(head, &reply);
                if answer.len() > most {
                    (code, answer) = (code::FAILED, Vec::new());
                }
                let head = Head {
                    kind: Kind::Reply,
                    code,
                    target: 0,
                };
                channel.send(head, &answer, &mut patience)?;
            }
        };
        let ended = talk();
        std::mem::forget(unfinished);
        ended.map_err(|error| NoReply::Ended(self.break_off(error, limit)))
    }

    /// Calls a hook, and returns its reply; none if it says that there is no state.
    pub(crate) fn hook(&self, hook: Hook, schemas: (u32, u32), given: Arguments<'_>) -> Result<Option<Vec<u8>>, HookError> {
        let mut message = Vec::with_capacity(given.encoded_len());
        given.encode(&mut message);
        let head = Head {
            kind: Kind::Hook,
            code: hook as u32,
            target: u64::from(schemas.0) << 32 | u64::from(schemas.1),
        };
        let (outcome, reply) = self.tell(head, &message)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match HookOutcome::of(outcome) {
            HookOutcome::Done => Ok(Some(reply)),
            HookOutcome::NoState => Ok(None),
            HookOutcome::Refused => Err(HookError::Refused(text(&reply))),
            HookOutcome::NotCarried => Err(HookError::NotCarried(text(&reply))),
            HookOutcome::TooDeep => Err(HookError::TooDeep { most: MAX_STATE_LEVELS }),
            HookOutcome::StackUsed => Err(HookError::StackTooSmall {
                bytes: STATE_STACK,
                system: Some(text(&reply)).filter(|words| !words.is_empty()),
            }),
            HookOutcome::Panicked => {
                let Panic { message, location } = serde_json::from_slice(&reply).unwrap_or_default();
                let PanicReport {
                    message,
                    location,
                    backtrace,
                } = PanicReport::new(&message, &location.unwrap_or_default(), Backtrace::default());
                Err(HookError::Panicked {
                    message,
                    location,
                    backtrace,
                })
            }
            HookOutcome::Invalid => Err(HookError::Refused("its process does not know this hook".to_owned())),
        }
    }

    /// Sends a message during which the plugin has nothing to call.
    pub(crate) fn tell(&self, head: Head, message: &[u8]) -> Result<(u32, Vec<u8>), HookError> {
        let mut nothing_lent = |_: Head, _: &[u8]| (code::FAILED, Vec::new());
        let limit = self.settings.hook_deadline;
        self.exchange(head, message, limit, &mut nothing_lent)
            .map_err(|error| match error {
                NoReply::Ended(end) => HookError::InstanceEnded(end),
                unsent => HookError::Refused(unsent.to_string()),
            })
    }

    /// The state, as the plugin has it now, or, if it has ended, as it was saved last.
    pub(crate) fn snapshot(&self) -> Result<Option<Vec<u8>>, HookError> {
        let turn = self.turn.take();
        if self.end().is_some() {
            return Ok(self.saved.lock().state.state());
        }
        let state = match self.hook(Hook::Snapshot, (0, 0), Arguments::default()) {
            // It has ended now.
            Err(HookError::InstanceEnded(_)) => return Ok(self.saved.lock().state.state()),
            state => state?,
        };
        self.save(state.clone());
        drop(turn);
        Ok(state)
    }

    /// Keeps a state that the instance has now.
    pub(crate) fn save(&self, state: Option<Vec<u8>>) {
        self.saved.lock().state = SavedState::new(state);
    }

    /// Saves the state of an instance that has started, unless it has a saved one: an instance that ends before its first checkpoint is what it was
    /// then.
    pub(crate) fn save_first(&self) {
        if self.has_state && !self.saved.lock().state.is_some() {
            self.save_now();
        }
    }

    fn save_now(&self) {
        if let Err(error) = self.snapshot() {
            tracing::warn!(slot = self.slot, %error, "the plugin's state could not be saved");
        }
    }

    /// A call has come back. Saves the state, if it is time to.
    fn call_completed(&self, turn: &HasTurn<'_>, method: u32) {
        if self.changes.get(method as usize) == Some(&false) {
            return;
        }
        let is_due = self.saved.lock().state.completed(self.settings.checkpoint);
        // Not while a method of the instance runs.
        if is_due && self.has_state && turn.is_outermost() {
            self.save_now();
        }
    }

    fn send(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        if self.process.is_another() {
            return Err(TransportError::Engine(Box::new(NoReply::Forked)));
        }
        let mut bytes = vec![0; call.request_len()?];
        call.encode(&mut bytes)?;
        let head = Head {
            kind: Kind::Call,
            code: call.method(),
            target: call.target(),
        };
        let turn = self.turn.take();
        let lends = call.lends();
        let ended = LENT.with(|lent| {
            lent.enter(lends, || {
                self.exchange(head, &bytes, self.settings.call_deadline, &mut |head, request| {
                    let mut reply = Vec::new();
                    let (code, refused) = lent.serve(head.target, head.code, request, &mut reply, self);
                    if let Some(refused) = refused {
                        self.refused(refused);
                    }
                    (code, reply)
                })
            })
        });
        let (ended, reply) = ended.map_err(|error| TransportError::Engine(Box::new(error)))?;
        let completed = self.complete(call, ended, &reply);
        // Also if the reply is invalid: the method has run.
        if call.target() == INSTANCE {
            self.call_completed(&turn, call.method());
        }
        completed
    }

    fn complete(&self, call: &mut Call<'_>, ended: u32, reply: &[u8]) -> Result<(), TransportError> {
        match ended {
            code::PANICKED => {
                let Panic { message, location } = serde_json::from_slice(reply).unwrap_or_default();
                let report = PanicReport::new(&message, &location.unwrap_or_default(), Backtrace::default());
                let message = report.message.clone();
                panics::remember(self.image, report);
                panics::contained(self.image, &message);
                call.complete(code::PANICKED, &[])?;
            }
            code::FAILED => {
                let words = String::from_utf8_lossy(reply);
                if !words.is_empty() {
                    failures::remember(self.image, CallFailure::NotCarried(words.into_owned()));
                }
                call.complete(code::FAILED, &[])?;
            }
            code::CALLBACK => call.complete(code::CALLBACK, &[])?,
            ended => call.complete(ended, reply)?,
        }
        Ok(())
    }

    fn refused(&self, error: MarshalError) {
        tracing::debug!(slot = self.slot, %error, "a call from the plugin to an object of the host was refused");
    }
}

impl Transport for Link {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        self.send(call)
    }

    fn failed(&self, _: u32, error: TransportError) {
        let end = if self.process.is_another() { None } else { self.end() };
        let failure = match end {
            Some(end) => CallFailure::Ended(end),
            None => CallFailure::NotCarried(error.to_string()),
        };
        failures::remember(self.image, failure);
    }
}
