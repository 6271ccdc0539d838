//! Thread-locals of an execution's threads.

use shuttle_engine::thread_support::{DestroyedLastKey, LocalKey as Key};
use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem::needs_drop,
};

pub use shuttle::thread::AccessError;

/// A thread-local with the methods of `std::thread::LocalKey`. As there, one without a destructor can be used until its thread is gone.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    with_destructor: Key<T>,
    without_destructor: DestroyedLastKey<T>,
}

/// Declares thread-locals as `std::thread_local!` does.
#[macro_export]
macro_rules! explored_thread_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block; $($rest:tt)*) => {
        $(#[$attr])* $vis static $name: $crate::LocalKey<$t> = $crate::LocalKey::new(|| $init);
        $crate::explored_thread_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $(#[$attr])* $vis static $name: $crate::LocalKey<$t> = $crate::LocalKey::new(|| $init);
        $crate::explored_thread_local!($($rest)*);
    };
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self {
            init,
            with_destructor: Key { init, _p: PhantomData },
            without_destructor: DestroyedLastKey::new(init),
        }
    }

    /// Uses the thread's value.
    pub fn with<R>(&'static self, body: impl FnOnce(&T) -> R) -> R {
        match self.try_with(body) {
            Ok(answer) => answer,
            Err(error) => panic!("a thread-local that its thread has dropped: {error}"),
        }
    }

    /// Uses the thread's value.
    ///
    /// # Errors
    /// If the thread has dropped it, because it ends.
    pub fn try_with<R>(&'static self, body: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        // The explorer itself, which reports a failure by a panic, is no thread of an execution.
        if !super::wait::is_in_thread() {
            return Ok(body(&(self.init)()));
        }
        match needs_drop::<T>() {
            true => self.with_destructor.try_with(body),
            false => self.without_destructor.try_with(body),
        }
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// The value.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Sets the value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Takes the value, and leaves the default.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value, and answers what it was.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Uses the value.
    pub fn with_borrow<R>(&'static self, body: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| body(&cell.borrow()))
    }

    /// Changes the value.
    pub fn with_borrow_mut<R>(&'static self, body: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| body(&mut cell.borrow_mut()))
    }

    /// Takes the value, and leaves the default.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value, and answers what it was.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}
