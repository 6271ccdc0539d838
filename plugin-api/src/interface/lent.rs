//! Objects that are lent for one call: their handles, and the check of each call that comes for one of them.
//!
//! The lent objects of a call are listed in a [`Frame`] on the stack of the stub that makes it. A call that is made while
//! another one is served gets a frame that points to the frame of that one, because both are on the same stack and the objects
//! of both are still lent. So a call through a lent object reaches its own frame and those of the calls around it. A call of the
//! instance begins a new chain. Each frame has a number of its own, which is in its handles.

use super::{
    Interface, Passed, Status,
    dispatch::{CallContext, Dispatch, ReplyBuffer, encode_outcome},
    stub::Transport,
};
use crate::{
    crossing::Handles,
    description::{Method, Receiver},
    marshal::error::MarshalError,
};
use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

/// The bits of a handle that number the objects of one call.
const INDEX_BITS: u32 = 8;

/// How many calls of lent objects may be nested. Each uses the stack of the host's thread, and a hostile side could call until its
/// end. [`ActiveLentObjects`](super::ActiveLentObjects) counts calls of instances in between as well;
/// an engine that serves calls without it has to count them itself.
pub const MAX_NESTED_CALLS: u32 = 32;

/// An object that is lent for the call in which this is made.
pub struct LentEntry {
    object: Passed,
    functions: usize,
    mutable: bool,
    methods: &'static [Method],
    dispatch: Dispatch,
    /// How many calls read it now; [`WRITTEN`] if one may change it.
    borrows: Cell<u32>,
}

const WRITTEN: u32 = u32::MAX;

impl LentEntry {
    /// For an argument `&dyn I`, or with `mutable`, `&mut dyn I`.
    ///
    /// # Safety
    /// The object must be live with its table as long as this entry, and borrowed as the argument says.
    #[inline]
    pub unsafe fn new<I: ?Sized + Interface>(object: Passed, mutable: bool) -> Self {
        Self {
            object,
            // SAFETY: each table is `repr(C)` and begins with this number, by the contract of `Interface`.
            functions: unsafe { *object.table().cast::<usize>() },
            mutable,
            methods: I::DESCRIPTION.methods,
            dispatch: I::dispatch,
            borrows: Cell::new(0),
        }
    }

    /// Borrows the object as the method's receiver says.
    fn borrow(&self, method: u32, handle: u64) -> Result<Borrow<'_>, MarshalError> {
        let called = usize::try_from(method).ok().and_then(|index| self.methods.get(index));
        let receiver = called.ok_or(MarshalError::Method { index: method })?.receiver;
        let busy = MarshalError::Busy { handle };
        let borrows = self.borrows.get();
        let now = match receiver {
            Receiver::Ref => borrows.checked_add(1).filter(|now| *now != WRITTEN).ok_or(busy)?,
            Receiver::RefMut if !self.mutable => return Err(MarshalError::ReadOnly { handle }),
            Receiver::RefMut if borrows == 0 => WRITTEN,
            Receiver::RefMut => return Err(busy),
        };
        self.borrows.set(now);
        Ok(Borrow {
            borrows: &self.borrows,
            before: borrows,
        })
    }
}

/// A borrow of a lent object, which ends when this is dropped. Calls nest, so borrows end in the opposite order.
struct Borrow<'a> {
    borrows: &'a Cell<u32>,
    before: u32,
}

impl Drop for Borrow<'_> {
    fn drop(&mut self) {
        self.borrows.set(self.before);
    }
}

/// The objects that are lent in one call.
pub(super) struct Frame<'a> {
    entries: &'a [LentEntry],
    number: u64,
    outer: Option<&'a Self>,
    /// Whether a panic began in one of the objects. Their lender still has it.
    panicked: Cell<bool>,
}

impl<'a> Frame<'a> {
    /// The frame of a call that is made while the calls of `outer` have not ended.
    pub(super) fn new(entries: &'a [LentEntry], outer: Option<&'a Self>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            entries,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            outer,
            panicked: Cell::new(false),
        }
    }
}

impl Handles for Frame<'_> {
    fn handle(&self, index: usize) -> Option<(u64, usize)> {
        let entry = self.entries.get(index)?;
        let index = u64::try_from(index).ok().filter(|index| index >> INDEX_BITS == 0)?;
        Some((self.number << INDEX_BITS | index, entry.functions))
    }
}

/// The objects that are lent to the other side at present: those of a call, and of the calls during which it was made.
#[derive(Clone, Copy, Default)]
pub struct LentObjects<'a> {
    pub(super) frame: Option<&'a Frame<'a>>,
    /// How many calls of lent objects are being served around this.
    pub(super) depth: u32,
}

impl<'a> LentObjects<'a> {
    /// Whether a panic began in one of the objects.
    pub(super) fn panicked(self) -> bool {
        self.frames().any(|frame| frame.panicked.get())
    }

    fn frames(self) -> impl Iterator<Item = &'a Frame<'a>> {
        std::iter::successors(self.frame, |frame| frame.outer)
    }

    fn find(self, handle: u64) -> Result<(&'a Frame<'a>, &'a LentEntry), MarshalError> {
        let unknown = MarshalError::Handle { found: handle };
        let (number, index) = (handle >> INDEX_BITS, handle & ((1 << INDEX_BITS) - 1));
        let index = usize::try_from(index).map_err(|_| unknown)?;
        let frame = self.frames().find(|frame| frame.number == number).ok_or(unknown)?;
        let entry = frame.entries.get(index).ok_or(unknown)?;
        Ok((frame, entry))
    }

    /// Calls a lent object for the other side, and returns how the call ended. To be called on the thread that made the call in
    /// which the object was lent; the type cannot leave it. `transport` carries calls in the direction of the other side.
    ///
    /// The error is for the engine's report. The other side gets it, too.
    pub fn serve(
        self,
        handle: u64,
        method: u32,
        request: &[u8],
        reply: &mut dyn ReplyBuffer,
        transport: &dyn Transport,
    ) -> (u32, Option<MarshalError>) {
        let remote_failure = Cell::new(false);
        let context = CallContext {
            transport,
            lends: LentObjects {
                depth: self.depth + 1,
                ..self
            },
            remote_failure: &remote_failure,
        };
        let served = self.find(handle).and_then(|(frame, entry)| {
            if self.depth == MAX_NESTED_CALLS {
                return Err(MarshalError::Nested { most: MAX_NESTED_CALLS });
            }
            let _borrow = entry.borrow(method, handle)?;
            // SAFETY: the entry is in a frame of a call that has not ended, so its object is live. Its borrow in that call is
            // at least as strong as the method's receiver asks, and `_borrow` excludes all other calls through the handle that
            // would conflict. The caller of the stub cannot use the object before its call ends.
            let status = unsafe { (entry.dispatch)(entry.object, method, context, request, reply) }?;
            if status == Status::CALLBACK && !remote_failure.get() {
                frame.panicked.set(true);
            }
            Ok(status)
        });
        encode_outcome(served, reply)
    }
}
