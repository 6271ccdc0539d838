//! A pointer that is exchanged while others read it.

use super::wait::point;
use std::sync::Arc;

pub use arc_swap::Guard;

/// The pointer of the crate `arc-swap`; each operation is a point.
#[derive(Debug)]
pub struct ArcSwap<T>(arc_swap::ArcSwap<T>);

impl<T> ArcSwap<T> {
    /// A pointer to this value.
    pub fn from_pointee(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    /// What it points to, for a short time.
    pub fn load(&self) -> Guard<Arc<T>> {
        point();
        self.0.load()
    }

    /// What it points to.
    pub fn load_full(&self) -> Arc<T> {
        point();
        self.0.load_full()
    }

    /// Exchanges it.
    pub fn store(&self, value: Arc<T>) {
        point();
        self.0.store(value);
    }

    /// Exchanges it, and answers what it was.
    pub fn swap(&self, value: Arc<T>) -> Arc<T> {
        point();
        self.0.swap(value)
    }
}
