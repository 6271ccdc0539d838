//! An engine whose artifacts are no libraries: their code is a plugin of this program, and a script says how it misbehaves. It keeps each
//! object that was destroyed to the end of the execution, so that a call that comes too late is noticed and does no harm.

use crate::{
    plugins,
    world::{Here, ImageState, ObjectState, Script},
};
use reslot_artifact::{
    ContentHash,
    lint::{LintError, Linted},
    manifest::{Manifest, ManifestError},
};
use reslot_engine::{
    Engine, Holding, Image, ImageId, ImageOwner, LintedBytes, Object, Opened, Resources, StagedArtifact, Trial, Unloading,
};
use reslot_linked::LinkedEngine;
use reslot_plugin_api::{__private::ContextAbi, Health, LinkedPlugin};
use reslot_report::{EngineKind, HookError, OpenError, QuarantineReason, StageError, UnloadReport};
use reslot_stage::StagedFile;
use std::{
    cell::RefCell,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// The bytes of an artifact: the length of the manifest, the manifest, and the script.
pub fn artifact(plugin: LinkedPlugin, script: &Script) -> Vec<u8> {
    let manifest = plugin.manifest();
    let mut bytes = (manifest.len() as u64).to_le_bytes().to_vec();
    bytes.extend(manifest);
    bytes.extend(serde_json::to_vec(script).expect("a script can be written"));
    bytes
}

fn parts(bytes: &[u8]) -> Option<(&[u8], Script)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (manifest, script) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((manifest, serde_json::from_slice(script).ok()?))
}

/// Whether these are the bytes of an artifact.
pub fn is_artifact(bytes: &[u8]) -> bool {
    parts(bytes).is_some()
}

/// Runs such artifacts.
#[derive(Debug)]
pub struct ScriptEngine;

impl Engine for ScriptEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Native
    }

    fn format(&self) -> &'static str {
        "a script"
    }

    fn has_format(&self, _: &[u8]) -> bool {
        true
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        match parts(bytes) {
            Some((manifest, _)) => Linted::of_manifest(manifest),
            None => Err(LintError::Manifest(ManifestError::Empty)),
        }
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(Staged(write_copy()?, linted.hash)))
    }
}

struct Staged(StagedFile, ContentHash);

impl StagedArtifact for Staged {
    fn copy(&self) -> Option<&StagedFile> {
        Some(&self.0)
    }

    fn trial(&self) -> Option<&dyn Trial> {
        None
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError> {
        let bytes = std::fs::read(self.0.path()).expect("the private copy was written just now");
        let (manifest, script) = parts(&bytes).expect("the lint has seen the parts");
        let plugin = plugins::all()
            .into_iter()
            .find(|plugin| plugin.manifest() == manifest)
            .expect("the artifacts are made of these plugins");
        let state = ImageState::new(script, owner.slot.clone(), owner.generation);
        let none = || unreachable!("a linked plugin has no copy");
        let linted = LintedBytes {
            bytes: &bytes,
            hash: self.1,
            file: Path::new(""),
        };
        let linked = LinkedEngine::new(plugin).stage(linted, &none).expect("nothing is written");
        Ok(Box::new(OpenedScript {
            opened: linked.open(owner)?,
            state,
            copy: self.0,
            hash: self.1,
        }))
    }
}

struct OpenedScript {
    opened: Box<dyn Opened>,
    state: Arc<ImageState>,
    copy: StagedFile,
    hash: ContentHash,
}

impl Opened for OpenedScript {
    fn resources(&self) -> Arc<dyn Resources> {
        self.opened.resources()
    }

    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError> {
        let Self {
            opened,
            state,
            copy,
            hash,
        } = *self;
        if state.script.lies {
            return Err(OpenError::OtherManifest);
        }
        let image = opened.verify(manifest, written)?;
        Ok(Box::new(ScriptImage {
            image,
            state,
            copy,
            hash,
        }))
    }
}

struct ScriptImage {
    image: Box<dyn Image>,
    state: Arc<ImageState>,
    copy: StagedFile,
    hash: ContentHash,
}

// SAFETY: the objects are those of a linked plugin, and stay until the execution is over.
unsafe impl Image for ScriptImage {
    fn engine(&self) -> EngineKind {
        EngineKind::Native
    }

    fn id(&self) -> ImageId {
        self.image.id()
    }

    fn manifest(&self) -> &Arc<Manifest> {
        self.image.manifest()
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.image.resources()
    }

    fn copy(&self) -> Option<&Path> {
        Some(self.copy.path())
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        Some(self.hash)
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        let object = Arc::new(ObjectState::default());
        let here = Here {
            image: self.state.clone(),
            object,
        };
        // SAFETY: the caller's promise.
        let object = here.within(|| unsafe { self.image.create() })?;
        self.state.objects.fetch_add(1, Relaxed);
        Ok(Box::new(ScriptObject {
            object: object.into(),
            here,
        }))
    }

    fn may_have_second(&self) -> bool {
        self.image.may_have_second()
    }

    fn shutdown(&self) {
        self.image.shutdown();
    }

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn holding(&self) -> Holding {
        self.image.holding()
    }

    fn close(self: Box<Self>) -> Unloading {
        let state = &self.state;
        if state.stayed.load(Relaxed) < state.script.stays {
            state.stayed.fetch_add(1, Relaxed);
            return Unloading::Stays(
                self,
                QuarantineReason::ThreadsRunning(vec!["a thread of the script".to_owned()]),
            );
        }
        if state.objects.load(Relaxed) > 0 {
            reslot_sync::fail("an image is closed while it has an object");
        }
        if !state.mapped.swap(false, Relaxed) {
            reslot_sync::fail("an image is closed twice");
        }
        let _ = self.image.close();
        Unloading::Unmapped(UnloadReport::default())
    }
}

struct ScriptObject {
    object: Arc<dyn Object>,
    here: Here,
}

thread_local! {
    /// The objects of this execution whose `destroy` was called.
    static DESTROYED: RefCell<Vec<Arc<dyn Object>>> = const { RefCell::new(Vec::new()) };
}

/// Frees the objects of the execution before.
pub fn begin() {
    for object in DESTROYED.take() {
        // SAFETY: no thread of that execution runs any more, and each object is in this list once.
        let _ = unsafe { object.destroy() };
    }
}

// SAFETY: data and table are those of a linked plugin's object, which is destroyed when its execution is over.
unsafe impl Object for ScriptObject {
    fn data(&self) -> *mut () {
        self.object.data()
    }

    fn table(&self) -> *const () {
        self.object.table()
    }

    fn snapshot(&self, capacity: usize) -> Result<Option<Vec<u8>>, HookError> {
        self.here.within(|| self.object.snapshot(capacity))
    }

    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        self.here.within(|| self.object.migrate(from, to, state))
    }

    fn cannot_read(&self, state: &[u8]) -> Option<String> {
        self.here.within(|| self.object.cannot_read(state))
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        self.here.within(|| self.object.health(context))
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        self.here.within(|| self.object.check_config(context, config))
    }

    fn end_workers(&self, own: bool) -> String {
        self.object.end_workers(own)
    }

    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.restore(state) })
    }

    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.configure(context, config) })
    }

    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.resource(context, name, bytes) })
    }

    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.init(context) })
    }

    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        if self.here.object.started.swap(true, Relaxed) {
            reslot_sync::fail("an instance is started twice");
        }
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.start(context) })
    }

    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.here.object.started.store(false, Relaxed);
        // SAFETY: the caller's promise.
        self.alone(|| unsafe { self.object.stop(context) })
    }

    unsafe fn destroy(&self) -> Result<(), HookError> {
        // The object's memory stays until the execution is over, so that a call that comes too late finds the mark.
        self.alone(|| ());
        if self.here.object.destroyed.swap(true, Relaxed) {
            reslot_sync::fail("an object is destroyed twice");
        }
        self.here.image.objects.fetch_sub(1, Relaxed);
        DESTROYED.with_borrow_mut(|destroyed| destroyed.push(self.object.clone()));
        Ok(())
    }
}

impl ScriptObject {
    /// Runs a hook that takes the object mutably. Nothing else may run in it.
    fn alone<R>(&self, hook: impl FnOnce() -> R) -> R {
        let inside = &self.here.object.inside;
        if inside.load(Relaxed) > 0 {
            reslot_sync::fail("a hook takes an object mutably while a call or a hook runs in it");
        }
        let before = self.here.object.exclusive.swap(reslot_sync::thread_number(), Relaxed);
        let answer = self.here.within(hook);
        self.here.object.exclusive.store(before, Relaxed);
        answer
    }
}
