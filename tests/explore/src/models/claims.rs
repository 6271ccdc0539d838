//! Claims: staged, adopted, superseded, rolled back.

use super::{Described, build, builder, end};
use crate::plugins::{Book, book};
use reslot_runtime::{Claim, Policy, RollbackTarget};
use reslot_sync::thread;
use std::sync::Arc;

pub(super) const MODELS: &[Described] = &[
    (
        "claim",
        "an owner adopts the newest staged version, loses no effect, and sees no version twice; images that nobody holds are unmapped",
        claim,
    ),
    (
        "claim-rollback",
        "a requested rollback of a claimed slot is done by its owner once, and loses no effect",
        claim_rollback,
    ),
];

fn claim() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    let publishes = {
        let host = host.clone();
        thread::spawn(move || {
            host.load(build(book::PLUGIN, 2)).unwrap();
            host.load(build(book::PLUGIN, 3)).unwrap();
        })
    };
    let mut last = 0;
    for tick in 1..=4 {
        let _ = Claim::sync(&mut owner);
        assert_eq!(owner.add(1).unwrap(), tick, "no effect of a call is lost");
        let version = owner.version().unwrap();
        assert!(version >= last, "the owner saw version {version} after {last}");
        last = version;
    }
    publishes.join().unwrap();
    let _ = Claim::sync(&mut owner);
    assert_eq!(owner.version().unwrap(), 3, "the newest version is adopted");
    assert_eq!(owner.total().unwrap(), 4, "no effect of a call is lost");
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

fn claim_rollback() {
    let host = Arc::new(builder(Policy::development()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    owner.add(1).unwrap();
    host.load(build(book::PLUGIN, 2)).unwrap();
    let _ = Claim::sync(&mut owner);
    assert_eq!(owner.version().unwrap(), 2);
    let asks = {
        let host = host.clone();
        thread::spawn(move || {
            host.rollback("book", RollbackTarget::Previous).unwrap();
        })
    };
    let mut total = 1;
    for _ in 0..3 {
        let _ = Claim::sync(&mut owner);
        total += 1;
        assert_eq!(owner.add(1).unwrap(), total, "no effect of a call is lost");
    }
    asks.join().unwrap();
    let _ = Claim::sync(&mut owner);
    assert_eq!(owner.version().unwrap(), 1, "the owner has gone back");
    assert_eq!(owner.total().unwrap(), total);
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}
