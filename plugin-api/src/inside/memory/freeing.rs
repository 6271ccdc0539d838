//! A table of the blocks that are allocated in an image. It is kept outside of the image, so that the host can free the
//! blocks after the image is gone. It takes no lock and shares nothing between threads.
//!
//! # The table
//! Each block has a [`Header`] before it, which names the block's [`Entry`]. Entries stand in [`Chunk`]s of the system's memory,
//! which belong to a slot and hang together in one list, the [`Registry`]'s; they are never given back while the image lives.
//!
//! An entry is free or in use, and always in one pair of hands:
//! - *free* entries are the slot's owner's, in a list through `base`, with the mark `FREE`;
//! - an entry *in use* is the block's: only who frees or moves the block writes it, as only he may free or move the block.
//!   The owner of the slot puts it back into the list; anybody else stores `LEFT` and never touches it again. The owner finds
//!   those when its list is empty, before it makes more.
//!
//! So each field has one writer at a time, and what one thread does with an entry before it hands it on is ordered before what
//! the next does, by `LEFT` itself or by whatever handed the block from thread to thread. Slots change hands as `memory` says.
//! Threads without a slot make entries in the shared one, under its lock, and put them back by `LEFT` alone.

use super::{ACCOUNT, Account, AtomicPtr, AtomicUsize, ROOM, Slot, move_out, thread_pointer};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_void,
    ptr::{NonNull, null_mut, without_provenance_mut},
    sync::{
        PoisonError,
        atomic::Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// In the low bits of `base`: not a block but the next free entry. (Blocks and entries are aligned to more.)
const FREE: usize = 1;
/// Instead of a base: freed by a thread that does not own the entry's slot.
const LEFT: usize = 2;
const MARKS: usize = FREE | LEFT;
/// The first chunk of a slot, with its head, is a page.
const FIRST_CHUNK: usize = (4096 - size_of::<Chunk>()) / size_of::<Entry>();

/// One block, or room for one.
#[repr(C)]
struct Entry {
    /// The system's pointer for the block; or null if the entry was never used; or one of the marks.
    base: AtomicPtr<()>,
    /// Its size, as its user knows it.
    size: AtomicUsize,
}

/// The head of an array of entries.
#[repr(C)]
pub(super) struct Chunk {
    /// In the registry's list.
    next: *mut Chunk,
    /// In the slot's list.
    next_of_slot: *mut Chunk,
    len: usize,
    /// Keeps the head's size a multiple of the entries' alignment.
    _room: usize,
}

impl Chunk {
    fn layout(len: usize) -> Option<Layout> {
        let entries = Layout::array::<Entry>(len).ok()?;
        Layout::new::<Self>().extend(entries).ok().map(|(layout, _)| layout)
    }

    /// # Safety
    /// `chunk` must be one that `grow` made and nobody has freed.
    unsafe fn entries<'a>(chunk: *mut Self) -> &'a [Entry] {
        // SAFETY: the caller's promise; the entries stand behind the head, initialised by zeros, and are all atomics.
        unsafe { std::slice::from_raw_parts(chunk.add(1).cast(), (*chunk).len) }
    }
}

/// The head of an image's table, in the system's memory.
#[repr(C)]
pub struct Registry {
    chunks: AtomicPtr<Chunk>,
}

/// Before each block.
#[repr(C)]
struct Header {
    entry: NonNull<Entry>,
    slot: NonNull<Slot>,
}

/// The system's allocator, counted, with a table of what is allocated.
pub struct Freeing;

// SAFETY: a block is a part of one that `System` gave, behind a header, aligned as asked, and goes back as the whole; or it is one of the
// room's, which lives as long as the image.
unsafe impl GlobalAlloc for Freeing {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promises.
        unsafe { registered(layout, |outer| System.alloc(outer)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promises.
        unsafe { registered(layout, |outer| System.alloc_zeroed(outer)) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !ROOM.holds(block) {
            // SAFETY: the caller's own promises: it is one of ours, of this layout.
            unsafe { ACCOUNT.free(block, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match ROOM.holds(block) {
            // SAFETY: the caller's own promises.
            true => unsafe { move_out(self, block, layout, size) },
            // SAFETY: the caller's own promises: it is one of ours, of this layout.
            false => unsafe { ACCOUNT.resize(block, layout, size) },
        }
    }
}

/// A block of the room's, if it is let to this thread; otherwise one of the system's, counted and in the table.
///
/// # Safety
/// As `GlobalAlloc::alloc`; `system` must give a block of the layout that it is asked for, or null.
#[inline(always)]
unsafe fn registered(layout: Layout, system: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
    if ROOM.is_let() {
        let block = ROOM.take(layout);
        if !block.is_null() {
            return block;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { ACCOUNT.allocate(layout, system) }
}

/// The layout with room for the header, and where the block begins in it.
#[inline(always)]
fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let align = layout.align().max(align_of::<Header>());
    let offset = align.max(size_of::<Header>());
    let outer = Layout::from_size_align(layout.size().checked_add(offset)?, align).ok()?;
    Some((outer, offset))
}

impl<const N: usize> Account<N> {
    /// # Safety
    /// As `GlobalAlloc::alloc`; `system` must give a block of the layout that it is asked for, or null.
    #[inline(always)]
    pub(super) unsafe fn allocate(&self, layout: Layout, system: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
        let Some((outer, offset)) = with_header(layout) else {
            return null_mut();
        };
        let base = system(outer);
        if base.is_null() {
            return base;
        }
        let me = thread_pointer();
        let own = &self.slots[Self::first_place(me)];
        let taken = match own.owner.load(Relaxed) == me {
            true => own.take_entry(),
            false => None,
        };
        let header = match taken {
            Some(entry) => {
                own.add(layout.size());
                let slot = NonNull::from(own);
                Header { entry, slot }
            }
            None => match self.take_entry_elsewhere(me, layout.size()) {
                Some(header) => header,
                None => {
                    // SAFETY: the system has just given it, for this layout.
                    unsafe { System.dealloc(base, outer) };
                    return null_mut();
                }
            },
        };
        // SAFETY: entries live as long as the image; this one was free, so it is ours.
        let entry = unsafe { header.entry.as_ref() };
        entry.size.store(layout.size(), Relaxed);
        entry.base.store(base.cast(), Relaxed);
        // SAFETY: `offset` bytes of the block are ours, enough for a header, and the block behind them is aligned to no less.
        unsafe {
            let block = base.add(offset);
            block.cast::<Header>().sub(1).write(header);
            block
        }
    }

    /// # Safety
    /// As `GlobalAlloc::dealloc`, for a block that `allocate` or `resize` of this account gave.
    #[inline(always)]
    pub(super) unsafe fn free(&self, block: *mut u8, layout: Layout) {
        // SAFETY: each of our blocks has a header before it.
        let header = unsafe { block.cast::<Header>().sub(1).read() };
        // SAFETY: slots and entries live as long as the image.
        let (slot, entry) = unsafe { (header.slot.as_ref(), header.entry.as_ref()) };
        let me = thread_pointer();
        if slot.owner.load(Relaxed) == me {
            slot.put_entry(entry);
            slot.add(layout.size().wrapping_neg());
        } else {
            entry.base.store(without_provenance_mut(LEFT), Release);
            self.add(layout.size().wrapping_neg());
        }
        if let Some((outer, offset)) = with_header(layout) {
            // SAFETY: the block began `offset` bytes behind what the system gave for this layout.
            unsafe { System.dealloc(block.sub(offset), outer) };
        }
    }

    /// # Safety
    /// As `GlobalAlloc::realloc`, for a block that `allocate` or `resize` of this account gave.
    #[inline]
    pub(super) unsafe fn resize(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: a size that makes a layout with this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if layout.align() > size_of::<Header>() {
            // SAFETY: two different blocks, of at least so many bytes each; the old one goes back as it came.
            return unsafe {
                let moved = self.allocate(new, |outer| System.alloc(outer));
                if !moved.is_null() {
                    block.copy_to_nonoverlapping(moved, layout.size().min(size));
                    self.free(block, layout);
                }
                moved
            };
        }
        let (Some((outer, offset)), Some((new_outer, _))) = (with_header(layout), with_header(new)) else {
            return null_mut();
        };
        // SAFETY: as in `free`; the header moves with the block's other bytes.
        let base = unsafe { System.realloc(block.sub(offset), outer, new_outer.size()) };
        if base.is_null() {
            return base;
        }
        // SAFETY: the header was moved with the block, and the entry is the block's: ours.
        let (block, entry) = unsafe {
            let block = base.add(offset);
            (block, (*block.cast::<Header>().sub(1)).entry.as_ref())
        };
        entry.base.store(base.cast(), Relaxed);
        entry.size.store(size, Relaxed);
        self.add(size.wrapping_sub(layout.size()));
        block
    }

    /// For a thread whose slot is not at its first place, or has no free entry.
    #[cold]
    #[inline(never)]
    fn take_entry_elsewhere(&self, me: usize, size: usize) -> Option<Header> {
        let take = |slot: &Slot| slot.take_entry().or_else(|| slot.take_new_entry(self.registry()));
        if let Some(slot) = self.own_slot(me) {
            let entry = take(slot)?;
            slot.add(size);
            let slot = NonNull::from(slot);
            return Some(Header { entry, slot });
        }
        let _sharing = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = take(&self.shared)?;
        self.shared.bytes.fetch_add(size, Relaxed);
        let slot = NonNull::from(&self.shared);
        Some(Header { entry, slot })
    }

    /// The head of the table, made if it does not exist; null if the system has no memory for it.
    pub(super) fn registry(&self) -> *const Registry {
        let known = self.registry.load(Acquire);
        if !known.is_null() {
            return known;
        }
        let layout = Layout::new::<Registry>();
        // SAFETY: the layout is not empty; zeros are an empty list.
        let made = unsafe { System.alloc_zeroed(layout) }.cast::<Registry>();
        if made.is_null() {
            return made;
        }
        match self.registry.compare_exchange(null_mut(), made, AcqRel, Acquire) {
            Ok(_) => made,
            Err(earlier) => {
                // SAFETY: made here, and nobody else knows it.
                unsafe { System.dealloc(made.cast(), layout) };
                earlier
            }
        }
    }
}

/// By the slot's owner, or under the shared slot's lock.
impl Slot {
    #[inline(always)]
    fn take_entry(&self) -> Option<NonNull<Entry>> {
        let entry = NonNull::new(self.free.load(Relaxed).cast::<Entry>())?;
        // SAFETY: entries live as long as the image.
        let next = unsafe { entry.as_ref() }.base.load(Relaxed);
        self.free.store(next.map_addr(|next| next & !MARKS), Relaxed);
        Some(entry)
    }

    #[inline(always)]
    fn put_entry(&self, entry: &Entry) {
        let next = self.free.load(Relaxed);
        entry.base.store(next.map_addr(|next| next | FREE), Relaxed);
        self.free.store((&raw const *entry).cast_mut().cast(), Relaxed);
    }

    /// Takes back entries that other threads have freed, and makes more entries if there were few.
    fn take_new_entry(&self, registry: *const Registry) -> Option<NonNull<Entry>> {
        let mut found = 0;
        let mut chunk = self.chunks.load(Relaxed);
        while !chunk.is_null() {
            // SAFETY: the slot's list holds living chunks.
            for entry in unsafe { Chunk::entries(chunk) } {
                if entry.base.load(Acquire).addr() == LEFT {
                    self.put_entry(entry);
                    found += 1;
                }
            }
            // SAFETY: as above.
            chunk = unsafe { (*chunk).next_of_slot };
        }
        if found * 4 <= self.capacity.load(Relaxed) {
            self.grow(registry);
        }
        self.take_entry()
    }

    fn grow(&self, registry: *const Registry) {
        // SAFETY: a registry lives as long as the image.
        let Some(registry) = (unsafe { registry.as_ref() }) else {
            return;
        };
        let capacity = self.capacity.load(Relaxed);
        let len = FIRST_CHUNK.max(capacity / 2);
        let Some(layout) = Chunk::layout(len) else { return };
        // SAFETY: the layout is not empty.
        let chunk = unsafe { System.alloc_zeroed(layout) }.cast::<Chunk>();
        if chunk.is_null() {
            return;
        }
        let head = Chunk {
            next: null_mut(),
            next_of_slot: self.chunks.load(Relaxed),
            len,
            _room: 0,
        };
        // SAFETY: just made for a head and so many entries.
        unsafe { chunk.write(head) };
        self.chunks.store(chunk, Relaxed);
        self.capacity.store(capacity + len, Relaxed);
        // SAFETY: as above; zeros are unused entries.
        unsafe { Chunk::entries(chunk) }
            .iter()
            .rev()
            .for_each(|entry| self.put_entry(entry));
        let mut first = registry.chunks.load(Relaxed);
        loop {
            // SAFETY: nobody finds the chunk through the registry yet, and through the slot nobody else.
            unsafe { (*chunk).next = first };
            match registry.chunks.compare_exchange_weak(first, chunk, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
    }
}

/// Frees every block that an image has left, then the table itself. Returns the number of freed bytes, as their users
/// requested them, and the number of blocks.
///
/// # Safety
/// `registry` must be the head of a table whose image is gone, given back once, and `free` the function by which the system's
/// memory goes back, as the image knew it. Nobody may use any of the blocks any more.
pub unsafe fn give_back(registry: *const Registry, free: unsafe extern "C" fn(*mut c_void)) -> (u64, u64) {
    let (mut bytes, mut blocks) = (0, 0);
    // SAFETY: the caller's promise: the table is alive, and this is the only one who knows it.
    let mut chunk = unsafe { (*registry).chunks.load(Acquire) };
    while !chunk.is_null() {
        // SAFETY: the registry's list holds living chunks.
        for entry in unsafe { Chunk::entries(chunk) } {
            let base = entry.base.load(Acquire);
            if !base.is_null() && base.addr() & MARKS == 0 {
                bytes += entry.size.load(Relaxed) as u64;
                blocks += 1;
                // SAFETY: a block in use whose user is gone, by the caller's promise.
                unsafe { free(base.cast()) };
            }
        }
        // SAFETY: the chunk is not used any more.
        chunk = unsafe {
            let next = (*chunk).next;
            free(chunk.cast());
            next
        };
    }
    // SAFETY: as above.
    unsafe { free(registry.cast_mut().cast()) };
    (bytes, blocks)
}
