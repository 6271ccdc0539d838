//! Channels with the methods of `std::sync::mpsc`.

use super::{
    Instant,
    wait::{Waiting, point},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

struct Channel<T> {
    state: Mutex<State<T>>,
    /// Receivers that wait for a value, and senders that wait for room.
    waiting: Waiting,
}

struct State<T> {
    values: VecDeque<T>,
    /// How many values fit in; any number, if none.
    room: Option<usize>,
    senders: usize,
    has_receiver: bool,
}

/// Sends without waiting.
pub struct Sender<T>(Arc<Channel<T>>);

/// Waits while the channel is full.
pub struct SyncSender<T>(Sender<T>);

/// The receiving end.
pub struct Receiver<T>(Arc<Channel<T>>);

/// A channel with any number of values.
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    with_room(None)
}

/// A channel with at most so many values.
///
/// # Panics
/// If there is to be room for none, because such channels are not explored.
#[must_use]
pub fn sync_channel<T>(room: usize) -> (SyncSender<T>, Receiver<T>) {
    assert!(room > 0, "channels without room are not explored");
    let (sender, receiver) = with_room(Some(room));
    (SyncSender(sender), receiver)
}

fn with_room<T>(room: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(State {
            values: VecDeque::new(),
            room,
            senders: 1,
            has_receiver: true,
        }),
        waiting: Waiting::new(),
    });
    (Sender(channel.clone()), Receiver(channel))
}

/// Looks into the channel once: without a clock that advances, polling would never end.
pub fn poll<T>(queue: &Receiver<T>, _: Duration, _: fn()) -> Option<T> {
    queue.try_recv().ok()
}

impl<T> Sender<T> {
    /// Sends a value.
    ///
    /// # Errors
    /// If there is no receiver any more.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        point();
        loop {
            let mut state = self.0.state.lock();
            if !state.has_receiver {
                drop(state);
                return Err(SendError(value));
            }
            if state.room.is_none_or(|room| state.values.len() < room) {
                state.values.push_back(value);
                drop(state);
                self.0.waiting.wake_all();
                return Ok(());
            }
            drop(state);
            self.0.waiting.wait(None);
        }
    }
}

impl<T> SyncSender<T> {
    /// Sends a value as soon as there is room.
    ///
    /// # Errors
    /// If there is no receiver any more.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.waiting.wake_all();
    }
}

impl<T> Receiver<T> {
    /// The next value, if there is one.
    ///
    /// # Errors
    /// If there is none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        point();
        self.take()
    }

    fn take(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state.lock();
        match state.values.pop_front() {
            Some(value) => {
                drop(state);
                self.0.waiting.wake_all();
                Ok(value)
            }
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the next value.
    ///
    /// # Errors
    /// If there is none, and no sender any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    /// Waits for the next value, at most for so long.
    ///
    /// # Errors
    /// If there is none in time, or none and no sender any more.
    pub fn recv_timeout(&self, long: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Instant::now().checked_add(long))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        point();
        loop {
            match self.take() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(RecvTimeoutError::Timeout);
            }
            self.0.waiting.wait(deadline);
        }
    }

    /// The values that are there.
    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// The values until there is no sender any more.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Box<dyn Iterator<Item = T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<T: 'static> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = Box<dyn Iterator<Item = T>>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(std::iter::from_fn(move || self.recv().ok()))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let unread = {
            let mut state = self.0.state.lock();
            state.has_receiver = false;
            std::mem::take(&mut state.values)
        };
        self.0.waiting.wake_all();
        drop(unread);
    }
}

macro_rules! debug {
    ($($type:ident)*) => {$(
        impl<T> std::fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Sender SyncSender Receiver);
