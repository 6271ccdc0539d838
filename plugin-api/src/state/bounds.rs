//! Limits for the encoding and decoding of a state: nesting levels and stack. Both recurse in code that serde has derived,
//! and without a limit a stack overflow would end the process.
//!
//! The host passes the limits with each call into the plugin. They are kept in a thread-local, so that they also hold for
//! values that a step of `Plugin::migrate` reads and writes. Without limits from the host, half of the thread's remaining
//! stack is used.

use super::error::Error;
use crate::inside::stack;
use std::cell::Cell;

/// How deep the state of a plugin may be nested. Each list, map, struct, tuple, and enum variant with content inside another
/// one is a level. A host and [`StateValue`](crate::StateValue) refuse a deeper state.
///
/// `struct Tree { value: u32, children: Vec<Tree> }` has two levels, a struct and a list, so 2,048 trees can be nested.
pub const MAX_STATE_LEVELS: u32 = 4096;

/// An obstacle in the encoding or decoding of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// There are more levels than allowed.
    TooDeep,
    /// It would have used more of the stack than was allowed.
    StackUsed,
    /// serde cannot carry a value from one side to the other.
    NotCarried,
}

#[derive(Clone, Copy)]
struct Bounds {
    levels: u32,
    /// The stack may be used down to this address.
    end: usize,
}

#[cfg(reslot_explore)]
use reslot_sync::thread_local;

thread_local! {
    static GIVEN: Cell<Option<Bounds>> = const { Cell::new(None) };
    /// The first obstacle since the recording began.
    static MET: Cell<Option<Met>> = const { Cell::new(None) };
}

/// Runs `body` with these limits of levels and stack. It also returns the obstacle, because code of the plugin may have
/// ignored the error and continued without the lost value.
pub(crate) fn within<R>(levels: u32, stack: usize, body: impl FnOnce() -> R) -> (R, Option<Met>) {
    /// Restores the previous values, however the body ends.
    struct Restore(Option<Bounds>, Option<Met>);
    impl Drop for Restore {
        fn drop(&mut self) {
            GIVEN.set(self.0);
            MET.set(self.1);
        }
    }
    let end = stack::here().saturating_sub(stack);
    let _restore = Restore(GIVEN.replace(Some(Bounds { levels, end })), MET.replace(None));
    let answer = body();
    (answer, MET.get())
}

/// Runs `body`, and also returns the obstacle.
pub(super) fn watched<R>(body: impl FnOnce() -> R) -> (R, Option<Met>) {
    let before = MET.take();
    let answer = body();
    let met = MET.get();
    if before.is_some() {
        MET.set(before);
    }
    (answer, met)
}

/// The remaining levels and stack for an encoder or decoder.
pub(super) struct Depth {
    levels: u32,
    most: u32,
    end: usize,
}

impl Depth {
    /// The limits at this point.
    pub(super) fn here() -> Self {
        let Bounds { levels, end } = GIVEN.get().unwrap_or_else(|| Bounds {
            levels: MAX_STATE_LEVELS,
            end: stack::here().saturating_sub(stack::left() / 2),
        });
        Self {
            levels,
            most: levels,
            end,
        }
    }

    /// Goes one level deeper.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.look()?;
        if self.levels == 0 {
            return Err(self.too_deep());
        }
        self.levels -= 1;
        Ok(())
    }

    /// Goes one level up.
    #[inline(always)]
    pub(super) fn leave(&mut self) {
        self.levels += 1;
    }

    /// Checks only the stack.
    #[inline(always)]
    pub(super) fn look(&self) -> Result<(), Error> {
        match stack::here() < self.end {
            true => Err(stack_used()),
            false => Ok(()),
        }
    }

    /// The number of remaining levels.
    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    #[cold]
    pub(super) fn too_deep(&self) -> Error {
        note(Met::TooDeep);
        Error::new(format!("it is nested deeper than {} levels", self.most))
    }
}

/// Records an obstacle for `within`. The first one is kept, but a reached limit replaces a value that is not carried,
/// because the work is repeated with higher limits.
pub(super) fn note(met: Met) {
    let is_bound = matches!(met, Met::TooDeep | Met::StackUsed);
    match MET.get() {
        None => MET.set(Some(met)),
        Some(Met::NotCarried) if is_bound => MET.set(Some(met)),
        Some(_) => {}
    }
}

#[cold]
fn stack_used() -> Error {
    note(Met::StackUsed);
    Error::new("the stack of this thread is too small for it".to_owned())
}
