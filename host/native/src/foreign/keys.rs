//! The pthread keys of this process that have a destructor in a library. libc calls such a destructor when a thread with a value
//! ends, even if the library is unmapped by then, and has no function that lists them. So this module finds libc's table of keys: it
//! makes a key of its own, whose number and destructor it knows, and searches for that entry. It only reads the table.

use super::memory;
use crate::loaded;
use std::{ffi::c_void, ops::Range, sync::OnceLock};

/// glibc's `PTHREAD_KEYS_MAX`, which has never changed.
const KEYS: usize = 1024;
/// The size of an entry of the table: a sequence number, odd while the key is in use, and the destructor, which libc does not clear.
const ENTRY: usize = 2 * size_of::<usize>();

/// How many keys have a destructor in the range; `None` if the table cannot be found.
pub(super) fn with_destructors_in(range: &Range<usize>) -> Option<usize> {
    static TABLE: OnceLock<usize> = OnceLock::new();
    // A failure is not cached: perhaps no key was free.
    let table = TABLE
        .get()
        .copied()
        .or_else(|| find_table().map(|table| *TABLE.get_or_init(|| table)))?;
    let entries = (0..KEYS).map(|key| table + key * ENTRY);
    let in_range = entries.filter(|entry| in_use(*entry) && range.contains(&word(entry + size_of::<usize>())));
    Some(in_range.count())
}

/// Finds the address of the table. Two searches, each with its own key, must find the same address.
fn find_table() -> Option<usize> {
    let found = [search_table()?, search_table()?];
    (found[0] == found[1]).then_some(found[0])
}

fn search_table() -> Option<usize> {
    let mut key = 0;
    // SAFETY: `key` is writable. The destructor does nothing, and no thread gets a value.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(nothing)) } != 0 {
        return None;
    }
    let offset = key as usize * ENTRY;
    let destructor = nothing as unsafe extern "C" fn(*mut c_void) as usize;
    let mut tables = Vec::new();
    for variables in libcs_variables() {
        let Some(last) = variables.end.checked_sub(ENTRY) else {
            continue;
        };
        for entry in (variables.start..=last).step_by(size_of::<usize>()) {
            let fits = entry >= variables.start + offset && entry - offset + KEYS * ENTRY <= variables.end;
            if fits && word(entry + size_of::<usize>()) == destructor && in_use(entry) {
                tables.push(entry - offset);
            }
        }
    }
    // SAFETY: the key was made above, and no other code knows its number.
    unsafe { libc::pthread_key_delete(key) };
    match tables[..] {
        [only] => Some(only),
        _ => None,
    }
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

fn in_use(entry: usize) -> bool {
    word(entry) % 2 == 1
}

/// A word of libc's variables.
fn word(address: usize) -> usize {
    // SAFETY: the callers stay within the ranges of `libcs_variables`: writable segments of libc, which is never unmapped.
    unsafe { memory::word(address) }
}

/// The writable segments of libc (and of libpthread, in releases where that is a file of its own).
fn libcs_variables() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    loaded::each(&mut |name, info| {
        let file = name.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if !file.starts_with(b"libc.so.") && !file.starts_with(b"libpthread.so.") {
            return;
        }
        found.extend(memory::variables(info));
    });
    found
}
