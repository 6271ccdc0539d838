//! Points, and threads that wait.

use super::{Instant, time};
use parking_lot::Mutex;
use shuttle_engine::runtime::{execution::ExecutionState, task::TaskId, thread::switch};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

thread_local! {
    /// Whether this thread of the system runs an execution.
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
    /// What [`fail`] was given in this execution.
    static FAILED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Marks the calling thread as one that runs an execution, until dropped.
pub(super) struct Exploring;

impl Exploring {
    pub(super) fn begin() -> Self {
        EXPLORING.set(true);
        FAILED.take();
        Self
    }
}

impl Drop for Exploring {
    fn drop(&mut self) {
        EXPLORING.set(false);
    }
}

/// Lets the scheduler continue another thread. A thread that unwinds goes on: the count of panics belongs to the system's thread.
pub(super) fn point() {
    if EXPLORING.get() && !std::thread::panicking() {
        switch();
    }
}

/// Fails the execution. Unlike a panic, nothing can catch it: all threads stop here. A thread that unwinds already finishes first.
pub fn fail(message: &str) {
    FAILED.with_borrow_mut(|failed| {
        failed.get_or_insert_with(|| message.to_owned());
    });
    point();
}

pub(super) fn is_exploring() -> bool {
    EXPLORING.get()
}

/// Whether a thread of an execution runs.
pub(super) fn is_in_thread() -> bool {
    EXPLORING.get() && ExecutionState::try_with(|state| state.try_current().is_some()).unwrap_or(false)
}

pub(super) fn has_failed() -> bool {
    FAILED.with_borrow(Option::is_some)
}

pub(super) fn failure() -> Option<String> {
    FAILED.take()
}

crate::explored_thread_local! {
    static NEVER_BLOCKS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`, which must not wait for another thread: the execution fails if it does.
pub fn never_blocks<R>(body: impl FnOnce() -> R) -> R {
    let before = NEVER_BLOCKS.replace(true);
    let answer = body();
    NEVER_BLOCKS.set(before);
    answer
}

/// The calling thread of this execution.
pub(super) fn here() -> TaskId {
    ExecutionState::me()
}

/// A number that no other thread of this execution has, and that is not 0.
#[must_use]
pub fn thread_number() -> usize {
    usize::from(here()) + 1
}

/// Makes a thread runnable again.
pub(super) fn unblock(task: TaskId) {
    ExecutionState::with(|state| {
        let task = state.get_mut(task);
        if !task.finished() {
            task.unblock();
        }
    });
}

/// Takes the calling thread from the runnable ones, and returns when something has woken it.
pub(super) fn block() {
    if NEVER_BLOCKS.get() {
        fail("a thread waits where it must not");
    }
    assert!(EXPLORING.get(), "a thread outside of an execution would wait for ever");
    ExecutionState::with(|state| state.current_mut().block(false));
    switch();
}

/// Threads that wait for one thing.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<VecDeque<TaskId>>);

impl Waiting {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Waits until somebody wakes this thread, or until the deadline. Answers whether somebody has.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let me = here();
        self.0.lock().push_back(me);
        if let Some(deadline) = deadline {
            time::wake_at(deadline, me);
        }
        block();
        if let Some(deadline) = deadline {
            time::forget(deadline, me);
        }
        let mut waiting = self.0.lock();
        match waiting.iter().position(|task| *task == me) {
            Some(at) => {
                waiting.remove(at);
                false
            }
            None => true,
        }
    }

    pub(super) fn wake_all(&self) {
        for task in std::mem::take(&mut *self.0.lock()) {
            unblock(task);
        }
    }

    pub(super) fn wake_one(&self) {
        let first = self.0.lock().pop_front();
        if let Some(task) = first {
            unblock(task);
        }
    }
}
