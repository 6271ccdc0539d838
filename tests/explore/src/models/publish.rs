//! Publishing against readers.

use super::{Described, build, builder, end};
use crate::{
    plugins::{Tally, grows, grows::Grows, grows_not_yet, left, middle},
    world::{self, only_calls},
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
    (
        "older-view",
        "a view that is older than a handle's interface is not called by that interface",
        older_view,
    ),
    (
        "two-publishers",
        "what two threads publish for two slots is in the view, whichever was first",
        two_publishers,
    ),
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
            only_calls();
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
            only_calls();
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
    reader.release();
    host.load(build(left::PLUGIN, 6)).unwrap();
    assert!(host.wait_until_unmapped("left", 5, std::time::Duration::from_secs(10)));
    drop(reader);
    end(Arc::into_inner(host).unwrap());
}

/// Nobody calls the first build, so the second one may have an interface that does not fit the first.
fn older_view() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    host.load(build(grows_not_yet::PLUGIN, 1)).unwrap();
    let mut reader = host.reader();
    reader.view();
    let looks = {
        let host = host.clone();
        thread::spawn(move || {
            // Refused, as long as the first build serves.
            let slot: Option<Slot<dyn Grows>> = host.slot("grows").ok();
            let calls = |view: &reslot_runtime::View, slot: &Slot<dyn Grows>| view.get(slot).version(-1).ok();
            if let Some(slot) = slot {
                assert_eq!(
                    calls(reader.view(), &slot),
                    Some(2),
                    "a view that is as new as the handle is called"
                );
            }
            let view = reader.view();
            let slot: Option<Slot<dyn Grows>> = host.slot("grows").ok();
            if let Some(slot) = slot {
                let version = calls(view, &slot);
                assert_ne!(version, Some(1), "the first build is called by the interface of the second");
            }
        })
    };
    host.load(build(grows::PLUGIN, 2)).unwrap();
    looks.join().unwrap();
    end(Arc::into_inner(host).unwrap());
}

/// To take a claim and to let it go publishes a view as well, on the owner's thread.
fn two_publishers() {
    let host = Arc::new(host());
    host.load(build(middle::PLUGIN, 1)).unwrap();
    let claims = {
        let host = host.clone();
        thread::spawn(move || {
            for _ in 0..4 {
                drop(host.claim::<dyn Tally>("middle").unwrap());
            }
        })
    };
    for version in 2..4 {
        host.load(build(left::PLUGIN, version)).unwrap();
    }
    claims.join().unwrap();
    for (name, version) in [("left", 3), ("middle", 1)] {
        let slot: Slot<dyn Tally> = host.slot(name).unwrap();
        assert_eq!(slot.load().version().unwrap(), version, "the view has what was published");
    }
    end(Arc::into_inner(host).unwrap());
}
