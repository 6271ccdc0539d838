//! The host's side of one attachment of a linked plugin: its threads, its panics, and whom it calls. It lives as long as the plugin may ask
//! for anything, which is for ever if the plugin keeps a `Peer` in a `static`.

use crate::services;
use reslot_engine::{
    Holding, ImageId, ImageOwner, PeerTable, Resources, next_image_id,
    panics::{self, PanicReport},
    peers::HasPeers,
};
use reslot_plugin_api::__private::{HostTableRef, LinkedHost};
use reslot_report::{Comparison, EngineKind};
use reslot_sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    thread,
};
use reslot_system::Process;
use std::{cell::RefCell, collections::BTreeMap};
use tracing::span::EnteredSpan;

/// What one attachment has in this process.
pub(crate) struct Attached {
    id: ImageId,
    process: Process,
    owner: ImageOwner,
    /// Whether the owner is notified when one of its threads ends.
    watched: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// No thread may start any more.
    closed: bool,
    threads: BTreeMap<u64, Thread>,
    next_thread: u64,
}

/// A thread of `Context::spawn`.
#[derive(Default)]
struct Thread {
    /// What a person finds it by, once it runs.
    name: Option<String>,
    id: Option<thread::ThreadId>,
}

reslot_sync::thread_local! {
    /// The spans in which this thread runs code of linked plugins; none where the program's subscriber panicked, so that each
    /// `leave` takes what its own `enter` has put there.
    static SPANS: RefCell<Vec<Option<EnteredSpan>>> = const { RefCell::new(Vec::new()) };
}

impl Attached {
    pub(crate) fn new(owner: ImageOwner) -> Self {
        Self {
            id: next_image_id(),
            process: Process::this(),
            owner,
            watched: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> ImageId {
        self.id
    }

    /// None in a forked child if another thread held it during `fork`: there it stays locked for ever.
    fn account(&self) -> Option<MutexGuard<'_, State>> {
        match self.process.is_another() {
            false => Some(self.state.lock()),
            true => self.state.try_lock(),
        }
    }

    /// Lets no thread start any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// The panic hook has seen a panic in the plugin.
    pub(crate) fn panicked(&self, report: PanicReport) {
        if panics::aborts(&report) {
            panics::say_last_words(&self.owner.image_name(), self.id, &report);
        }
        panics::remember(self.id, report.clone());
        // Nobody hears of it in a forked child.
        if self.process.is_another() {
            return;
        }
        let here = thread::current().id();
        let own = self.state.lock().threads.values().any(|thread| thread.id == Some(here));
        if own {
            (self.owner.on_thread_panic)(report);
        }
    }

    /// A panic with these words was contained on the calling thread. At the end of a thread of `Context::spawn` nobody asks for it, so it is
    /// reported here, unless the hook has done so.
    pub(crate) fn contained(&self, message: &str, own_thread: bool) {
        let news = panics::contained(self.id, message);
        if let Some(report) = news.filter(|_| own_thread && !self.process.is_another()) {
            (self.owner.on_thread_panic)(report);
        }
    }
}

impl Resources for Attached {
    fn engine(&self) -> EngineKind {
        EngineKind::Linked
    }

    fn live_bytes(&self) -> Option<u64> {
        // Its memory is the program's.
        None
    }

    fn log_level_changed(&self) {
        // Its logger is the program's.
    }

    fn holding(&self) -> Holding {
        // A thread that outlives its instance was reported as a failure of `stop`. The code that it runs stays.
        Holding::Nothing
    }

    fn running_threads(&self) -> Vec<String> {
        let Some(state) = self.account() else { return Vec::new() };
        let names = state.threads.values().map(|thread| match &thread.name {
            Some(name) => name.clone(),
            None => "a thread that has not begun yet".to_owned(),
        });
        names.collect()
    }

    fn threads_with_values(&self) -> Vec<String> {
        // They are the program's, and dropped when their threads end.
        Vec::new()
    }

    fn compare(&self, _: &dyn Fn() -> bool) -> Comparison {
        // Its code is the program's, which was not opened from linted bytes.
        Comparison::NotApplicable
    }

    fn watch(&self) {
        self.watched.store(true, Ordering::Release);
    }

    fn end(&self) {
        self.watch();
    }
}

impl HasPeers for Attached {
    fn peers(&self) -> Option<&dyn PeerTable> {
        Some(&*self.owner.peers)
    }
}

// SAFETY: the functions of the table take the address of an `Attached`, which is this value's as long as it lives in its `Arc`.
unsafe impl LinkedHost for Attached {
    fn table(&self) -> HostTableRef {
        services::TABLE
    }

    fn token(&self) -> *const () {
        (&raw const *self).cast()
    }

    fn thread_starts(&self) -> Option<u64> {
        let mut state = self.account()?;
        if state.closed {
            return None;
        }
        let number = state.next_thread;
        state.next_thread += 1;
        state.threads.insert(number, Thread::default());
        Some(number)
    }

    fn thread_runs(&self, number: u64) {
        let thread = thread::current();
        // SAFETY: gettid has no preconditions.
        let tid = unsafe { libc::gettid() };
        let name = thread
            .name()
            .map_or_else(|| format!("thread {tid}"), |name| format!("{name:?} (thread {tid})"));
        if let Some(own) = self.account().as_mut().and_then(|state| state.threads.get_mut(&number)) {
            (own.name, own.id) = (Some(name), Some(thread.id()));
        }
    }

    fn thread_ended(&self, number: u64) {
        if let Some(mut state) = self.account() {
            state.threads.remove(&number);
        }
        // The reaper's thread is the parent's.
        if self.watched.load(Ordering::Acquire) && !self.process.is_another() {
            (self.owner.when_less)();
        }
    }

    fn enter(&self) {
        let (slot, generation) = (&*self.owner.slot, self.owner.generation);
        // A thread that is past its end has no such list any more.
        let Ok(at) = SPANS.try_with(|spans| {
            let mut spans = spans.borrow_mut();
            spans.push(None);
            spans.len() - 1
        }) else {
            return;
        };
        // The subscriber may panic, or call a linked plugin.
        let span = tracing::error_span!("plugin", slot, generation).entered();
        let _ = SPANS.try_with(|spans| spans.borrow_mut()[at] = Some(span));
    }

    fn leave(&self) {
        let span = SPANS.try_with(|spans| spans.borrow_mut().pop());
        drop(span);
    }
}
