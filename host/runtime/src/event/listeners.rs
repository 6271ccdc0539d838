//! Streams of events whose readers do not block in a call: each has a file descriptor that is polled, or a task that is
//! woken. The log's lock protects all of it, so no event is missed between a check and a wait.

use rustix::event::{EventfdFlags, eventfd};
use std::{io, os::fd::OwnedFd, sync::Arc};
#[cfg(feature = "stream")]
use std::{mem::take, task::Waker};

/// The streams of one host whose readers do not block.
#[derive(Default)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    last_key: u64,
}

/// A stream whose reader does not block.
pub(super) struct Listener {
    key: u64,
    /// The number of the record that it reads next.
    next: u64,
    descriptor: Option<Descriptor>,
    /// The task that waits for the next event.
    #[cfg(feature = "stream")]
    waker: Option<Waker>,
    /// The host asks its reader to pass a safe point.
    #[cfg(feature = "stream")]
    safe_point: bool,
}

/// An eventfd, readable while it is raised.
struct Descriptor {
    fd: Arc<OwnedFd>,
    raised: bool,
}

impl Descriptor {
    fn raise(&mut self) {
        if !self.raised {
            // A counter of 1 and a write of 1 cannot fail.
            let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
            self.raised = true;
        }
    }

    fn lower(&mut self) {
        if self.raised {
            let _ = rustix::io::read(&*self.fd, &mut [0; 8]);
            self.raised = false;
        }
    }
}

impl Listeners {
    /// Adds a stream that reads this record next. Returns its key.
    pub(super) fn add(&mut self, next: u64) -> u64 {
        self.last_key += 1;
        self.listeners.push(Listener {
            key: self.last_key,
            next,
            descriptor: None,
            #[cfg(feature = "stream")]
            waker: None,
            #[cfg(feature = "stream")]
            safe_point: false,
        });
        self.last_key
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Removes a stream. Drop the returned value after unlocking the log: dropping the last waker may drop a task, and the
    /// task another stream.
    pub(super) fn remove(&mut self, key: u64) -> Option<Listener> {
        let at = self.listeners.iter().position(|listener| listener.key == key)?;
        Some(self.listeners.swap_remove(at))
    }

    fn get(&mut self, key: u64) -> Option<&mut Listener> {
        self.listeners.iter_mut().find(|listener| listener.key == key)
    }

    /// Makes a descriptor for this stream. It is not readable yet.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn describe(&mut self, key: u64) -> io::Result<Arc<OwnedFd>> {
        let fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        if let Some(listener) = self.get(key) {
            listener.descriptor = Some(Descriptor {
                fd: fd.clone(),
                raised: false,
            });
        }
        Ok(fd)
    }

    /// This stream has read up to the record `next`; `newest` is the number that the next event will have.
    pub(super) fn has_read(&mut self, key: u64, next: u64, newest: u64, closed: bool) {
        let Some(listener) = self.get(key) else { return };
        listener.next = next;
        if let Some(descriptor) = &mut listener.descriptor {
            match next < newest || closed {
                true => descriptor.raise(),
                false => descriptor.lower(),
            }
        }
    }

    /// Makes the descriptors readable of all streams that have something to read. At the end that is all of them.
    pub(super) fn raise(&mut self, newest: u64, closed: bool) {
        for listener in &mut self.listeners {
            if let Some(descriptor) = listener.descriptor.as_mut()
                && (listener.next < newest || closed)
            {
                descriptor.raise();
            }
        }
    }

    /// Wakes each reader once, even if there is no event, so that it passes a safe point.
    pub(super) fn request_safe_points(&mut self) {
        for listener in &mut self.listeners {
            if let Some(descriptor) = &mut listener.descriptor {
                descriptor.raise();
            }
            #[cfg(feature = "stream")]
            {
                listener.safe_point = listener.waker.is_some();
            }
        }
    }
}

#[cfg(feature = "stream")]
impl Listeners {
    /// Registers a task that waits for the next event of this stream. Returns the waker that is not needed, to be dropped as in
    /// [`remove`](Self::remove): the previous one, or this one if both wake the same task.
    pub(super) fn waits(&mut self, key: u64, waker: Waker) -> Option<Waker> {
        let Some(listener) = self.get(key) else {
            return Some(waker);
        };
        match &mut listener.waker {
            Some(known) if known.will_wake(&waker) => Some(waker),
            known => known.replace(waker),
        }
    }

    /// Takes the wakers of the tasks to wake. Each is woken once, and has to register again.
    pub(super) fn take_wakers(&mut self, newest: u64, closed: bool) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for listener in &mut self.listeners {
            let asked = take(&mut listener.safe_point);
            if asked || closed || listener.next < newest {
                wakers.extend(listener.waker.take());
            }
        }
        wakers
    }

    /// Takes the wakers of all tasks that wait.
    pub(super) fn take_all_wakers(&mut self) -> Vec<Waker> {
        self.listeners
            .iter_mut()
            .filter_map(|listener| listener.waker.take())
            .collect()
    }
}
