//! How far the encoding and decoding of a state may go: so many levels of nesting, and so much of the thread's stack. Both recurse
//! in code that serde has derived, so nobody else can stop them before the stack ends, and with it the process.
//!
//! The host says the bounds with each call into the plugin. They are kept for the thread, so that they hold for what a step of
//! `Plugin::migrate` reads and writes as well. Where nobody has said any, half of what the thread has left is used.

use super::error::Error;
use crate::inside::stack;
use std::cell::Cell;

/// How deep the state of a plugin may be nested: so many lists, maps, structs, tuples, and enum variants with content inside of each
/// other. A deeper one is refused, by a host and by [`StateValue`](crate::StateValue).
///
/// `struct Tree { value: u32, children: Vec<Tree> }` is a struct and a list with each of its levels, so 2,048 of those fit.
pub const MAX_STATE_LEVELS: u32 = 4096;

/// What the encoding or decoding of a state has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// More levels than were allowed.
    TooDeep,
    /// It would have used more of the stack than was allowed.
    StackUsed,
    /// Something that serde does not carry from one side to the other.
    NotCarried,
}

#[derive(Clone, Copy)]
struct Bounds {
    levels: u32,
    /// The stack may be used down to this address.
    end: usize,
}

thread_local! {
    static GIVEN: Cell<Option<Bounds>> = const { Cell::new(None) };
    /// The first thing that was met, since somebody began to ask.
    static MET: Cell<Option<Met>> = const { Cell::new(None) };
}

/// Runs `body`, in which states may be nested so deep and no more than so many bytes of stack are used. Answers besides what was met:
/// code of the plugin may have taken the error and gone on without what was lost.
pub(crate) fn within<R>(levels: u32, stack: usize, body: impl FnOnce() -> R) -> (R, Option<Met>) {
    /// Puts back what was there before, however the body ends.
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

/// Runs `body` and answers what was met in it.
pub(super) fn watched<R>(body: impl FnOnce() -> R) -> (R, Option<Met>) {
    let before = MET.take();
    let answer = body();
    let met = MET.get();
    if before.is_some() {
        MET.set(before);
    }
    (answer, met)
}

/// How much is left of the bounds, for whoever encodes or decodes.
pub(super) struct Depth {
    levels: u32,
    most: u32,
    end: usize,
}

impl Depth {
    /// From here on.
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

    /// One level deeper.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.look()?;
        if self.levels == 0 {
            return Err(self.too_deep());
        }
        self.levels -= 1;
        Ok(())
    }

    /// And out of it.
    #[inline(always)]
    pub(super) fn leave(&mut self) {
        self.levels += 1;
    }

    /// Looks at the stack alone.
    #[inline(always)]
    pub(super) fn look(&self) -> Result<(), Error> {
        match stack::here() < self.end {
            true => Err(stack_used()),
            false => Ok(()),
        }
    }

    /// How many levels are left.
    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    #[cold]
    pub(super) fn too_deep(&self) -> Error {
        note(Met::TooDeep);
        Error::new(format!("it is nested deeper than {} levels", self.most))
    }
}

/// Remembers what was met, for `within`: the first of its kind, and a bound that was reached before a value that is not carried, because
/// with more room all of it is tried again.
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
