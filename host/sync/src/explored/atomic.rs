//! Atomics: each operation is a point.

use super::wait::point;
use std::sync::atomic;

pub use atomic::{Ordering, fence};

macro_rules! atomics {
    ($($name:ident: $value:ty),*) => {$(
        /// The atomic of the same name in `std`.
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        impl $name {
            /// An atomic with this value.
            pub const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            /// Reads it.
            pub fn load(&self, order: Ordering) -> $value {
                point();
                self.0.load(order)
            }

            /// Writes it.
            pub fn store(&self, value: $value, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            /// Writes it and answers what it was.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.swap(value, order)
            }

            /// Writes it if it is `current`.
            ///
            /// # Errors
            /// What it is, if it is another value.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                point();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// The value. The exclusive borrow shows that no other thread uses it.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            /// The value.
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }
        }
    )*};
}

/// The atomic of the same name in `std`.
#[derive(Debug)]
pub struct AtomicPtr<T>(atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    /// An atomic with this pointer.
    pub const fn new(value: *mut T) -> Self {
        Self(atomic::AtomicPtr::new(value))
    }

    /// Reads it.
    pub fn load(&self, order: Ordering) -> *mut T {
        point();
        self.0.load(order)
    }

    /// Writes it.
    pub fn store(&self, value: *mut T, order: Ordering) {
        point();
        self.0.store(value, order);
    }

    /// Writes it if it is `current`.
    ///
    /// # Errors
    /// What it is, if it is another pointer.
    pub fn compare_exchange(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        point();
        self.0.compare_exchange(current, new, success, failure)
    }

    /// The same. It never fails without a reason here.
    ///
    /// # Errors
    /// What it is, if it is another pointer.
    pub fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.compare_exchange(current, new, success, failure)
    }
}

macro_rules! numbers {
    ($($name:ident: $value:ty),*) => {$(
        impl $name {
            /// Adds, and answers what it was.
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.fetch_add(value, order)
            }

            /// Subtracts, and answers what it was.
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.fetch_sub(value, order)
            }

            /// Raises it to at least this value, and answers what it was.
            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.fetch_max(value, order)
            }

            /// Sets bits, and answers what it was.
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.fetch_or(value, order)
            }
        }
    )*};
}

impl AtomicBool {
    /// Sets it if `value` is set, and answers what it was.
    pub fn fetch_or(&self, value: bool, order: Ordering) -> bool {
        point();
        self.0.fetch_or(value, order)
    }
}

atomics!(AtomicBool: bool, AtomicU8: u8, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);
numbers!(AtomicU8: u8, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);
