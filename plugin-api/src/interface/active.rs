//! What is lent by the innermost call, for engines in which a call back arrives in a function that knows nothing of that call:
//! the import of a sandbox, or an exported function.

use super::{
    dispatch::Buffer,
    lent::{Frame, Lends},
    stub::Transport,
};
use crate::marshal::error::MarshalError;
use std::{cell::Cell, ptr};

/// The objects that one side has lent in its innermost call. An engine has one for each thread, or for each instance.
#[derive(Debug)]
pub struct ActiveLends(Cell<Innermost>);

/// [`Lends`] without its lifetime.
#[derive(Debug, Clone, Copy)]
struct Innermost {
    frame: *const Frame<'static>,
    depth: u32,
}

const NOTHING: Innermost = Innermost {
    frame: ptr::null(),
    depth: 0,
};

impl ActiveLends {
    /// Nothing is lent.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(NOTHING))
    }

    /// Runs `body`, in which [`serve`](Self::serve) serves these objects. A transport does so with each call, also if it lends
    /// nothing: then nothing that an outer call has lent can be reached in it.
    pub fn enter<R>(&self, lends: Lends<'_>, body: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a ActiveLends, Innermost);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.0.set(self.1);
            }
        }
        let innermost = Innermost {
            frame: lends.frame.map_or(ptr::null(), ptr::from_ref).cast(),
            depth: lends.depth,
        };
        let _restore = Restore(self, self.0.replace(innermost));
        body()
    }

    /// As [`Lends::serve`], for the innermost [`enter`](Self::enter).
    pub fn serve(
        &self,
        handle: u64,
        method: u32,
        request: &[u8],
        reply: &mut dyn Buffer,
        transport: &dyn Transport,
    ) -> (u32, Option<MarshalError>) {
        // SAFETY: null, or from the innermost `enter` that has not returned. Its `lends` live until it has, so they outlive this
        // call: the type is not `Sync`, so this call runs inside of that one, on its thread.
        let frame = unsafe { self.0.get().frame.as_ref() };
        let depth = self.0.get().depth;
        let lends = Lends { frame, depth };
        lends.serve(handle, method, request, reply, transport)
    }
}

impl Default for ActiveLends {
    fn default() -> Self {
        Self::new()
    }
}
