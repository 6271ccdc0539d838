//! A module from its bytes until its code is freed.

use crate::{
    code::{Code, Runtime},
    limits::Limits,
    lint,
    object::WasmObject,
    owner::Owner,
};
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_engine::{Holding, Image, ImageId, ImageOwner, Object, Opened, Resources, StagedArtifact, Trial, Unloading};
use reslot_report::{EngineKind, HookError, OpenError, QuarantineReason};
use reslot_stage::StagedFile;
use std::{path::Path, sync::Arc};

/// A linted module, which is not compiled yet.
pub(crate) struct StagedModule {
    pub(crate) bytes: Vec<u8>,
    pub(crate) runtime: Result<Arc<Runtime>, String>,
    pub(crate) limits: Limits,
}

fn cannot(why: String, blames_the_artifact: bool) -> OpenError {
    OpenError::Engine {
        engine: EngineKind::Wasm,
        why,
        remedy: "build the plugin again with `build-plugin --wasm`; if that does not help, run it with the native engine",
        blames_the_artifact,
    }
}

impl StagedArtifact for StagedModule {
    fn copy(&self) -> Option<&StagedFile> {
        None
    }

    fn trial(&self) -> Option<&dyn Trial> {
        // What a trial in a process of its own would find out, happens in the sandbox.
        None
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError> {
        let Self { bytes, runtime, limits } = *self;
        let runtime = runtime.map_err(|why| cannot(why, false))?;
        let manifest = lint::structure(&bytes).map(Manifest::text_hash);
        let manifest = manifest.map_err(|error| cannot(error.to_string(), true))?;
        let code = runtime.compile(&bytes).map_err(|error| cannot(format!("{error:#}"), true))?;
        let owner = Arc::new(Owner::new(owner));
        let module = Arc::new(Mapped {
            runtime,
            code,
            owner,
            limits,
        });
        Ok(Box::new(OpenedModule { module, manifest }))
    }
}

/// The code of a module with its owner. Objects keep it.
pub(crate) struct Mapped {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) code: Code,
    pub(crate) owner: Arc<Owner>,
    pub(crate) limits: Limits,
}

struct OpenedModule {
    module: Arc<Mapped>,
    manifest: ContentHash,
}

impl Opened for OpenedModule {
    fn resources(&self) -> Arc<dyn Resources> {
        self.module.owner.clone()
    }

    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError> {
        if self.manifest != written {
            return Err(OpenError::OtherManifest);
        }
        Ok(Box::new(WasmImage {
            module: self.module,
            manifest: Arc::new(manifest),
        }))
    }
}

struct WasmImage {
    module: Arc<Mapped>,
    manifest: Arc<Manifest>,
}

// SAFETY: an object has a table of its own, which lives as long as the object, and keeps the module.
unsafe impl Image for WasmImage {
    fn engine(&self) -> EngineKind {
        EngineKind::Wasm
    }

    fn id(&self) -> ImageId {
        self.module.owner.id
    }

    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.module.owner.clone()
    }

    fn copy(&self) -> Option<&Path> {
        None
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        None
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        Ok(Box::new(WasmObject::create(&self.module, &self.manifest)?))
    }

    fn may_have_second(&self) -> bool {
        true
    }

    fn shutdown(&self) {}

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn holding(&self) -> Holding {
        Holding::Nothing
    }

    fn close(mut self: Box<Self>) -> Unloading {
        let Some(module) = Arc::get_mut(&mut self.module) else {
            let why = "an object of it was not dropped".to_owned();
            return Unloading::Stays(self, QuarantineReason::LoaderKeepsIt(why));
        };
        match module.code.free() {
            Ok(()) => Unloading::SandboxFreed,
            Err(why) => Unloading::Stays(self, QuarantineReason::LoaderKeepsIt(why)),
        }
    }
}
