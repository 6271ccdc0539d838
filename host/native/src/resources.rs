//! What an image owns in this process beside its memory: thread-local destructors and values on the host's threads, threads
//! of its own, file mappings. The image's replaced libc symbols write it (through `services`), safe points, the thread's end
//! and the unload read it. How a thread knows which accounts it stands in is `thread`'s affair.
//!
//! # Why this is sound
//! A destructor may be called only while its image is mapped. Every run of a destructor happens between `running += 1` and
//! `running -= 1` under the ledger's lock with `closed` false at the start; `close` sets `closed` only at `running == 0` with no
//! thread of the image alive, and the image is unmapped only after `close` succeeded. So a thread that ends either finds the
//! ledger open, and the image stays until it is done, or finds it closed, and runs nothing.
//!
//! A thread that lives on may run its destructors only when no code of the image is on its stack or will be again: a plugin
//! that finds a thread-local destroyed panics. `end` says so, after the last holder has let go of the instance and the instance
//! is gone; from then on each thread's next safe point runs what it has.
//!
//! No lock is held while plugin code runs.

mod level;
mod thread;

#[cfg(test)]
mod tests;

pub(super) use thread::begin_own_thread;

use super::logs::LogForwarder;
use parking_lot::{Mutex, MutexGuard};
use reslot_engine::{
    Holding, Neighbours, next_image_id,
    panics::{self, PanicReport},
    peers::HasNeighbours,
};
use reslot_plugin_api::__private::ROption;
use reslot_process::Process;
use std::{
    collections::{BTreeMap, HashMap},
    ffi::c_void,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};
use thread::ThisThread;

pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

static NEXT_KEY: AtomicU32 = AtomicU32::new(reslot_plugin_api::__private::VIRTUAL_KEYS);

/// POSIX lets a destructor set its key's value again; libc gives up after this many rounds, and so do we.
const KEY_ROUNDS: usize = 4;

/// The account of one image.
pub struct ImageResources {
    id: u64,
    process: Process,
    /// What a person calls the image.
    name: String,
    state: Mutex<State>,
    /// The way to the plugins beside it; none before it was told.
    neighbours: OnceLock<Box<dyn Neighbours>>,
    /// What it logs; none before it was told.
    log_forwarder: OnceLock<LogForwarder>,
    /// The image's function that is told how much it is to log; none before it was verified.
    hears: OnceLock<extern "C" fn(u8)>,
    counts: OnceLock<extern "C" fn() -> ROption<u64>>,
    when_less: Box<dyn Fn() + Send + Sync>,
    on_thread_panic: Box<dyn Fn(PanicReport) + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// The end of each of its threads is told.
    watched: bool,
    /// The instance is gone, and no code of the image will be called again but for destructors and on its own threads.
    ending: bool,
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

    /// Forgets a thread that has nothing left.
    fn tidy(&mut self, thread: u64) {
        if self.entries.get(&thread).is_some_and(Entries::is_empty) {
            self.entries.remove(&thread);
        }
    }

    /// How many destructors a thread has to run: a value whose key has none is none.
    fn pending(&self, entries: &Entries) -> usize {
        let with_destructor = |key: &&u32| self.keys.get(*key).is_some_and(Option::is_some);
        entries.destructors.len() + entries.values.keys().filter(with_destructor).count()
    }

    /// Whether a thread has any to run.
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

/// What one thread holds for the image.
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
#[derive(Debug, Default)]
pub struct Closed {
    /// Thread-local destructors that were run.
    pub destructors_run: u64,
    /// Those that were skipped, because their threads live on.
    pub destructors_skipped: u64,
    /// The threads that the skipped ones belong to.
    pub skipped_threads: Vec<String>,
    /// Bytes of file mappings that the image made and left.
    pub file_bytes_left: usize,
}

impl ImageResources {
    /// `when_less` is told whenever there is less that keeps an ending image; `on_thread_panic` of panics on threads that the image
    /// started, which no caller sees.
    pub fn new(
        name: String,
        when_less: impl Fn() + Send + Sync + 'static,
        on_thread_panic: impl Fn(PanicReport) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: next_image_id(),
            process: Process::this(),
            name,
            state: Mutex::default(),
            neighbours: OnceLock::new(),
            log_forwarder: OnceLock::new(),
            hears: OnceLock::new(),
            counts: OnceLock::new(),
            when_less: Box::new(when_less),
            on_thread_panic: Box::new(on_thread_panic),
        })
    }

    /// Tells the image's way to the plugins beside it; once, before any of its hooks is called.
    pub fn set_peers(&self, neighbours: Box<dyn Neighbours>) {
        let _ = self.neighbours.set(neighbours);
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The account. None in a forked child if another thread held it during `fork`: there it stays locked for ever.
    fn account(&self) -> Option<MutexGuard<'_, State>> {
        match self.process.is_another() {
            false => Some(self.state.lock()),
            true => self.state.try_lock(),
        }
    }

    /// Registers a thread-local destructor of the calling thread.
    pub(super) fn add_destructor(self: &Arc<Self>, destructor: Destructor, object: *mut c_void) {
        let thread = ThisThread::enlist(self);
        let Some(mut state) = self.account() else { return };
        match thread {
            Some(thread) => state.entries_of(thread).destructors.push((destructor, Pointer(object))),
            // The thread is past its end: what it makes now stays.
            None => state.destructors_skipped += 1,
        }
    }

    pub(super) fn create_key(&self, destructor: Option<Destructor>) -> u32 {
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        if let Some(mut state) = self.account() {
            state.keys.insert(key, destructor);
        }
        key
    }

    pub(super) fn delete_key(&self, key: u32) -> bool {
        let Some(mut state) = self.account() else { return false };
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
        let Some(mut state) = self.account() else { return false };
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
        let Some(state) = self.account() else {
            return std::ptr::null_mut();
        };
        let value = state.entries.get(&thread).and_then(|entries| entries.values.get(&key));
        value.map_or(std::ptr::null_mut(), |value| value.0)
    }

    /// A thread of the image is about to be started: from here on the image stays. `None` if the image is being closed.
    pub(super) fn thread_starts(&self) -> Option<u64> {
        let mut state = self.account()?;
        if state.closed {
            return None;
        }
        let thread = state.next_thread;
        state.next_thread += 1;
        state.threads.insert(thread, OwnThread { tid: None, number: None });
        Some(thread)
    }

    pub(super) fn thread_runs(&self, thread: u64) {
        if let Some(own) = self.account().as_mut().and_then(|state| state.threads.get_mut(&thread)) {
            own.tid = Some(kernel_number());
            own.number = Some(ThisThread::number());
        }
    }

    pub(super) fn thread_ended(&self, thread: u64) {
        let watched = {
            let Some(mut state) = self.account() else { return };
            state.threads.remove(&thread);
            state.watched
        };
        // The reaper's thread is the parent's.
        if watched && !self.process.is_another() {
            (self.when_less)();
        }
    }

    pub(super) fn mapped(&self, address: usize, len: usize) {
        if let Some(mut state) = self.account() {
            state.mappings.insert(address, len);
        }
    }

    pub(super) fn unmapped(&self, address: usize, len: usize) {
        let Some(mut state) = self.account() else { return };
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

    pub(super) fn panicked(&self, report: PanicReport) {
        if thread::in_destructor() || panics::aborts(&report) {
            panics::say_last_words(&self.name, self.id, &report);
        }
        panics::remember(self.id, report.clone());
        let here = ThisThread::number();
        // Nobody hears of it in a forked child.
        if self.process.is_another() {
            return;
        }
        let own = self.state.lock().threads.values().any(|thread| thread.number == Some(here));
        if own {
            (self.on_thread_panic)(report);
        }
    }

    /// A panic with these words was contained on the calling thread. At the end of a thread of `Context::spawn` nobody asks for it, so it
    /// is told, unless the hook has done so.
    pub(super) fn contained(&self, message: &str, own_thread: bool) {
        let news = panics::contained(self.id, message);
        if let Some(report) = news.filter(|_| own_thread && !self.process.is_another()) {
            (self.on_thread_panic)(report);
        }
    }

    /// Runs the calling thread's destructors of this image: at the thread's end, or at a safe point once the image is ending.
    fn run_destructors(&self, thread: u64) {
        // In a forked child what a plugin left on this thread is never dropped: the image stays mapped as long as the child lives.
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
            // Newest first, as libc does; a destructor may register another.
            if let Some((destructor, object)) = entries.destructors.pop() {
                state.destructors_run += 1;
                drop(state);
                let _running = thread::InDestructor::enter();
                // SAFETY: registered by the image for this thread and not run before; the image is mapped, see the module.
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
                let _running = thread::InDestructor::enter();
                // SAFETY: as above; libc calls a key's destructor with the value and the key set to null, as it is here.
                unsafe { destructor(value.0) };
                state = self.state.lock();
            }
        }
        state.running -= 1;
        let watched = state.watched;
        drop(state);
        if watched {
            (self.when_less)();
        }
    }

    /// From here on `when_less` is told.
    pub fn watch(&self) {
        self.state.lock().watched = true;
    }

    /// The instance is gone: from here on threads run their destructors at their safe points, this one right now.
    pub fn end(&self) {
        self.run_destructors(ThisThread::number());
        let mut state = self.state.lock();
        (state.watched, state.ending) = (true, true);
        if state.has_pending() {
            thread::one_more_ended();
        }
    }

    fn is_ending(&self) -> bool {
        !self.process.is_another() && self.state.lock().ending
    }

    /// What keeps the image, leaving callers aside.
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

    /// The names of the host program's threads that have thread-local values of the image.
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

    /// Closes the account if nothing of the image runs any more. What thread-local values there still are is skipped.
    pub fn close(&self) -> Option<Closed> {
        let mut state = self.state.lock();
        if !state.is_quiet() {
            return None;
        }
        state.closed = true;
        let left: Vec<_> = std::mem::take(&mut state.entries).into_values().collect();
        let left: Vec<_> = left.iter().map(|entries| (entries.tid, state.pending(entries))).collect();
        let skipped: usize = left.iter().map(|(_, pending)| pending).sum();
        let closed = Closed {
            destructors_run: state.destructors_run,
            destructors_skipped: state.destructors_skipped + skipped as u64,
            skipped_threads: Vec::new(),
            file_bytes_left: state.mappings.values().sum(),
        };
        drop(state);
        let those = left.iter().filter(|(_, pending)| *pending > 0);
        let skipped_threads = those.map(|(tid, _)| thread_name(Some(*tid))).collect();
        Some(Closed {
            skipped_threads,
            ..closed
        })
    }
}

impl HasNeighbours for ImageResources {
    fn neighbours(&self) -> Option<&dyn Neighbours> {
        self.neighbours.get().map(|neighbours| &**neighbours)
    }
}

/// The kernel's number of the calling thread.
fn kernel_number() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
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
