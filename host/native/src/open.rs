//! Opens a linted copy, and verifies on the mapped image that it is the linted artifact. The first code of the artifact runs here. `lint`
//! has made all checks that are possible before that.

use super::{
    integrity::Integrity,
    loaded::{self, Mapped},
    remains::Remains,
    resources::Ledger,
    services,
    symbols::RegisteredSymbols,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use reslot_artifact::{ContentHash, manifest::Manifest};
use reslot_plugin_api::__private::{Header, MAGIC, ROOT_SYMBOL, RootRef, SOURCES, StableAbi, cut_words};
use reslot_report::{OpenError, UnloadReport};
use reslot_stage::StagedFile;
use reslot_system::PerProcess;
use std::{
    collections::BTreeSet,
    ffi::{CString, OsStr},
    mem::ManuallyDrop,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::Arc,
};

/// An artifact mapped into this process from its own private copy.
pub struct Image {
    pub(super) library: Option<Library>,
    pub(super) staged: StagedFile,
    pub(super) mapped: Mapped,
    pub(super) ledger: Arc<Ledger>,
    pub(super) symbols: RegisteredSymbols,
    /// Its heap, read just before `dlclose`.
    pub(super) remains: Remains,
    /// The report of its end, filled in by `unload`.
    pub(super) report: UnloadReport,
    root: RootRef,
    /// The artifact's manifest.
    pub(super) manifest: Arc<Manifest>,
    /// The hash of the linted bytes; none in a preflight.
    pub(super) copy_hash: Option<ContentHash>,
}

// SAFETY: the root points to constant data of the image, which is mapped while `library` is `Some`, and is not used afterwards. The pointers
// in `remains` are used once, by `unload::close`, which owns the image.
unsafe impl Send for Image {}
// SAFETY: as above. The callers of the root's functions keep the contract of each function, which states its exclusion.
unsafe impl Sync for Image {}

/// An image that is mapped but not yet verified. Its static constructors have run. It may not be closed before `initialise` has reported
/// what they have registered, so dropping this leaves it mapped.
pub struct Opened {
    library: ManuallyDrop<Library>,
    staged: ManuallyDrop<StagedFile>,
    mapped: Mapped,
}

impl Opened {
    /// Maps the copy, by its full path, with `RTLD_LOCAL`.
    pub fn open(staged: StagedFile) -> Result<Self, OpenError> {
        if loaded::find(staged.path()).is_some() {
            return Err(OpenError::AlreadyMapped(staged.path().to_owned()));
        }
        // SAFETY: static constructors of the artifact run here. The lint has checked that it was built with our SDK, for this target and
        // by this toolchain. Its author is responsible for its constructors, as with any dependency.
        let open = || unsafe { Library::open(Some(staged.path()), RTLD_NOW | RTLD_LOCAL) }.map_err(loader_words);
        let failed_early = |words: &String| {
            // The loader leaves behind what it had mapped by then.
            loaded::unmap_leftovers(&staged);
            may_pass(words)
        };
        let opened = open().or_else(|words| if failed_early(&words) { open() } else { Err(words) });
        let library = opened.map_err(|words| {
            loaded::unmap_leftovers(&staged);
            match staged.path().try_exists() {
                Ok(false) => OpenError::CopyGone(staged.path().to_owned()),
                _ => match loaded::why_not_mapped(staged.path()).filter(|_| has_no_reason(&words)) {
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

    /// What the image is compared with later. `hash` is that of the linted bytes, and `file` the published file.
    pub(super) fn integrity(&self, hash: ContentHash, file: PathBuf) -> Integrity {
        Integrity::new(hash, self.mapped.base, self.staged.path().to_owned(), file)
    }

    /// Checks the mapped root, and gives the image the host's functions. `written` is the hash of the linted manifest's text, if it is known.
    pub fn verify(self, manifest: Manifest, written: Option<ContentHash>, ledger: Arc<Ledger>) -> Result<Image, OpenError> {
        // SAFETY: only the symbol's address is read here. It is checked below before it is dereferenced.
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
        // SAFETY: the header is aligned and lies inside the image. The image stays mapped as long as `self.library`, which moves into `Image`
        // or is leaked.
        let header: &'static Header = unsafe { &*header };
        if header.magic != MAGIC {
            return Err(OpenError::Root("it does not begin with Reslot's mark"));
        }
        // The same sources have the same layout, because the lint has checked the compiler and the target. Skip the layout check then: it is
        // as slow as opening the image.
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
        let symbols = RegisteredSymbols::new(ledger.id(), &manifest.name, self.mapped.clone(), self.staged.path());
        // SAFETY: the layout was checked, and only static constructors of the image have run so far. The token is valid as long as the image
        // is mapped: `Image` keeps the ledger, and an image that cannot be unmapped keeps its `Image`, or leaks the ledger.
        let early = unsafe { root.initialise()(services::TABLE, services::token(&ledger)) };
        if early > 0 {
            // The image stays mapped and has the token, so the ledger stays, too. So do the symbols, for panics in it.
            std::mem::forget(ledger);
            std::mem::forget(symbols);
            return Err(OpenError::EarlyRegistrations(early));
        }
        ledger.use_live_bytes(root.live_bytes());
        if let Some(set_log_level_fn) = root.set_log_level() {
            ledger.use_set_log_level(set_log_level_fn);
        }
        Ok(Image {
            library: Some(ManuallyDrop::into_inner(self.library)),
            staged: ManuallyDrop::into_inner(self.staged),
            mapped: self.mapped,
            ledger,
            symbols,
            remains: Remains::default(),
            report: UnloadReport::default(),
            root,
            manifest: Arc::new(manifest),
            copy_hash: None,
        })
    }
}

/// Keeps the libraries that the image needs mapped until the process ends. libc's functions are not replaced inside them, so libc could call
/// functions that they have registered (keys, threads, handlers) after they were unmapped together with the last image that needs them.
///
/// Only the needed ones are kept, and not all new objects in the loader's list: another thread may be opening a library of its own.
fn keep_dependencies(needs: Vec<CString>) {
    /// The libraries that are kept already. Most builds of a plugin need the same few.
    static KEPT: PerProcess<Mutex<BTreeSet<CString>>> = PerProcess::new(Mutex::default);
    for name in needs {
        if KEPT.get().lock().contains(&name) {
            continue;
        }
        let flags = RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: with RTLD_NOLOAD nothing is loaded, so no constructor runs. RTLD_NODELETE keeps the library and its own dependencies.
        if let Ok(kept) = unsafe { Library::open(Some(OsStr::from_bytes(name.as_bytes())), flags) } {
            std::mem::forget(kept);
            KEPT.get().lock().insert(name);
        }
    }
}

/// Compares the layout of the image's root with ours. Each check has fresh globals, because the default ones keep pointers into all images
/// that were checked. The error becomes a text here, because it borrows from the image.
fn check_layout(header: &Header) -> Result<(), OpenError> {
    use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
    let ours = <RootRef as StableAbi>::LAYOUT;
    check_layout_compatibility_with_globals(ours, header.layout, &CheckingGlobals::new())
        .map_err(|error| OpenError::Layout(cut_words(error)))
}

/// Whether the loader could not map the file, and does not say why.
fn has_no_reason(words: &str) -> bool {
    words.contains("failed to map segment") || words.contains("cannot map zero-fill pages")
}

/// Whether the system failed the loader for a reason that may have passed already. No code of the artifact has run by then.
fn may_pass(words: &str) -> bool {
    let interrupted = std::io::Error::from(rustix::io::Errno::INTR).to_string();
    let interrupted = interrupted.split(" (").next().is_some_and(|text| words.ends_with(text));
    has_no_reason(words) || interrupted || words.contains("cannot close file descriptor")
}

fn loader_words(error: libloading::Error) -> String {
    match error {
        // The text contains names from the file, which may be long.
        libloading::Error::DlOpen { source } => cut_words(source),
        error => cut_words(error),
    }
}

impl Image {
    /// The root table.
    pub(super) fn root(&self) -> RootRef {
        self.root
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // `unload::close` closes an image on the reaper's thread, and takes the library out first. If an image is dropped elsewhere (a bug, or
        // a panic of the host), leaking it is safe, and closing it here is not.
        if let Some(library) = self.library.take() {
            tracing::error!(image = %self.staged.path().display(), "an image was dropped without being unloaded; it stays mapped");
            std::mem::forget(library);
            std::mem::forget(self.ledger.clone());
        }
    }
}
