//! The ledger of an image lists its resources in this process beside its memory: thread-local destructors and values on all threads, its
//! own threads, and file mappings. The image's replaced libc symbols write it (through `services`). Safe points, the ends of threads, and
//! the unload read it. `thread` knows the ledgers that have entries of a thread.
//!
//! # Why this is sound
//! A destructor may be called only while its image is mapped. Every run of a destructor happens between `running += 1` and
//! `running -= 1`, and begins only if `closed` is false; both stand under the ledger's lock. `close` sets `closed` only at `running == 0`
//! and when no thread of the image is alive, and the image is unmapped only after `close` has succeeded. So an ending thread either finds
//! the ledger open, and the image stays until the thread is done, or it finds the ledger closed, and runs nothing.
//!
//! A thread that lives on may run its destructors only when no code of the image is on its stack or will be again, because a plugin that
//! finds a thread-local destroyed panics. `end` states that; it is called after the last holder has dropped the instance and the instance
//! is destroyed. From then on each thread runs its destructors at its next safe point.
//!
//! No lock is held while plugin code runs.

mod level;
mod thread;

#[cfg(test)]
mod tests;

pub(super) use thread::begin_own_thread;

/// For models of the ledger: what only code of an image calls otherwise.
#[cfg(reslot_explore)]
pub mod exploration {
    use super::{Destructor, Ledger, c_void};
    use std::sync::Arc;

    /// Registers a thread-local destructor of the calling thread.
    pub fn add_destructor(ledger: &Arc<Ledger>, destructor: Destructor, object: *mut c_void) {
        ledger.add_destructor(destructor, object);
    }

    /// Runs `body` as a thread that the image has started; false if no thread may start any more.
    pub fn as_own_thread(ledger: &Arc<Ledger>, number: u64, body: impl FnOnce()) {
        super::begin_own_thread(ledger.clone(), number);
        body();
    }

    /// Registers a thread that the image is about to start.
    pub fn thread_starts(ledger: &Ledger) -> Option<u64> {
        ledger.thread_starts()
    }
}

use crate::{integrity::Integrity, logs::LogForwarder, threads};
use reslot_engine::{
    Holding, PeerTable, next_image_id,
    panics::{self, PanicReport},
    peers::HasPeers,
};
use reslot_plugin_api::__private::ROption;
use reslot_report::Comparison;
use reslot_sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use reslot_system::Process;
use std::{
    collections::{BTreeMap, HashMap},
    ffi::c_void,
    sync::{Arc, OnceLock},
};
use thread::ThisThread;

/// A destructor of the image.
pub type Destructor = unsafe extern "C" fn(*mut c_void);

static NEXT_KEY: AtomicU32 = AtomicU32::new(reslot_plugin_api::__private::VIRTUAL_KEYS);

/// How many rounds of key destructors are run, as in libc: POSIX lets a destructor set its key's value again.
const KEY_ROUNDS: usize = 4;

/// The ledger of one image.
pub struct Ledger {
    id: u64,
    process: Process,
    /// The image's name in messages.
    name: String,
    state: Mutex<State>,
    /// The image's peers; none before they were set.
    peers: OnceLock<Box<dyn PeerTable>>,
    /// The forwarder of its logs; none before it was set.
    log_forwarder: OnceLock<LogForwarder>,
    /// The image's function that sets its log level; none before it was verified.
    set_log_level_fn: OnceLock<extern "C" fn(u8)>,
    /// The image's function that returns its allocated bytes; none before it was verified.
    live_bytes_fn: OnceLock<extern "C" fn() -> ROption<u64>>,
    /// What the image is compared with; none before it was set.
    integrity: OnceLock<Integrity>,
    /// The image may be unmapped by now: `closed` of the state, for a thread that must not wait for its lock.
    is_closed: AtomicBool,
    on_release: Box<dyn Fn() + Send + Sync>,
    on_thread_panic: Box<dyn Fn(PanicReport) + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Call `on_release` when a thread of the image ends, or has run destructors of it.
    watched: bool,
    /// The instance is destroyed. From now on only destructors and the image's own threads run code of the image.
    ending: bool,
    closed: bool,
    /// How many threads are running destructors of the image, or a function of `level`.
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
    /// No thread of the image runs, and none of its destructors. (Calls from the host are not counted here.)
    fn is_quiet(&self) -> bool {
        self.threads.is_empty() && self.running == 0
    }

    /// Removes the entries of a thread if they are empty.
    fn tidy(&mut self, thread: u64) {
        if self.entries.get(&thread).is_some_and(Entries::is_empty) {
            self.entries.remove(&thread);
        }
    }

    /// The number of destructors that this thread has still to run. Values without a destructor do not count.
    fn pending(&self, entries: &Entries) -> usize {
        let with_destructor = |key: &&u32| self.keys.get(*key).is_some_and(Option::is_some);
        entries.destructors.len() + entries.values.keys().filter(with_destructor).count()
    }

    /// Whether any thread has destructors to run.
    fn has_pending(&self) -> bool {
        self.entries.values().any(|entries| self.pending(entries) > 0)
    }

    fn entries_of(&mut self, thread: u64) -> &mut Entries {
        self.entries.entry(thread).or_insert_with(|| Entries {
            tid: kernel_number(),
            ..Entries::default()
        })
    }
}

/// The entries of one thread.
#[derive(Default)]
struct Entries {
    tid: i32,
    destructors: Vec<(Destructor, Pointer)>,
    values: HashMap<u32, Pointer>,
}

impl Entries {
    fn is_empty(&self) -> bool {
        self.destructors.is_empty() && self.values.is_empty()
    }
}

/// A thread that the image has started.
struct OwnThread {
    /// Its number in the kernel. None before it runs.
    tid: Option<i32>,
    /// The key of its entries. None before it runs.
    number: Option<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Pointer(pub(super) *mut c_void);
// SAFETY: the host never dereferences the pointer. It hands it only to code of the image on the thread that has registered it: to
// `pthread_getspecific`, or to a destructor. `close` drops it on another thread, which does nothing with it.
unsafe impl Send for Pointer {}

/// The result of closing the ledger.
#[derive(Debug, Default)]
pub struct ClosedLedger {
    /// Thread-local destructors that were run.
    pub destructors_run: u64,
    /// Thread-local destructors that were skipped, because their threads live on.
    pub destructors_skipped: u64,
    /// The threads of the skipped destructors.
    pub skipped_threads: Vec<String>,
    /// Bytes of the file mappings that the image has made and not unmapped.
    pub file_bytes_left: usize,
}

impl Ledger {
    /// `on_release` is called whenever something that keeps an ending image has ended. `on_thread_panic` is called for panics on threads
    /// that the image has started, because no caller sees them.
    pub fn new(
        name: String,
        on_release: impl Fn() + Send + Sync + 'static,
        on_thread_panic: impl Fn(PanicReport) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: next_image_id(),
            process: Process::this(),
            name,
            state: Mutex::default(),
            peers: OnceLock::new(),
            log_forwarder: OnceLock::new(),
            set_log_level_fn: OnceLock::new(),
            live_bytes_fn: OnceLock::new(),
            integrity: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            on_release: Box::new(on_release),
            on_thread_panic: Box::new(on_thread_panic),
        })
    }

    /// Sets the image's peers; once, before any of its hooks is called.
    pub fn set_peers(&self, peers: Box<dyn PeerTable>) {
        let _ = self.peers.set(peers);
    }

    /// Sets what the image is compared with; once, when it has just been mapped.
    pub(super) fn set_integrity(&self, integrity: Integrity) {
        let _ = self.integrity.set(integrity);
    }

    /// Compares the image with its artifact. This takes no lock.
    pub fn compare(&self, may_continue: &dyn Fn() -> bool) -> Comparison {
        let is_closed = || self.is_closed.load(Ordering::Acquire);
        match self.integrity.get() {
            Some(integrity) => integrity.compare(&is_closed, may_continue),
            None => Comparison::Failed("it has not been opened yet".to_owned()),
        }
    }

    /// The image's id, unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Locks the state. None in a forked child if another thread of the parent held the lock during `fork`: there it stays locked.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.process.is_another() {
            false => Some(self.state.lock()),
            true => self.state.try_lock(),
        }
    }

    /// Registers a thread-local destructor of the calling thread.
    pub(super) fn add_destructor(self: &Arc<Self>, destructor: Destructor, object: *mut c_void) {
        let thread = ThisThread::enlist(self);
        let Some(mut state) = self.lock() else { return };
        match thread {
            Some(thread) => state.entries_of(thread).destructors.push((destructor, Pointer(object))),
            // Nothing runs destructors after the thread's end.
            None => state.destructors_skipped += 1,
        }
    }

    pub(super) fn create_key(&self, destructor: Option<Destructor>) -> u32 {
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        if let Some(mut state) = self.lock() {
            state.keys.insert(key, destructor);
        }
        key
    }

    pub(super) fn delete_key(&self, key: u32) -> bool {
        let Some(mut state) = self.lock() else { return false };
        for entries in state.entries.values_mut() {
            entries.values.remove(&key);
        }
        state.entries.retain(|_, entries| !entries.is_empty());
        state.keys.remove(&key).is_some()
    }

    pub(super) fn set_value(self: &Arc<Self>, key: u32, value: *mut c_void) -> bool {
        let Some(thread) = ThisThread::enlist(self) else {
            return false;
        };
        let Some(mut state) = self.lock() else { return false };
        if !state.keys.contains_key(&key) {
            return false;
        }
        let entries = state.entries_of(thread);
        if value.is_null() {
            entries.values.remove(&key);
            state.tidy(thread);
        } else {
            entries.values.insert(key, Pointer(value));
        }
        true
    }

    pub(super) fn value(&self, key: u32) -> *mut c_void {
        let thread = ThisThread::number();
        let Some(state) = self.lock() else {
            return std::ptr::null_mut();
        };
        let value = state.entries.get(&thread).and_then(|entries| entries.values.get(&key));
        value.map_or(std::ptr::null_mut(), |value| value.0)
    }

    /// Registers a thread that the image is about to start: from now on the image cannot be closed. `None` if the ledger is closed.
    pub(super) fn thread_starts(&self) -> Option<u64> {
        let mut state = self.lock()?;
        if state.closed {
            return None;
        }
        let thread = state.next_thread;
        state.next_thread += 1;
        state.threads.insert(thread, OwnThread { tid: None, number: None });
        Some(thread)
    }

    pub(super) fn thread_runs(&self, thread: u64) {
        if let Some(own) = self.lock().as_mut().and_then(|state| state.threads.get_mut(&thread)) {
            own.tid = Some(kernel_number());
            own.number = Some(ThisThread::number());
        }
    }

    pub(super) fn thread_ended(&self, thread: u64) {
        let watched = {
            let Some(mut state) = self.lock() else { return };
            state.threads.remove(&thread);
            state.watched
        };
        // A forked child has no reaper thread.
        if watched && !self.process.is_another() {
            (self.on_release)();
        }
    }

    pub(super) fn mapped(&self, address: usize, len: usize) {
        if let Some(mut state) = self.lock() {
            state.mappings.insert(address, len);
        }
    }

    pub(super) fn unmapped(&self, address: usize, len: usize) {
        let Some(mut state) = self.lock() else { return };
        let end = address.saturating_add(len);
        // The range may cover a part of a mapping, or several mappings. The rest of each mapping stays in the ledger.
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

    pub(super) fn panicked(&self, report: PanicReport) {
        if thread::in_destructor() || panics::aborts(&report) {
            panics::say_last_words(&self.name, self.id, &report);
        }
        panics::remember(self.id, report.clone());
        let here = ThisThread::number();
        // A forked child has nobody to whom it could be reported.
        if self.process.is_another() {
            return;
        }
        let own = self.state.lock().threads.values().any(|thread| thread.number == Some(here));
        if own {
            (self.on_thread_panic)(report);
        }
    }

    /// Records that a panic with this message was contained on the calling thread. A thread of `Context::spawn` has no caller that takes
    /// the report, so it is reported here, unless the panic hook has done so.
    pub(super) fn contained(&self, message: &str, own_thread: bool) {
        let unreported = panics::contained(self.id, message);
        if let Some(report) = unreported.filter(|_| own_thread && !self.process.is_another()) {
            (self.on_thread_panic)(report);
        }
    }

    /// Runs the calling thread's destructors of this image: at the thread's end, or at a safe point while the image is ending.
    fn run_destructors(&self, thread: u64) {
        // A forked child runs no destructors of plugins: the image stays mapped there until the child ends.
        if self.process.is_another() {
            return;
        }
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.running += 1;
        let mut rounds = 0;
        while let Some(entries) = state.entries.get_mut(&thread) {
            // The newest first, as in libc. A destructor may register another one.
            if let Some((destructor, object)) = entries.destructors.pop() {
                state.destructors_run += 1;
                drop(state);
                let _running = thread::InDestructor::enter();
                // SAFETY: the image has registered the destructor with this argument for this thread. It was taken out of the list, so it
                // runs once. The image is mapped while `running` is counted, see the module.
                unsafe { destructor(object.0) };
                state = self.state.lock();
                continue;
            }
            if entries.values.is_empty() || rounds == KEY_ROUNDS {
                let given_up = state.entries.remove(&thread);
                state.destructors_skipped += given_up.map_or(0, |entries| state.pending(&entries) as u64);
                break;
            }
            rounds += 1;
            // Take the values out one at a time: a destructor may free the value of another key and set that key to null.
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
                let _running = thread::InDestructor::enter();
                // SAFETY: as above. As in libc, the key is null when its destructor is called with the value.
                unsafe { destructor(value.0) };
                state = self.state.lock();
            }
        }
        state.running -= 1;
        let watched = state.watched;
        drop(state);
        if watched {
            (self.on_release)();
        }
    }

    /// From now on `on_release` is called.
    pub fn watch(&self) {
        self.state.lock().watched = true;
    }

    /// To be called after the instance is destroyed: from now on threads run their destructors at their safe points. The calling thread
    /// runs its own ones here.
    pub fn end(&self) {
        self.run_destructors(ThisThread::number());
        let mut state = self.state.lock();
        (state.watched, state.ending) = (true, true);
        if state.has_pending() {
            thread::request_safe_points();
        }
    }

    fn is_ending(&self) -> bool {
        !self.process.is_another() && self.state.lock().ending
    }

    /// What keeps the image, without regard to callers.
    pub fn holding(&self) -> Holding {
        let state = self.state.lock();
        match (state.is_quiet(), state.has_pending()) {
            (false, _) => Holding::Threads,
            (true, true) => Holding::Values,
            (true, false) => Holding::Nothing,
        }
    }

    /// The names of the threads that run in the image.
    pub fn running_threads(&self) -> Vec<String> {
        let (tids, running) = {
            let state = self.state.lock();
            let tids: Vec<_> = state.threads.values().map(|thread| thread.tid).collect();
            (tids, state.running)
        };
        let mut names: Vec<String> = tids.into_iter().map(thread_name).collect();
        if running > 0 {
            names.push(format!("{running} thread(s) in a thread-local destructor"));
        }
        names
    }

    /// The names of the program's threads that have thread-local values of the image.
    pub fn threads_with_values(&self) -> Vec<String> {
        let tids: Vec<_> = {
            let state = self.state.lock();
            let own = |number: u64| state.threads.values().any(|thread| thread.number == Some(number));
            let others = state
                .entries
                .iter()
                .filter(|(number, entries)| !own(**number) && state.pending(entries) > 0);
            others.map(|(_, entries)| entries.tid).collect()
        };
        tids.into_iter().map(|tid| thread_name(Some(tid))).collect()
    }

    /// Closes the ledger, if no thread and no destructor of the image runs any more. The remaining destructors are skipped.
    pub fn close(&self) -> Option<ClosedLedger> {
        let mut state = self.state.lock();
        if !state.is_quiet() {
            return None;
        }
        state.closed = true;
        // Before the image is unmapped: what is read of its memory from now on counts for nothing.
        self.is_closed.store(true, Ordering::Release);
        let left: Vec<_> = std::mem::take(&mut state.entries).into_values().collect();
        let left: Vec<_> = left.iter().map(|entries| (entries.tid, state.pending(entries))).collect();
        let skipped: usize = left.iter().map(|(_, pending)| pending).sum();
        let closed = ClosedLedger {
            destructors_run: state.destructors_run,
            destructors_skipped: state.destructors_skipped + skipped as u64,
            skipped_threads: Vec::new(),
            file_bytes_left: state.mappings.values().sum(),
        };
        drop(state);
        let those = left.iter().filter(|(_, pending)| *pending > 0);
        let skipped_threads = those.map(|(tid, _)| thread_name(Some(*tid))).collect();
        Some(ClosedLedger {
            skipped_threads,
            ..closed
        })
    }
}

impl HasPeers for Ledger {
    fn peers(&self) -> Option<&dyn PeerTable> {
        self.peers.get().map(|peers| &**peers)
    }
}

/// The calling thread's number in the kernel.
fn kernel_number() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

fn thread_name(tid: Option<i32>) -> String {
    match tid {
        Some(tid) => threads::name(tid.cast_unsigned()),
        None => "a thread that has not begun yet".to_owned(),
    }
}
