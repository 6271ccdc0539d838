//! Closing a foreign library, proving that it is gone, and finding out by elimination what keeps it. Opening is not done here.

use super::{
    Before, Body, Closed, Pin, Staying,
    counts::{self, Counts},
    held::Held,
    keys, memory, notifies,
    objects::{self, Objects},
    threads::Threads,
    words,
};
use crate::loaded;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Closes a library unless something would be called in it afterwards, and looks whether it is gone.
pub(super) fn close(mut body: Box<Body>) -> Closed {
    if loaded::find(body.staged.path()).is_some() {
        let pins = what_would_be_called(&body);
        if !pins.is_empty() {
            return stays(body, pins);
        }
    }
    // The second time there is none; then our own look below is the close on which the loader looks again.
    if let Some(handle) = body.handle.take()
        && let Err(error) = handle.close()
    {
        return stays(body, vec![Pin::Unexplained(words(&error))]);
    }
    if let Some(gone) = proof(&body) {
        return gone.map_or_else(|why| stays(body, vec![Pin::Unexplained(why)]), |()| Closed::Unmapped);
    }
    // Letting go of it again is also a close on which the loader looks whether it may go by now.
    let counts = counts_of(&body);
    match proof(&body) {
        Some(Ok(())) => Closed::Unmapped,
        Some(Err(why)) => stays(body, vec![Pin::Unexplained(why)]),
        None => {
            let pins = by_elimination(&body, counts);
            stays(body, pins)
        }
    }
}

/// What would be called in it after it was gone, and what may be and could not be looked for.
fn what_would_be_called(body: &Body) -> Vec<Pin> {
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
    // Once our own opening is taken back, a look at the counts is a close, on which the loader may unmap it.
    if body.handle.is_some() || pins.is_empty() {
        pins.extend(pin_by_thread_locals(counts_of(body), &imports));
    }
    // Without this witness nothing could be proven afterwards.
    if let Err(error) = loaded::executable_mapping_of(&body.staged.name_in_map()) {
        pins.push(Pin::NotFoundOut(format!("what the kernel has mapped: {error}")));
    }
    pins
}

/// Keys that cannot be looked for matter only if there can be any.
fn pin_by_keys(found: Option<usize>, imports: &BTreeSet<&'static str>) -> Option<Pin> {
    match found {
        Some(0) => None,
        Some(count) => Some(Pin::KeyDestructors(count)),
        None => unknown("pthread keys with destructors in it", objects::KEYS, imports),
    }
}

/// With these, the loader would unmap it later, at anybody's next `dlclose`: at a moment that is not ours.
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

fn counts_of(body: &Body) -> Option<Counts> {
    let ours = u32::from(body.handle.is_some());
    Held::open(body.staged.path()).and_then(|held| counts::read(&held, ours, &body.mapped.range))
}

fn stays(body: Box<Body>, pins: Vec<Pin>) -> Closed {
    let body = Some(body);
    Closed::Stays(Staying { body, pins })
}

/// The two witnesses: `None` if the loader still has it; an error if the loader has not and the kernel has, or does not say.
fn proof(body: &Body) -> Option<Result<(), String>> {
    if loaded::find(body.staged.path()).is_some() {
        return None;
    }
    Some(match loaded::executable_mapping_of(&body.staged.name_in_map()) {
        Ok(false) => Ok(()),
        Ok(true) => Err("the kernel still lists executable memory of it".to_owned()),
        Err(error) => Err(format!("the kernel's map cannot be read, so nothing is proven: {error}")),
    })
}

/// What can be the reason, when the loader keeps what nobody here has open.
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
            Some(_) => Pin::Unexplained("neither counts nor marks nor other objects say why".to_owned()),
            None => Pin::Unexplained("the loader's own counts could not be read".to_owned()),
        });
    }
    pins
}

/// The mapped objects that need the one at `path`. The loader gives each the first object of that name in its list.
fn needed_by_others(path: &Path) -> Vec<PathBuf> {
    let family = loaded::family();
    let Some(at) = family.iter().position(|object| object.path == path) else {
        return Vec::new();
    };
    let needs_us = |object: &&loaded::Relative| {
        let mut names = object.needs.iter();
        names.any(|name| family[at].answers_to(name) && !family[..at].iter().any(|earlier| earlier.answers_to(name)))
    };
    let later = family[at + 1..].iter().filter(needs_us);
    later.map(|object| object.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Pin, pin_by_keys, pin_by_thread_locals};
    use std::collections::BTreeSet;

    #[test]
    fn what_could_not_be_found_out_pins_where_it_matters() {
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
        // It is never unmapped, so that nothing can be called too late.
        assert_eq!(pin_by_thread_locals(Some(Counts::Marked), &both), None);
    }
}
