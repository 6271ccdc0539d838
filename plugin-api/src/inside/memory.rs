//! The image's allocator: the system's, with an account of the allocated bytes. `freeing` has the table of blocks for the
//! mode of that name; the host decides when to free them. Memory that the standard library keeps forever because of the SDK
//! is in the `room` and is not allocated.
//!
//! # The account
//! Allocating adds the layout's size, freeing subtracts it, each on whatever thread it happens; the sum over all threads is
//! the number of allocated bytes. (A single thread's part wraps below zero if it frees what others allocate.)
//!
//! Only the thread itself changes its part, so this needs no locked instruction, only a load and a store. A thread finds its
//! part by its thread pointer, a register. A thread-local of a library would need a call of `__tls_get_addr`, which costs as
//! much as half of an allocation.
//!
//! # Why that is sound
//! A slot belongs to the thread whose pointer stands in `owner`, put there once, by an exchange from 0, and never taken out. Two
//! threads that live at the same time have different thread pointers, so there is at most one writer at a time. A thread may
//! get the pointer of one that is dead: then it takes the slot over, and sees its last values, because libc gives away a dead
//! thread's stack (in which the pointer points) only after the kernel has told that the thread is gone, and the kernel unmaps
//! and maps under its own lock. (Who gives a thread a stack of his own must have waited for its former user anyway.) Whoever finds neither its own slot nor a free one counts in the shared one, with real atomic
//! additions. So no change is ever lost.
//!
//! Every field is an atomic, so a reader on another thread races with nobody. Beside running threads it reads a value of each
//! slot that was true at some moment near now. Once no thread is inside the image any more, and the reader knows that through
//! a lock or a channel, the sum is exact: that is so when the host closes the image.

mod freeing;
mod room;

pub use freeing::{Freeing, Registry, give_back};

use freeing::Chunk;
use room::ROOM;
#[cfg(not(reslot_explore))]
use std::sync::{
    Mutex,
    atomic::{AtomicPtr, AtomicUsize},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
    sync::atomic::Ordering::Relaxed,
};

#[cfg(reslot_explore)]
use reslot_sync::{
    PoisonMutex as Mutex,
    atomic::{AtomicPtr, AtomicUsize},
};

/// The number of slots of an image, a power of two. Further threads share one slot.
const SLOTS: usize = 256;
/// Slots that a thread looks at before it goes to the shared one.
const PROBES: usize = 3;

/// Which allocator a plugin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocator {
    /// The system's, counted.
    Counting,
    /// The system's, counted, with a table of what is allocated.
    Freeing,
    /// The plugin's own allocator, which is not counted.
    Own,
}

/// Each image has its own copy of this static, in its .bss, which is the point.
static ACCOUNT: Account<SLOTS> = Account::new();

/// The bytes that are allocated in this image now.
pub(crate) fn live_bytes() -> u64 {
    ACCOUNT.live_bytes()
}

/// Runs code of the SDK that makes the standard library or `tracing` keep memory forever. That memory is taken from the
/// image itself, so that it is unmapped with the image and does not count as the plugin's. A plugin with its own allocator
/// allocates as usual.
pub(crate) fn in_the_image(body: impl FnOnce()) {
    ROOM.let_to(body);
}

/// The table of blocks that are allocated in this image. It outlives the image. Null if there was no memory for its head.
pub(crate) fn registry() -> *const Registry {
    ACCOUNT.registry()
}

/// The system's allocator, counted.
pub struct Counting;

// SAFETY: every block comes from `System`, and goes back to it with its own layout, or is one of the room's, which lives as long as the
// image; counting touches neither.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promises.
        unsafe { counted(layout, |layout| System.alloc(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promises.
        unsafe { counted(layout, |layout| System.alloc_zeroed(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ROOM.holds(block) {
            return;
        }
        ACCOUNT.add(layout.size().wrapping_neg());
        // SAFETY: the caller's own promises, and `System` made the block.
        unsafe { System.dealloc(block, layout) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if ROOM.holds(block) {
            // SAFETY: the caller's own promises.
            return unsafe { move_out(self, block, layout, size) };
        }
        // SAFETY: the caller's own promises, and `System` made the block.
        let block = unsafe { System.realloc(block, layout, size) };
        if !block.is_null() {
            ACCOUNT.add(size.wrapping_sub(layout.size()));
        }
        block
    }
}

/// A block of the room's, if it is let to this thread; otherwise one of the system's, counted.
///
/// # Safety
/// As `GlobalAlloc::alloc`; `system` must give a block of the layout that it is asked for, or null.
#[inline(always)]
unsafe fn counted(layout: Layout, system: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
    if ROOM.is_let() {
        let block = ROOM.take(layout);
        if !block.is_null() {
            return block;
        }
    }
    let block = system(layout);
    if !block.is_null() {
        ACCOUNT.add(layout.size());
    }
    block
}

/// Resizes a block of the room's, which stays where it is: its content moves to a new block.
///
/// # Safety
/// As `GlobalAlloc::realloc`, for a block of the room's.
#[cold]
#[inline(never)]
unsafe fn move_out(allocator: &impl GlobalAlloc, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise: a size that makes a layout with this alignment. The two blocks do not overlap, and have as many
    // bytes each.
    unsafe {
        let moved = allocator.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !moved.is_null() {
            block.copy_to_nonoverlapping(moved, layout.size().min(size));
        }
        moved
    }
}

/// One thread's part. Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
struct Slot {
    /// The thread pointer of the one thread that changes what follows, or 0.
    owner: AtomicUsize,
    bytes: AtomicUsize,
    /// The following three are `freeing`'s.
    free: AtomicPtr<()>,
    chunks: AtomicPtr<Chunk>,
    capacity: AtomicUsize,
}

impl Slot {
    const fn new() -> Self {
        Self {
            owner: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            free: AtomicPtr::new(null_mut()),
            chunks: AtomicPtr::new(null_mut()),
            capacity: AtomicUsize::new(0),
        }
    }

    /// By the owner.
    #[inline(always)]
    fn add(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Relaxed).wrapping_add(bytes), Relaxed);
    }
}

/// The parts of all threads. `N` is a power of two.
struct Account<const N: usize> {
    slots: [Slot; N],
    /// The part of all threads that found no slot. Its bytes are changed by locked instructions; the rest is protected by
    /// `sharing`.
    shared: Slot,
    /// The standard library's lock parks and allocates nothing.
    sharing: Mutex<()>,
    registry: AtomicPtr<Registry>,
}

impl<const N: usize> Account<N> {
    const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; N],
            shared: Slot::new(),
            sharing: Mutex::new(()),
            registry: AtomicPtr::new(null_mut()),
        }
    }

    /// Adds, or subtracts by wrapping, in the calling thread's part.
    #[inline(always)]
    fn add(&self, bytes: usize) {
        let me = thread_pointer();
        let slot = &self.slots[Self::first_place(me)];
        match slot.owner.load(Relaxed) == me {
            true => slot.add(bytes),
            false => self.add_elsewhere(me, bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn add_elsewhere(&self, me: usize, bytes: usize) {
        match self.own_slot(me) {
            Some(slot) => slot.add(bytes),
            None => drop(self.shared.bytes.fetch_add(bytes, Relaxed)),
        }
    }

    /// The thread pointer is multiplied by the golden ratio, which spreads numbers at equal distances (such as addresses of
    /// stacks) evenly.
    #[inline(always)]
    fn first_place(me: usize) -> usize {
        ((me as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (N - 1)
    }

    /// The calling thread's slot, claimed if it had none. A thread always finds the slot that it has once claimed, because those
    /// that it passes on the way never become free.
    fn own_slot(&self, me: usize) -> Option<&Slot> {
        let first = Self::first_place(me);
        (first..first + PROBES.min(N))
            .map(|place| &self.slots[place & (N - 1)])
            .find(|slot| {
                let owner = slot.owner.load(Relaxed);
                owner == me || owner == 0 && slot.owner.compare_exchange(0, me, Relaxed, Relaxed).is_ok()
            })
    }

    fn live_bytes(&self) -> u64 {
        let parts = self.slots.iter().map(|slot| &slot.bytes).chain([&self.shared.bytes]);
        let sum = parts.fold(0, |sum: usize, part| sum.wrapping_add(part.load(Relaxed)));
        // While threads run, the reader may see that a block was freed and not that it was allocated, so the sum may be
        // negative.
        (sum as isize).max(0) as u64
    }
}

/// A number that no other living thread has, and that is not 0. Not `pure`: a coroutine may go on on another thread.
#[cfg(all(target_arch = "x86_64", not(reslot_explore), not(miri)))]
#[inline(always)]
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: on this platform the first word of the thread's control block is its own address; it is only read.
    unsafe { std::arch::asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(nostack, preserves_flags, nomem)) };
    pointer
}

#[cfg(all(target_arch = "aarch64", not(reslot_explore), not(miri)))]
#[inline(always)]
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads the register in which the platform keeps the thread pointer.
    unsafe { std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem)) };
    pointer
}

/// Also for Miri, which knows no assembly.
#[cfg(all(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))), not(reslot_explore)))]
fn thread_pointer() -> usize {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as usize }
}

#[cfg(test)]
mod tests;

#[cfg(reslot_explore)]
use reslot_sync::thread_number as thread_pointer;

/// For models of the account and of the table of blocks: an account of their own, with few slots.
#[cfg(reslot_explore)]
pub mod exploration {
    use super::{Account, Layout, System, give_back};
    use std::{alloc::GlobalAlloc as _, ffi::c_void};

    /// The blocks of one image.
    #[derive(Clone, Copy)]
    pub struct Blocks(&'static Account<2>);

    /// A block.
    pub struct Block {
        address: *mut u8,
        layout: Layout,
    }

    // SAFETY: a block is memory, which any thread may use and free.
    unsafe impl Send for Block {}

    impl Default for Blocks {
        fn default() -> Self {
            Self(Box::leak(Box::new(Account::new())))
        }
    }

    impl Blocks {
        /// Allocates.
        pub fn allocate(self, bytes: usize) -> Block {
            let layout = Layout::from_size_align(bytes, 8).unwrap_or_else(|error| panic!("{error}"));
            // SAFETY: no layout of a model is empty.
            let address = unsafe { self.0.allocate(layout, |outer| System.alloc(outer)) };
            assert!(!address.is_null(), "the system has memory");
            Block { address, layout }
        }

        /// Frees.
        pub fn free(self, block: Block) {
            // SAFETY: `allocate` or `resize` gave it, and this takes it.
            unsafe { self.0.free(block.address, block.layout) }
        }

        /// Moves a block to another size.
        pub fn resize(self, block: Block, bytes: usize) -> Block {
            // SAFETY: `allocate` or `resize` gave it, and this takes it.
            let address = unsafe { self.0.resize(block.address, block.layout, bytes) };
            let layout = Layout::from_size_align(bytes, 8).unwrap_or_else(|error| panic!("{error}"));
            Block { address, layout }
        }

        /// Counts an allocation without a table.
        pub fn count(self, bytes: usize) {
            self.0.add(bytes);
        }

        /// Counts that such a block was freed.
        pub fn count_freed(self, bytes: usize) {
            self.0.add(bytes.wrapping_neg());
        }

        /// The account.
        pub fn live_bytes(self) -> u64 {
            self.0.live_bytes()
        }

        /// The image is gone: frees what is left, and answers how many bytes and blocks that were. To be called once, when no thread uses the
        /// blocks any more.
        pub fn give_back(self) -> (u64, u64) {
            unsafe extern "C" fn free(address: *mut c_void) {
                // SAFETY: the table hands over what the system gave.
                unsafe { libc::free(address) }
            }
            let registry = self.0.registry();
            // SAFETY: a model's threads have ended, and it calls this once.
            unsafe { give_back(registry, free) }
        }
    }
}
