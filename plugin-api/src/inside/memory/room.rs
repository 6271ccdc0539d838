//! A part of the image's own memory for blocks that the standard library and `tracing` allocate once and never free because
//! of the SDK. It is unmapped with the image, so a generation leaves only its plugin's own blocks on the heap.
//!
//! Blocks of the room are ordinary blocks for their users. [`Room::holds`] recognises them when they are freed or resized.
//! Their bytes are not reused.

use super::thread_pointer;
use std::{
    alloc::Layout,
    cell::UnsafeCell,
    ptr::null_mut,
    sync::atomic::{
        AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// Enough for the standard output's buffer (1 KiB) and for what `tracing` keeps of a subscriber (about 150 bytes). Larger
/// needs come from the system and count as the plugin's.
const BYTES: usize = 2048;
/// As aligned as what malloc gives.
const ALIGNMENT: usize = 16;

/// Each image has its own copy of this static, in its .bss, which is the point.
pub(super) static ROOM: Room = Room::new();

/// See the module.
#[repr(align(16))]
pub(super) struct Room {
    bytes: UnsafeCell<[u8; BYTES]>,
    /// The thread pointer of the one thread that allocates here just now, or 0.
    tenant: AtomicUsize,
    /// The number of used bytes. Only the tenant changes it.
    used: AtomicUsize,
}

// SAFETY: each byte is given away once, by the one tenant, and then belongs to its user.
unsafe impl Sync for Room {}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; BYTES]),
            tenant: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
        }
    }

    /// The calling thread allocates here while it runs `body`. If another thread does this already, `body` allocates as
    /// usual.
    pub(super) fn let_to<R>(&self, body: impl FnOnce() -> R) -> R {
        struct Lease<'a>(&'a AtomicUsize);
        impl Drop for Lease<'_> {
            fn drop(&mut self) {
                self.0.store(0, Release);
            }
        }
        let rented = self.tenant.compare_exchange(0, thread_pointer(), AcqRel, Relaxed);
        let _lease = rented.is_ok().then(|| Lease(&self.tenant));
        body()
    }

    /// Whether a thread allocates here now; only then [`take`](Self::take) can succeed.
    #[inline(always)]
    pub(super) fn is_let(&self) -> bool {
        self.tenant.load(Relaxed) != 0
    }

    /// A block of zeros for the tenant; null if the calling thread is not the tenant, or if there is no room.
    #[cold]
    #[inline(never)]
    pub(super) fn take(&self, layout: Layout) -> *mut u8 {
        if self.tenant.load(Acquire) != thread_pointer() || layout.align() > ALIGNMENT {
            return null_mut();
        }
        let at = self.used.load(Relaxed);
        match BYTES.checked_sub(at) {
            Some(left) if layout.size() <= left => {
                self.used.store((at + layout.size()).next_multiple_of(ALIGNMENT), Relaxed);
                self.bytes.get().cast::<u8>().wrapping_add(at)
            }
            _ => null_mut(),
        }
    }

    /// Whether a block is in the room.
    #[inline(always)]
    pub(super) fn holds(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.bytes.get().addr()) < BYTES
    }
}
