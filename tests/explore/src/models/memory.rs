//! The account of allocated bytes, and the table of blocks.

use super::Described;
use reslot_plugin_api::__private::exploration::{Block, Blocks};
use reslot_sync::{mpsc, thread};

pub(super) const MODELS: &[Described] = &[
    (
        "account",
        "what an image has allocated is known to the byte, whichever thread allocates and frees",
        account,
    ),
    (
        "blocks",
        "the table has each block that is left, once, and none that was freed",
        blocks,
    ),
];

/// More threads than slots count, and free what others have allocated.
fn account() {
    let blocks = Blocks::default();
    let (sender, receiver) = mpsc::channel();
    let threads = [10, 20, 40, 80].map(|bytes| {
        let sender = sender.clone();
        thread::spawn(move || {
            blocks.count(bytes);
            blocks.count(bytes);
            sender.send(bytes).unwrap();
            blocks.count_freed(bytes);
        })
    });
    drop(sender);
    for bytes in &receiver {
        blocks.count(1_000);
        blocks.count_freed(bytes);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(blocks.live_bytes(), 4_000);
}

fn blocks() {
    let blocks = Blocks::default();
    let (sender, receiver) = mpsc::channel::<Block>();
    let threads = [16, 24, 32].map(|bytes| {
        let sender = sender.clone();
        thread::spawn(move || {
            let kept = blocks.allocate(bytes);
            let passed_on = blocks.allocate(bytes);
            blocks.free(blocks.allocate(bytes));
            sender.send(passed_on).unwrap();
            // It is left: nobody frees it.
            let _left = blocks.resize(kept, 2 * bytes);
        })
    });
    drop(sender);
    // This thread frees what the others have allocated.
    for block in &receiver {
        blocks.free(block);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let left = 2 * (16 + 24 + 32);
    assert_eq!(blocks.live_bytes(), left);
    assert_eq!(blocks.give_back(), (left, 3));
}
