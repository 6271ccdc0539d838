//! The child's side: it restricts itself, opens the artifact with the native engine, and then serves the host's messages, one after another, on
//! this process's first thread.

use crate::{
    channel::{Channel, ChannelError, Head, Kind, Patience},
    logs::{self, Frame},
    sandbox,
    task::{Opening, Panic, Task, identity},
};
use reslot_artifact::{
    ContentHash,
    manifest::{Interface, Manifest},
};
use reslot_engine::{
    Engine, Image, ImageOwner, LintedBytes, LogLevel, Object, PeerTable,
    panics::{self, PanicReport},
};
use reslot_native::NativeEngine;
use reslot_plugin_api::{
    __private::{
        Buffer, BufferAbi, ContextAbi, HealthAbi, LentAbi, LinkAbi, LoadedAbi, PassAbi, RStr, RequestAbi, Status, Writer,
        marshal::{INSTANCE, code},
    },
    CallError, Fault, PeerErrorKind,
    guest::{Arguments, Hook, HookOutcome},
};
use reslot_report::{HookError, OpenError, StageError};
use reslot_stage::StagedFile;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, kill_process},
};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    time::Duration,
};

const USAGE: &str =
    "reslot-child is started by a host that runs a plugin in a process of its own; it does nothing by itself";

/// The `main` function of the program `reslot-child`.
#[must_use]
pub fn child_main() -> ExitCode {
    if io::stdin().is_terminal() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reslot-child: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The host's calls wait; this side waits for the next one as long as the host lives.
const FOR_EVER: Patience = Patience {
    left: None,
    spin: Duration::ZERO,
};

fn run() -> io::Result<()> {
    // The memory is the standard input, and the pipe for records the standard output. The artifact gets neither.
    let channel = Channel::open(&io::stdin())?;
    let to_host = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    close_inherited(&to_host)?;
    let mut bytes = Vec::new();
    let head = channel.receive(&mut bytes, &mut FOR_EVER.clone()).map_err(unexpected)?;
    if head.kind != Kind::Open {
        return Err(io::Error::other("the host's first message is no task"));
    }
    let reply = |opening: &Opening| -> io::Result<()> {
        let head = Head {
            kind: Kind::Reply,
            code: 0,
            target: 0,
        };
        channel
            .send(head, &serde_json::to_vec(opening)?, &mut FOR_EVER.clone())
            .map_err(unexpected)
    };
    let task = match serde_json::from_slice::<Task>(&bytes) {
        Ok(task) if task.build == identity() => task,
        _ => return reply(&Opening::OtherBuild { build: identity() }),
    };
    let spin = Duration::from_nanos(head.target);
    let files = match sandbox::enter(&task.bounds, Path::new(&task.copy)) {
        Ok(files) => files,
        Err(error) => return reply(&Opening::NoSandbox { why: error.to_string() }),
    };
    // Threads begin here: they are restricted as this one is.
    end_with_host(to_host.try_clone()?)?;
    let logs = logs::ToHost::install(to_host.try_clone()?, channel.log_level().load(Ordering::Relaxed));
    let image = match open(&task, to_host) {
        Ok(image) => image,
        Err(error) => {
            return reply(&Opening::Refused {
                blames_the_artifact: error.blames_the_artifact(),
                why: error.to_string(),
            });
        }
    };
    reply(&Opening::Done { files })?;
    let session = Session {
        channel: &channel,
        spin,
        image,
        logs,
        object: Cell::new(None),
        failed: RefCell::default(),
    };
    session.serve_for_ever(bytes)
}

fn unexpected(error: ChannelError) -> io::Error {
    io::Error::other(format!("the host does not keep to the protocol: {error:?}"))
}

/// Ends this process when the host ends: the other end of the pipe is closed then. A parent's death signal would follow the thread that has started
/// this process, which may end earlier than the host.
fn end_with_host(pipe: File) -> io::Result<()> {
    let wait = move || {
        let mut ends = [PollFd::new(&pipe, PollFlags::empty())];
        while poll(&mut ends, None).is_err() {}
        // The plugin may handle any other signal.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort()
    };
    std::thread::Builder::new().name("reslot-lifeline".to_owned()).spawn(wait)?;
    Ok(())
}

/// Closes what the host's process has left open for programs that it starts: the artifact gets nothing of that.
fn close_inherited(keep: &File) -> io::Result<()> {
    let keep = keep.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        // SAFETY: this process has just begun. Of descriptors above the standard ones it uses only the kept one.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Maps and verifies the artifact, as the native engine does it in a host.
fn open(task: &Task, to_host: File) -> Result<Box<dyn Image>, OpenError> {
    let engine_error = |why: String| OpenError::Engine {
        engine: reslot_report::EngineKind::Process,
        why,
        remedy: "",
        blames_the_artifact: false,
    };
    let manifest = Manifest::parse(task.manifest.as_bytes()).map_err(|error| engine_error(error.to_string()))?;
    let copy = PathBuf::from(&task.copy);
    let hash = ContentHash::of(b"");
    let linted = LintedBytes {
        bytes: &[],
        hash,
        file: &copy,
    };
    let lend = || -> Result<StagedFile, StageError> { StagedFile::lent(copy.clone()) };
    let staged = NativeEngine
        .stage(linted, &lend)
        .map_err(|error| engine_error(error.to_string()))?;
    let to_host = std::sync::Mutex::new(to_host);
    let owner = ImageOwner {
        slot: task.slot.as_str().into(),
        generation: task.generation,
        peers: Box::new(NoPeers),
        log_level: Box::new(LogLevel::heard),
        when_less: Box::new(|| {}),
        on_thread_panic: Box::new(move |report| {
            if let Ok(mut to_host) = to_host.lock() {
                logs::send(&mut to_host, &Frame::ThreadPanic(panic_of(Some(report))));
            }
        }),
    };
    // The manifest itself is compared, because nobody knows the hash of its text here.
    staged.open(owner)?.verify(manifest, hash)
}

fn panic_of(report: Option<PanicReport>) -> Panic {
    match report {
        Some(report) => Panic {
            message: report.message.to_string(),
            location: report.location,
        },
        None => Panic {
            message: "no message was left".to_owned(),
            location: None,
        },
    }
}

fn json(panic: &Panic) -> Vec<u8> {
    serde_json::to_vec(panic).unwrap_or_default()
}

/// What serves the host's messages.
struct Session<'a> {
    channel: &'a Channel,
    spin: Duration,
    image: Box<dyn Image>,
    logs: logs::Level,
    /// It is never dropped as a value: `Destroy` ends the plugin's object, and the process ends soon after that.
    object: Cell<Option<&'static dyn Object>>,
    /// Why the first call to the host failed, during the call that is served.
    failed: RefCell<Option<String>>,
}

impl Session<'_> {
    fn patience(&self) -> Patience {
        Patience {
            left: None,
            spin: self.spin,
        }
    }

    fn serve_for_ever(&self, mut bytes: Vec<u8>) -> io::Result<()> {
        loop {
            let head = self.channel.receive(&mut bytes, &mut self.patience()).map_err(unexpected)?;
            self.serve(head, &bytes, None).map_err(unexpected)?;
        }
    }

    /// Serves one message. `lent` is what the plugin has lent in the call during which the message came.
    fn serve(&self, head: Head, bytes: &[u8], lent: Option<LentAbi>) -> Result<(), ChannelError> {
        if self.logs.refresh(self.channel.log_level().load(Ordering::Relaxed)) {
            self.image.resources().log_level_changed();
        }
        let (code, reply) = match head.kind {
            Kind::Call => self.call(head, bytes, lent),
            Kind::Hook => self.hook(head, bytes),
            Kind::EndWorkers => {
                let names = self.object.get().map(|object| object.end_workers(head.code != 0));
                (0, names.unwrap_or_default().into_bytes())
            }
            Kind::Shutdown => {
                self.image.shutdown();
                let _ = io::stdout().flush();
                (0, Vec::new())
            }
            Kind::Continue | Kind::Open | Kind::Reply => {
                return Err(ChannelError::Protocol(format!("a message of the kind {:?}", head.kind)));
            }
        };
        let head = Head {
            kind: Kind::Reply,
            code,
            target: 0,
        };
        self.channel.send(head, &reply, &mut self.patience())
    }

    fn link(&self) -> LinkAbi {
        LinkAbi {
            context: (&raw const *self).cast(),
            call: call_host,
            failed: note_failure,
        }
    }

    fn call(&self, head: Head, bytes: &[u8], lent: Option<LentAbi>) -> (u32, Vec<u8>) {
        let request = RequestAbi {
            target: head.target,
            method: head.code,
            bytes: bytes.into(),
        };
        let mut reply = Buffer::with_capacity(0);
        let ended = match (head.target, self.object.get(), lent) {
            // SAFETY: the host keeps calls apart as the methods' receivers say; the link is `self`, which outlives the call.
            (INSTANCE, Some(object), _) => unsafe { object.dispatch(request, reply.as_abi(), self.link()) },
            // SAFETY: the plugin waits in `call_host`, on this thread, with what it has lent.
            (handle, _, Some(lent)) if handle != INSTANCE => unsafe {
                Some((lent.serve)(lent.context, request, reply.as_abi(), self.link()))
            },
            _ => None,
        };
        let failed = self.failed.take();
        match ended {
            Some(code::PANICKED) => (code::PANICKED, json(&panic_of(panics::take_panic(self.image.id())))),
            Some(code::FAILED) => (code::FAILED, failed.unwrap_or_default().into_bytes()),
            Some(ended) => (ended, reply.into_vec()),
            None => (code::FAILED, b"there is no such object".to_vec()),
        }
    }

    fn hook(&self, head: Head, bytes: &[u8]) -> (u32, Vec<u8>) {
        let hook = Hook::of(head.code);
        let (Some(hook), Some(arguments)) = (hook, Arguments::decode(bytes)) else {
            return (HookOutcome::Invalid as u32, Vec::new());
        };
        let (outcome, reply) = match self.run_hook(hook, head.target, arguments) {
            Ok(reply) => reply,
            Err(error) => encode_error(error),
        };
        (outcome as u32, reply)
    }

    fn run_hook(&self, hook: Hook, schemas: u64, given: Arguments<'_>) -> Result<(HookOutcome, Vec<u8>), HookError> {
        let done = |()| (HookOutcome::Done, Vec::new());
        if hook == Hook::Create {
            // SAFETY: nothing is called in the object after the image is closed, because it never is.
            let object = unsafe { self.image.create() }?;
            if !object.has_dispatch() {
                let words = "the plugin was built with an SDK that cannot make calls as bytes: build it again with the host's version of \
                             reslot-plugin-api, or run it in the native engine";
                return Err(HookError::Refused(words.to_owned()));
            }
            self.object.set(Some(Box::leak(object)));
            return Ok(done(()));
        }
        let object = self
            .object
            .get()
            .ok_or_else(|| HookError::Refused("there is no instance".to_owned()))?;
        let context = ContextAbi {
            slot: RStr::from_str(given.slot),
            generation: given.generation,
        };
        let (from, to) = ((schemas >> 32) as u32, schemas as u32);
        // SAFETY: the host calls hooks that change the object while nobody else uses it, which it promises with each of them. This is the thread
        // of all calls.
        unsafe {
            match hook {
                Hook::Create => Ok((HookOutcome::Invalid, Vec::new())),
                Hook::Init => object.init(context).map(done),
                Hook::Start => object.start(context).map(done),
                Hook::Stop => object.stop(context).map(done),
                Hook::Health => {
                    let HealthAbi { result, message } = object.health(context)?.into();
                    Ok((HookOutcome::Done, [&result.to_le_bytes()[..], message.as_bytes()].concat()))
                }
                Hook::Snapshot => Ok(match object.snapshot(0)? {
                    Some(state) => (HookOutcome::Done, state),
                    None => (HookOutcome::NoState, Vec::new()),
                }),
                Hook::Restore => object.restore(given.bytes).map(done),
                Hook::Migrate => Ok((HookOutcome::Done, object.migrate(from, to, given.bytes)?)),
                Hook::CannotRead => Ok(match object.cannot_read(given.bytes) {
                    Some(why) => (HookOutcome::Refused, why.into_bytes()),
                    None => (HookOutcome::Done, Vec::new()),
                }),
                Hook::Configure => object.configure(context, given.bytes).map(done),
                Hook::CheckConfig => object.check_config(context, given.bytes).map(done),
                Hook::Resource => object.resource(context, given.name, given.bytes).map(done),
                Hook::Destroy => {
                    self.object.set(None);
                    object.destroy().map(done)
                }
            }
        }
    }
}

fn encode_error(error: HookError) -> (HookOutcome, Vec<u8>) {
    match error {
        HookError::Refused(words) => (HookOutcome::Refused, words.into_bytes()),
        HookError::NotCarried(words) => (HookOutcome::NotCarried, words.into_bytes()),
        HookError::TooDeep { .. } => (HookOutcome::TooDeep, Vec::new()),
        HookError::StackTooSmall { system, .. } => (HookOutcome::StackUsed, system.unwrap_or_default().into_bytes()),
        HookError::Panicked { message, location, .. } => {
            let message = message.to_string();
            (HookOutcome::Panicked, json(&Panic { message, location }))
        }
        other => (HookOutcome::Refused, other.to_string().into_bytes()),
    }
}

/// The plugin calls an object that the host has lent: the message goes to the host, and until the reply comes, the host's calls are served.
unsafe extern "C" fn call_host(context: *const (), request: RequestAbi<'_>, reply: &mut BufferAbi, lent: LentAbi) -> u32 {
    // SAFETY: the context is the session's address, see `Session::link`, and the session lives as long as this process serves.
    let session = unsafe { &*context.cast::<Session<'_>>() };
    let head = Head {
        kind: Kind::Call,
        code: request.method,
        target: request.target,
    };
    let mut exchange = || -> Result<u32, ChannelError> {
        let mut bytes = Vec::new();
        session
            .channel
            .send(head, request.bytes.as_slice(), &mut session.patience())?;
        loop {
            let head = session.channel.receive(&mut bytes, &mut session.patience())?;
            if head.kind == Kind::Reply {
                // Writing to memory does not fail.
                let _ = Writer::new(reply).write_all(&bytes);
                return Ok(head.code);
            }
            session.serve(head, &bytes, Some(lent))?;
        }
    };
    exchange().unwrap_or_else(|error| {
        // Nobody gets an answer any more.
        eprintln!("reslot-child: {}", unexpected(error));
        std::process::exit(1)
    })
}

unsafe extern "C" fn note_failure(context: *const (), _: u32, reason: RStr<'_>) {
    // SAFETY: as in `call_host`.
    let session = unsafe { &*context.cast::<Session<'_>>() };
    session.failed.borrow_mut().get_or_insert_with(|| reason.to_string());
}

/// A plugin that names others is refused by the host, so nothing finds any.
struct NoPeers;

impl PeerTable for NoPeers {
    fn find(&self, _: &str, _: Interface) -> Result<*const (), (PeerErrorKind, String)> {
        let words = "a plugin in a process of its own cannot call others".to_owned();
        Err((PeerErrorKind::NoHost, words))
    }

    unsafe fn load(&self, _: *const ()) -> LoadedAbi {
        LoadedAbi {
            hold: std::ptr::null(),
            core: std::ptr::null(),
            data: std::ptr::null_mut(),
            table: std::ptr::null(),
            gated: false,
        }
    }

    unsafe fn release(&self, _: *const ()) {}

    unsafe fn pass(&self, _: *const (), _: PassAbi) -> Result<(), CallError> {
        Err(vacant())
    }

    unsafe fn fault(&self, _: *const (), _: &str, _: Status) -> CallError {
        vacant()
    }

    unsafe fn absent(&self, _: *const ()) -> CallError {
        vacant()
    }
}

fn vacant() -> CallError {
    CallError::new("", 0, "a peer", Fault::Vacant)
}
