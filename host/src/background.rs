//! The threads of the host's own. What they do must not take a processor away from a program that is in the middle of its frame or its
//! order. What runs on them is not known here.

use std::{
    io,
    thread::{self, JoinHandle},
};

/// Starts a thread that works in the background: when it wakes up it waits for a processor to be free, or for its turn, and does not
/// preempt whoever runs (`SCHED_BATCH`, see sched(7)); nor does it have the priority of the caller's thread. Threads for hooks are no
/// exception, although an owner in his `sync` waits for them: he gives his processor away while he does.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let none = libc::sched_param { sched_priority: 0 };
        // Where a sandbox refuses it, it is a thread like others.
        // SAFETY: 0 is this thread, and the parameter lives as long as the call.
        let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) };
        body()
    })
}
