//! The traits of `reslot-engine` for plugins in processes of their own.

use crate::{
    channel::{Channel, Head, Kind, Patience},
    link::Link,
    logs::Frame,
    object::RemoteObject,
    process::ChildProcess,
    settings::{Process, Settings},
    task::{Enforced, Opening, Task, identity},
};
use reslot_artifact::{
    ContentHash, boundary,
    lint::{LintError, Linted},
    manifest::Manifest,
};
use reslot_engine::{
    Engine, Holding, Image, ImageId, ImageOwner, LintedBytes, LogLevel, Object, Opened, Resources, StagedArtifact, Trial,
    Unloading, next_image_id, panics::PanicReport,
};
use reslot_native::{NativeEngine, preflight::find_child_program};
use reslot_plugin_api::{
    Backtrace,
    guest::{Arguments, Hook},
};
use reslot_report::{Comparison, EngineKind, HookError, OpenError, QuarantineReason, StageError};
use reslot_stage::StagedFile;
use reslot_sync::atomic::Ordering;
use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

/// The environment variable with the path of the program.
const VARIABLE: &str = "RESLOT_CHILD";
const PROGRAM: &str = "reslot-child";
/// How long a child may take to open its artifact.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

impl Engine for Process {
    fn kind(&self) -> EngineKind {
        EngineKind::Process
    }

    fn format(&self) -> &'static str {
        NativeEngine.format()
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        NativeEngine.has_format(bytes)
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        NativeEngine.lint(bytes)
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(Copy {
            manifest: reslot_artifact::inspect(linted.bytes).manifest,
            file: write_copy()?,
            hash: linted.hash,
            settings: self.0.clone(),
        }))
    }
}

/// A linted copy, which the child maps.
struct Copy {
    manifest: Option<Manifest>,
    file: StagedFile,
    hash: ContentHash,
    settings: Settings,
}

impl StagedArtifact for Copy {
    fn copy(&self) -> Option<&StagedFile> {
        Some(&self.file)
    }

    fn trial(&self) -> Option<&dyn Trial> {
        // It runs where a crash does not harm the host.
        None
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError> {
        let Self {
            manifest,
            file,
            hash,
            settings,
        } = *self;
        let manifest = manifest.ok_or(OpenError::OtherManifest)?;
        unsupported(&manifest)?;
        let (slot, generation, id) = (owner.slot.to_string(), owner.generation, next_image_id());
        let owner = Arc::new(owner);
        let child = start(&settings, &owner)?;
        child.channel.log_level().store((owner.log_level)() as u32, Ordering::Relaxed);
        let task = Task {
            build: identity(),
            copy: file.path().as_os_str().to_owned(),
            manifest: serde_json::to_string(&manifest).map_err(|error| failed(format!("its manifest: {error}")))?,
            slot: slot.clone(),
            generation,
            bounds: settings.bounds.clone(),
        };
        let files = open_in(&child, &settings, &task)?;
        report_sandbox(&slot, generation, child.pid(), files);
        let link = Link::new(child, id, settings, slot, &manifest);
        let resources = Arc::new(ProcessResources {
            owner,
            link: std::sync::OnceLock::new(),
        });
        let link = Arc::new(link);
        let _ = resources.link.set(Arc::downgrade(&link));
        Ok(Box::new(ProcessImage {
            link,
            manifest: Arc::new(manifest),
            resources,
            file,
            hash,
        }))
    }
}

fn failed(why: String) -> OpenError {
    OpenError::Engine {
        engine: EngineKind::Process,
        why,
        remedy: "follow the message; the same artifact may be loaded again",
        blames_the_artifact: false,
    }
}

/// Refuses what cannot work in another process.
fn unsupported(manifest: &Manifest) -> Result<(), OpenError> {
    let refused = |why: String, remedy: &'static str| OpenError::Engine {
        engine: EngineKind::Process,
        why,
        remedy,
        blames_the_artifact: true,
    };
    if let Some(peer) = manifest.uses.first() {
        let why = format!("the plugin calls {peer:?}, and a plugin in a process of its own cannot call other plugins");
        return Err(refused(
            why,
            "run it in the native engine, or pass it what it needs as an object of the caller",
        ));
    }
    let methods = boundary::unsupported(&manifest.interface, size_of::<usize>());
    if !methods.is_empty() {
        let words: Vec<_> = methods.iter().map(ToString::to_string).collect();
        return Err(refused(
            words.join("; "),
            "change these methods, or run the plugin in the native engine",
        ));
    }
    Ok(())
}

fn start(settings: &Settings, owner: &Arc<ImageOwner>) -> Result<ChildProcess, OpenError> {
    let found = find_child_program(settings.program.as_deref(), VARIABLE, PROGRAM);
    let found = found.map_err(|error| failed(format!("cannot find the running program: {error}")))?;
    let program = found.map_err(|tried| OpenError::Engine {
        engine: EngineKind::Process,
        why: format!("the program `{PROGRAM}` is in none of these places: {tried:?}"),
        remedy: "build `reslot-child` of the crate reslot-process, and put it beside your program, or name it with `Process::program` or \
                 RESLOT_CHILD",
        blames_the_artifact: false,
    })?;
    let channel = Channel::create(settings.message_bytes).map_err(|error| failed(format!("no shared memory: {error}")))?;
    let owner = owner.clone();
    let on_frame = move |frame| match frame {
        Frame::Record(record) => record.emit(&owner.slot, owner.generation),
        Frame::ThreadPanic(panic) => {
            let location = panic.location.unwrap_or_default();
            (owner.on_thread_panic)(PanicReport::new(&panic.message, &location, Backtrace::default()));
        }
    };
    ChildProcess::start(&program, !settings.bounds.sandbox, channel, on_frame)
        .map_err(|error| failed(format!("{} could not be started: {error}", program.display())))
}

/// Has the child open the artifact.
fn open_in(child: &ChildProcess, settings: &Settings, task: &Task) -> Result<Enforced, OpenError> {
    let head = Head {
        kind: Kind::Open,
        code: 0,
        target: settings.spin.as_nanos().try_into().unwrap_or(u64::MAX),
    };
    let message = serde_json::to_vec(task).map_err(|error| failed(error.to_string()))?;
    let mut patience = Patience {
        left: Some(OPEN_DEADLINE),
        spin: Duration::ZERO,
    };
    let mut reply = Vec::new();
    let sent = child.channel.send(head, &message, &mut patience);
    let answered = sent.and_then(|()| child.channel.receive(&mut reply, &mut patience));
    if let Err(error) = answered {
        let ended = child.wait(Duration::from_millis(100)) || child.kill();
        let cause = child.end_cause(settings.bounds.memory);
        return Err(failed(match (error, ended) {
            (crate::channel::ChannelError::Ended, true) => {
                format!("its process ended while it opened the artifact: {cause}")
            }
            (error, _) => format!("its process did not open the artifact: {error:?}"),
        }));
    }
    match serde_json::from_slice(&reply) {
        Ok(Opening::Done { files }) => Ok(files),
        Ok(Opening::NoSandbox { why }) => Err(OpenError::Engine {
            engine: EngineKind::Process,
            why: format!("its process could not be restricted as asked: {why}"),
            remedy: "use another kernel, or `Sandbox::best_effort`",
            blames_the_artifact: false,
        }),
        Ok(Opening::OtherBuild { build }) => Err(OpenError::Engine {
            engine: EngineKind::Process,
            why: format!("the child's program is {build:?}, and this host {:?}", identity()),
            remedy: "build the program `reslot-child` and the host from the same sources",
            blames_the_artifact: false,
        }),
        Ok(Opening::Refused {
            why,
            blames_the_artifact,
        }) => Err(OpenError::Engine {
            engine: EngineKind::Process,
            why,
            remedy: "rebuild the plugin with the host's version of reslot-plugin-api, or install what its process misses",
            blames_the_artifact,
        }),
        Err(error) => Err(failed(format!("its process answered with no opening: {error}"))),
    }
}

fn report_sandbox(slot: &str, generation: u64, pid: u32, files: Enforced) {
    match files {
        Enforced::NotAsked => tracing::info!(
            slot,
            generation,
            pid,
            "the plugin runs in a process of its own, without a sandbox"
        ),
        Enforced::Fully => tracing::info!(slot, generation, pid, "the plugin runs in a process of its own, in a sandbox"),
        Enforced::Partly => {
            tracing::info!(
                slot,
                generation,
                pid,
                "the plugin runs in a process of its own, in a sandbox, of which this kernel does not know the latest restrictions"
            );
        }
        Enforced::Not => {
            tracing::warn!(
                slot,
                generation,
                pid,
                "the plugin runs in a process of its own, in a sandbox without landlock: it can reach files"
            );
        }
    }
}

/// A child that has opened its artifact.
struct ProcessImage {
    link: Arc<Link>,
    manifest: Arc<Manifest>,
    resources: Arc<ProcessResources>,
    file: StagedFile,
    hash: ContentHash,
}

impl Opened for ProcessImage {
    fn resources(&self) -> Arc<dyn Resources> {
        self.resources.clone()
    }

    fn verify(self: Box<Self>, manifest: Manifest, _: ContentHash) -> Result<Box<dyn Image>, OpenError> {
        // The child has compared what it has mapped with this manifest.
        match *self.manifest == manifest {
            true => Ok(self),
            false => Err(OpenError::OtherManifest),
        }
    }
}

// SAFETY: an object and its table are memory of the host, and live as long as the `RemoteObject`.
unsafe impl Image for ProcessImage {
    fn engine(&self) -> EngineKind {
        EngineKind::Process
    }

    fn id(&self) -> ImageId {
        self.link.image
    }

    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.resources.clone()
    }

    fn copy(&self) -> Option<&Path> {
        Some(self.file.path())
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        Some(self.hash)
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        self.link.hook(Hook::Create, (0, 0), Arguments::default())?;
        Ok(Box::new(RemoteObject::new(&self.link, self.manifest.interface.methods.len())))
    }

    fn may_have_second(&self) -> bool {
        // The child has one instance. Nobody can hold a borrow of it, which would need a second one.
        false
    }

    fn shutdown(&self) {
        let head = Head {
            kind: Kind::Shutdown,
            code: 0,
            target: 0,
        };
        let _ = self.link.tell(head, &[]);
    }

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn holding(&self) -> Holding {
        Holding::Nothing
    }

    fn close(self: Box<Self>) -> Unloading {
        let pid = self.link.child.pid();
        match self.link.child.kill() {
            true => Unloading::ProcessEnded { pid },
            false => {
                let words = format!("the kernel has not ended its process {pid}, which was killed");
                Unloading::Stays(self, QuarantineReason::LoaderKeepsIt(words))
            }
        }
    }
}

/// What an image has in the host's process beside its child: nothing that would keep it.
struct ProcessResources {
    owner: Arc<ImageOwner>,
    link: std::sync::OnceLock<Weak<Link>>,
}

impl Resources for ProcessResources {
    fn engine(&self) -> EngineKind {
        EngineKind::Process
    }

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn log_level_changed(&self) {
        let level: LogLevel = (self.owner.log_level)();
        if let Some(link) = self.link.get().and_then(Weak::upgrade) {
            // The child reads it with its next message.
            link.child.channel.log_level().store(level as u32, Ordering::Relaxed);
        }
    }

    fn holding(&self) -> Holding {
        Holding::Nothing
    }

    fn running_threads(&self) -> Vec<String> {
        Vec::new()
    }

    fn threads_with_values(&self) -> Vec<String> {
        Vec::new()
    }

    fn compare(&self, _: &dyn Fn() -> bool) -> Comparison {
        Comparison::NotApplicable
    }

    fn watch(&self) {}

    fn end(&self) {}
}
