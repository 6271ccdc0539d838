//! A piece of the image's own memory, for what the SDK has the standard library and `tracing` allocate once and never free: it goes
//! with the image, so that no generation leaves anything on the heap that its plugin did not allocate.
//!
//! Blocks of the room are ordinary blocks to everybody who uses them: [`Room::holds`] tells them from the system's when they are
//! freed or resized. Their bytes are not used a second time.

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

/// Enough for the standard output's buffer (1 KiB) and for what `tracing` keeps of a subscriber (about 150 bytes). What does not fit
/// comes from the system and is counted as the plugin's.
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
    /// How many bytes are given away. Only the tenant changes it.
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

    /// Lets the calling thread allocate here while it runs `body`. If another thread does so already, `body` allocates as always.
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

    /// Whether some thread allocates here just now: only then is [`take`](Self::take) worth a call.
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

    /// Whether a block lies here.
    #[inline(always)]
    pub(super) fn holds(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.bytes.get().addr()) < BYTES
    }
}
