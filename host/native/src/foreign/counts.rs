//! The loader's own counts of an object: how often it is open, and how many of its thread-local destructors libc has still to run.
//! No public function returns them, and their offsets in the loader's record differ between releases of glibc. So this module finds
//! the offsets by experiment: it opens the object, closes it, and looks for the one word that rose by one and fell again. It does
//! the same with a thread-local destructor of its own. If the result is not unique, it answers nothing. It never writes to a record.

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

/// The loader's counts, without the openings and destructors that this module adds for the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// The loader does not count down: the object is marked as never to be unloaded, by its file or at run time.
    Marked,
    /// The loader unmaps the object when both are zero.
    Counted {
        /// Openings by somebody else.
        opened_by_others: u32,
        /// Destructors of thread-locals that libc has still to run when live threads end.
        thread_destructors: u32,
    },
}

impl Counts {
    /// The number of thread-local destructors that libc has still to run; 0 for a marked object, where it does not matter.
    pub(super) fn thread_destructors(self) -> u32 {
        match self {
            Self::Marked => 0,
            Self::Counted { thread_destructors, .. } => thread_destructors,
        }
    }
}

/// How many experiments a word has to follow.
const ROUNDS: usize = 3;

/// Reads the counts of the object that `held` holds, and that lies in `range`. `ours` is how often we have it open besides `held`.
pub(super) fn read(held: &Held, ours: u32, range: &Range<usize>) -> Option<Counts> {
    let record = Record::of(held)?;
    let path = held.path()?;
    let openings = match record.word_that_follows(|| Held::open(&path))? {
        Follows::UpAndDown(word) => word,
        Follows::UpOnly => return Some(Counts::Marked),
    };
    let Follows::UpAndDown(destructors) = record.word_that_follows(|| ThreadWithDestructor::new(range.start))? else {
        return None;
    };
    let words = record.words();
    Some(Counts::Counted {
        // One is `held`.
        opened_by_others: words[openings].saturating_sub(1 + ours),
        thread_destructors: words[destructors],
    })
}

/// How a word of the record follows an experiment.
enum Follows {
    /// This word rises with the cause and falls again.
    UpAndDown(usize),
    /// A word rises with the cause and does not fall again.
    UpOnly,
}

/// The loader's record of an object, as words.
struct Record<'a> {
    words: &'a [AtomicU32],
}

impl<'a> Record<'a> {
    fn of(held: &'a Held) -> Option<Self> {
        let map = held.link_map()?;
        // SAFETY: the loader allocates the record of an object that is opened at run time with malloc, and frees it when it unmaps
        // the object. `held` keeps the object open, so the record is alive.
        let size = unsafe { libc::malloc_usable_size(map.cast_mut().cast()) };
        if !(256..=8192).contains(&size) {
            return None;
        }
        // SAFETY: the record has at least `size` bytes (malloc said so), and lives as long as `held`. The words are atomics, because
        // the loader may write them on another thread.
        let words = unsafe { std::slice::from_raw_parts(map.cast::<AtomicU32>(), size / size_of::<u32>()) };
        Some(Self { words })
    }

    fn words(&self) -> Vec<u32> {
        self.words.iter().map(|word| word.load(Ordering::Acquire)).collect()
    }

    /// Finds the word that is incremented by `cause`, and says whether it is decremented when the answer of `cause` is dropped.
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

/// A thread that has registered a thread-local destructor with libc in the name of an object. The destructor is our own. The thread
/// ends when this is dropped.
struct ThreadWithDestructor {
    end: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ThreadWithDestructor {
    fn new(object: usize) -> Option<Self> {
        let (registered, is_registered) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let body = move || {
            // SAFETY: the destructor is code of this crate, which stays mapped; it ignores its argument. The last argument is never
            // dereferenced: it is an address inside the object for which the loader counts the destructor.
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

impl Drop for ThreadWithDestructor {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // The thread's destructors have run when `join` returns.
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
