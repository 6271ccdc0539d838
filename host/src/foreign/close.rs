//! Closing a foreign library, proving that it is gone, and finding out by elimination what keeps it. Opening is not done here.

use super::{Body, Closed, Pin, Staying, counts, held::Held, keys, memory, words};
use crate::image::loaded;
use std::path::{Path, PathBuf};

/// Closes a library unless something would be called in it afterwards, and looks whether it is gone.
pub(super) fn close(mut body: Box<Body>) -> Closed {
    let range = &body.mapped.range;
    if loaded::find(body.staged.path()).is_some() {
        let mut pins = Vec::new();
        let signals = loaded::signal_handlers_in(range);
        if !signals.is_empty() {
            pins.push(Pin::SignalHandlers(signals));
        }
        let threads = body.threads_before.came_since_and_touch(body.staged.path(), range);
        if !threads.is_empty() {
            pins.push(Pin::ThreadsInside(threads));
        }
        let keys = keys::with_destructors_in(range);
        if keys > 0 {
            pins.push(Pin::KeyDestructors(keys));
        }
        // With these, the loader would unmap it later, at anybody's next `dlclose`: at a moment that is not ours.
        let destructors = counts_of(&body).map_or(0, counts::Counts::thread_destructors);
        if destructors > 0 {
            pins.push(Pin::ThreadLocalDestructors(destructors));
        }
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

fn counts_of(body: &Body) -> Option<counts::Counts> {
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
fn by_elimination(body: &Body, counts: Option<counts::Counts>) -> Vec<Pin> {
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
    if let Some(counts::Counts::Counted {
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
    if pins.is_empty() && counts != Some(counts::Counts::Marked) {
        let bound = memory::bound_to(body.staged.path(), &body.mapped.range);
        if !bound.is_empty() {
            pins.push(Pin::BoundBy(bound));
        }
    }
    if pins.is_empty() {
        pins.push(match counts {
            Some(counts::Counts::Marked) => Pin::MarkedAtRunTime,
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
