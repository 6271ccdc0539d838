//! With which function a thread of this process began. libc keeps that in its record of the thread, at the far end of the stack, and
//! tells nobody. A thread of our own, whose number and function are known, shows where the two stand in a record, and which of its
//! words point into the record itself; by these the others' records are known without doubt. Nothing is written there.

use super::memory::mappings;
use std::{ffi::c_void, fs::File, ops::Range, os::unix::fs::FileExt, sync::OnceLock};

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

/// The function with which a thread began; `None` if that cannot be found.
pub(super) fn of(thread: u32) -> Option<usize> {
    static SHAPE: OnceLock<Option<Shape>> = OnceLock::new();
    let shape = SHAPE.get_or_init(find_shape).as_ref()?;
    let stacks: Vec<_> = mappings().into_iter().filter(|mapping| mapping.is_stack).collect();
    let near = |stack: &Range<usize>| stack.end.saturating_sub(NEAR).max(stack.start)..stack.end;
    let mut tops = stacks.iter().map(|stack| near(&stack.range));
    let mut wholes = stacks.iter().map(|stack| stack.range.clone());
    tops.find_map(|stack| shape.function_of(thread, stack))
        .or_else(|| wholes.find_map(|stack| shape.function_of(thread, stack)))
}

impl Shape {
    /// Looks for the thread's record in a part of the memory.
    fn function_of(&self, thread: u32, memory: Range<usize>) -> Option<usize> {
        let bytes = read(memory.start, memory.len())?;
        let word = |at: usize| Some(usize::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let is_record = |at: usize| {
            let mut own = self.own.iter();
            own.all(|(stands, means)| word(at + stands) == Some(memory.start + at + means))
        };
        let (numbers, _) = bytes.as_chunks();
        let found = (0..numbers.len()).filter(|at| u32::from_ne_bytes(numbers[*at]) == thread);
        let mut records = found.filter_map(|at| (at * size_of::<u32>()).checked_sub(self.number));
        records.find(|at| is_record(*at)).and_then(|at| word(at + self.function))
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
    use std::sync::mpsc;

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
                let begun = of(tells.recv().unwrap());
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
        assert_eq!(of(1), None);
    }
}
