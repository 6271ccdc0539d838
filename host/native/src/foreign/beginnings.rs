//! With which function a thread of this process began. libc keeps that in its record of the thread, at the far end of the stack, and
//! tells nobody. A thread of our own, whose number and function are known, shows where the two stand in a record, and which of its
//! words point into the record itself; by these the others' records are known without doubt. Nothing is written there.

use super::memory::{Mapping, mappings};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::c_void,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::OnceLock,
};

/// As much of a record as is looked at.
const RECORD: usize = 8192;
/// So near to its mapping's end a record stands, unless the kernel has joined the mapping with the next one.
const NEAR: usize = 256 << 10;
const WORD: usize = size_of::<usize>();

/// What a record of this libc looks like.
#[derive(Debug)]
struct Shape {
    /// Where the thread's number stands.
    number: usize,
    /// Where its function stands.
    function: usize,
    /// Where an address in the record itself stands, and how far from the record's beginning that is.
    own: Vec<(usize, usize)>,
}

/// The functions with which these threads began. Of whom that cannot be found is left out.
pub(super) fn of(threads: &BTreeSet<u32>) -> BTreeMap<u32, usize> {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    let mut found = BTreeMap::new();
    if threads.is_empty() {
        return found;
    }
    // What was not found is looked for again the next time.
    let Some(shape) = SHAPE.get().or_else(|| find_shape().map(|shape| SHAPE.get_or_init(|| shape))) else {
        return found;
    };
    let (stacks, others): (Vec<_>, Vec<_>) = mappings().into_iter().partition(|mapping| mapping.is_stack);
    let near = |stack: &Mapping| stack.range.end.saturating_sub(NEAR).max(stack.range.start)..stack.range.end;
    let tops = stacks.iter().map(near);
    let wholes = stacks.iter().map(|stack| stack.range.clone());
    // Guards that the map does not show are made since Linux 6.13.
    let unguarded = others.iter().filter(|mapping| mapping.is_anonymous).map(near);
    for memory in tops.chain(wholes).chain(unguarded) {
        shape.look_for(threads, memory, &mut found);
        if found.len() == threads.len() {
            break;
        }
    }
    found
}

impl Shape {
    /// Looks for the threads' records in a part of the memory.
    fn look_for(&self, threads: &BTreeSet<u32>, memory: Range<usize>, found: &mut BTreeMap<u32, usize>) {
        let Some(bytes) = read(memory.start, memory.len()) else {
            return;
        };
        let word = |at: usize| Some(usize::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let is_record = |at: usize| {
            let mut own = self.own.iter();
            own.all(|(stands, means)| word(at + stands) == Some(memory.start + at + means))
        };
        let (numbers, _) = bytes.as_chunks();
        for (at, number) in numbers.iter().enumerate() {
            let number = u32::from_ne_bytes(*number);
            if number == 0 || !threads.contains(&number) {
                continue;
            }
            let record = (at * size_of::<u32>()).checked_sub(self.number).filter(|at| is_record(*at));
            found.extend(record.and_then(|at| Some((number, word(at + self.function)?))));
        }
    }
}

fn read(from: usize, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = File::open("/proc/self/mem").ok()?.read_at(&mut bytes, from as u64).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

fn find_shape() -> Option<Shape> {
    let mut shape: Option<Shape> = None;
    let mut thread = 0;
    // SAFETY: the body has the right signature, and what it writes to lives until it was joined.
    let made = unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), look_at_oneself, (&raw mut shape).cast()) };
    // SAFETY: made above, and joined once.
    let joined = made == 0 && unsafe { libc::pthread_join(thread, std::ptr::null_mut()) } == 0;
    shape.filter(|_| joined)
}

extern "C" fn look_at_oneself(answer: *mut c_void) -> *mut c_void {
    // SAFETY: room for the answer, which `find_shape` leaves to this thread until it has joined it.
    let answer = unsafe { &mut *answer.cast::<Option<Shape>>() };
    *answer = own_shape();
    std::ptr::null_mut()
}

/// In glibc a thread's handle is the address of its record.
fn own_shape() -> Option<Shape> {
    // SAFETY: these ask for numbers.
    let (record, number) = unsafe { (libc::pthread_self() as usize, libc::gettid() as u32) };
    let bytes = read(record, RECORD)?;
    let (numbers, _) = bytes.as_chunks();
    let (words, _) = bytes.as_chunks();
    let words: Vec<usize> = words.iter().map(|word| usize::from_ne_bytes(*word)).collect();
    let number = numbers.iter().position(|found| u32::from_ne_bytes(*found) == number)? * size_of::<u32>();
    let begun = look_at_oneself as extern "C" fn(*mut c_void) -> *mut c_void as usize;
    let mut functions = (0..words.len()).filter(|at| words[*at] == begun);
    let (Some(only), None) = (functions.next(), functions.next()) else {
        return None;
    };
    // Behind the function the record may end, and something else begin.
    let own = words[..only].iter().enumerate();
    let own = own.filter_map(|(at, word)| Some((at * WORD, word.checked_sub(record).filter(|means| *means < only * WORD)?)));
    let own: Vec<_> = own.collect();
    (!own.is_empty()).then_some(Shape {
        number,
        function: only * WORD,
        own,
    })
}

#[cfg(test)]
mod tests {
    use super::of;
    use std::{collections::BTreeSet, sync::mpsc};

    #[test]
    fn threads_of_one_kind_began_alike_and_no_number_is_taken_for_another() {
        let begun: Vec<_> = (0..3)
            .map(|_| {
                let (told, tells) = mpsc::channel();
                let (end, ends) = mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    // SAFETY: asks for a number.
                    told.send(unsafe { libc::gettid() } as u32).unwrap();
                    let _ = ends.recv();
                });
                let number = tells.recv().unwrap();
                let begun = of(&BTreeSet::from([number])).remove(&number);
                drop(end);
                thread.join().unwrap();
                begun
            })
            .collect();
        assert!(
            begun[0].is_some() && begun.iter().all(|other| *other == begun[0]),
            "{begun:x?}"
        );
        // Processes have this number, and threads of ours never.
        assert!(of(&BTreeSet::from([1])).is_empty());
    }
}
