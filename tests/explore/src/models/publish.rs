//! Publishing against readers.

use super::{Described, build, builder, end};
use crate::{
    plugins::{Tally, left},
    world,
};
use reslot_runtime::{Host, Policy, Slot};
use reslot_sync::{never_blocks, thread};
use std::sync::Arc;

pub(super) const MODELS: &[Described] = &[
    (
        "readers",
        "no call reaches code that is gone; a caller of an open slot never blocks; versions never go back; images that nobody holds are unmapped",
        readers,
    ),
    (
        "late-reader",
        "a reader that looks while a version is published sees it at the next look, if not at once",
        late_reader,
    ),
    ("idle-reader", "an idle reader holds what it saw and no more", idle_reader),
];

fn host() -> Host {
    let host = builder(Policy::without_probation()).build().unwrap();
    host.load(build(left::PLUGIN, 1)).unwrap();
    host
}

/// Readers and handles call while two newer versions are published.
fn readers() {
    let host = host();
    let slot: Slot<dyn Tally> = host.slot("left").unwrap();
    let by_reader = {
        let (mut reader, slot) = (host.reader(), slot.clone());
        thread::spawn(move || {
            let mut last = 0;
            for _ in 0..3 {
                let version = never_blocks(|| reader.view().get(&slot).version()).unwrap();
                assert!(version >= last, "a reader saw version {version} after {last}");
                last = version;
            }
            reader
        })
    };
    let by_handle = {
        let slot = slot.clone();
        thread::spawn(move || {
            let mut last = 0;
            for _ in 0..3 {
                let version = never_blocks(|| slot.load().version()).unwrap();
                assert!(version >= last, "a handle saw version {version} after {last}");
                last = version;
            }
        })
    };
    for version in 2..4 {
        host.load(build(left::PLUGIN, version)).unwrap();
    }
    assert_eq!(slot.load().version().unwrap(), 3, "a caller sees what was published before");
    let mut reader = by_reader.join().unwrap();
    assert_eq!(
        reader.view().get(&slot).version().unwrap(),
        3,
        "a reader sees what was published before"
    );
    drop(reader);
    by_handle.join().unwrap();
    end(host);
}

/// Two readers look again and again while one version is published, and once afterwards.
fn late_reader() {
    let host = host();
    let slot: Slot<dyn Tally> = host.slot("left").unwrap();
    let readers = [0, 1].map(|_| {
        let mut reader = host.reader();
        thread::spawn(move || {
            for _ in 0..12 {
                let _ = reader.view();
                thread::yield_now();
            }
            reader
        })
    });
    host.load(build(left::PLUGIN, 2)).unwrap();
    for reader in readers {
        let mut reader = reader.join().unwrap();
        assert_eq!(
            reader.view().get(&slot).version().unwrap(),
            2,
            "a reader sees what was published before"
        );
    }
    end(host);
}

/// A reader looks once and then does nothing, while versions come and go.
fn idle_reader() {
    let host = Arc::new(host());
    let slot: Slot<dyn Tally> = host.slot("left").unwrap();
    let mut reader = host.reader();
    let view = reader.view();
    let publishes = {
        let host = host.clone();
        thread::spawn(move || {
            for version in 2..6 {
                host.load(build(left::PLUGIN, version)).unwrap();
            }
        })
    };
    // It calls through the view that it has, and looks for no other one.
    for _ in 0..3 {
        assert_eq!(view.get(&slot).version().unwrap(), 1);
    }
    publishes.join().unwrap();
    // The reader's and the current one.
    for generation in 2..5 {
        assert!(host.wait_until_unmapped("left", generation, std::time::Duration::from_secs(10)));
    }
    assert_eq!(world::mapped(), 2);
    assert_eq!(reader.view().get(&slot).version().unwrap(), 5);
    drop(reader);
    end(Arc::into_inner(host).unwrap());
}
