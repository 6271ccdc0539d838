//! The threads of the host's own, in two kinds. What prepares, watches, tells and ends must not take a processor away from a program that
//! is in the middle of its frame or its order. What leaves a faulty version, and what an owner or a closed gate waits for (hooks), must
//! not wait itself until everybody else has had his turn. What runs on them is not known here.

use std::{
    io,
    thread::{self, JoinHandle},
};

/// How a thread is scheduled; see sched(7).
#[derive(Clone, Copy)]
pub enum Kind {
    /// When it wakes up it waits for a processor to be free, or for its turn, and does not preempt whoever runs.
    Background = libc::SCHED_BATCH as isize,
    /// Somebody waits for its work.
    Foreground = libc::SCHED_OTHER as isize,
}

/// Starts a thread of this kind, whatever kind and priority the caller's has.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn<T: Send + 'static>(
    kind: Kind,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        kind.take();
        body()
    })
}

/// Starts a thread of a surface's own, scheduled as those of the host that nobody waits for: it does not preempt the program's threads.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn_background<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    spawn(Kind::Background, name, body)
}

impl Kind {
    /// This thread is one from now on.
    fn take(self) {
        let none = libc::sched_param { sched_priority: 0 };
        // Where a sandbox refuses it, it is a thread like others.
        // SAFETY: 0 is this thread, and the parameter lives as long as the call.
        let _ = unsafe { libc::sched_setscheduler(0, self as libc::c_int, &raw const none) };
    }
}

/// As long as this lives, its thread is an ordinary one: it has closed a gate, say, before which callers wait.
pub struct ForegroundPriority {
    was_in_background: bool,
}

impl ForegroundPriority {
    /// From now on this thread is one, if it is one of the background's.
    pub fn this_thread() -> Self {
        // SAFETY: 0 is this thread.
        let was_in_background = unsafe { libc::sched_getscheduler(0) } == Kind::Background as libc::c_int;
        if was_in_background {
            Kind::Foreground.take();
        }
        Self { was_in_background }
    }
}

impl Drop for ForegroundPriority {
    fn drop(&mut self) {
        if self.was_in_background {
            Kind::Background.take();
        }
    }
}

/// On which processors a thread may run.
#[derive(Clone, Copy)]
pub struct Processors(Option<libc::cpu_set_t>);

impl Processors {
    /// Those of this thread.
    pub fn of_this_thread() -> Self {
        // SAFETY: a set of bits, for which zero is empty.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: 0 is this thread, and the set is as large as is said.
        let known = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
        Self((known == 0).then_some(set))
    }

    /// This thread runs there from now on.
    pub fn take(self) {
        if let Some(set) = self.0 {
            // Where it is refused, the thread runs where whoever has started it does.
            // SAFETY: as above.
            let _ = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
        }
    }
}
