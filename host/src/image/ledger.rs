//! What an image owns in this process beside its memory: thread-local destructors and values on the host's threads, threads
//! of its own, file mappings. The image's replaced libc symbols write it (through `services`), the thread's end and the unload
//! read it.
//!
//! # Why this is sound
//! A destructor may be called only while its image is mapped. Every run of a destructor happens between `running += 1` and
//! `running -= 1` under the ledger's lock with `closed` false at the start; `close` sets `closed` only at `running == 0` with no
//! thread of the image alive, and the image is unmapped only after `close` succeeded. So a thread that ends either finds the
//! ledger open, and the image stays until it is done, or finds it closed, and runs nothing.
//!
//! No lock is held while plugin code runs.

use parking_lot::{Condvar, Mutex};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    ffi::c_void,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

static NEXT_LEDGER: AtomicU64 = AtomicU64::new(1);
static NEXT_THREAD: AtomicU64 = AtomicU64::new(1);
static NEXT_KEY: AtomicU32 = AtomicU32::new(reslot_plugin_api::__private::VIRTUAL_KEYS);

/// POSIX lets a destructor set its key's value again; libc gives up after this many rounds, and so do we.
const KEY_ROUNDS: usize = 4;

/// The account of one image.
pub(crate) struct Ledger {
    id: u64,
    state: Mutex<State>,
    changed: Condvar,
    when_quiet: Box<dyn Fn(u64) + Send + Sync>,
    on_thread_panic: Box<dyn Fn(super::PanicReport) + Send + Sync>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Threads that are running destructors of the image just now.
    running: usize,
    entries: HashMap<u64, Entries>,
    keys: HashMap<u32, Option<Destructor>>,
    threads: BTreeMap<u64, OwnThread>,
    next_thread: u64,
    mappings: BTreeMap<usize, usize>,
    destructors_run: u64,
    destructors_skipped: u64,
}

impl State {
    /// Nothing of the image runs, but for callers of the host's.
    fn is_quiet(&self) -> bool {
        self.threads.is_empty() && self.running == 0
    }
}

/// What one thread holds for the image.
#[derive(Default)]
struct Entries {
    destructors: Vec<(Destructor, Pointer)>,
    values: HashMap<u32, Pointer>,
}

/// A thread that the image started.
struct OwnThread {
    /// The kernel's number, once it runs.
    tid: Option<i32>,
    /// The number under which its own entries are kept, once it runs.
    number: Option<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Pointer(pub(super) *mut c_void);
// SAFETY: the pointer is only handed back, to the thread it came from or, when closing, to nobody.
unsafe impl Send for Pointer {}

/// How closing went.
pub(crate) struct Closed {
    pub(crate) destructors_run: u64,
    pub(crate) destructors_skipped: u64,
    /// Bytes of file mappings that the image made and left.
    pub(crate) file_bytes_left: usize,
}

impl Ledger {
    /// `when_quiet` is told the ledger's number when the last thread of the image has ended; `on_thread_panic` of panics on
    /// threads that the image started, which no caller sees.
    pub(crate) fn new(
        when_quiet: impl Fn(u64) + Send + Sync + 'static,
        on_thread_panic: impl Fn(super::PanicReport) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_LEDGER.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            changed: Condvar::new(),
            when_quiet: Box::new(when_quiet),
            on_thread_panic: Box::new(on_thread_panic),
        })
    }

    /// Unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Registers a thread-local destructor of the calling thread.
    pub(super) fn add_destructor(self: &Arc<Self>, destructor: Destructor, object: *mut c_void) {
        let thread = ThisThread::enlist(self);
        let mut state = self.state.lock();
        match thread {
            Some(thread) => {
                let entries = state.entries.entry(thread).or_default();
                entries.destructors.push((destructor, Pointer(object)));
            }
            // The thread is past its end: what it makes now stays.
            None => state.destructors_skipped += 1,
        }
    }

    pub(super) fn create_key(&self, destructor: Option<Destructor>) -> u32 {
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        self.state.lock().keys.insert(key, destructor);
        key
    }

    pub(super) fn delete_key(&self, key: u32) -> bool {
        let mut state = self.state.lock();
        for entries in state.entries.values_mut() {
            entries.values.remove(&key);
        }
        state.keys.remove(&key).is_some()
    }

    pub(super) fn set_value(self: &Arc<Self>, key: u32, value: *mut c_void) -> bool {
        let Some(thread) = ThisThread::enlist(self) else {
            return false;
        };
        let mut state = self.state.lock();
        if !state.keys.contains_key(&key) {
            return false;
        }
        let entries = state.entries.entry(thread).or_default();
        if value.is_null() {
            entries.values.remove(&key);
        } else {
            entries.values.insert(key, Pointer(value));
        }
        true
    }

    pub(super) fn value(&self, key: u32) -> *mut c_void {
        let thread = ThisThread::number();
        let state = self.state.lock();
        let value = state.entries.get(&thread).and_then(|entries| entries.values.get(&key));
        value.map_or(std::ptr::null_mut(), |value| value.0)
    }

    /// A thread of the image is about to be started: from here on the image stays. `None` if the image is being closed.
    pub(super) fn thread_starts(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let thread = state.next_thread;
        state.next_thread += 1;
        state.threads.insert(thread, OwnThread { tid: None, number: None });
        Some(thread)
    }

    pub(super) fn thread_runs(&self, thread: u64) {
        // SAFETY: gettid has no preconditions.
        let tid = unsafe { libc::gettid() };
        if let Some(own) = self.state.lock().threads.get_mut(&thread) {
            own.tid = Some(tid);
            own.number = Some(ThisThread::number());
        }
    }

    pub(super) fn thread_ended(&self, thread: u64) {
        let quiet = {
            let mut state = self.state.lock();
            state.threads.remove(&thread);
            state.is_quiet()
        };
        self.changed.notify_all();
        if quiet {
            (self.when_quiet)(self.id);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.state.lock().is_quiet()
    }

    pub(super) fn mapped(&self, address: usize, len: usize) {
        self.state.lock().mappings.insert(address, len);
    }

    pub(super) fn unmapped(&self, address: usize, len: usize) {
        let mut state = self.state.lock();
        let end = address.saturating_add(len);
        // A part of a mapping may go, or several at once; what is left of each is kept in the account.
        let overlapping: Vec<_> = state
            .mappings
            .range(..end)
            .filter(|(start, len)| *start + *len > address)
            .map(|(start, len)| (*start, *len))
            .collect();
        for (start, len) in overlapping {
            state.mappings.remove(&start);
            if start < address {
                state.mappings.insert(start, address - start);
            }
            if start + len > end {
                state.mappings.insert(end, start + len - end);
            }
        }
    }

    pub(super) fn panicked(&self, report: super::PanicReport) {
        let here = ThisThread::number();
        let own = self.state.lock().threads.values().any(|thread| thread.number == Some(here));
        if own {
            (self.on_thread_panic)(report);
        } else {
            super::panics::remember(self.id, report);
        }
    }

    /// Runs the calling thread's destructors of this image: at the thread's end, or when it has nothing to do with the image
    /// any more.
    pub(crate) fn run_destructors(&self, thread: u64) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.running += 1;
        let mut rounds = 0;
        while let Some(entries) = state.entries.get_mut(&thread) {
            // Newest first, as libc does; a destructor may register another.
            if let Some((destructor, object)) = entries.destructors.pop() {
                state.destructors_run += 1;
                drop(state);
                // SAFETY: registered by the image for this thread and not run before; the image is mapped, see the module.
                unsafe { destructor(object.0) };
                state = self.state.lock();
                continue;
            }
            if entries.values.is_empty() || rounds == KEY_ROUNDS {
                state.entries.remove(&thread);
                break;
            }
            rounds += 1;
            // One at a time: a destructor may free another key's value and set that key to null.
            let keys: Vec<u32> = entries.values.keys().copied().collect();
            for key in keys {
                let entries = state.entries.get_mut(&thread);
                let Some(value) = entries.and_then(|entries| entries.values.remove(&key)) else {
                    continue;
                };
                let Some(Some(destructor)) = state.keys.get(&key).copied() else {
                    continue;
                };
                state.destructors_run += 1;
                drop(state);
                // SAFETY: as above; libc calls a key's destructor with the value and the key set to null, as it is here.
                unsafe { destructor(value.0) };
                state = self.state.lock();
            }
        }
        state.running -= 1;
        let quiet = state.is_quiet();
        drop(state);
        self.changed.notify_all();
        if quiet {
            (self.when_quiet)(self.id);
        }
    }

    /// Closes the account if nothing of the image runs any more, waiting until `deadline` for what does.
    ///
    /// # Errors
    /// The names of the threads that still run in the image.
    pub(crate) fn close(&self, deadline: Instant) -> Result<Closed, Vec<String>> {
        self.run_destructors(ThisThread::number());
        let mut state = self.state.lock();
        while !state.is_quiet() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                if state.is_quiet() {
                    break;
                }
                let mut names: Vec<String> = state.threads.values().map(|thread| thread_name(thread.tid)).collect();
                if state.running > 0 {
                    names.push(format!("{} ending thread(s) in a thread-local destructor", state.running));
                }
                return Err(names);
            }
        }
        state.closed = true;
        let left = std::mem::take(&mut state.entries);
        let skipped: usize = left
            .values()
            .map(|entries| entries.destructors.len() + entries.values.len())
            .sum();
        state.destructors_skipped += skipped as u64;
        Ok(Closed {
            destructors_run: state.destructors_run,
            destructors_skipped: state.destructors_skipped,
            file_bytes_left: state.mappings.values().sum(),
        })
    }
}

/// The kernel's name of a thread of this process.
fn thread_name(tid: Option<i32>) -> String {
    let Some(tid) = tid else {
        return "a thread that has not begun yet".to_owned();
    };
    match std::fs::read_to_string(format!("/proc/self/task/{tid}/comm")) {
        Ok(name) => format!("{:?} (thread {tid})", name.trim()),
        Err(_) => format!("thread {tid}"),
    }
}

/// The calling thread, for ledgers. Its drop is the thread's end; the host's code is never unmapped, so libc may keep it.
#[derive(Default)]
struct ThisThread {
    ledgers: RefCell<Vec<Weak<Ledger>>>,
    /// Set on a thread that an image started: the image, and the number by which it counts the thread.
    own: RefCell<Option<(Arc<Ledger>, u64)>>,
}

thread_local! {
    static THIS: ThisThread = ThisThread::default();
    /// The thread's number. Without a destructor, so that it is there until the very end, also for plugin code that the
    /// thread's own end runs.
    static NUMBER: u64 = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
    /// The thread is running the destructors of its end: what is registered now is run by them.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

impl ThisThread {
    fn number() -> u64 {
        NUMBER.with(|number| *number)
    }

    /// Makes sure that this thread's end is told to the ledger. `None` when the thread is past its end.
    fn enlist(ledger: &Arc<Ledger>) -> Option<u64> {
        let enlisted = THIS.try_with(|this| {
            let mut ledgers = this.ledgers.borrow_mut();
            if !ledgers.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(ledger))) {
                ledgers.retain(|known| known.strong_count() > 0);
                ledgers.push(Arc::downgrade(ledger));
            }
        });
        // While its destructors run, the ledger whose turn it is looks again until nothing is left.
        (enlisted.is_ok() || ENDING.get()).then(Self::number)
    }
}

impl Drop for ThisThread {
    fn drop(&mut self) {
        ENDING.set(true);
        for ledger in self.ledgers.take() {
            if let Some(ledger) = ledger.upgrade() {
                ledger.run_destructors(Self::number());
            }
        }
        ENDING.set(false);
        if let Some((ledger, thread)) = self.own.take() {
            ledger.run_destructors(Self::number());
            ledger.thread_ended(thread);
        }
    }
}

/// Has the end of the calling thread, however it comes (`pthread_exit` passes by the frames), told to the image that started
/// it. After that no code of the image runs on it any more.
pub(super) fn begin_own_thread(ledger: Arc<Ledger>, thread: u64) {
    ledger.thread_runs(thread);
    let told = THIS.try_with(|this| *this.own.borrow_mut() = Some((ledger, thread)));
    debug_assert!(told.is_ok(), "a thread that begins has its thread-locals");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn ledger() -> Arc<Ledger> {
        Ledger::new(|_| {}, |_| {})
    }

    fn close(ledger: &Ledger) -> Closed {
        ledger.close(Instant::now()).expect("nothing runs in it")
    }

    #[test]
    fn mappings_are_accounted_for_in_parts() {
        let ledger = ledger();
        ledger.mapped(0x1000, 0x4000);
        ledger.mapped(0x8000, 0x1000);
        ledger.unmapped(0x2000, 0x1000);
        ledger.unmapped(0x8000, 0x1000);
        assert_eq!(close(&ledger).file_bytes_left, 0x3000);
    }

    #[test]
    fn keys_are_rounds_of_destructors_as_in_posix() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn destructor(value: *mut c_void) {
            CALLS.fetch_add(value.addr(), Ordering::Relaxed);
        }
        let ledger = ledger();
        let (with, without) = (ledger.create_key(Some(destructor)), ledger.create_key(None));
        assert!(with >= reslot_plugin_api::__private::VIRTUAL_KEYS && with != without);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(ledger.value(with).is_null());
                assert!(ledger.set_value(with, std::ptr::without_provenance_mut(5)));
                assert!(ledger.set_value(without, std::ptr::without_provenance_mut(7)));
                assert_eq!((ledger.value(with).addr(), ledger.value(without).addr()), (5, 7));
                assert!(ledger.delete_key(without) && !ledger.delete_key(without));
                assert!(ledger.value(without).is_null());
            });
        });
        // The thread has ended, and its value met its destructor, once. (A scope returns before the thread's own end, so the
        // close below may be the one that waits for it.)
        let closed = close(&ledger);
        let (ran, skipped) = (CALLS.load(Ordering::Relaxed), closed.destructors_skipped);
        assert!((ran, skipped) == (5, 0) || (ran, skipped) == (0, 1), "{ran} {skipped}");
    }

    #[test]
    fn destructors_of_living_threads_are_skipped_and_counted() {
        extern "C" fn never(_: *mut c_void) {
            unreachable!("its image is gone");
        }
        let ledger = ledger();
        let (registered, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ledger.add_destructor(never, std::ptr::null_mut());
                registered.wait();
                wait.wait();
            });
            registered.wait();
            assert_eq!(close(&ledger).destructors_skipped, 1);
            wait.wait();
        });
    }
}
