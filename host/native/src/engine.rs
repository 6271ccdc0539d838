//! Implements the traits of `reslot-engine`, by which the runtime knows this engine, its images and their resources.

use crate::{
    logs::LogForwarder,
    open::{Image, Opened},
    preflight,
    resources::Ledger,
    unload,
};
use reslot_artifact::{
    ContentHash,
    lint::{self, Expectations, LintError, Linted},
    manifest::Manifest,
};
use reslot_engine::{
    Engine, Holding, ImageId, ImageOwner, LintedBytes, Object, Preflight, PreflightCandidate, Resources, RootAccess,
    RootObject, StagedArtifact, Trial, Unloading,
};
use reslot_plugin_api::__private::RootRef;
use reslot_report::{Comparison, EngineKind, HookError, OpenError, PreflightError, PreflightReport, StageError};
use reslot_stage::StagedFile;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Maps artifacts into this process.
#[derive(Debug)]
pub struct NativeEngine;

impl Engine for NativeEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Native
    }

    fn format(&self) -> &'static str {
        "a shared library"
    }

    fn has_format(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"\x7fELF")
    }

    fn lint(&self, bytes: &mut [u8]) -> Result<Linted, LintError> {
        lint::lint(bytes, &Expectations::of_this_build())
    }

    fn stage(
        &self,
        linted: LintedBytes<'_>,
        write_copy: &dyn Fn() -> Result<StagedFile, StageError>,
    ) -> Result<Box<dyn StagedArtifact>, StageError> {
        Ok(Box::new(PrivateCopy {
            hash: linted.hash,
            published: linted.file.to_owned(),
            file: write_copy()?,
        }))
    }
}

/// A linted copy, which nobody else writes to.
struct PrivateCopy {
    file: StagedFile,
    hash: ContentHash,
    published: PathBuf,
}

impl StagedArtifact for PrivateCopy {
    fn copy(&self) -> Option<&StagedFile> {
        Some(&self.file)
    }

    fn open(self: Box<Self>, owner: ImageOwner) -> Result<Box<dyn reslot_engine::Opened>, OpenError> {
        let Self { file, hash, published } = *self;
        let opened = Opened::open(file)?;
        let name = owner.image_name();
        let ledger = Ledger::new(name, owner.when_less, owner.on_thread_panic);
        ledger.set_integrity(opened.integrity(hash, published));
        ledger.set_log_forwarder(LogForwarder::new(owner.slot, owner.generation, owner.log_level));
        ledger.set_peers(owner.peers);
        Ok(Box::new(UnverifiedImage { opened, ledger, hash }))
    }

    fn trial(&self) -> Option<&dyn Trial> {
        Some(self)
    }
}

impl Trial for PrivateCopy {
    fn preflight(
        &self,
        how: &Preflight,
        candidate: &PreflightCandidate<'_>,
        state: Option<(u32, &[u8])>,
    ) -> Result<PreflightReport, PreflightError> {
        preflight::run(how, candidate, self.file.path(), state)
    }
}

/// An image that is mapped, and not verified yet.
struct UnverifiedImage {
    opened: Opened,
    ledger: Arc<Ledger>,
    hash: ContentHash,
}

impl reslot_engine::Opened for UnverifiedImage {
    fn resources(&self) -> Arc<dyn Resources> {
        self.ledger.clone()
    }

    fn verify(
        self: Box<Self>,
        manifest: Manifest,
        written: ContentHash,
    ) -> Result<Box<dyn reslot_engine::Image>, OpenError> {
        let Self { opened, ledger, hash } = *self;
        let mut image = opened.verify(manifest, Some(written), ledger)?;
        image.copy_hash = Some(hash);
        Ok(Box::new(image))
    }
}

/// The root of a mapped image.
#[derive(Clone)]
struct MappedRoot(RootRef);

// SAFETY: `Image::create` below is the only maker. It takes the root of a verified image, which is valid while the image is mapped.
unsafe impl RootAccess for MappedRoot {
    fn within<R>(&self, body: impl FnOnce(RootRef) -> R) -> R {
        body(self.0)
    }
}

// SAFETY: objects are memory of the image, and tables lie in it; the image is mapped until `close`.
unsafe impl reslot_engine::Image for Image {
    fn engine(&self) -> EngineKind {
        EngineKind::Native
    }

    fn id(&self) -> ImageId {
        self.ledger.id()
    }

    fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn resources(&self) -> Arc<dyn Resources> {
        self.ledger.clone()
    }

    fn copy(&self) -> Option<&Path> {
        Some(self.staged.path())
    }

    fn copy_hash(&self) -> Option<ContentHash> {
        self.copy_hash
    }

    unsafe fn create(&self) -> Result<Box<dyn Object>, HookError> {
        let object = RootObject::create(&MappedRoot(self.root()), self.ledger.id())?;
        Ok(Box::new(object))
    }

    fn may_have_second(&self) -> bool {
        self.root().end_workers_of().is_some()
    }

    fn shutdown(&self) {
        self.root().shutdown()();
    }

    fn live_bytes(&self) -> Option<u64> {
        self.root().live_bytes()().into_option()
    }

    fn holding(&self) -> Holding {
        unload::holding(self)
    }

    fn close(self: Box<Self>) -> Unloading {
        unload::close(self)
    }
}

impl Resources for Ledger {
    fn engine(&self) -> EngineKind {
        EngineKind::Native
    }

    fn live_bytes(&self) -> Option<u64> {
        self.live_bytes()
    }

    fn log_level_changed(&self) {
        self.set_image_log_level();
    }

    fn holding(&self) -> Holding {
        self.holding()
    }

    fn running_threads(&self) -> Vec<String> {
        self.running_threads()
    }

    fn threads_with_values(&self) -> Vec<String> {
        self.threads_with_values()
    }

    fn compare(&self, may_continue: &dyn Fn() -> bool) -> Comparison {
        self.compare(may_continue)
    }

    fn watch(&self) {
        self.watch();
    }

    fn end(&self) {
        self.end();
    }
}
