//! A stream of events for asynchronous programs. A separate thread wakes the tasks, because events occur while the host
//! holds locks, and an executor's code must not run then.

use super::{Events, Log};
use futures_core::Stream;
use reslot_report::Record;
use reslot_system::{
    background::{self, Kind},
    ended_epoch, safe_point,
};
use std::{
    fmt,
    mem::replace,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// A host's events for an asynchronous program, on any executor. Made by [`Events::into_stream`], with the feature `stream`.
///
/// It ends when all events were read and no more can come, and at once in a forked child. The first task that waits for
/// events of a host starts a thread, which wakes this and all later ones.
///
/// ```
/// use futures_core::Stream;
/// use reslot::Host;
/// use std::{pin::Pin, task::{Context, Poll, Waker}};
///
/// let host = Host::builder().build()?;
/// let mut stream = host.events().into_stream();
/// drop(host);
/// // An executor does this for you: `while let Some(record) = stream.next().await`.
/// let mut context = Context::from_waker(Waker::noop());
/// while let Poll::Ready(Some(record)) = Pin::new(&mut stream).poll_next(&mut context) {
///     println!("{}", record.event);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventStream(Events);

impl Events {
    /// The same stream for an asynchronous program. It is a separate type, because `Events` is an iterator, and both have a
    /// method `next`.
    pub fn into_stream(self) -> EventStream {
        EventStream(self)
    }
}

impl EventStream {
    /// The same stream for a thread that blocks, or a loop that polls.
    pub fn into_inner(self) -> Events {
        self.0
    }
}

impl Stream for EventStream {
    type Item = Arc<Record>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<Record>>> {
        let this = &mut self.get_mut().0;
        if this.log.0.process.is_another() {
            return Poll::Ready(None);
        }
        // An executor's code clones, compares and drops wakers. It must not run under the lock.
        let waker = context.waker().clone();
        let mut history = loop {
            // As in `recv`: an image may wait for thread-locals of the polling thread.
            let epoch = ended_epoch();
            safe_point();
            let mut history = this.log.0.history.lock();
            if let Some(record) = history.read(&mut this.next, this.key) {
                drop(history);
                return Poll::Ready(Some(record));
            }
            if history.closed {
                drop(history);
                return Poll::Ready(None);
            }
            // A request since then has found no waker of this stream, and would not wake it.
            if ended_epoch() == epoch {
                break history;
            }
        };
        let key = *this.key.get_or_insert_with(|| history.listeners.add(this.next));
        let unused = history.listeners.waits(key, waker);
        let starts = !replace(&mut history.wakes_tasks, true);
        drop(history);
        drop(unused);
        if starts {
            let log = this.log.clone();
            let started = background::spawn(Kind::Background, "reslot-streams", move || wake_tasks(&log));
            if started.is_err() {
                // No thread would wake the tasks, so all that wait poll again at once: others may have registered meanwhile, because
                // the thread seemed to run.
                let mut history = this.log.0.history.lock();
                history.wakes_tasks = false;
                let wakers = history.listeners.take_all_wakers();
                drop(history);
                wake_all(wakers);
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

/// Called without the log's lock. A panic of an executor's code reaches no other task.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

/// Wakes tasks whose streams have something to read, until the log is closed.
fn wake_tasks(log: &Log) {
    let mut history = log.0.history.lock();
    loop {
        let (newest, closed) = (history.next(), history.closed);
        let wakers = history.listeners.take_wakers(newest, closed);
        if !wakers.is_empty() {
            drop(history);
            wake_all(wakers);
            history = log.0.history.lock();
        } else if closed {
            return;
        } else {
            log.0.grown.wait(&mut history);
        }
    }
}
