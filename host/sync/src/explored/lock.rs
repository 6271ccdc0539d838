//! Locks. The inner lock is one of `parking_lot`; it is only ever tried, so no thread of the system waits for it.

use super::{
    Instant,
    wait::{Waiting, point},
};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A mutex with the methods of `parking_lot::Mutex`.
pub struct Mutex<T: ?Sized> {
    waiting: Waiting,
    inner: parking_lot::Mutex<T>,
}

/// What [`Mutex::lock`] answers.
pub struct MutexGuard<'a, T: ?Sized> {
    pub(super) of: &'a Mutex<T>,
    inner: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// An open mutex around this value.
    pub const fn new(value: T) -> Self {
        Self {
            waiting: Waiting::new(),
            inner: parking_lot::Mutex::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until no other thread holds the lock, and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        point();
        loop {
            if let Some(inner) = self.inner.try_lock() {
                return MutexGuard {
                    of: self,
                    inner: Some(inner),
                };
            }
            self.waiting.wait(None);
        }
    }

    /// Takes the lock if no other thread holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        point();
        let inner = Some(self.inner.try_lock()?);
        Some(MutexGuard { of: self, inner })
    }

    /// The value. The exclusive borrow shows that no thread holds the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized> MutexGuard<'_, T> {
    /// Gives the lock back. What follows runs before any other thread, up to its next point.
    pub(super) fn release(&mut self) {
        self.inner = None;
        self.of.waiting.wake_all();
    }

    /// Takes the lock again after [`release`](Self::release).
    pub(super) fn take_again(&mut self) {
        self.inner = self.of.lock().inner.take();
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.release();
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard holds the lock until it is dropped"),
        }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard holds the lock until it is dropped"),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutex with the methods of `std::sync::Mutex`, which is never poisoned.
#[derive(Debug, Default)]
pub struct PoisonMutex<T>(Mutex<T>);

impl<T> PoisonMutex<T> {
    /// An open mutex around this value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits until no other thread holds the lock, and takes it.
    ///
    /// # Errors
    /// Never.
    pub fn lock(&self) -> std::sync::LockResult<MutexGuard<'_, T>> {
        Ok(self.0.lock())
    }
}

/// A readers-writer lock with the methods of `parking_lot::RwLock`. As there, a waiting writer keeps new readers out, unless they read
/// recursively.
pub struct RwLock<T: ?Sized> {
    waiting: Waiting,
    waiting_writers: AtomicUsize,
    inner: parking_lot::RwLock<T>,
}

/// What [`RwLock::read`] answers.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    of: &'a RwLock<T>,
    inner: Option<parking_lot::RwLockReadGuard<'a, T>>,
}

/// What [`RwLock::write`] answers.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    of: &'a RwLock<T>,
    inner: Option<parking_lot::RwLockWriteGuard<'a, T>>,
}

impl<T> RwLock<T> {
    /// An open lock around this value.
    pub const fn new(value: T) -> Self {
        Self {
            waiting: Waiting::new(),
            waiting_writers: AtomicUsize::new(0),
            inner: parking_lot::RwLock::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer holds the lock or waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        point();
        loop {
            let behind_writer = self.waiting_writers.load(Ordering::Relaxed) > 0;
            if let Some(inner) = self.inner.try_read_recursive().filter(|_| !behind_writer) {
                return RwLockReadGuard {
                    of: self,
                    inner: Some(inner),
                };
            }
            self.waiting.wait(None);
        }
    }

    /// Waits until no writer holds the lock.
    pub fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        point();
        loop {
            if let Some(inner) = self.inner.try_read_recursive() {
                return RwLockReadGuard {
                    of: self,
                    inner: Some(inner),
                };
            }
            self.waiting.wait(None);
        }
    }

    /// Takes the lock to read, if no writer holds it or waits for it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        point();
        if self.waiting_writers.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let inner = Some(self.inner.try_read_recursive()?);
        Some(RwLockReadGuard { of: self, inner })
    }

    /// Waits until no other thread holds the lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.write_until(None) {
            Some(guard) => guard,
            None => unreachable!("without a deadline a writer waits until it has the lock"),
        }
    }

    /// The same, at most until the deadline.
    pub fn try_write_until(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_until(Some(deadline))
    }

    /// The same, at most for so long.
    pub fn try_write_for(&self, long: std::time::Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_until(Some(Instant::now() + long))
    }

    /// Takes the lock to write, if nobody else holds it.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        point();
        let inner = Some(self.inner.try_write()?);
        Some(RwLockWriteGuard { of: self, inner })
    }

    fn write_until(&self, deadline: Option<Instant>) -> Option<RwLockWriteGuard<'_, T>> {
        point();
        loop {
            if let Some(inner) = self.inner.try_write() {
                return Some(RwLockWriteGuard {
                    of: self,
                    inner: Some(inner),
                });
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            self.waiting_writers.fetch_add(1, Ordering::Relaxed);
            self.waiting.wait(deadline);
            self.waiting_writers.fetch_sub(1, Ordering::Relaxed);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // It keeps no reader out any more.
                self.waiting.wake_all();
            }
        }
    }

    /// The value. The exclusive borrow shows that no thread holds the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        // A writer with a deadline can notice how long a reader stays.
        point();
        self.inner = None;
        self.of.waiting.wake_all();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        point();
        self.inner = None;
        self.of.waiting.wake_all();
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard holds the lock until it is dropped"),
        }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard holds the lock until it is dropped"),
        }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard holds the lock until it is dropped"),
        }
    }
}
