//! The variables of mapped objects, looked at from outside, word by word: which addresses stand there.

use crate::image::loaded;
use std::{
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

/// The mapped objects, but for the one at `path`, whose variables hold addresses in its range: the loader has bound symbols of
/// theirs to it, or code has stored them there.
pub(super) fn objects_that_know(path: &Path, range: &Range<usize>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    loaded::each(&mut |name, info| {
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        // The program itself holds what its own code was answered, libc and the loader hold what they let go of by themselves.
        let file = name.file_name().unwrap_or_default().as_bytes();
        if name == path || file.is_empty() || file.starts_with(b"libc.so.") || file.starts_with(b"ld-linux") {
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
