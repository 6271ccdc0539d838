//! Opening a linted copy and verifying, on the mapped image, that it is what was linted. The first code of the artifact runs
//! here; everything that can be known before that is `lint`'s affair.

use super::{
    loaded::{self, Mapped},
    remains::Remains,
    resources::ImageResources,
    services,
    symbols::Registered,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_plugin_api::__private::{Header, MAGIC, ROOT_SYMBOL, RootRef, SOURCES, StableAbi, cut_words};
use reslot_process::PerProcess;
use reslot_report::{OpenError, UnloadReport};
use reslot_stage::StagedFile;
use std::{
    collections::BTreeSet,
    ffi::{CString, OsStr},
    mem::ManuallyDrop,
    os::unix::ffi::OsStrExt,
    sync::Arc,
};

/// An artifact mapped into this process from its own private copy.
pub struct Image {
    pub(super) library: Option<Library>,
    pub(super) staged: StagedFile,
    pub(super) mapped: Mapped,
    pub(super) resources: Arc<ImageResources>,
    pub(super) symbols: Registered,
    /// Taken just before it is closed.
    pub(super) remains: Remains,
    /// What is known of its end, once it was closed.
    pub(super) report: UnloadReport,
    root: RootRef,
    /// What the artifact says of itself.
    pub(super) manifest: Arc<Manifest>,
}

// SAFETY: the root is a pointer to constant data of the image, which is mapped as long as this value or its remains exist; the
// remains are pointers that are used once, by whoever closes the image.
unsafe impl Send for Image {}
// SAFETY: as above; every function of the root is called with the exclusion that its own contract asks for.
unsafe impl Sync for Image {}

/// An image that is mapped but not yet verified. Its static constructors have run, and until it has told what they did it may
/// not be closed: dropping it leaves it mapped.
pub struct Opened {
    library: ManuallyDrop<Library>,
    staged: ManuallyDrop<StagedFile>,
    mapped: Mapped,
}

impl Opened {
    /// Maps the copy, by its full path, with its names for itself alone.
    pub fn open(staged: StagedFile) -> Result<Self, OpenError> {
        if loaded::find(staged.path()).is_some() {
            return Err(OpenError::AlreadyMapped(staged.path().to_owned()));
        }
        // SAFETY: static constructors of the artifact run here. That it was built with our SDK, for this target and
        // toolchain, was linted; what its constructors do is its author's responsibility, as with any dependency.
        let library = unsafe { Library::open(Some(staged.path()), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
            let words = loader_words(error);
            match staged.path().try_exists() {
                Ok(false) => OpenError::CopyGone(staged.path().to_owned()),
                _ => match loaded::why_not_mapped(staged.path()).filter(|_| words.contains("failed to map segment")) {
                    Some(source) => OpenError::Mapping { words, source },
                    None => OpenError::Loader(words),
                },
            }
        })?;
        let (library, staged) = (ManuallyDrop::new(library), ManuallyDrop::new(staged));
        let found = loaded::find_with_needs(staged.path());
        let (mapped, needs) = found.ok_or(OpenError::Root("the loader does not list the new image"))?;
        keep_dependencies(needs);
        Ok(Self { library, staged, mapped })
    }

    /// Checks the mapped root and hands over the host's functions. `written` is the hash of the linted manifest's text, if it is known.
    pub fn verify(
        self,
        manifest: Manifest,
        written: Option<ContentHash>,
        resources: Arc<ImageResources>,
    ) -> Result<Image, OpenError> {
        // SAFETY: only the address is taken; it is checked to lie in the image before it is read.
        let header = unsafe { self.library.get::<*const Header>(ROOT_SYMBOL) }
            .map_err(|error| OpenError::Loader(error.to_string()))?
            .into_raw();
        let header = header.cast::<Header>();
        let within = |address: usize, len: usize| {
            self.mapped.range.contains(&address) && self.mapped.range.contains(&(address + len - 1))
        };
        if !within(header.addr(), size_of::<Header>()) || !header.is_aligned() {
            return Err(OpenError::Root("its address lies outside the image"));
        }
        // SAFETY: the address lies in the image, which is mapped as long as `self.library`.
        let header: &'static Header = unsafe { &*header };
        if header.magic != MAGIC {
            return Err(OpenError::Root("it does not begin with Reslot's mark"));
        }
        // The same sources by the same compiler for the same target, which the lint has seen to, have the same layout. To walk
        // through it all the same takes as long as opening the image.
        if header.sources != SOURCES {
            check_layout(header)?;
        }
        let root = header.root;
        let mapped = root.manifest()();
        let is_linted = written == Some(Manifest::text_hash(mapped.as_slice()))
            || Manifest::parse(mapped.as_slice()).as_ref() == Ok(&manifest);
        if !is_linted {
            return Err(OpenError::OtherManifest);
        }
        let symbols = Registered::new(resources.id(), &manifest.name, self.mapped.clone(), self.staged.path());
        // SAFETY: the layout was checked; nothing of the image has run but its static constructors. The token stays valid as
        // long as the image is mapped: `Image` keeps the ledger, and what could not be unmapped keeps the `Image`.
        let early = unsafe { root.initialise()(services::TABLE, services::token(&resources)) };
        if early > 0 {
            // The image stays and has the token, so the ledger stays, too. What panics in it can still be looked up.
            std::mem::forget(resources);
            std::mem::forget(symbols);
            return Err(OpenError::EarlyRegistrations(early));
        }
        resources.counts_with(root.live_bytes());
        if let Some(hears) = root.set_log_level() {
            resources.hears_with(hears);
        }
        Ok(Image {
            library: Some(ManuallyDrop::into_inner(self.library)),
            staged: ManuallyDrop::into_inner(self.staged),
            mapped: self.mapped,
            resources,
            symbols,
            remains: Remains::default(),
            report: UnloadReport::default(),
            root,
            manifest: Arc::new(manifest),
        })
    }
}

/// The libraries that the image needs stay for good. The replaced symbols do not reach into them: whatever they have left with
/// libc (keys, threads, handlers) would be called after they were unmapped together with the last image that needed them.
///
/// Exactly those, not whatever the loader's list has gained meanwhile: another thread may be opening something of its own.
fn keep_dependencies(needs: Vec<CString>) {
    /// Those that stay already. Each build of a plugin needs the same few.
    static KEPT: PerProcess<Mutex<BTreeSet<CString>>> = PerProcess::new(Mutex::default);
    for name in needs {
        if KEPT.get().lock().contains(&name) {
            continue;
        }
        let flags = RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: it is loaded already, so no constructor runs; the flag only keeps it, and with it what it needs itself.
        if let Ok(kept) = unsafe { Library::open(Some(OsStr::from_bytes(name.as_bytes())), flags) } {
            std::mem::forget(kept);
            KEPT.get().lock().insert(name);
        }
    }
}

/// Fresh globals for each check: the usual ones keep pointers into every image that they have ever seen. The error is turned
/// into words here because it borrows from the image.
fn check_layout(header: &Header) -> Result<(), OpenError> {
    use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
    let ours = <RootRef as StableAbi>::LAYOUT;
    check_layout_compatibility_with_globals(ours, header.layout, &CheckingGlobals::new())
        .map_err(|error| OpenError::Layout(cut_words(error)))
}

fn loader_words(error: libloading::Error) -> String {
    match error {
        // It names what the file asks for, however long that is.
        libloading::Error::DlOpen { source } => cut_words(source),
        error => cut_words(error),
    }
}

impl Image {
    /// The functions that every image has.
    pub(super) fn root(&self) -> RootRef {
        self.root
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // An image is closed by `unload::close` on the reaper's thread, which takes the library out first. If one is dropped
        // otherwise (a bug, or the host panicked), leaking it is safe and closing it here is not.
        if let Some(library) = self.library.take() {
            tracing::error!(image = %self.staged.path().display(), "an image was dropped without being unloaded; it stays mapped");
            std::mem::forget(library);
            std::mem::forget(self.resources.clone());
        }
    }
}
