//! The pthread keys of this process that have a destructor in a library. libc tells nobody, and calls the destructor when a thread
//! with a value ends, be the library there or not. Its table is found by watching: a key of our own, whose number and destructor are
//! known, shows where the table begins. Nothing is written there but by libc.

use super::memory;
use crate::loaded;
use std::{ffi::c_void, ops::Range, sync::OnceLock};

/// As `PTHREAD_KEYS_MAX` has been since there are threads in glibc.
const KEYS: usize = 1024;
/// A place in the table: the number of its uses so far, odd while it is in use, and the destructor, which is not cleared.
const PLACE: usize = 2 * size_of::<usize>();

/// How many keys have a destructor in the range; `None` if the table cannot be found.
pub(super) fn with_destructors_in(range: &Range<usize>) -> Option<usize> {
    static TABLE: OnceLock<usize> = OnceLock::new();
    // What was not found is looked for again the next time: perhaps no key was free.
    let table = TABLE
        .get()
        .copied()
        .or_else(|| find_table().map(|table| *TABLE.get_or_init(|| table)))?;
    let places = (0..KEYS).map(|key| table + key * PLACE);
    let in_range = places.filter(|place| in_use(*place) && range.contains(&word(place + size_of::<usize>())));
    Some(in_range.count())
}

/// Answers only what was seen twice at the same place, with two keys.
fn find_table() -> Option<usize> {
    let found = [one_look()?, one_look()?];
    (found[0] == found[1]).then_some(found[0])
}

fn one_look() -> Option<usize> {
    let mut key = 0;
    // SAFETY: room for a key. Its destructor does nothing, and no thread gets a value.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(nothing)) } != 0 {
        return None;
    }
    let offset = key as usize * PLACE;
    let destructor = nothing as unsafe extern "C" fn(*mut c_void) as usize;
    let mut tables = Vec::new();
    for variables in libcs_variables() {
        let Some(last) = variables.end.checked_sub(PLACE) else {
            continue;
        };
        for place in (variables.start..=last).step_by(size_of::<usize>()) {
            let fits = place >= variables.start + offset && place - offset + KEYS * PLACE <= variables.end;
            if fits && word(place + size_of::<usize>()) == destructor && in_use(place) {
                tables.push(place - offset);
            }
        }
    }
    // SAFETY: made above, and nobody else knows it.
    unsafe { libc::pthread_key_delete(key) };
    match tables[..] {
        [only] => Some(only),
        _ => None,
    }
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

fn in_use(place: usize) -> bool {
    word(place) % 2 == 1
}

/// A word of libc's variables.
fn word(address: usize) -> usize {
    // SAFETY: the callers stay within what `libcs_variables` answered, writable segments of libc, which is never unmapped.
    unsafe { memory::word(address) }
}

/// The writable segments of libc (and of libpthread, where that is still apart).
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
