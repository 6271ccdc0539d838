//! What natively ties an image to its host. A module of WebAssembly is tied to nothing else anyway, so only little is left.

use crate::{guest::host, panic_payload};
use std::any::Any;

/// Reports to the host that a panic was caught. This happens before its payload is dropped, which may panic again.
#[cold]
pub(crate) fn contained(payload: &(dyn Any + Send), _: bool) {
    host::contained(panic_payload::text_of(payload));
}

pub mod memory {
    /// The plugin's choice. It has no meaning here: the host counts and frees the memory of the whole module.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Allocator {
        Counting,
        Freeing,
        Own,
    }
}

pub(crate) mod stack {
    /// An address in the caller's frame. The stack lies at the beginning of the memory, and grows towards 0.
    #[inline(always)]
    pub(crate) fn here() -> usize {
        let mark = std::mem::MaybeUninit::<u8>::uninit();
        mark.as_ptr().addr()
    }

    /// The bytes of stack that are left.
    pub(crate) fn left() -> usize {
        here()
    }
}
