//! Threads that may be inside a library, told from outside: by where they began and what stands on their stacks. The look errs on the side of keeping
//! the library.

use super::{
    beginnings,
    memory::{mappings, needed_for},
};
use crate::image::loaded::{self, Mapped};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

/// So often a thread that runs just now is looked at again, until it waits and can be looked into.
const LOOKS: usize = 50;

/// The threads of this process at one moment, by number and time of birth, because numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Threads(BTreeSet<(u32, u64)>);

impl Threads {
    pub(super) fn now() -> Self {
        let numbers = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(numbers.filter_map(|number| Some((number, born(number)?))).collect())
    }

    /// The names of the threads that are not among these, and that may be inside the library. Whoever was there before it was
    /// opened can be inside only by a call, and then the borrow of that call is still out.
    pub(super) fn came_since_and_touch(&self, library: &Path, range: &Range<usize>) -> Vec<String> {
        // SAFETY: asks for a number.
        let own = unsafe { libc::gettid() } as u32;
        let now = Self::now().0;
        let mut new = now.difference(&self.0).filter(|(number, _)| *number != own).peekable();
        if new.peek().is_none() {
            return Vec::new();
        }
        let needed: Vec<_> = needed_for(library).iter().filter_map(|path| loaded::find(path)).collect();
        let inside = new.filter(|(number, _)| may_be_inside(*number, range, &needed));
        inside.map(|(number, _)| name(*number)).collect()
    }
}

/// By where the thread began: in the library, in something that the library needs (C++ threads begin in libstdc++) and that may
/// have called it, or elsewhere. Stacks are used again with what stood on them, so that they are looked at only where that
/// leaves a doubt.
fn may_be_inside(thread: u32, range: &Range<usize>, needed: &[Mapped]) -> bool {
    match beginnings::of(thread) {
        Some(begun) if range.contains(&begun) => true,
        Some(begun) if needed.iter().any(|needed| needed.range.contains(&begun)) => touches(thread, range),
        Some(_) => false,
        None => touches(thread, range),
    }
}

/// In clock ticks since the system's start.
fn born(thread: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn name(thread: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    format!("{} ({thread})", name.trim_end())
}

/// Whether a thread that has not ended may be in the library. If that cannot be looked into, it may.
fn touches(thread: u32, range: &Range<usize>) -> bool {
    for _ in 0..LOOKS {
        let Ok(state) = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) else {
            return Path::new(&format!("/proc/self/task/{thread}")).exists();
        };
        // Either `running`, or numbers of which the last two are the stack pointer and where it is.
        let mut numbers = state.split_whitespace().rev().map(|word| {
            let digits = word.strip_prefix("0x")?;
            usize::from_str_radix(digits, 16).ok()
        });
        if let (Some(Some(at)), Some(Some(stack))) = (numbers.next(), numbers.next()) {
            return range.contains(&at) || stack_holds(stack, range);
        }
        std::thread::yield_now();
    }
    // It runs on and on, and does not say where.
    true
}

/// Whether the stack above its pointer holds an address in the range.
fn stack_holds(pointer: usize, range: &Range<usize>) -> bool {
    let mapping = mappings().into_iter().find(|mapping| mapping.range.contains(&pointer));
    // Without one, the thread has ended meanwhile.
    mapping.is_some_and(|mapping| memory_holds(pointer..mapping.range.end, range))
}

fn memory_holds(memory: Range<usize>, range: &Range<usize>) -> bool {
    let Ok(ourselves) = File::open("/proc/self/mem") else {
        return true;
    };
    let mut page = [0; 4096];
    let mut at = memory.start & !(size_of::<usize>() - 1);
    while at < memory.end {
        let len = page.len().min(memory.end - at);
        // What cannot be read is not there any more: the thread has ended meanwhile.
        let Ok(read) = ourselves.read_at(&mut page[..len], at as u64) else {
            return false;
        };
        let (words, _) = page[..read].as_chunks();
        if words.iter().any(|word| range.contains(&usize::from_ne_bytes(*word))) {
            return true;
        }
        if words.is_empty() {
            return false;
        }
        at += words.len() * size_of::<usize>();
    }
    false
}
