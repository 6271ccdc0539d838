//! The account and the table of blocks, on accounts of the tests' own.

use super::*;
use std::sync::{Barrier, mpsc};

/// A block on its way to another thread.
struct Sent(*mut u8);
// SAFETY: whoever receives it is the only one who uses it.
unsafe impl Send for Sent {}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn take<const N: usize>(account: &Account<N>, layout: Layout) -> *mut u8 {
    // SAFETY: the layout is not empty.
    let block = unsafe { account.allocate(layout, |outer| System.alloc(outer)) };
    assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
    // SAFETY: so many bytes of ours.
    unsafe { block.write_bytes(0xA5, layout.size()) };
    block
}

fn free<const N: usize>(account: &Account<N>, block: *mut u8, layout: Layout) {
    // SAFETY: the tests free each block once, with its layout.
    unsafe { account.free(block, layout) };
}

/// Frees what is left, and answers bytes and blocks.
fn remains<const N: usize>(account: &Account<N>) -> (u64, u64) {
    // SAFETY: the tests use neither the account's blocks nor the account after that.
    unsafe { give_back(account.registry(), libc::free) }
}

/// Miri is thousands of times slower.
const fn few_under_miri(times: usize) -> usize {
    if cfg!(miri) { times / 100 } else { times }
}

#[test]
fn threads_count_for_themselves_and_the_sum_is_what_is_allocated() {
    static ACCOUNT: Account<4> = Account::new();
    let (counted, go_on) = (Barrier::new(9), Barrier::new(9));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..1_000).for_each(|_| ACCOUNT.add(10));
                (0..1_000).for_each(|_| ACCOUNT.add(7_usize.wrapping_neg()));
                counted.wait();
                go_on.wait();
            });
        }
        counted.wait();
        assert_eq!(ACCOUNT.live_bytes(), 8 * 3_000);
        let owned = ACCOUNT.slots.iter().filter(|slot| slot.owner.load(Relaxed) != 0).count();
        assert!(owned >= PROBES, "{owned}");
        assert_ne!(
            ACCOUNT.shared.bytes.load(Relaxed),
            0,
            "eight threads have no room in four slots"
        );
        go_on.wait();
    });
    ACCOUNT.add(24_000_usize.wrapping_neg());
    assert_eq!(ACCOUNT.live_bytes(), 0);
}

#[test]
fn sum_that_is_below_zero_for_a_moment_reads_as_zero() {
    let account = Account::<4>::new();
    account.add(5_usize.wrapping_neg());
    assert_eq!(account.live_bytes(), 0);
    account.add(8);
    assert_eq!(account.live_bytes(), 3);
}

#[test]
fn only_memory_that_was_not_freed_is_found() {
    let account = Account::<4>::new();
    let layouts = [
        layout(1, 1),
        layout(24, 8),
        layout(100, 64),
        layout(5_000, 4096),
        layout(70_000, 16),
    ];
    let blocks = layouts.map(|layout| (take(&account, layout), layout));
    assert_eq!(account.live_bytes(), 75_125);
    for (block, layout) in &blocks[1..4] {
        free(&account, *block, *layout);
    }
    assert_eq!(account.live_bytes(), 70_001);
    assert_eq!(remains(&account), (70_001, 2));
}

#[test]
fn freed_entries_are_used_again_and_many_blocks_get_more_of_them() {
    let account = Account::<4>::new();
    let small = layout(8, 8);
    for _ in 0..10_000 {
        free(&account, take(&account, small), small);
    }
    let own = account.own_slot(thread_pointer()).unwrap();
    let first = own.capacity.load(Relaxed);
    assert!(first < 300, "{first} entries for one block at a time");
    let blocks: Vec<_> = (0..5_000).map(|_| take(&account, small)).collect();
    let grown = own.capacity.load(Relaxed);
    assert!((5_000..10_000).contains(&grown), "{grown}");
    for block in &blocks[..4_990] {
        free(&account, *block, small);
    }
    assert_eq!(own.capacity.load(Relaxed), grown);
    assert_eq!(remains(&account), (80, 10));
}

#[test]
fn resized_block_keeps_its_bytes_and_its_entry() {
    let account = Account::<4>::new();
    for align in [8, 64, 4096] {
        let mut now = layout(100, align);
        let mut block = take(&account, now);
        for size in [10, 300_000, 40, 41, 4_096] {
            let kept = now.size().min(size);
            // SAFETY: the block is ours, of this layout, and the size is not 0.
            block = unsafe { account.resize(block, now, size) };
            assert!(block.addr().is_multiple_of(align));
            // SAFETY: both sizes hold so many bytes, all written.
            let bytes = unsafe { std::slice::from_raw_parts(block, kept) };
            assert!(bytes.iter().all(|byte| *byte == 0xA5));
            // SAFETY: the block has so many bytes.
            unsafe { block.write_bytes(0xA5, size) };
            now = layout(size, align);
            assert_eq!(account.live_bytes() % 4_096, size as u64 % 4_096);
        }
    }
    assert_eq!(account.live_bytes(), 3 * 4_096);
    assert_eq!(remains(&account), (3 * 4_096, 3));
}

#[test]
fn size_beyond_all_memory_is_refused() {
    let account = Account::<4>::new();
    let huge = layout(isize::MAX as usize - 8, 8);
    // SAFETY: the layout is not empty.
    assert!(unsafe { account.allocate(huge, |outer| System.alloc(outer)) }.is_null());
    let block = take(&account, layout(8, 8));
    // SAFETY: the block is ours, and the size makes a layout.
    assert!(unsafe { account.resize(block, layout(8, 8), huge.size()) }.is_null());
    assert_eq!(account.live_bytes(), 8);
    assert_eq!(remains(&account), (8, 1), "what was refused left the block as it was");
}

#[test]
fn entries_that_another_thread_has_left_are_taken_back_before_more_are_made() {
    // One slot: its owner's entries, and those of the shared slot for everybody else.
    for owner_makes in [true, false] {
        let account = Account::<1>::new();
        account.add(0);
        assert!(account.own_slot(thread_pointer()).is_some());
        let small = layout(8, 8);
        let (send, receive) = mpsc::sync_channel::<Sent>(100);
        let make = |send: mpsc::SyncSender<Sent>| {
            (0..few_under_miri(100_000)).for_each(|_| send.send(Sent(take(&account, small))).unwrap())
        };
        let account_of =
            |receive: mpsc::Receiver<Sent>| receive.into_iter().for_each(|Sent(block)| free(&account, block, small));
        std::thread::scope(|scope| {
            if owner_makes {
                scope.spawn(move || account_of(receive));
                make(send);
            } else {
                scope.spawn(move || make(send));
                account_of(receive);
            }
        });
        assert_eq!(account.live_bytes(), 0);
        let slot = if owner_makes { &account.slots[0] } else { &account.shared };
        let capacity = slot.capacity.load(Relaxed);
        assert!(capacity < 2_000, "{capacity} entries for some hundred blocks");
        let last = take(&account, small);
        assert_eq!(remains(&account), (8, 1), "{last:?}");
    }
}

#[test]
fn threads_that_free_each_others_blocks_lose_none() {
    for rounds in [1, few_under_miri(200)] {
        let account = Account::<2>::new();
        let places: Vec<Mutex<Option<(Sent, Layout)>>> = (0..16).map(|_| Mutex::default()).collect();
        std::thread::scope(|scope| {
            for thread in 0..5_usize {
                let (account, places) = (&account, &places);
                scope.spawn(move || {
                    for round in 0..rounds * 100 {
                        let layout = layout(1 + (round * 7 + thread) % 300, 1 << (round % 8));
                        let mine = (Sent(take(account, layout)), layout);
                        let other = places[(round * 5 + thread * 3) % 16].lock().unwrap().replace(mine);
                        if let Some((Sent(block), layout)) = other {
                            free(account, block, layout);
                        }
                    }
                });
            }
        });
        let left: Vec<_> = places.into_iter().filter_map(|place| place.into_inner().unwrap()).collect();
        let bytes: usize = left.iter().map(|(_, layout)| layout.size()).sum();
        assert_eq!(account.live_bytes(), bytes as u64);
        assert_eq!(remains(&account), (bytes as u64, left.len() as u64));
    }
}

#[test]
fn table_that_was_never_used_is_given_back() {
    assert_eq!(remains(&Account::<4>::new()), (0, 0));
}

#[test]
fn room_is_one_threads_at_a_time_and_its_blocks_are_like_others() {
    let (small, large) = (layout(40, 8), layout(4_000, 8));
    for allocator in [&Counting as &(dyn GlobalAlloc + Sync), &Freeing] {
        // SAFETY: each block is freed once, by the allocator that gave it, with its layout; no more bytes are used than it has.
        unsafe {
            let mut taken = null_mut();
            ROOM.let_to(|| {
                taken = allocator.alloc(small);
                assert!(ROOM.holds(taken) && taken.addr().is_multiple_of(16));
                let zeros = allocator.alloc_zeroed(small);
                assert!(ROOM.holds(zeros) && zeros != taken);
                assert!(std::slice::from_raw_parts(zeros, 40).iter().all(|byte| *byte == 0));
                let elsewhere = [allocator.alloc(large), allocator.alloc(layout(64, 64))];
                assert!(elsewhere.iter().all(|block| !ROOM.holds(*block)), "there is no room for it");
                allocator.dealloc(elsewhere[0], large);
                allocator.dealloc(elsewhere[1], layout(64, 64));
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let other = ROOM.let_to(|| allocator.alloc(small));
                        assert!(!ROOM.holds(other), "another thread has it");
                        allocator.dealloc(other, small);
                    });
                });
                allocator.dealloc(zeros, small);
                assert_ne!(allocator.alloc(small), zeros, "its bytes are not used again");
            });
            taken.write_bytes(0xA5, 40);
            let moved = allocator.realloc(taken, small, 60);
            assert!(!ROOM.holds(moved), "it is let to nobody");
            assert!(std::slice::from_raw_parts(moved, 40).iter().all(|byte| *byte == 0xA5));
            allocator.dealloc(moved, layout(60, 8));
        }
    }
}
