//! The loader's own counts of an object: how often it is open, and how many thread-local destructors libc holds of it. Nothing
//! public tells them, and their place in the loader's record differs between releases of glibc. So the places are found by watching:
//! the word that rises by one when the object is opened once more, and falls when that is closed, is the one; the same with a
//! destructor of our own. Whatever is not found without doubt is not answered. Nothing is written.

use super::held::Held;
use std::{
    ffi::{c_int, c_void},
    ops::Range,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

/// What the loader counts, without what this module adds for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// It does not count down any more: the object is marked as never to be unloaded, by its file or since.
    Marked,
    /// It may go when all of these are zero.
    Counted {
        /// Openings by somebody else.
        opened_by_others: u32,
        /// Destructors of thread-locals that libc is to run on threads that live.
        thread_destructors: u32,
    },
}

impl Counts {
    /// How many destructors of thread-locals libc is to run, as far as that is known.
    pub(super) fn thread_destructors(self) -> u32 {
        match self {
            Self::Marked => 0,
            Self::Counted { thread_destructors, .. } => thread_destructors,
        }
    }
}

/// A word has to move with the cause so many times to be believed.
const ROUNDS: usize = 3;

/// Reads the counts of the object that `held` holds, and that lies in `range`. `ours` is how often we have it open otherwise.
pub(super) fn read(held: &Held, ours: u32, range: &Range<usize>) -> Option<Counts> {
    let record = Record::of(held)?;
    let path = held.path()?;
    let openings = match record.word_that_follows(|| Held::open(&path))? {
        Follows::UpAndDown(word) => word,
        Follows::UpOnly => return Some(Counts::Marked),
    };
    let Follows::UpAndDown(destructors) = record.word_that_follows(|| Registered::new(range.start))? else {
        return None;
    };
    let words = record.words();
    Some(Counts::Counted {
        // One is `held`.
        opened_by_others: words[openings].saturating_sub(1 + ours),
        thread_destructors: words[destructors],
    })
}

/// How a word moves with a cause.
enum Follows {
    /// This one does.
    UpAndDown(usize),
    /// One does, but for the way down.
    UpOnly,
}

/// The loader's record of an object, as words.
struct Record<'a> {
    words: &'a [AtomicU32],
}

impl<'a> Record<'a> {
    fn of(held: &'a Held) -> Option<Self> {
        let map = held.link_map()?;
        // SAFETY: the loader allocates the record of an object that is opened at run time with malloc, once libc is there, and
        // frees it no sooner than the object goes, which `held` prevents.
        let size = unsafe { libc::malloc_usable_size(map.cast_mut().cast()) };
        if !(256..=8192).contains(&size) {
            return None;
        }
        // SAFETY: so many bytes belong to the record. They are read as atomics, because the loader may write them meanwhile.
        let words = unsafe { std::slice::from_raw_parts(map.cast::<AtomicU32>(), size / size_of::<u32>()) };
        Some(Self { words })
    }

    fn words(&self) -> Vec<u32> {
        self.words.iter().map(|word| word.load(Ordering::Acquire)).collect()
    }

    /// The one word that rises by one when what `cause` makes comes to exist, and how it moves when that is dropped.
    fn word_that_follows<T>(&self, mut cause: impl FnMut() -> Option<T>) -> Option<Follows> {
        let mut both: Vec<usize> = (0..self.words.len()).collect();
        let mut up_only = both.clone();
        for _ in 0..ROUNDS {
            let before = self.words();
            let made = cause()?;
            let during = self.words();
            drop(made);
            let after = self.words();
            let rises = |at: &usize| during[*at] == before[*at].wrapping_add(1);
            both.retain(|at| rises(at) && after[*at] == before[*at]);
            up_only.retain(|at| rises(at) && after[*at] == during[*at]);
        }
        match (&both[..], &up_only[..]) {
            ([only], []) => Some(Follows::UpAndDown(*only)),
            ([], [_]) => Some(Follows::UpOnly),
            _ => None,
        }
    }
}

/// A thread that has told libc of a destructor on behalf of an object, and lives until this is dropped. The destructor is ours.
struct Registered {
    end: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Registered {
    fn new(object: usize) -> Option<Self> {
        let (registered, is_registered) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let body = move || {
            // SAFETY: the destructor lies in this library, ignores its argument, and runs when this thread ends. The last argument
            // only names, by an address in it, the object that the loader is to count it for.
            let answer =
                unsafe { __cxa_thread_atexit_impl(nothing, std::ptr::null_mut(), std::ptr::without_provenance_mut(object)) };
            let _ = registered.send(answer == 0);
            let _ = ends.recv();
        };
        let thread = thread::Builder::new().name("reslot-counts".to_owned()).spawn(body).ok()?;
        let made = Self {
            end: Some(end),
            thread: Some(thread),
        };
        is_registered.recv().ok()?.then_some(made)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // Its destructors have run when this returns.
            let _ = thread.join();
        }
    }
}

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(
        destructor: unsafe extern "C" fn(*mut c_void),
        object: *mut c_void,
        dso: *mut c_void,
    ) -> c_int;
}

unsafe extern "C" fn nothing(_: *mut c_void) {}
