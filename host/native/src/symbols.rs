//! Names for the addresses of an image: where it lies, which file tells of it, and what was looked up so far. What lives here is
//! the order of things: a panic notes addresses and no more, whoever looks at it gets them symbolised, and before the image's
//! file is deleted the reaper does it for those that are still held. How a file is read is `debug_info`'s affair.
//!
//! # Why a backtrace never names another generation's functions
//! An address is turned into an image when the panic happens, while that image is mapped, and not later. From then on the
//! backtrace holds the image's `Symbols`, which read one file only: its private copy. What comes to lie at the same addresses
//! has `Symbols` of its own. std's backtraces are not used: they keep one list of libraries for the process's whole life.
//!
//! # What is kept
//! Nothing but names, for the addresses that were looked up; the file is mapped for the length of one look. Backtraces of the
//! same stack are one value, so a storm of panics from one place is one stack and a few names.

mod debug_info;
mod stack;

use super::loaded;
use debug_info::DebugInfo;
use parking_lot::{Mutex, RwLock};
use reslot_plugin_api::Backtrace;
use reslot_process::PerProcess;
use reslot_stage::{Identity, identity};
use stack::CapturedStack;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// So many addresses of one module are known at a time, and so many are looked up before an image goes: more than any program
/// has places to panic from, and not more than a few hundred kilobytes.
const MOST_PLACES: usize = 4_096;

/// Below this, stacks that nobody holds any more are not looked for.
const FEW_STACKS: usize = 64;

/// The images whose panics can be told apart, of all hosts in this process.
static IMAGES: PerProcess<RwLock<Vec<Arc<Symbols>>>> = PerProcess::new(RwLock::default);

/// Whether an image was opened in this process. In a forked child where none was, the loader's list must not be read: another thread of the
/// parent may have held its lock during `fork`.
static OPENED_HERE: PerProcess<AtomicBool> = PerProcess::new(AtomicBool::default);

/// The host program's own executable. It is never unmapped, so its file is read when somebody looks. Found when the first image is opened.
static PROGRAM: OnceLock<Option<Symbols>> = OnceLock::new();

fn find_program() -> Option<Symbols> {
    let name = std::env::current_exe().ok();
    let name = name.as_deref().and_then(Path::file_name);
    let name = name.map_or_else(|| "the host program".into(), |name| name.to_string_lossy().into());
    let file = CopyFile {
        path: "/proc/self/exe".into(),
        identity: None,
    };
    Some(Symbols::new(0, name, loaded::program()?, file))
}

fn program() -> Option<&'static Symbols> {
    PROGRAM.get()?.as_ref()
}

/// What one function at an address is called, and where it stands in the source.
#[derive(Debug, Default)]
struct Place {
    function: Option<Arc<str>>,
    file: Option<Arc<str>>,
    line: Option<u32>,
    column: Option<u32>,
}

/// The functions at one address, those that were inlined first.
type Places = Arc<[Place]>;

/// The source of names for one module.
pub(super) struct Symbols {
    /// The number of the image's ledger.
    image: u64,
    name: Arc<str>,
    mapped: loaded::Mapped,
    /// Locked for the length of a few look-ups in memory, because a panicking caller waits for it.
    stacks: Mutex<Stacks>,
    /// Locked while the file is read. Only whoever asks for names waits for it.
    known: Mutex<Known>,
}

/// The stacks that pass through a module and are still held by somebody.
#[derive(Default)]
struct Stacks {
    held: HashMap<Arc<[usize]>, Weak<CapturedStack>>,
    /// How many there may be before those that nobody holds are removed.
    prune_at: usize,
}

/// What was looked up.
struct Known {
    /// None once the module is gone.
    file: Option<CopyFile>,
    /// Where the module's last segment ends: a file in which it ends elsewhere is not the module's.
    len: usize,
    places: HashMap<usize, Places>,
    /// Why names are missing.
    remark: Option<String>,
}

/// The file that tells of a module.
#[derive(Debug)]
struct CopyFile {
    path: PathBuf,
    /// Which file it was when it was mapped: what lies there later may be somebody else's. None for the program's own, which the kernel
    /// knows.
    identity: Option<Identity>,
}

impl Symbols {
    fn new(image: u64, name: Arc<str>, mapped: loaded::Mapped, file: CopyFile) -> Self {
        let len = mapped.range.end - mapped.base;
        Self {
            image,
            name,
            mapped,
            stacks: Mutex::default(),
            known: Mutex::new(Known {
                file: Some(file),
                len,
                places: HashMap::new(),
                remark: None,
            }),
        }
    }

    /// Whether the call before this return address is the module's.
    fn covers(&self, address: usize) -> bool {
        self.mapped.covers(address)
    }

    fn offset(&self, address: usize) -> usize {
        address - self.mapped.base
    }

    /// The functions at each of these return addresses, as far as they are known or can be found.
    fn look_up(&self, addresses: &[usize]) -> Vec<Option<Places>> {
        let mut known = self.known.lock();
        let offsets = addresses.iter().map(|address| self.offset(*address));
        known.learn(offsets.clone());
        offsets.map(|offset| known.places.get(&offset).cloned()).collect()
    }

    fn remark(&self) -> Option<String> {
        self.known.lock().remark.clone()
    }

    /// Finds the stack among those that are held, or notes a new one.
    fn intern(&self, identity: &[usize], make: impl FnOnce(Arc<[usize]>) -> CapturedStack) -> Arc<CapturedStack> {
        let known = self.stacks.lock().held.get(identity).and_then(Weak::upgrade);
        known.unwrap_or_else(|| self.note(Arc::new(make(identity.into()))))
    }

    /// Has the stack looked up before this module goes. Answers the one that another thread has noted meanwhile, if it has: of
    /// two with one identity, only one would be found.
    fn note(&self, stack: Arc<CapturedStack>) -> Arc<CapturedStack> {
        let mut stacks = self.stacks.lock();
        if let Some(noted) = stacks.held.get(stack.identity_words()).and_then(Weak::upgrade) {
            return noted;
        }
        if stacks.held.len() >= stacks.prune_at {
            stacks.held.retain(|_, stack| stack.strong_count() > 0);
            stacks.prune_at = (stacks.held.len() * 2).max(FEW_STACKS);
        }
        stacks.held.insert(stack.identity_shared(), Arc::downgrade(&stack));
        stack
    }

    /// Looks up what somebody may still ask for, and reads nothing any more.
    fn close(&self) {
        if self.known.lock().file.is_none() {
            return;
        }
        let stacks = std::mem::take(&mut *self.stacks.lock()).held;
        let mut wanted = HashSet::new();
        for stack in stacks.values().filter_map(Weak::upgrade).filter(|stack| stack.is_kept()) {
            let here = stack.addresses_in(self).map(|address| self.offset(address));
            // Innermost first: if there are too many, those are the ones that tell most.
            wanted.extend(here.take(MOST_PLACES.saturating_sub(wanted.len())));
        }
        let mut known = self.known.lock();
        known.places.retain(|offset, _| wanted.contains(offset));
        known.learn(wanted.iter().copied());
        known.file = None;
    }
}

impl Known {
    fn learn(&mut self, offsets: impl Iterator<Item = usize> + Clone) {
        let Some(file) = &self.file else { return };
        if offsets.clone().all(|offset| self.places.contains_key(&offset)) {
            return;
        }
        let wanted: HashSet<usize> = offsets.collect();
        if self.places.len() + wanted.len() > MOST_PLACES {
            self.places.retain(|offset, _| wanted.contains(offset));
        }
        let mut missing: Vec<usize> = wanted.into_iter().filter(|at| !self.places.contains_key(at)).collect();
        missing.sort_unstable();
        match debug_info::look_up(file, self.len, &missing) {
            Ok(DebugInfo { places, remark }) => {
                self.places.extend(places);
                self.remark = remark.map(str::to_owned);
            }
            Err(error) => self.remark = Some(format!("names are missing: {error}")),
        }
    }
}

/// An image's symbols, in the list of those that panics are looked up in for as long as this is held.
pub(super) struct Registered(Arc<Symbols>);

impl Registered {
    /// To be called while the image is mapped, before its code can panic.
    pub(super) fn new(image: u64, name: &str, mapped: loaded::Mapped, file: &Path) -> Self {
        // Of one that is gone already no names are read. No file has this number of an inode.
        let found = std::fs::metadata(file).map_or((0, 0), |found| identity(&found));
        let file = CopyFile {
            path: file.to_owned(),
            identity: Some(found),
        };
        let symbols = Arc::new(Symbols::new(image, name.into(), mapped, file));
        PROGRAM.get_or_init(find_program);
        OPENED_HERE.get().store(true, Ordering::Relaxed);
        IMAGES.get().write().push(symbols.clone());
        Self(symbols)
    }

    /// Notes the names of the backtraces that are still held. To be called when no code of the image runs any more, and before
    /// its copy is deleted; nothing is read afterwards.
    pub(super) fn close(&self) {
        IMAGES.get().write().retain(|symbols| !Arc::ptr_eq(symbols, &self.0));
        self.0.close();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // One that was closed before stays as it is.
        self.close();
    }
}

/// Notes where a panic of the image is. Nothing is read; what is new is one stack of addresses.
pub(super) fn capture(image: u64, addresses: &[usize]) -> Backtrace {
    let images = IMAGES.get().read();
    let own = images.iter().find(|symbols| symbols.image == image).cloned();
    let on_it = |symbols: &&Arc<Symbols>| symbols.image != image && addresses.iter().any(|at| symbols.covers(*at));
    let others: Vec<Arc<Symbols>> = images.iter().filter(on_it).cloned().collect();
    drop(images);
    let Some(own) = own else {
        // Closed, and yet the loader kept it: nothing tells of it any more but the loader's list.
        let stack = CapturedStack::new(Vec::new(), stack::identity(&[], addresses).into());
        return Backtrace::new(Arc::new(stack));
    };
    let touched: Vec<Arc<Symbols>> = std::iter::once(&own).chain(&others).cloned().collect();
    let identity = stack::identity(&touched, addresses);
    let stack = own.intern(&identity, |identity| CapturedStack::new(touched, identity));
    // Also if the stack was known: that costs little, and most stacks have no others.
    for other in others {
        other.note(stack.clone());
    }
    Backtrace::new(stack)
}
