//! The host's own threads, in three kinds. Background threads prepare, watch, report and unload; they must not preempt the
//! program. Idle threads run when no other thread wants the processor. Foreground threads run rollbacks and hooks, for which an owner or a closed gate waits; they must not wait for a
//! free processor.

use reslot_sync::thread::{self, JoinHandle};
use std::io;

/// How a thread is scheduled; see sched(7).
#[derive(Clone, Copy)]
pub enum Kind {
    /// After a wake-up it waits for a free processor or its turn, and does not preempt a running thread.
    Background = libc::SCHED_BATCH as isize,
    /// It runs only while a processor is idle, so it must hold no lock that another thread may wait for.
    Idle = libc::SCHED_IDLE as isize,
    /// Another thread waits for its work.
    Foreground = libc::SCHED_OTHER as isize,
}

/// Starts a thread of this kind. It does not inherit the caller's kind and priority.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn<T: Send + 'static>(
    kind: Kind,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        kind.set_for_this_thread();
        body()
    })
}

/// Starts a thread for a surface, scheduled like the host's background threads: it does not preempt the program's threads.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn_background<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    spawn(Kind::Background, name, body)
}

/// False in `cargo xtask explore`, where one thread of the system runs all simulated threads. Its scheduling must not change.
const USES_OS_THREADS: bool = cfg!(not(reslot_explore));

impl Kind {
    /// Gives the calling thread this kind.
    fn set_for_this_thread(self) {
        if !USES_OS_THREADS {
            return;
        }
        let none = libc::sched_param { sched_priority: 0 };
        // If a sandbox refuses it, the thread has the default scheduling.
        // SAFETY: 0 means the calling thread, and the parameter lives as long as the call.
        let _ = unsafe { libc::sched_setscheduler(0, self as libc::c_int, &raw const none) };
    }
}

/// While this value lives, its thread is a foreground thread, for example because callers wait at a gate that it has closed.
pub struct ForegroundPriority {
    was_in_background: bool,
}

impl ForegroundPriority {
    /// Makes the calling thread a foreground thread, if it is a background thread.
    pub fn this_thread() -> Self {
        // SAFETY: 0 means the calling thread.
        let was_in_background = unsafe { libc::sched_getscheduler(0) } == Kind::Background as libc::c_int;
        if was_in_background {
            Kind::Foreground.set_for_this_thread();
        }
        Self { was_in_background }
    }
}

impl Drop for ForegroundPriority {
    fn drop(&mut self) {
        if self.was_in_background {
            Kind::Background.set_for_this_thread();
        }
    }
}

/// The processors on which a thread may run.
#[derive(Clone, Copy)]
pub struct Processors(Option<libc::cpu_set_t>);

impl Processors {
    /// The processors of the calling thread.
    pub fn of_this_thread() -> Self {
        // SAFETY: the type is a set of bits, and all-zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: 0 means the calling thread, and the size is that of the set.
        let known = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
        Self((known == 0).then_some(set))
    }

    /// Limits the calling thread to these processors.
    pub fn set_for_this_thread(self) {
        if let Some(set) = self.0.filter(|_| USES_OS_THREADS) {
            // If the system refuses it, the thread keeps the processors of its parent.
            // SAFETY: 0 means the calling thread, and the size is that of the set.
            let _ = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
        }
    }
}
