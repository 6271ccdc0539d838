//! A stream of events with a file descriptor, for programs that wait with `poll`, `epoll` or a library of that kind.

use super::Events;
use std::{
    fmt,
    io::{self, ErrorKind},
    ops::{Deref, DerefMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
};

/// A stream of events with a file descriptor to wait on. Made by [`Events::pollable`].
///
/// The descriptor is readable while an event waits to be read, and after the last event. Wait until it is readable, then
/// read with [`try_recv`](Events::try_recv) until that answers `None`; at the end [`is_over`](Events::is_over) is true. It
/// is level-triggered: if you read one event of several, it stays readable. Only the stream may read or write it.
///
/// Sometimes it is readable without an event: then the host asks the waiting thread to pass a [safe
/// point](crate::safe_point), which `try_recv` does.
///
/// In a child of `fork` the descriptor is still the parent's. Do not wait on it there.
///
/// ```
/// use reslot::Host;
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let mut events = host.events().pollable()?;
/// # drop(host);
/// while !events.is_over() {
///     let mut fds = [PollFd::new(&events, PollFlags::IN)]; // … and your sockets and timers
///     poll(&mut fds, None)?;
///     while let Some(record) = events.try_recv() {
///         println!("{}", record.event);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PollableEvents {
    events: Events,
    fd: Arc<OwnedFd>,
}

impl Events {
    /// The same stream with a file descriptor, so that a program can wait for events together with sockets, timers and signals in one call of
    /// `poll` or `epoll`.
    ///
    /// # Errors
    /// If the system gives no descriptor, or in a forked child of the process in which the host was built.
    pub fn pollable(mut self) -> io::Result<PollableEvents> {
        if self.log.0.process.is_another() {
            let words = "a forked child has no events of the host, which is its parent's";
            return Err(io::Error::new(ErrorKind::Unsupported, words));
        }
        let fd = {
            let mut history = self.log.0.history.lock();
            let key = *self.key.get_or_insert_with(|| history.listeners.add(self.next));
            let fd = history.listeners.describe(key)?;
            let (newest, closed) = (history.next(), history.closed);
            history.listeners.has_read(key, self.next, newest, closed);
            fd
        };
        Ok(PollableEvents { events: self, fd })
    }
}

impl Deref for PollableEvents {
    type Target = Events;

    fn deref(&self) -> &Events {
        &self.events
    }
}

impl DerefMut for PollableEvents {
    fn deref_mut(&mut self) -> &mut Events {
        &mut self.events
    }
}

impl AsFd for PollableEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PollableEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Debug for PollableEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollableEvents").field("fd", &self.fd).finish_non_exhaustive()
    }
}
