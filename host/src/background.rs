//! The threads of the host's own, in two kinds. What prepares, watches, tells and ends must not take a processor away from a program that
//! is in the middle of its frame or its order. What leaves a faulty version, and what an owner or a closed gate waits for (hooks), must
//! not wait itself until everybody else has had his turn. What runs on them is not known here.

use std::{
    io,
    thread::{self, JoinHandle},
};

/// Starts a thread that works in the background: when it wakes up it waits for a processor to be free, or for its turn, and does not
/// preempt whoever runs (`SCHED_BATCH`, see sched(7)). It does not have the priority of the caller's thread.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    spawn_as(libc::SCHED_BATCH, name, body)
}

/// Starts a thread whose work somebody waits for: an ordinary one, also if a thread of the background starts it.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn spawn_ordinary<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    spawn_as(libc::SCHED_OTHER, name, body)
}

fn spawn_as<T: Send + 'static>(
    policy: libc::c_int,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let none = libc::sched_param { sched_priority: 0 };
        // Where a sandbox refuses it, it is a thread like others.
        // SAFETY: 0 is this thread, and the parameter lives as long as the call.
        let _ = unsafe { libc::sched_setscheduler(0, policy, &raw const none) };
        body()
    })
}
