//! The objects of the loader's list: those that existed before a library was opened, those that came with it, and the imports of the
//! latter. Imports are read where the loader reads them, from the relocations in memory, because the file may have been replaced.

use super::memory::{needed_for, word};
use crate::loaded::{self, Dynamic, range_of};
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
            let range = range_of(info);
            found.push(Object { path, range });
        });
        Self(found)
    }

    /// The object that contains an address.
    pub(super) fn around(&self, address: usize) -> Option<&Object> {
        self.0.iter().find(|object| object.range.contains(&address))
    }

    pub(super) fn is_program(&self, object: &Object) -> bool {
        self.0.first() == Some(object)
    }

    pub(super) fn has(&self, object: &Object) -> bool {
        self.0.contains(object)
    }

    /// The functions of [`LOOKED_FOR`] that are imported by the library, by its dependencies, or by an object that was mapped since
    /// `before` and is not one of our private copies.
    pub(super) fn imported_with(library: &Path, before: &Self) -> BTreeSet<&'static str> {
        let needed = needed_for(library);
        let mut found = BTreeSet::new();
        loaded::each(&mut |name, info| {
            let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
            let related = path == library || needed.contains(&path);
            let object = Object {
                range: range_of(info),
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

/// Whether a file is a part of libc: one file since glibc 2.34, several before.
pub(super) fn is_libcs(path: &Path) -> bool {
    let file = path.file_name().unwrap_or_default().as_bytes();
    let parts: [&[u8]; 5] = [b"libc.so.", b"ld-linux", b"libpthread.so.", b"librt.so.", b"libanl.so."];
    parts.iter().any(|part| file.starts_with(part))
}

/// The functions that let libc call the caller's functions on libc's own threads, or write to the caller's buffers there.
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
/// The functions that register the destructor of a pthread key.
pub(super) const KEYS: &[&str] = &["pthread_key_create", "__pthread_key_create", "tss_create"];
/// The functions that register the destructor of a thread-local.
pub(super) const THREAD_LOCALS: &[&str] = &["__cxa_thread_atexit", "__cxa_thread_atexit_impl"];
/// All imports that matter for closing.
const LOOKED_FOR: [&[&str]; 3] = [NOTIFY, KEYS, THREAD_LOCALS];

/// The functions of [`LOOKED_FOR`] that an object's relocations name.
fn imports(info: &libc::dl_phdr_info) -> BTreeSet<&'static str> {
    const STRINGS: u64 = 5;
    const SYMBOLS: u64 = 6;
    // The tags of the address and of the size of each relocation table: for variables, and for the procedure linkage table.
    const RELOCATIONS: [(u64, u64); 2] = [(7, 8), (23, 2)];
    const RELOCATION: usize = 3 * WORD;
    const SYMBOL: usize = size_of::<libc::Elf64_Sym>();
    let dynamic = Dynamic::of(info);
    let (Some(strings), Some(symbols)) = (dynamic.address(STRINGS), dynamic.address(SYMBOLS)) else {
        return BTreeSet::new();
    };
    // SAFETY: the addresses below stay within the relocation tables that the dynamic section names. The loader itself reads these
    // tables, and keeps them mapped as long as `info` is valid.
    let word = |address: usize| unsafe { word(address) };
    let mut found = BTreeSet::new();
    for (table, bytes) in RELOCATIONS {
        let (Some(table), Some(bytes)) = (dynamic.address(table), dynamic.value(bytes)) else {
            continue;
        };
        for relocation in (table..table + bytes).step_by(RELOCATION) {
            let index = word(relocation + WORD) >> 32;
            if index == 0 {
                continue;
            }
            let symbol = std::ptr::with_exposed_provenance::<libc::Elf64_Sym>(symbols + index * SYMBOL);
            // SAFETY: the relocation refers to this symbol, so the loader itself has read it from the mapped symbol table.
            let (name, section) = unsafe { ((*symbol).st_name, (*symbol).st_shndx) };
            if section != 0 {
                continue;
            }
            let name = std::ptr::with_exposed_provenance(strings + name as usize);
            // SAFETY: the loader looks the symbol up by this C string in the mapped string table.
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
    fn program_is_the_first_and_has_the_imports_of_the_standard_library() {
        let objects = Objects::now();
        let here = program_is_the_first_and_has_the_imports_of_the_standard_library as fn() as usize;
        let program = objects.around(here).unwrap();
        assert!(objects.is_program(program));
        // With an empty list before, the program counts as new.
        let imports = Objects::imported_with(Path::new("none"), &Objects(Vec::new()));
        assert!(
            imports.contains("__cxa_thread_atexit_impl") && !imports.contains("mq_notify"),
            "{imports:?}"
        );
        let libc = objects.around(libc::getpid as unsafe extern "C" fn() -> i32 as usize);
        assert!(libc.is_some_and(|libc| is_libcs(&libc.path) || objects.is_program(libc)));
    }
}
