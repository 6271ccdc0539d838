//! The types of a build for exploration, and the explorer itself.
//!
//! All threads of one execution run on one thread of the system. Most operations that another thread could notice begin with a *point*, at
//! which the scheduler may continue another thread. (To give a mutex back, or to drop the end of a channel or an `Arc`, is none.) A thread that has to wait is taken from the runnable ones until something wakes it. If
//! none is runnable and no deadline is left, the execution fails as a deadlock.
//!
//! Only sequentially consistent executions are explored: the orderings that atomics are given have no effect here.

pub mod atomic;
mod condvar;
mod explorer;
mod local;
mod lock;
pub mod mpsc;
mod pointer;
mod schedule;
pub mod thread;
mod time;
mod wait;

pub use crate::explored_thread_local as thread_local;
pub use condvar::{Condvar, WaitTimeoutResult};
pub use explorer::{Exploration, Failure, explore, explore_until};
pub use local::LocalKey;
pub use lock::{Mutex, MutexGuard, PoisonMutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use pointer::{ArcSwap, Guard};
pub use schedule::Random;
pub use time::Instant;
pub use wait::{fail, never_blocks, thread_number};
