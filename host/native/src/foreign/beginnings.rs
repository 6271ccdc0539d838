//! The start functions of this process's threads. libc keeps a thread's start function in its record of the thread, at the upper end
//! of the stack, and has no function that returns it. So this module starts a thread of its own, whose number and start function it
//! knows, and finds their offsets in that record, and which words of the record point into the record itself. By these self-pointers
//! the records of other threads are identified without doubt. It only reads the records.

use super::memory::{Mapping, mappings};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::c_void,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::OnceLock,
};

/// How many bytes of our own thread's record are examined.
const RECORD: usize = 8192;
/// The maximum distance of a record from the end of its mapping, unless the kernel has merged the mapping with the next one.
const MAX_FROM_END: usize = 256 << 10;
const WORD: usize = size_of::<usize>();

/// The layout of a thread's record in this libc.
#[derive(Debug)]
struct Layout {
    /// The offset of the thread's number.
    number: usize,
    /// The offset of the start function.
    function: usize,
    /// The self-pointers: (offset of the pointer, offset to which it points).
    self_pointers: Vec<(usize, usize)>,
}

/// Maps each of these threads to its start function. Threads whose start function is not found are missing.
pub(super) fn of(threads: &BTreeSet<u32>) -> BTreeMap<u32, usize> {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    let mut found = BTreeMap::new();
    if threads.is_empty() {
        return found;
    }
    // A failure is not cached.
    let Some(layout) = LAYOUT
        .get()
        .or_else(|| find_layout().map(|layout| LAYOUT.get_or_init(|| layout)))
    else {
        return found;
    };
    let (stacks, others): (Vec<_>, Vec<_>) = mappings().into_iter().partition(|mapping| mapping.is_stack);
    let upper_end = |stack: &Mapping| stack.range.end.saturating_sub(MAX_FROM_END).max(stack.range.start)..stack.range.end;
    let ends = stacks.iter().map(upper_end);
    let wholes = stacks.iter().map(|stack| stack.range.clone());
    // Since Linux 6.13 a stack can have a guard that the map does not show.
    let unguarded = others.iter().filter(|mapping| mapping.is_anonymous).map(upper_end);
    for memory in ends.chain(wholes).chain(unguarded) {
        layout.search(threads, memory, &mut found);
        if found.len() == threads.len() {
            break;
        }
    }
    found
}

impl Layout {
    /// Searches a part of the memory for the records of the threads.
    fn search(&self, threads: &BTreeSet<u32>, memory: Range<usize>, found: &mut BTreeMap<u32, usize>) {
        let Some(bytes) = read(memory.start, memory.len()) else {
            return;
        };
        let word = |at: usize| Some(usize::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let is_record = |at: usize| {
            let mut pointers = self.self_pointers.iter();
            pointers.all(|(offset, target)| word(at + offset) == Some(memory.start + at + target))
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

fn find_layout() -> Option<Layout> {
    let mut layout: Option<Layout> = None;
    let mut thread = 0;
    // SAFETY: `probe_own_record` has the signature of a thread's body, and `layout` outlives the thread, which is joined below.
    let made =
        unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), probe_own_record, (&raw mut layout).cast()) };
    // SAFETY: the thread was made above, and is joined once.
    let joined = made == 0 && unsafe { libc::pthread_join(thread, std::ptr::null_mut()) } == 0;
    layout.filter(|_| joined)
}

extern "C" fn probe_own_record(answer: *mut c_void) -> *mut c_void {
    // SAFETY: `answer` is the `layout` of `find_layout`, which does not touch it before it has joined this thread.
    let answer = unsafe { &mut *answer.cast::<Option<Layout>>() };
    *answer = own_layout();
    std::ptr::null_mut()
}

/// The layout of the calling thread's record. In glibc a thread's handle is the address of its record.
fn own_layout() -> Option<Layout> {
    // SAFETY: both functions only return a number.
    let (record, number) = unsafe { (libc::pthread_self() as usize, libc::gettid() as u32) };
    let bytes = read(record, RECORD)?;
    let (numbers, _) = bytes.as_chunks();
    let (words, _) = bytes.as_chunks();
    let words: Vec<usize> = words.iter().map(|word| usize::from_ne_bytes(*word)).collect();
    let number = numbers.iter().position(|found| u32::from_ne_bytes(*found) == number)? * size_of::<u32>();
    let start = probe_own_record as extern "C" fn(*mut c_void) -> *mut c_void as usize;
    let mut functions = (0..words.len()).filter(|at| words[*at] == start);
    let (Some(only), None) = (functions.next(), functions.next()) else {
        return None;
    };
    // Only use the words before the function: the record may end after it.
    let before = words[..only].iter().enumerate();
    let self_pointers: Vec<_> = before
        .filter_map(|(at, word)| Some((at * WORD, word.checked_sub(record).filter(|target| *target < only * WORD)?)))
        .collect();
    (!self_pointers.is_empty()).then_some(Layout {
        number,
        function: only * WORD,
        self_pointers,
    })
}

#[cfg(test)]
mod tests {
    use super::of;
    use std::{collections::BTreeSet, sync::mpsc};

    #[test]
    fn threads_with_one_start_function_are_found_and_other_numbers_are_not() {
        let begun: Vec<_> = (0..3)
            .map(|_| {
                let (send, receive) = mpsc::channel();
                let (end, ends) = mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    // SAFETY: only returns a number.
                    send.send(unsafe { libc::gettid() } as u32).unwrap();
                    let _ = ends.recv();
                });
                let number = receive.recv().unwrap();
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
        // Number 1 is the init process; a thread of this process never has it.
        assert!(of(&BTreeSet::from([1])).is_empty());
    }
}
