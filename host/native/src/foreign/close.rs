//! Closes a foreign library and proves that it is unmapped; if the loader has kept it, finds out by elimination why.

use super::{
    Before, Body, Closed, Pin, Staying,
    counts::{self, Counts},
    held::Held,
    keys, memory, notifies,
    objects::{self, Objects},
    threads::Threads,
    words,
};
use crate::loaded::{self, LoadedObject, Proof};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Closes a library unless something could still call into it, and checks that it is unmapped.
pub(super) fn close(mut body: Box<Body>) -> Closed {
    if loaded::find(body.staged.path()).is_some() {
        let pins = possible_callers(&body);
        if !pins.is_empty() {
            return stays(body, pins);
        }
    }
    // On a retry the handle is closed already. Then `counts_of` opens and closes the library again, and on that close the loader
    // checks again whether it may unmap the library.
    if let Some(handle) = body.handle.take()
        && let Err(error) = handle.close()
    {
        return stays(body, vec![Pin::Unexplained(words(&error))]);
    }
    let mut counts = None;
    let mut proof = Proof::of(&body.staged);
    if proof == Proof::ListedByLoader {
        counts = counts_of(&body);
        proof = Proof::of(&body.staged);
    }
    match proof {
        Proof::Unmapped => Closed::Unmapped,
        Proof::Missing(why) => stays(body, vec![Pin::Unexplained(why)]),
        Proof::ListedByLoader => {
            let pins = by_elimination(&body, counts);
            stays(body, pins)
        }
    }
}

/// Everything that could call into the library after it is unmapped, including checks that could not be made.
fn possible_callers(body: &Body) -> Vec<Pin> {
    let range = &body.mapped.range;
    let mut pins = Vec::new();
    let signals = loaded::signal_handlers_in(range);
    if !signals.is_empty() {
        pins.push(Pin::SignalHandlers(signals));
    }
    let Before {
        threads,
        objects,
        timers,
    } = &body.before;
    match Threads::inside(threads.as_ref(), objects, range) {
        Ok(inside) if inside.is_empty() => {}
        Ok(inside) => pins.push(Pin::ThreadsInside(inside)),
        Err(error) => pins.push(Pin::NotFoundOut(format!("whether threads are inside: {error}"))),
    }
    let imports = Objects::imported_with(body.staged.path(), objects);
    pins.extend(notifies::pin(&imports, timers.as_ref()));
    pins.extend(pin_by_keys(keys::with_destructors_in(range), &imports));
    // `counts_of` opens and closes the library. If our own handle is closed already, that close may unmap it.
    if body.handle.is_some() || pins.is_empty() {
        pins.extend(pin_by_thread_locals(counts_of(body), &imports));
    }
    // If the kernel's map cannot be read, nothing can be proven afterwards.
    if let Err(error) = loaded::executable_mapping_of(&body.staged.name_in_map()) {
        pins.push(Pin::NotFoundOut(format!("whether the kernel has it mapped: {error}")));
    }
    pins
}

/// If the table of keys cannot be found, that is a pin only if the library can have made a key.
fn pin_by_keys(found: Option<usize>, imports: &BTreeSet<&'static str>) -> Option<Pin> {
    match found {
        Some(0) => None,
        Some(count) => Some(Pin::KeyDestructors(count)),
        None => unknown("pthread keys with destructors in it", objects::KEYS, imports),
    }
}

/// With pending destructors the loader would keep the library for now and unmap it at an arbitrary later `dlclose`, outside our
/// control.
fn pin_by_thread_locals(counts: Option<Counts>, imports: &BTreeSet<&'static str>) -> Option<Pin> {
    match counts.map(Counts::thread_destructors) {
        Some(0) => None,
        Some(count) => Some(Pin::ThreadLocalDestructors(count)),
        None => unknown(
            "destructors of its thread-locals on threads that live",
            objects::THREAD_LOCALS,
            imports,
        ),
    }
}

fn unknown(what: &str, by: &[&str], imports: &BTreeSet<&'static str>) -> Option<Pin> {
    let imported: Vec<_> = by.iter().copied().filter(|name| imports.contains(name)).collect();
    let by = imported.join(", ");
    (!imported.is_empty()).then(|| Pin::NotFoundOut(format!("{what}, which it or what came with it can make with {by}")))
}

/// Reads the loader's counts. This opens and closes the library once, and the close may unmap it.
fn counts_of(body: &Body) -> Option<Counts> {
    let ours = u32::from(body.handle.is_some());
    Held::open(body.staged.path()).and_then(|held| counts::read(&held, ours, &body.mapped.range))
}

fn stays(body: Box<Body>, pins: Vec<Pin>) -> Closed {
    let body = Some(body);
    Closed::Stays(Staying { body, pins })
}

/// Finds out by elimination why the loader keeps the library, although our handle is closed.
fn by_elimination(body: &Body, counts: Option<Counts>) -> Vec<Pin> {
    let mut pins = Vec::new();
    if body.facts.nodelete && body.kept_nodelete {
        pins.push(Pin::NoDelete);
    }
    if !body.facts.unique.is_empty() {
        pins.push(Pin::UniqueSymbols(body.facts.unique.clone()));
    }
    let needed_by = needed_by_others(body.staged.path());
    if !needed_by.is_empty() {
        pins.push(Pin::NeededBy(needed_by));
    }
    if let Some(Counts::Counted {
        opened_by_others,
        thread_destructors,
    }) = counts
    {
        if opened_by_others > 0 {
            pins.push(Pin::OpenedElsewhere(opened_by_others));
        }
        if thread_destructors > 0 {
            pins.push(Pin::ThreadLocalDestructors(thread_destructors));
        }
    }
    if pins.is_empty() && counts != Some(Counts::Marked) {
        let bound = memory::bound_to(body.staged.path(), &body.mapped.range);
        if !bound.is_empty() {
            pins.push(Pin::BoundBy(bound));
        }
    }
    if pins.is_empty() {
        pins.push(match counts {
            Some(Counts::Marked) => Pin::MarkedAtRunTime,
            Some(_) => Pin::Unexplained("neither its counts nor its marks nor other objects explain it".to_owned()),
            None => Pin::Unexplained("the loader's own counts could not be read".to_owned()),
        });
    }
    pins
}

/// The mapped objects that need the one at `path`. For each needed name the loader takes the first object with that name in its list.
fn needed_by_others(path: &Path) -> Vec<PathBuf> {
    let objects = loaded::loaded_objects();
    let Some(at) = objects.iter().position(|object| object.path == path) else {
        return Vec::new();
    };
    let needs_us = |object: &&LoadedObject| {
        let mut names = object.needs.iter();
        names.any(|name| objects[at].is_named(name) && !objects[..at].iter().any(|earlier| earlier.is_named(name)))
    };
    let later = objects[at + 1..].iter().filter(needs_us);
    later.map(|object| object.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Pin, pin_by_keys, pin_by_thread_locals};
    use std::collections::BTreeSet;

    #[test]
    fn a_check_that_failed_pins_only_a_library_with_the_imports_for_it() {
        let none = BTreeSet::new();
        let both = BTreeSet::from(["pthread_key_create", "__cxa_thread_atexit_impl"]);
        assert_eq!((pin_by_keys(None, &none), pin_by_thread_locals(None, &none)), (None, None));
        let pins = [pin_by_keys(None, &both), pin_by_thread_locals(None, &both)];
        for (pin, names) in pins.into_iter().zip(["pthread_key_create", "__cxa_thread_atexit_impl"]) {
            assert!(
                matches!(&pin, Some(Pin::NotFoundOut(what)) if what.contains(names)),
                "{pin:?}"
            );
        }
        assert_eq!(pin_by_keys(Some(0), &both), None);
        assert_eq!(pin_by_keys(Some(2), &none), Some(Pin::KeyDestructors(2)));
        // A marked library is never unmapped, so libc cannot call into unmapped memory.
        assert_eq!(pin_by_thread_locals(Some(Counts::Marked), &both), None);
    }
}
