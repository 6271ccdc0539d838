//! The objects that are mapped into this process. There are two witnesses for "the image is unmapped": the loader's list, which
//! cannot mistake a data mapping of a file for an image, and `/proc/self/maps`, which cannot disagree with the kernel.

use reslot_stage::StagedFile;
use std::{
    ffi::{CStr, CString, OsStr, c_int, c_void},
    ops::Range,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The address range of an object of the loader's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// From the lowest to the highest loaded segment.
    pub range: Range<usize>,
    /// The difference between its addresses in memory and those in its file.
    pub(super) base: usize,
}

impl Mapped {
    /// Whether the call before this return address lies in the object. The return address itself may already be beyond its end.
    pub(super) fn covers(&self, address: usize) -> bool {
        self.range.contains(&address.wrapping_sub(1))
    }
}

/// An object of the loader's list, with the name of its file.
pub(super) struct Module {
    pub(super) name: Arc<str>,
    pub(super) mapped: Mapped,
}

/// Finds the object that was opened by exactly this path.
pub fn find(path: &Path) -> Option<Mapped> {
    let mut found = None;
    each(&mut |name, info| {
        if name.to_bytes() == path.as_os_str().as_bytes() {
            found = Some(mapped(info));
        }
    });
    found
}

/// The same, with the names in its `DT_NEEDED` entries, as the linker wrote them.
pub fn find_with_needs(path: &Path) -> Option<(Mapped, Vec<CString>)> {
    let mut found = None;
    each(&mut |name, info| {
        if name.to_bytes() == path.as_os_str().as_bytes() {
            found = Some((mapped(info), needed_names(info)));
        }
    });
    found
}

/// The program itself: the first in the list.
pub(super) fn program() -> Option<Mapped> {
    let mut first = None;
    each(&mut |_, info| first = first.take().or_else(|| Some(mapped(info))));
    first
}

/// The objects in which these return addresses lie.
pub(super) fn modules_of(addresses: &[usize]) -> Vec<Module> {
    let mut modules = Vec::new();
    if addresses.is_empty() {
        return modules;
    }
    each(&mut |name, info| {
        let mapped = mapped(info);
        if addresses.iter().any(|address| mapped.covers(*address)) {
            let path = Path::new(OsStr::from_bytes(name.to_bytes()));
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into();
            modules.push(Module { name, mapped });
        }
    });
    modules
}

/// The names and dependencies of the objects in the loader's list, in the order in which the loader searches it.
pub(crate) fn loaded_objects() -> Vec<LoadedObject> {
    let mut objects = Vec::new();
    each(&mut |name, info| {
        objects.push(LoadedObject {
            path: PathBuf::from(OsStr::from_bytes(name.to_bytes())),
            soname: dynamic_texts(info, DT_SONAME).pop(),
            needs: needed_names(info),
        });
    });
    objects
}

/// An object of the loader's list, by its names.
pub(crate) struct LoadedObject {
    /// The path by which it was opened; empty for the program.
    pub(crate) path: PathBuf,
    /// Its `DT_SONAME`: the name by which other objects may need it.
    soname: Option<CString>,
    /// Its `DT_NEEDED` names.
    pub(crate) needs: Vec<CString>,
}

impl LoadedObject {
    /// Whether the loader finds it by this name.
    pub(crate) fn is_named(&self, name: &CStr) -> bool {
        self.soname.as_deref() == Some(name) || self.path.as_os_str().as_bytes() == name.to_bytes()
    }
}

const DT_NEEDED: u64 = 1;
const DT_SONAME: u64 = 14;

fn needed_names(info: &libc::dl_phdr_info) -> Vec<CString> {
    dynamic_texts(info, DT_NEEDED)
}

/// The texts of all dynamic entries with this tag.
fn dynamic_texts(info: &libc::dl_phdr_info, wanted: u64) -> Vec<CString> {
    const DT_STRTAB: u64 = 5;
    let dynamic = Dynamic::of(info);
    let Some(strings) = dynamic.address(DT_STRTAB) else {
        return Vec::new();
    };
    let wanted = dynamic.entries.iter().filter(|[tag, _]| *tag == wanted);
    wanted
        .map(|[_, offset]| {
            let name = std::ptr::with_exposed_provenance(strings + *offset as usize);
            // SAFETY: the loader itself has read this C string of the mapped string table, and keeps the object mapped during the
            // callback that gave `info`.
            unsafe { CStr::from_ptr(name) }.to_owned()
        })
        .collect()
}

/// The program headers of an object of the loader's list.
pub(crate) fn headers(info: &libc::dl_phdr_info) -> &[libc::Elf64_Phdr] {
    // SAFETY: `info` comes from the loader (`each` is the only source), and holds the address and number of the object's own program
    // headers, which are valid as long as `info` is.
    unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
}

/// The dynamic section of an object of the loader's list: (tag, value), without the end mark. Empty if the object has none.
pub(crate) struct Dynamic {
    base: usize,
    entries: Vec<[u64; 2]>,
}

impl Dynamic {
    pub(crate) fn of(info: &libc::dl_phdr_info) -> Self {
        let base = info.dlpi_addr as usize;
        let section = headers(info).iter().find(|header| header.p_type == libc::PT_DYNAMIC);
        let entries = section.map_or(Vec::new(), |section| {
            let entries: *const [u64; 2] = std::ptr::with_exposed_provenance(base + section.p_vaddr as usize);
            // SAFETY: a mapped object's dynamic section is an array of (tag, value) of this size, and the loader keeps the object
            // mapped as long as `info` is valid.
            let entries = unsafe { std::slice::from_raw_parts(entries, section.p_memsz as usize / size_of::<[u64; 2]>()) };
            entries.iter().take_while(|[tag, _]| *tag != 0).copied().collect()
        });
        Self { base, entries }
    }

    /// The value of the first entry with this tag.
    pub(crate) fn value(&self, wanted: u64) -> Option<usize> {
        let entry = self.entries.iter().find(|[tag, _]| *tag == wanted);
        entry.map(|[_, value]| *value as usize)
    }

    /// The same for a value that is an address. glibc replaces the file's offset by the address when it maps an object whose section
    /// is writable.
    pub(crate) fn address(&self, wanted: u64) -> Option<usize> {
        let value = self.value(wanted)?;
        Some(if value < self.base { self.base + value } else { value })
    }
}

/// How many objects in the loader's list lie in this folder or below it. Tests and users check the number of mapped copies by it.
pub fn mapped_copies(folder: &Path) -> usize {
    let mut count = 0;
    each(&mut |name, _| {
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        count += usize::from(path.starts_with(folder));
    });
    count
}

fn mapped(info: &libc::dl_phdr_info) -> Mapped {
    Mapped {
        range: range_of(info),
        base: info.dlpi_addr as usize,
    }
}

/// The addresses of an object of the loader's list, from the lowest to the highest loaded segment.
pub(crate) fn range_of(info: &libc::dl_phdr_info) -> Range<usize> {
    let loads = headers(info).iter().filter(|header| header.p_type == libc::PT_LOAD);
    let segments = loads.map(|header| {
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        (start, start + header.p_memsz as usize)
    });
    let (start, end) = segments.fold((usize::MAX, 0), |(low, high), (start, end)| (low.min(start), high.max(end)));
    start..end
}

/// Whether a file that was closed is unmapped, by both witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Neither the loader nor the kernel lists it.
    Unmapped,
    /// The loader still lists it.
    ListedByLoader,
    /// The loader does not list it, and the kernel does not confirm that. The text says why.
    Missing(String),
}

impl Proof {
    /// Asks the loader and then the kernel about a private copy.
    pub(crate) fn of(staged: &StagedFile) -> Self {
        if find(staged.path()).is_some() {
            return Self::ListedByLoader;
        }
        match executable_mapping_of(&staged.name_in_map()) {
            Ok(false) => Self::Unmapped,
            Ok(true) => Self::Missing("the kernel still lists executable memory of it".to_owned()),
            Err(error) => Self::Missing(format!("the kernel's map cannot be read, so nothing is proven: {error}")),
        }
    }
}

/// Visits each object of the loader's list. The loader's lock is held meanwhile, so the list does not change.
pub fn each(visit: &mut dyn FnMut(&CStr, &libc::dl_phdr_info)) {
    unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, _: usize, visit: *mut c_void) -> c_int {
        // SAFETY: `visit` is the pointer to the local variable that is passed below, and `info` is the loader's; both are valid during
        // this call, and nobody else uses `visit` meanwhile.
        let (visit, info) = unsafe { (&mut *visit.cast::<&mut dyn FnMut(&CStr, &libc::dl_phdr_info)>(), &*info) };
        if !info.dlpi_name.is_null() {
            // SAFETY: a name in the loader's list is a C string.
            visit(unsafe { CStr::from_ptr(info.dlpi_name) }, info);
        }
        0
    }
    let mut visit = visit;
    // SAFETY: `step` has the callback's signature and is called only during this call. The callers' closures do not call the loader.
    unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut visit).cast()) };
}

/// Tries to map a file as code, and returns the kernel's error, if there is one. The text of `dlerror` does not contain it.
pub(super) fn why_not_mapped(path: &Path) -> Option<std::io::Error> {
    let mapped = || {
        let file = std::fs::File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
        // SAFETY: the kernel chooses the address of the new mapping, so it overlaps no other memory. Nobody reads it, and it is
        // unmapped at once with the same length.
        unsafe {
            let (kind, code) = (libc::MAP_PRIVATE, libc::PROT_READ | libc::PROT_EXEC);
            let start = libc::mmap(std::ptr::null_mut(), len, code, kind, file.as_raw_fd(), 0);
            if start == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            libc::munmap(start, len);
        }
        Ok(())
    };
    mapped().err()
}

/// Unmaps what the loader leaves mapped of a private copy that it could not open: glibc forgets segments that it had mapped when a later one
/// fails. Nothing is done if the loader lists the copy.
pub(super) fn unmap_leftovers(staged: &StagedFile) {
    if find(staged.path()).is_some() {
        return;
    }
    let name = staged.name_in_map();
    let Ok(maps) = kernels_map() else { return };
    for line in maps
        .split(|byte| *byte == b'\n')
        .filter(|line| contains(line, name.as_os_str().as_bytes()))
    {
        let range = line
            .split(|byte| *byte == b' ')
            .next()
            .and_then(|range| std::str::from_utf8(range).ok());
        let ends = range.and_then(|range| range.split_once('-'));
        let address = |digits: &str| usize::from_str_radix(digits, 16).ok();
        if let Some((Some(start), Some(end))) = ends.map(|(start, end)| (address(start), address(end))) {
            // SAFETY: the kernel has just listed this range as a mapping of a private copy, whose name is random and known to this thread alone,
            // which opens it. The loader does not list the copy, so no code of it has run, and nobody has a pointer into it.
            unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(start), end - start) };
        }
    }
}

/// How often the kernel's map is read until it is there: the process may have no descriptor or no memory left for a moment.
const READS: usize = 3;

fn kernels_map() -> std::io::Result<Vec<u8>> {
    let mut reads = (1..READS).filter_map(|_| std::fs::read("/proc/self/maps").ok());
    reads.next().map_or_else(|| std::fs::read("/proc/self/maps"), Ok)
}

/// Whether the kernel's map lists an *executable* mapping of a file by this name. This is the second witness. (The old addresses would
/// prove nothing: something else may be mapped there by now.)
pub fn executable_mapping_of(path: &Path) -> std::io::Result<bool> {
    let maps = kernels_map()?;
    let found = maps.split(|byte| *byte == b'\n').any(|line| {
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (_, rest) = (words.next(), words.next().unwrap_or_default());
        rest.get(2) == Some(&b'x') && contains(rest, path.as_os_str().as_bytes())
    });
    Ok(found)
}

fn contains(line: &[u8], path: &[u8]) -> bool {
    line.windows(path.len()).any(|window| window == path)
}

/// The signals whose handlers lie in a range.
pub fn signal_handlers_in(range: &Range<usize>) -> Vec<i32> {
    let in_range = |signal: &i32| {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: with a null new action the call only reads the handler into `action`. For an unknown signal it returns an error.
        let known = unsafe { libc::sigaction(*signal, std::ptr::null(), &raw mut action) } == 0;
        known && range.contains(&action.sa_sigaction)
    };
    (1..=64).filter(in_range).collect()
}
