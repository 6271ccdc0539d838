//! A linked plugin as an image: attached to its host when it is opened, of which instances are made, and gone as soon as the last of them is
//! dropped and no thread of it runs.

use crate::attached::Attached;
use reslot_artifact::{
    ContentHash,
    lint::{LintError, Linted},
    manifest::Manifest,
};
use reslot_engine::{
    Engine, Holding, Image, ImageId, ImageOwner, LintedBytes, Object, Opened, Resources, RootAccess, RootObject,
    StagedArtifact, Trial, Unloading,
};
use reslot_plugin_api::{
    __private::{LinkedImage, RootRef},
    LinkedPlugin,
};
use reslot_report::{EngineKind, HookError, OpenError, StageError};
use reslot_stage::StagedFile;
use std::{path::Path, sync::Arc};

/// Runs one plugin that is linked into the program.
#[derive(Debug)]
pub struct LinkedEngine(LinkedPlugin);

impl LinkedEngine {
    /// For this plugin.
    #[must_use]
    pub fn new(plugin: LinkedPlugin) -> Self {
        Self(plugin)
    }
}

impl Engine for LinkedEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Linked
    }

    fn format(&self) -> &'static str {
        "a part of the program"
    }

    fn has_format(&self, _: &[u8]) -> bool {
        // No file is for this engine.
        false
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        // The bytes that stand for a linked plugin are its manifest.
        Linted::of_manifest(bytes)
    }

    fn stage(
        &self,
        _: LintedBytes<'_>,
        _: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(Code(self.0)))
    }
}

/// A plugin's code, which has been in the program since its start.
struct Code(LinkedPlugin);

impl StagedArtifact for Code {
    fn copy(&self) -> Option<&StagedFile> {
        None
    }

    fn trial(&self) -> Option<&dyn Trial> {
        // A child process of another program does not have it.
        None
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn Opened>, OpenError> {
        reslot_native::prepare_backtraces();
        let resources = Arc::new(Attached::new(owner));
        let image = Arc::new(self.0.attach(resources.clone()));
        Ok(Box::new(OpenedPlugin { image, resources }))
    }
}

/// A plugin that is attached to a host, and not verified yet.
struct OpenedPlugin {
    image: Arc<LinkedImage>,
    resources: Arc<Attached>,
}

impl Opened for OpenedPlugin {
    fn resources(&self) -> Arc<dyn Resources> {
        self.resources.clone()
    }

    fn verify(self: Box<Self>, manifest: Manifest, written: ContentHash) -> Result<Box<dyn Image>, OpenError> {
        let Self { image, resources } = *self;
        // The root is of this program's own build, so its layout needs no comparison.
        if Manifest::text_hash(image.plugin().manifest()) != written {
            return Err(OpenError::OtherManifest);
        }
        let manifest = Arc::new(manifest);
        Ok(Box::new(AttachedPlugin {
            image,
            resources,
            manifest,
        }))
    }
}

/// A plugin that is attached to a host.
struct AttachedPlugin {
    image: Arc<LinkedImage>,
    resources: Arc<Attached>,
    manifest: Arc<Manifest>,
}

/// The way to its root.
#[derive(Clone)]
struct LinkedRoot(Arc<LinkedImage>);

// SAFETY: a linked plugin's root is a constant of this program, which was compiled with this very reslot-plugin-api; the attachment names its
// host.
unsafe impl RootAccess for LinkedRoot {
    fn within<R>(&self, body: impl FnOnce(RootRef) -> R) -> R {
        self.0.within(body)
    }
}

// SAFETY: the table lies in the program and is good for ever, and an object until it is destroyed.
unsafe impl Image for AttachedPlugin {
    fn engine(&self) -> EngineKind {
        EngineKind::Linked
    }

    fn id(&self) -> ImageId {
        self.resources.id()
    }

    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.resources.clone()
    }

    fn copy(&self) -> Option<&Path> {
        None
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        None
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        let object = RootObject::create(&LinkedRoot(self.image.clone()), self.resources.id())?;
        Ok(Box::new(object))
    }

    fn may_have_second(&self) -> bool {
        true
    }

    fn shutdown(&self) {
        self.image.within(|root| root.shutdown()());
    }

    fn live_bytes(&self) -> Option<u64> {
        None
    }

    fn holding(&self) -> Holding {
        Holding::Nothing
    }

    fn close(self: Box<Self>) -> Unloading {
        self.resources.close();
        Unloading::Linked
    }
}
