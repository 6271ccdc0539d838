//! Reads the memory of this process word by word: the writable segments of mapped objects, and the kernel's list of mappings.

use crate::loaded::{self, headers, loaded_objects};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The writable segments of an object of the loader's list, in whole words, including parts that the loader has made read-only since.
pub(super) fn variables(info: &libc::dl_phdr_info) -> impl Iterator<Item = Range<usize>> {
    let base = info.dlpi_addr;
    let writable = |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0;
    headers(info).iter().filter(writable).map(move |header| {
        let start = (base + header.p_vaddr) as usize;
        let end = start + header.p_memsz as usize;
        start.next_multiple_of(size_of::<usize>())..end & !(size_of::<usize>() - 1)
    })
}

/// Reads one word.
///
/// # Safety
/// `address` is aligned to a word, and the word is mapped and readable during this call.
pub(super) unsafe fn word(address: usize) -> usize {
    let word: *const AtomicUsize = std::ptr::with_exposed_provenance(address);
    // SAFETY: the caller promises an aligned, readable word. The read is atomic, because other threads may write there.
    unsafe { (*word).load(Ordering::Relaxed) }
}

/// The paths of the direct and indirect dependencies of a mapped library.
pub(super) fn needed_for(library: &Path) -> Vec<PathBuf> {
    let objects = loaded_objects();
    let mut open: Vec<usize> = objects.iter().position(|object| object.path == library).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        for name in &objects[at].needs {
            let found = objects.iter().position(|object| object.is_named(name));
            open.extend(found.filter(|found| seen.insert(*found)));
        }
    }
    seen.into_iter().map(|at| objects[at].path.clone()).collect()
}

/// The dependencies that have pointers into the library in their writable segments: the loader has bound symbols of them to the
/// library. (It can do so only for dependencies: the library is opened with `RTLD_LOCAL`.)
pub(super) fn bound_to(library: &Path, range: &Range<usize>) -> Vec<PathBuf> {
    let needed = needed_for(library);
    let mut found = Vec::new();
    loaded::each(&mut |name, info| {
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        // Skip libc and the loader: they have such pointers, too, and clear them themselves.
        let file = name.file_name().unwrap_or_default().as_bytes();
        if file.starts_with(b"libc.so.") || file.starts_with(b"ld-linux") || !needed.iter().any(|needed| needed == name) {
            return;
        }
        let mut words = variables(info).flat_map(|segment| segment.step_by(size_of::<usize>()));
        // SAFETY: the loader keeps the object mapped during this callback, and writable segments are readable. `variables` answers
        // aligned words.
        if words.any(|address| range.contains(&unsafe { word(address) })) {
            found.push(name.to_owned());
        }
    });
    found
}

/// A line of the kernel's map.
pub(super) struct Mapping {
    pub(super) range: Range<usize>,
    /// Anonymous writable memory directly above a guard page, as the stack of a thread is.
    pub(super) is_stack: bool,
    /// Anonymous writable memory, with a guard page below it or without.
    pub(super) is_anonymous: bool,
}

/// The kernel's map of this process; empty if it cannot be read.
pub(super) fn mappings() -> Vec<Mapping> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut guard_ends = 0;
    let parsed = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let (flags, inode) = (words.next()?, words.nth(2)?);
        let is_anonymous = flags == "rw-p" && inode == "0";
        let is_stack = is_anonymous && guard_ends == range.start;
        guard_ends = if flags == "---p" { range.end } else { 0 };
        Some(Mapping {
            range,
            is_stack,
            is_anonymous,
        })
    });
    parsed.collect()
}
