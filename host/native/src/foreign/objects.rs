//! The objects of the loader's list: which of them were there before a library was opened, which came with it, and what those import.
//! Imports are read where the loader reads them, from the relocations in memory: the file may be another one by now.

use super::memory::{needed_for, word};
use crate::loaded;
use reslot_stage::is_private_copy;
use std::{
    collections::BTreeSet,
    ffi::{CStr, OsStr},
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const WORD: usize = size_of::<usize>();

/// An object of the loader's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Empty for the program.
    pub(super) path: PathBuf,
    pub(super) range: Range<usize>,
}

/// The objects of the loader's list at one moment; the program is the first.
#[derive(Debug)]
pub(super) struct Objects(Vec<Object>);

impl Objects {
    pub(super) fn now() -> Self {
        let mut found = Vec::new();
        loaded::each(&mut |name, info| {
            let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
            let range = range(info);
            found.push(Object { path, range });
        });
        Self(found)
    }

    /// The object that an address lies in.
    pub(super) fn around(&self, address: usize) -> Option<&Object> {
        self.0.iter().find(|object| object.range.contains(&address))
    }

    pub(super) fn is_program(&self, object: &Object) -> bool {
        self.0.first() == Some(object)
    }

    pub(super) fn has(&self, object: &Object) -> bool {
        self.0.contains(object)
    }

    /// What of [`LOOKED_FOR`] is imported by the library, by what it needs, and by what was mapped after `before` and is not known
    /// to have been opened by somebody else.
    pub(super) fn imported_with(library: &Path, before: &Self) -> BTreeSet<&'static str> {
        let needed = needed_for(library);
        let mut found = BTreeSet::new();
        loaded::each(&mut |name, info| {
            let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
            let related = path == library || needed.contains(&path);
            let object = Object {
                range: range(info),
                path,
            };
            let came_along = related || !before.has(&object) && !is_private_copy(&object.path);
            if came_along && !is_libcs(&object.path) {
                found.append(&mut imports(info));
            }
        });
        found
    }
}

/// Whether it is a part of libc: one file by now, and several in earlier releases.
pub(super) fn is_libcs(path: &Path) -> bool {
    let file = path.file_name().unwrap_or_default().as_bytes();
    let parts: [&[u8]; 5] = [b"libc.so.", b"ld-linux", b"libpthread.so.", b"librt.so.", b"libanl.so."];
    parts.iter().any(|part| file.starts_with(part))
}

/// With these libc calls, or writes to, what it was given on threads of its own.
pub(super) const NOTIFY: &[&str] = &[
    TIMERS,
    "mq_notify",
    "getaddrinfo_a",
    "aio_read",
    "aio_read64",
    "aio_write",
    "aio_write64",
    "aio_fsync",
    "aio_fsync64",
    "lio_listio",
    "lio_listio64",
];
pub(super) const TIMERS: &str = "timer_create";
/// With these libc gets a destructor of a key.
pub(super) const KEYS: &[&str] = &["pthread_key_create", "__pthread_key_create", "tss_create"];
/// With these it gets a destructor of a thread-local.
pub(super) const THREAD_LOCALS: &[&str] = &["__cxa_thread_atexit", "__cxa_thread_atexit_impl"];
/// The imports that are of interest at all.
const LOOKED_FOR: [&[&str]; 3] = [NOTIFY, KEYS, THREAD_LOCALS];

/// From the lowest to the highest loaded segment.
fn range(info: &libc::dl_phdr_info) -> Range<usize> {
    let loads = headers(info).iter().filter(|header| header.p_type == libc::PT_LOAD);
    let segments = loads.map(|header| {
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        (start, start + header.p_memsz as usize)
    });
    let (start, end) = segments.fold((usize::MAX, 0), |(low, high), (start, end)| (low.min(start), high.max(end)));
    start..end
}

fn headers(info: &libc::dl_phdr_info) -> &[libc::Elf64_Phdr] {
    // SAFETY: the loader gives the object's own program headers, valid as long as `info` is.
    unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
}

/// What of [`LOOKED_FOR`] an object's relocations name.
fn imports(info: &libc::dl_phdr_info) -> BTreeSet<&'static str> {
    const STRINGS: usize = 5;
    const SYMBOLS: usize = 6;
    // Where relocations stand, and how many bytes they are: of variables, and of the procedure linkage table.
    const RELOCATIONS: [(usize, usize); 2] = [(7, 8), (23, 2)];
    const RELOCATION: usize = 3 * WORD;
    const SYMBOL: usize = size_of::<libc::Elf64_Sym>();
    let base = info.dlpi_addr as usize;
    let dynamic = headers(info).iter().find(|header| header.p_type == libc::PT_DYNAMIC);
    let entries = dynamic.map_or(0..0, |header| {
        let start = base + header.p_vaddr as usize;
        start..start + header.p_memsz as usize
    });
    // SAFETY: the callers below stay within the object's dynamic section and the tables that it names, which the loader itself
    // reads, and keeps mapped as long as `info` is valid.
    let word = |address: usize| unsafe { word(address) };
    let entries = entries.step_by(2 * WORD).map(|at| (word(at), word(at + WORD)));
    let entries: Vec<_> = entries.take_while(|(tag, _)| *tag != 0).collect();
    let value = |wanted: usize| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    // glibc turns these into addresses when it maps the object, where the section may be written to.
    let address = |wanted: usize| value(wanted).map(|value| if value < base { base + value } else { value });
    let (Some(strings), Some(symbols)) = (address(STRINGS), address(SYMBOLS)) else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for (table, bytes) in RELOCATIONS {
        let (Some(table), Some(bytes)) = (address(table), value(bytes)) else {
            continue;
        };
        for relocation in (table..table + bytes).step_by(RELOCATION) {
            let index = word(relocation + WORD) >> 32;
            if index == 0 {
                continue;
            }
            let symbol = std::ptr::with_exposed_provenance::<libc::Elf64_Sym>(symbols + index * SYMBOL);
            // SAFETY: the loader reads this symbol for this relocation.
            let (name, section) = unsafe { ((*symbol).st_name, (*symbol).st_shndx) };
            if section != 0 {
                continue;
            }
            let name = std::ptr::with_exposed_provenance(strings + name as usize);
            // SAFETY: and looks it up by this string.
            let name = unsafe { CStr::from_ptr(name) }.to_bytes();
            let known = LOOKED_FOR.into_iter().flatten().find(|known| known.as_bytes() == name);
            found.extend(known.copied());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Objects, is_libcs};
    use std::path::Path;

    #[test]
    fn program_is_the_first_and_imports_what_the_standard_library_needs() {
        let objects = Objects::now();
        let here = program_is_the_first_and_imports_what_the_standard_library_needs as fn() as usize;
        let program = objects.around(here).unwrap();
        assert!(objects.is_program(program));
        // The program is what came since nothing was there.
        let imports = Objects::imported_with(Path::new("none"), &Objects(Vec::new()));
        assert!(
            imports.contains("__cxa_thread_atexit_impl") && !imports.contains("mq_notify"),
            "{imports:?}"
        );
        let libc = objects.around(libc::getpid as unsafe extern "C" fn() -> i32 as usize);
        assert!(libc.is_some_and(|libc| is_libcs(&libc.path) || objects.is_program(libc)));
    }
}
