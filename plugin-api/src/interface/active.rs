//! What is lent by the innermost call, for engines in which a call back arrives in a function that knows nothing of that call:
//! the import of a sandbox, or an exported function.

use super::{
    dispatch::ReplyBuffer,
    lent::{Frame, LentObjects},
    stub::Transport,
};
use crate::marshal::error::MarshalError;
use std::{cell::Cell, ptr};

/// The objects that one side has lent in its innermost call. An engine has one for each thread, or for each instance.
#[derive(Debug)]
pub struct ActiveLentObjects(Cell<Innermost>);

/// [`LentObjects`] without its lifetime.
#[derive(Debug, Clone, Copy)]
struct Innermost {
    frame: *const Frame<'static>,
    depth: u32,
}

const NOTHING: Innermost = Innermost {
    frame: ptr::null(),
    depth: 0,
};

impl ActiveLentObjects {
    /// Nothing is lent.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(NOTHING))
    }

    /// Runs `body`, in which [`serve`](Self::serve) serves these objects. A transport does so with each call, also if it lends
    /// nothing: a call of the instance then reaches nothing that an outer call has lent.
    pub fn enter<R>(&self, lends: LentObjects<'_>, body: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a ActiveLentObjects, Innermost);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.0.set(self.1);
            }
        }
        let innermost = Innermost {
            frame: lends.frame.map_or(ptr::null(), ptr::from_ref).cast(),
            // A call of an instance begins with 0, though it is on the same stack.
            depth: lends.depth.max(self.0.get().depth),
        };
        let _restore = Restore(self, self.0.replace(innermost));
        body()
    }

    /// As [`LentObjects::serve`], for the innermost [`enter`](Self::enter).
    pub fn serve(
        &self,
        handle: u64,
        method: u32,
        request: &[u8],
        reply: &mut dyn ReplyBuffer,
        transport: &dyn Transport,
    ) -> (u32, Option<MarshalError>) {
        // SAFETY: null, or from the innermost `enter` that has not returned. Its `lends` live until it has, so they outlive this
        // call: the type is not `Sync`, so this call runs inside of that one, on its thread.
        let frame = unsafe { self.0.get().frame.as_ref() };
        let depth = self.0.get().depth;
        let lends = LentObjects { frame, depth };
        lends.serve(handle, method, request, reply, transport)
    }
}

impl Default for ActiveLentObjects {
    fn default() -> Self {
        Self::new()
    }
}
