//! The host's events: one stream of typed events, in order, each once. All other reports (traces, the command line, tests)
//! are derived from it.

mod listeners;
mod pollable;
#[cfg(feature = "stream")]
mod stream;

pub use pollable::PollableEvents;
#[cfg(feature = "stream")]
pub use stream::EventStream;

use crate::{
    deferred_notifications,
    deferred_work::defer,
    safe_points::{self, AskedForSafePoints},
};
use listeners::Listeners;
use reslot_report::{Event, Outcome, Record, weight};
use reslot_sync::{Condvar, Instant, Mutex};
use reslot_system::{Process, ended_epoch, never_dropped, safe_point};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// The host's log of events, which any thread may write. It is cheap to clone.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    process: Process,
    history: Mutex<History>,
    grown: Condvar,
    observers: Observers,
}

/// The functions of a host's surfaces that are called for each event. The two kinds are called at different times.
#[derive(Default)]
pub(crate) struct Observers {
    /// Called without any lock, and deferred as described in `deferred_notifications`.
    pub(crate) on_event: Vec<Observer<Event>>,
    /// Called in the order of the events, before any stream has the event. The log is locked, so they must not call the host.
    pub(crate) on_record: Vec<Observer<Record>>,
}

type Observer<T> = Box<dyn Fn(&T) + Send + Sync>;

struct History {
    /// The sequence number of the oldest record kept.
    first: u64,
    /// The records, each with its weight in bytes.
    records: VecDeque<(Arc<Record>, usize)>,
    /// The sum of all weights.
    bytes: usize,
    closed: bool,
    listeners: Listeners,
    /// A thread runs that wakes the tasks among the listeners.
    #[cfg(feature = "stream")]
    wakes_tasks: bool,
}

impl Log {
    pub(crate) fn new(observers: Observers) -> Self {
        Self(Arc::new(Shared {
            process: Process::this(),
            history: Mutex::new(History {
                first: 0,
                records: VecDeque::new(),
                bytes: 0,
                closed: false,
                listeners: Listeners::default(),
                #[cfg(feature = "stream")]
                wakes_tasks: false,
            }),
            grown: Condvar::new(),
            observers,
        }))
    }

    pub(crate) fn push(&self, event: Event) {
        if self.0.process.is_another() {
            return;
        }
        self.trace(&event);
        self.append(event);
    }

    /// Calls the embedder's `tracing` subscriber and the observers of surfaces. They run on the host's own threads and may call the host,
    /// so their panics are caught and no lock is held: see `deferred_notifications`.
    pub(crate) fn trace(&self, event: &Event) {
        if !deferred_notifications::are_deferred() {
            return self.trace_now(event);
        }
        let (log, event) = (self.clone(), event.clone());
        deferred_notifications::defer(move || log.trace_now(&event));
    }

    fn trace_now(&self, event: &Event) {
        let _ = catch_unwind(AssertUnwindSafe(|| trace(event)));
        for observer in &self.0.observers.on_event {
            let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
        }
    }

    /// Adds an event to the streams. It may be called with a slot's lock held, so that later events of the slot follow in
    /// order.
    pub(crate) fn append(&self, event: Event) {
        let weight = weight(&event);
        let mut history = self.0.history.lock();
        history.make_room(weight);
        let sequence = history.next();
        let record = Arc::new(Record::now(sequence, event));
        for observer in &self.0.observers.on_record {
            let _ = catch_unwind(AssertUnwindSafe(|| observer(&record)));
        }
        history.records.push_back((record, weight));
        history.bytes += weight;
        let any_listens = !history.listeners.is_empty();
        drop(history);
        let log = self.clone();
        defer(move || {
            log.0.grown.notify_all();
            if any_listens {
                let mut history = log.0.history.lock();
                let (newest, closed) = (history.next(), history.closed);
                history.listeners.raise(newest, closed);
            }
        });
    }

    /// Asks the threads that wait for events to pass a safe point.
    pub(crate) fn wake(&self) {
        self.0.request_safe_points();
    }

    /// From now on the threads that wait for events are asked to pass safe points, even after the host has ended.
    pub(crate) fn register_for_safe_points(&self) {
        safe_points::register(&self.0);
    }

    /// Closes the log: each stream ends after its last event.
    pub(crate) fn close(&self) {
        let mut history = self.0.history.lock();
        history.closed = true;
        let newest = history.next();
        history.listeners.raise(newest, true);
        drop(history);
        self.0.grown.notify_all();
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.0.history.lock().next()
    }

    pub(crate) fn stream(&self) -> Events {
        self.stream_from(0)
    }

    /// A stream that begins with the record with this number.
    pub(crate) fn stream_from(&self, next: u64) -> Events {
        Events {
            log: self.clone(),
            next,
            key: None,
        }
    }
}

/// A stream of the host's events, from the oldest that is still kept. Made by [`Host::events`](crate::Host::events).
///
/// Each stream sees every event once, in order. The host keeps the last [`MOST_KEPT`](Self::MOST_KEPT), or fewer if they hold more than
/// [`MOST_BYTES_KEPT`](Self::MOST_BYTES_KEPT); the oldest go first. A stream that falls further behind gets one [`Event::Lagged`] in place of
/// those it missed.
///
/// There are three ways to read it. A thread of its own waits in [`recv`](Self::recv), or in a loop over the stream. A loop that waits for other things,
/// too, uses [`try_recv`](Self::try_recv) once a turn, or a file descriptor ([`pollable`](Self::pollable)). An asynchronous
/// program takes the feature `stream`, and `Events::into_stream`.
///
/// ```
/// use reslot::{Event, Host};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let mut events = host.events();
/// while let Some(record) = events.try_recv() {
///     if let Event::Swapped(report) = &record.event {
///         assert_eq!(report.generation, 1);
///         println!("{report}");
///     }
/// }
/// // A thread that waits gets each event as it happens, and its loop ends with the host.
/// let printer = std::thread::spawn(move || events.for_each(|record| println!("{}", record.event)));
/// drop(host);
/// printer.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Events {
    log: Log,
    next: u64,
    /// Its key among the listeners, if it has a file descriptor or a waiting task.
    key: Option<u64>,
}

impl Events {
    /// The most events that a host keeps for slow readers.
    pub const MOST_KEPT: usize = 4096;

    /// The approximate limit of their memory in bytes, including texts and the stacks of panics, but not the symbol names of
    /// resolved backtraces. The newest event is always kept; a plugin's text in it has at most 16 KiB.
    pub const MOST_BYTES_KEPT: usize = 8 << 20;

    /// Waits for the next event. Returns `None` when all events were read and no more can come, because the host and the
    /// last claim or view that outlived it were dropped. In a forked child it returns `None` at once: only the host's
    /// process gets events.
    pub fn recv(&mut self) -> Option<Arc<Record>> {
        self.wait(None)
    }

    /// Waits for the next event, at most this long. Returns `None` also when the time is over.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Arc<Record>> {
        self.wait(Instant::now().checked_add(timeout))
    }

    /// Returns the next event without waiting, if there is one.
    pub fn try_recv(&mut self) -> Option<Arc<Record>> {
        self.wait(Some(Instant::now()))
    }

    /// Whether all events were read and no more can come, as when [`recv`](Self::recv) returns `None`.
    pub fn is_over(&self) -> bool {
        if self.log.0.process.is_another() {
            return true;
        }
        let history = self.log.0.history.lock();
        history.closed && self.next >= history.next()
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Arc<Record>> {
        if self.log.0.process.is_another() {
            return None;
        }
        loop {
            // The calling thread may wait for the unload of an image that its own thread-locals keep mapped.
            let epoch = ended_epoch();
            safe_point();
            let mut history = self.log.0.history.lock();
            if let Some(next) = history.read(&mut self.next, self.key) {
                return Some(next);
            }
            if history.closed {
                return None;
            }
            if ended_epoch() != epoch {
                continue;
            }
            match deadline {
                None => self.log.0.grown.wait(&mut history),
                // A wait of no length would unlock the log, and the next read could take back a request for a safe point that was made
                // in between.
                Some(deadline) if Instant::now() >= deadline => return None,
                Some(deadline) => {
                    self.log.0.grown.wait_until(&mut history, deadline);
                }
            }
        }
    }
}

impl AskedForSafePoints for Shared {
    /// Wakes each thread that waits for an event. It passes a safe point before it waits again.
    fn request_safe_points(&self) {
        self.history.lock().listeners.request_safe_points();
        self.grown.notify_all();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.log.0.process.is_another() {
            return never_dropped(&self.log.0);
        }
        if let Some(key) = self.key {
            let removed = self.log.0.history.lock().listeners.remove(key);
            drop(removed);
        }
    }
}

impl History {
    /// The sequence number of the next record.
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Drops the oldest records until there is room for one of this weight.
    fn make_room(&mut self, weight: usize) {
        while self.records.len() >= Events::MOST_KEPT || self.bytes + weight > Events::MOST_BYTES_KEPT {
            let Some((_, oldest)) = self.records.pop_front() else { break };
            self.bytes -= oldest;
            self.first += 1;
        }
    }

    /// Reads the record with this number, if there is one, for the stream of this key.
    fn read(&mut self, next: &mut u64, key: Option<u64>) -> Option<Arc<Record>> {
        let read = self.after(next);
        if let Some(key) = key {
            let (newest, closed) = (self.next(), self.closed);
            self.listeners.has_read(key, *next, newest, closed);
        }
        read
    }

    /// The record with this number, or `Event::Lagged` for records that were dropped.
    fn after(&self, next: &mut u64) -> Option<Arc<Record>> {
        if *next < self.first {
            let missed = self.first - *next;
            *next = self.first;
            return Some(Arc::new(Record::now(self.first - 1, Event::Lagged { missed })));
        }
        let (record, _) = self.records.get((*next - self.first) as usize)?;
        *next += 1;
        Some(record.clone())
    }
}

impl Iterator for Events {
    type Item = Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

/// Emits the event as a `tracing` event, for programs that have a subscriber.
fn trace(event: &Event) {
    match event {
        Event::Swapped(report) => tracing::info!(
            slot = &*report.slot,
            generation = report.generation,
            replaced = report.replaced,
            micros = report.total.as_micros() as u64,
            "swapped"
        ),
        Event::Refused(refusal) => tracing::error!("{refusal}"),
        Event::RolledBack(report) => tracing::warn!("{report}"),
        Event::SameSlot { .. } | Event::FileDeleted { .. } => tracing::warn!("{event}"),
        Event::Unloaded { .. } | Event::UnloadStaged { .. } | Event::StillUnloaded { .. } => tracing::info!("{event}"),
        Event::NoFallback { .. }
        | Event::StopFailed { .. }
        | Event::RestartFailed { .. }
        | Event::SlotEmptied { .. }
        | Event::UnloadRefused { .. }
        | Event::HistoryFailed { .. }
        | Event::Reverted { .. }
        | Event::ConfigRefused { .. } => tracing::error!("{event}"),
        Event::PrivateFolderRestored { .. } | Event::SnapshotDamaged { .. } => tracing::warn!("{event}"),
        Event::ImageDamaged { .. } | Event::ImageNotCompared { .. } | Event::RepairGivenUp { .. } => {
            tracing::error!("{event}");
        }
        Event::ImageRenewed { .. } => tracing::info!("{event}"),
        Event::InstanceEnded { .. } => tracing::error!("{event}"),
        Event::InstanceReplaced { .. } => tracing::info!("{event}"),
        Event::Retired(report) => match &report.outcome {
            Outcome::Unmapped(_) => {
                tracing::info!(
                    slot = &*report.slot,
                    generation = report.generation,
                    "retired; image proven unmapped"
                );
            }
            Outcome::Linked => {
                tracing::info!(
                    slot = &*report.slot,
                    generation = report.generation,
                    "retired; linked into the program"
                );
            }
            Outcome::ProcessEnded { .. } | Outcome::SandboxFreed => tracing::info!("{event}"),
            Outcome::Quarantined(reason) => {
                tracing::warn!(slot = &*report.slot, generation = report.generation, %reason, "retired; image quarantined");
            }
            _ => tracing::warn!("{event}"),
        },
        Event::DrainTimeout {
            slot,
            generation,
            holders,
        } => tracing::warn!(slot = &**slot, generation, ?holders, "retired generation is still held"),
        Event::CallFailed { error, .. } => tracing::error!("{error}"),
        Event::ThreadPanicked {
            slot,
            generation,
            message,
            ..
        } => tracing::error!(
            slot = &**slot,
            generation,
            message = &**message,
            "a thread of the plugin panicked"
        ),
        other => tracing::debug!(event = ?other),
    }
}
