//! The memory of this process, looked at from outside, word by word: the variables of mapped objects, and what is mapped at all.

use crate::loaded;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The writable segments of an object of the loader's list, in whole words. What the loader has made read-only since is among them.
pub(super) fn variables(info: &libc::dl_phdr_info) -> impl Iterator<Item = Range<usize>> {
    let base = info.dlpi_addr;
    // SAFETY: the loader gives the object's own program headers, valid as long as `info` is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let writable = |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0;
    headers.iter().filter(writable).map(move |header| {
        let start = (base + header.p_vaddr) as usize;
        let end = start + header.p_memsz as usize;
        start.next_multiple_of(size_of::<usize>())..end & !(size_of::<usize>() - 1)
    })
}

/// Reads one word.
///
/// # Safety
/// It is an aligned word in memory that is mapped and readable now.
pub(super) unsafe fn word(address: usize) -> usize {
    let word: *const AtomicUsize = std::ptr::with_exposed_provenance(address);
    // SAFETY: the caller's promise. Read as an atomic, because other threads may write there.
    unsafe { (*word).load(Ordering::Relaxed) }
}

/// The paths of the objects that a mapped library needs, and that these need.
pub(super) fn needed_for(library: &Path) -> Vec<PathBuf> {
    let family = loaded::family();
    let mut open: Vec<usize> = family.iter().position(|object| object.path == library).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        for name in &family[at].needs {
            let found = family.iter().position(|object| object.answers_to(name));
            open.extend(found.filter(|found| seen.insert(*found)));
        }
    }
    seen.into_iter().map(|at| family[at].path.clone()).collect()
}

/// What of that has addresses in the library's range in its variables: the loader has bound symbols of it to the library, which it
/// does for nobody else.
pub(super) fn bound_to(library: &Path, range: &Range<usize>) -> Vec<PathBuf> {
    let needed = needed_for(library);
    let mut found = Vec::new();
    loaded::each(&mut |name, info| {
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        // libc and the loader hold what they let go of by themselves.
        let file = name.file_name().unwrap_or_default().as_bytes();
        if file.starts_with(b"libc.so.") || file.starts_with(b"ld-linux") || !needed.iter().any(|needed| needed == name) {
            return;
        }
        let mut words = variables(info).flat_map(|segment| segment.step_by(size_of::<usize>()));
        // SAFETY: the loader keeps the object mapped during this call, and its writable segments readable.
        if words.any(|address| range.contains(&unsafe { word(address) })) {
            found.push(name.to_owned());
        }
    });
    found
}

/// A line of the kernel's map.
pub(super) struct Mapping {
    pub(super) range: Range<usize>,
    /// By its looks: memory of nobody's file, above a guard.
    pub(super) is_stack: bool,
    /// Memory of nobody's file, with a guard or without.
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
