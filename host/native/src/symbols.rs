//! Names for the addresses of an image: its address range, its file, and the names that were looked up so far. A panic records only
//! addresses. They are symbolised when somebody reads the backtrace; for backtraces that are still held when the image is closed, the
//! reaper symbolises them before the image's file is deleted. `debug_info` reads the file.
//!
//! # Why a backtrace never names another generation's functions
//! An address is assigned to an image when the panic happens, while that image is mapped, and not later. From then on the backtrace
//! holds the image's `Symbols`, which read one file only: its private copy. An image that is mapped later at the same addresses has
//! `Symbols` of its own. std's backtraces are not used: they cache one list of libraries until the process ends.
//!
//! # Memory
//! Only the names of addresses that were looked up are kept; the file is mapped only during a look-up. Backtraces with the same stack
//! share one value, so many panics at one place need one stack and a few names.

mod debug_info;
mod stack;

use super::loaded;
use debug_info::DebugInfo;
pub use debug_info::names_in;
use parking_lot::{Mutex, RwLock};
use reslot_plugin_api::Backtrace;
use reslot_stage::{Identity, identity};
use reslot_system::PerProcess;
use stack::CapturedStack;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// How many addresses of one module are cached, and how many are looked up before an image is closed: more than the places in a program
/// that can panic, and at most a few hundred kilobytes.
const MAX_ADDRESSES: usize = 4_096;

/// With fewer entries, the table of stacks is not searched for stacks that nobody holds any more.
const MIN_PRUNED_STACKS: usize = 64;

/// The open images of all hosts in this process.
static IMAGES: PerProcess<RwLock<Vec<Arc<Symbols>>>> = PerProcess::new(RwLock::default);

/// Whether an image was opened in this process. A forked child that has opened none must not read the loader's list: another thread
/// of the parent may have held its lock during `fork`.
static OPENED_HERE: PerProcess<AtomicBool> = PerProcess::new(AtomicBool::default);

/// The host program's own executable. It is never unmapped, so its file is read when somebody reads a backtrace. It is looked up when
/// the first image is opened.
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

/// The name of a function at an address, and the line in its source.
#[derive(Debug, Default)]
struct SourceLocation {
    function: Option<Arc<str>>,
    file: Option<Arc<str>>,
    line: Option<u32>,
    column: Option<u32>,
}

/// The functions at one address, the innermost inlined one first.
type SourceLocations = Arc<[SourceLocation]>;

/// The source of names for one module.
pub(super) struct Symbols {
    /// The id of the image's ledger; 0 for the program.
    image: u64,
    name: Arc<str>,
    mapped: loaded::Mapped,
    /// Locked only for a few look-ups in memory, because a panicking thread waits for it.
    stacks: Mutex<Stacks>,
    /// Locked while the file is read. Only readers of backtraces wait for it.
    names: Mutex<Names>,
}

/// The stacks that pass through a module and are still held by somebody.
#[derive(Default)]
struct Stacks {
    held: HashMap<Arc<[usize]>, Weak<CapturedStack>>,
    /// At how many entries the stacks that nobody holds are removed.
    prune_at: usize,
}

/// The names that were looked up, by offset in the module.
struct Names {
    /// The file to read. None after the image was closed.
    file: Option<CopyFile>,
    /// The end of the module's last segment. A file whose last segment ends elsewhere is not the module's.
    len: usize,
    found: HashMap<usize, SourceLocations>,
    /// Why names are missing.
    remark: Option<String>,
}

/// The file with the names of a module.
#[derive(Debug)]
struct CopyFile {
    path: PathBuf,
    /// The file's identity when it was mapped, because another file may have this path later. None for the program, whose path
    /// `/proc/self/exe` always means the same file.
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
            names: Mutex::new(Names {
                file: Some(file),
                len,
                found: HashMap::new(),
                remark: None,
            }),
        }
    }

    /// Whether the call before this return address lies in the module.
    fn covers(&self, address: usize) -> bool {
        self.mapped.covers(address)
    }

    fn offset(&self, address: usize) -> usize {
        address - self.mapped.base
    }

    /// The functions at each of these return addresses, where they are found.
    fn look_up(&self, addresses: &[usize]) -> Vec<Option<SourceLocations>> {
        let mut names = self.names.lock();
        let offsets = addresses.iter().map(|address| self.offset(*address));
        names.read(offsets.clone());
        offsets.map(|offset| names.found.get(&offset).cloned()).collect()
    }

    fn remark(&self) -> Option<String> {
        self.names.lock().remark.clone()
    }

    /// Finds the stack with this identity among the held ones, or registers a new one.
    fn intern(&self, identity: &[usize], make: impl FnOnce(Arc<[usize]>) -> CapturedStack) -> Arc<CapturedStack> {
        let held = self.stacks.lock().held.get(identity).and_then(Weak::upgrade);
        held.unwrap_or_else(|| self.register(Arc::new(make(identity.into()))))
    }

    /// Registers the stack, so that `close` looks its names up, or returns an equal one that another thread has registered first.
    fn register(&self, stack: Arc<CapturedStack>) -> Arc<CapturedStack> {
        let mut stacks = self.stacks.lock();
        if let Some(registered) = stacks.held.get(stack.identity_words()).and_then(Weak::upgrade) {
            return registered;
        }
        if stacks.held.len() >= stacks.prune_at {
            stacks.held.retain(|_, stack| stack.strong_count() > 0);
            stacks.prune_at = (stacks.held.len() * 2).max(MIN_PRUNED_STACKS);
        }
        stacks.held.insert(stack.identity_shared(), Arc::downgrade(&stack));
        stack
    }

    /// Looks up the names of the held stacks. After that the file is not read any more.
    fn close(&self) {
        if self.names.lock().file.is_none() {
            return;
        }
        let stacks = std::mem::take(&mut *self.stacks.lock()).held;
        let mut wanted = HashSet::new();
        for stack in stacks.values().filter_map(Weak::upgrade).filter(|stack| stack.is_kept()) {
            let here = stack.addresses_in(self).map(|address| self.offset(address));
            // The innermost addresses come first: if there are too many, the others are left out.
            wanted.extend(here.take(MAX_ADDRESSES.saturating_sub(wanted.len())));
        }
        let mut names = self.names.lock();
        names.found.retain(|offset, _| wanted.contains(offset));
        names.read(wanted.iter().copied());
        names.file = None;
    }
}

impl Names {
    /// Reads the missing names of these offsets from the file.
    fn read(&mut self, offsets: impl Iterator<Item = usize> + Clone) {
        let Some(file) = &self.file else { return };
        if offsets.clone().all(|offset| self.found.contains_key(&offset)) {
            return;
        }
        let wanted: HashSet<usize> = offsets.collect();
        if self.found.len() + wanted.len() > MAX_ADDRESSES {
            self.found.retain(|offset, _| wanted.contains(offset));
        }
        let mut missing: Vec<usize> = wanted.into_iter().filter(|at| !self.found.contains_key(at)).collect();
        missing.sort_unstable();
        match debug_info::look_up(file, self.len, &missing) {
            Ok(DebugInfo { found, remark }) => {
                self.found.extend(found);
                self.remark = remark.map(str::to_owned);
            }
            Err(error) => self.remark = Some(format!("names are missing: {error}")),
        }
    }
}

/// An image's symbols. While this is held, they are in the list of images in which the addresses of panics are looked up.
pub(super) struct RegisteredSymbols(Arc<Symbols>);

impl RegisteredSymbols {
    /// To be called while the image is mapped, before its code can panic.
    pub(super) fn new(image: u64, name: &str, mapped: loaded::Mapped, file: &Path) -> Self {
        // If the copy is gone already, use an identity that no file has (inode 0), so that no names are read.
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

    /// Looks up the names of the backtraces that are still held. To be called when no code of the image runs any more, and before its
    /// copy is deleted; the copy is not read afterwards.
    pub(super) fn close(&self) {
        IMAGES.get().write().retain(|symbols| !Arc::ptr_eq(symbols, &self.0));
        self.0.close();
    }
}

impl Drop for RegisteredSymbols {
    fn drop(&mut self) {
        // A second `close` changes nothing.
        self.close();
    }
}

/// Records the stack of a panic in the image. This reads no file.
pub(super) fn capture(image: u64, addresses: &[usize]) -> Backtrace {
    let images = IMAGES.get().read();
    let own = images.iter().find(|symbols| symbols.image == image).cloned();
    let on_it = |symbols: &&Arc<Symbols>| symbols.image != image && addresses.iter().any(|at| symbols.covers(*at));
    let others: Vec<Arc<Symbols>> = images.iter().filter(on_it).cloned().collect();
    drop(images);
    let Some(own) = own else {
        // The image was closed, but the loader has kept it: only the loader's list can name it.
        let stack = CapturedStack::new(Vec::new(), stack::identity(&[], addresses).into());
        return Backtrace::new(Arc::new(stack));
    };
    let touched: Vec<Arc<Symbols>> = std::iter::once(&own).chain(&others).cloned().collect();
    let identity = stack::identity(&touched, addresses);
    let stack = own.intern(&identity, |identity| CapturedStack::new(touched, identity));
    // Also if the stack was registered before: that is cheap, and most stacks pass through one image only.
    for other in others {
        other.register(stack.clone());
    }
    Backtrace::new(stack)
}

/// For code that is a part of the program: its file is found now, because a panicking thread must not read the loader's list.
pub fn prepare_backtraces() {
    PROGRAM.get_or_init(find_program);
}

/// The stack of a panic in code that is a part of the program.
pub fn backtrace_in_program(addresses: &[usize]) -> Backtrace {
    let stack = CapturedStack::new(Vec::new(), stack::identity(&[], addresses).into());
    Backtrace::new(Arc::new(stack))
}
