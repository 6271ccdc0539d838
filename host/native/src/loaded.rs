//! Asking the dynamic loader what is mapped. Its list is the first witness for "the image is gone", `/proc/self/maps` is the
//! second: the list cannot mistake a data mapping for an image, and the maps cannot be out of step with the kernel.

use std::{
    ffi::{CStr, CString, OsStr, c_int, c_void},
    ops::Range,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where an object of the loader's list lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// From the lowest to the highest loaded segment.
    pub range: Range<usize>,
    /// What is added to the addresses in its file.
    pub(super) base: usize,
}

impl Mapped {
    /// Whether the call before this return address lies in it. The address itself may already be beyond.
    pub(super) fn covers(&self, address: usize) -> bool {
        self.range.contains(&address.wrapping_sub(1))
    }
}

/// An object of the loader's list, with its file's name.
pub(super) struct Module {
    pub(super) name: Arc<str>,
    pub(super) mapped: Mapped,
}

/// Finds the object that was opened under exactly this path.
pub fn find(path: &Path) -> Option<Mapped> {
    let mut found = None;
    each(&mut |name, info| {
        if name.to_bytes() == path.as_os_str().as_bytes() {
            found = Some(mapped(info));
        }
    });
    found
}

/// The same, with the names in its `DT_NEEDED` entries, as its author's linker wrote them.
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

/// The objects that return addresses lie in.
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

/// What the objects of the loader's list are called and need, in the order in which the loader looks through them.
pub fn family() -> Vec<Relative> {
    let mut family = Vec::new();
    each(&mut |name, info| {
        family.push(Relative {
            path: PathBuf::from(OsStr::from_bytes(name.to_bytes())),
            soname: dynamic_texts(info, DT_SONAME).pop(),
            needs: needed_names(info),
        });
    });
    family
}

/// An object of the loader's list, by its names.
pub struct Relative {
    /// Under which it was opened; empty for the program.
    pub path: PathBuf,
    /// What others may call it.
    pub soname: Option<CString>,
    /// What it calls those that it needs.
    pub needs: Vec<CString>,
}

impl Relative {
    /// Whether the loader finds it by this name.
    pub fn answers_to(&self, name: &CStr) -> bool {
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
    let base = info.dlpi_addr as usize;
    // SAFETY: the loader gives the object's own program headers, valid during the callback.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else {
        return Vec::new();
    };
    let entries: *const [u64; 2] = std::ptr::with_exposed_provenance(base + dynamic.p_vaddr as usize);
    // SAFETY: a mapped object's dynamic section is an array of (tag, value) of this size, and the loader keeps the object mapped
    // during the callback.
    let entries = unsafe { std::slice::from_raw_parts(entries, dynamic.p_memsz as usize / size_of::<[u64; 2]>()) };
    let entries: Vec<_> = entries.iter().take_while(|[tag, _]| *tag != 0).collect();
    let Some([_, strings]) = entries.iter().find(|[tag, _]| *tag == DT_STRTAB) else {
        return Vec::new();
    };
    // glibc turns it into an address when it maps the object, where the section may be written to.
    let strings = match *strings as usize {
        offset if offset < base => base + offset,
        address => address,
    };
    let wanted = entries.iter().filter(|[tag, _]| *tag == wanted);
    wanted
        .map(|[_, offset]| {
            let name = std::ptr::with_exposed_provenance(strings + *offset as usize);
            // SAFETY: the loader itself read this string of the mapped string table when it resolved the dependency.
            unsafe { CStr::from_ptr(name) }.to_owned()
        })
        .collect()
}

/// How many objects in the loader's list lie in this folder or below it: what tests and users count.
pub fn mapped_copies(folder: &Path) -> usize {
    let mut count = 0;
    each(&mut |name, _| {
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        count += usize::from(path.starts_with(folder));
    });
    count
}

fn mapped(info: &libc::dl_phdr_info) -> Mapped {
    let base = info.dlpi_addr as usize;
    // SAFETY: the loader gives the object's own program headers, valid during the callback.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let loads = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let segments = loads.map(|header| {
        let start = base + header.p_vaddr as usize;
        (start, start + header.p_memsz as usize)
    });
    let (start, end) = segments.fold((usize::MAX, 0), |(low, high), (start, end)| (low.min(start), high.max(end)));
    Mapped { range: start..end, base }
}

/// Visits each object of the loader's list, which stands still meanwhile.
pub fn each(visit: &mut dyn FnMut(&CStr, &libc::dl_phdr_info)) {
    unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, _: usize, visit: *mut c_void) -> c_int {
        // SAFETY: `visit` is the pointer passed below, and `info` is the loader's, both valid during the call.
        let (visit, info) = unsafe { (&mut *visit.cast::<&mut dyn FnMut(&CStr, &libc::dl_phdr_info)>(), &*info) };
        if !info.dlpi_name.is_null() {
            // SAFETY: a name in the loader's list is a C string.
            visit(unsafe { CStr::from_ptr(info.dlpi_name) }, info);
        }
        0
    }
    let mut visit = visit;
    // SAFETY: the callback matches and is called synchronously. It allocates nothing that could call the loader again.
    unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut visit).cast()) };
}

/// Why the kernel does not map a file as code, if it does not: the loader does not tell that.
pub(super) fn why_not_mapped(path: &Path) -> Option<std::io::Error> {
    let mapped = || {
        let file = std::fs::File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
        // SAFETY: a new mapping, which overlaps no memory of this process and which nobody looks into; it is unmapped at once, in the
        // same length.
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

/// Whether there is any *executable* mapping of what the kernel's map calls `path`: the second witness. (Something else may have been mapped at
/// the old addresses since, so they alone prove nothing.)
pub fn executable_mapping_of(path: &Path) -> std::io::Result<bool> {
    let maps = std::fs::read("/proc/self/maps")?;
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
        // SAFETY: an all-zero sigaction is a valid value to be overwritten.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; what the number does not name is answered with an error.
        let known = unsafe { libc::sigaction(*signal, std::ptr::null(), &raw mut action) } == 0;
        known && range.contains(&action.sa_sigaction)
    };
    (1..=64).filter(in_range).collect()
}
