//! Claims: staged, adopted, superseded, rolled back.

use super::{Described, HandedOut, OneHandle, build, builder, end, file};
use crate::{
    plugins::{Book, book},
    world::{Fault, Place, Script, on_start},
};
use reslot_runtime::{Claim, LoadOutcome, Policy, RollbackTarget, SyncOutcome};
use reslot_sync::{Instant, thread};
use std::{sync::Arc, time::Duration};

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
    (
        "rollback-while-adopting",
        "a rollback that a hook of the candidate requests while the owner adopts is done afterwards",
        rollback_while_adopting,
    ),
    (
        "claim-rollback-and-build",
        "a requested rollback of a claimed slot is done, also if the owner is about to adopt a newer build",
        claim_rollback_and_build,
    ),
    (
        "confirmation-or-rollback",
        "a generation that its owner is to roll back is not confirmed, and the rollback is done",
        confirmation_or_rollback,
    ),
    (
        "faulty-claim",
        "an owner leaves a faulty version, and adopts the newer one that waited in the next look",
        faulty_claim,
    ),
    (
        "dropped-claim",
        "what was staged for an owner who lets go is adopted without him",
        dropped_claim,
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

fn claim_rollback_and_build() {
    let host = Arc::new(builder(Policy::development()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    host.load(build(book::PLUGIN, 2)).unwrap();
    let _ = Claim::sync(&mut owner);
    host.load(build(book::PLUGIN, 3)).unwrap();
    let asks = {
        let host = host.clone();
        thread::spawn(move || host.rollback("book", RollbackTarget::Previous).unwrap())
    };
    let mut back_to = Vec::new();
    let mut look = |owner: &mut Claim<dyn Book>| {
        if let SyncOutcome::RolledBack { generation, .. } = Claim::sync(owner) {
            back_to.push(generation);
        }
        owner.add(1).unwrap();
    };
    for _ in 0..2 {
        look(&mut owner);
    }
    let answer = asks.join().unwrap();
    for _ in 0..2 {
        look(&mut owner);
    }
    let LoadOutcome::Staged { generation, .. } = answer else {
        panic!("the owner has to do it: {answer:?}");
    };
    assert_eq!(back_to, [generation], "the requested rollback is done, once");
    assert_eq!(owner.total().unwrap(), 4, "no effect of a call is lost");
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

fn confirmation_or_rollback() {
    let host = Arc::new(builder(Policy::development()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    host.confirm("book").unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    host.load(build(book::PLUGIN, 2)).unwrap();
    let _ = Claim::sync(&mut owner);
    let asks = {
        let host = host.clone();
        thread::spawn(move || host.rollback("book", RollbackTarget::Previous).unwrap())
    };
    let is_confirmed = host.confirm("book").unwrap();
    let answer = asks.join().unwrap();
    let LoadOutcome::Staged { generation, .. } = answer else {
        panic!("the owner has to do it: {answer:?}");
    };
    // The standby, if it was requested before the confirmation; otherwise the history's copy of the first version.
    assert_eq!(generation == 1, !is_confirmed, "it is confirmed or rolled back: {answer:?}");
    let _ = Claim::sync(&mut owner);
    assert_eq!(owner.version().unwrap(), 1, "the requested rollback is done");
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

fn faulty_claim() {
    let host = Arc::new(builder(Policy::development()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    let faulty = Script {
        version: 2,
        fault: Some((Place::Call, Fault::Panics)),
        ..Script::default()
    };
    host.load(file(book::PLUGIN, &faulty)).unwrap();
    let publishes = {
        let host = host.clone();
        thread::spawn(move || {
            host.load(build(book::PLUGIN, 3)).unwrap();
        })
    };
    let mut total = 0;
    for _ in 0..3 {
        let _ = Claim::sync(&mut owner);
        total += u64::from(owner.add(1).is_ok());
    }
    publishes.join().unwrap();
    for _ in 0..2 {
        let _ = Claim::sync(&mut owner);
    }
    assert_eq!(owner.version().unwrap(), 3, "the newest version is adopted");
    assert_eq!(owner.total().unwrap(), total, "no effect of a call is lost");
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

fn dropped_claim() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    let publishes = {
        let host = host.clone();
        thread::spawn(move || {
            host.load(build(book::PLUGIN, 2)).unwrap();
        })
    };
    owner.add(1).unwrap();
    drop(owner);
    publishes.join().unwrap();
    thread::sleep(Duration::from_secs(1));
    let owner = host.claim::<dyn Book>("book").unwrap();
    assert_eq!(owner.version().unwrap(), 2, "what was staged is adopted without the owner");
    assert_eq!(owner.total().unwrap(), 1, "no effect of a call is lost");
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

/// A hook asks, for which the owner waits: so the request is done after the adoption, whether that succeeds or not.
fn rollback_while_adopting() {
    let handle = OneHandle::default();
    let host = builder(Policy::development())
        .attach(HandedOut(handle.clone()))
        .build()
        .unwrap();
    host.load(build(book::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Book>("book").unwrap();
    owner.add(1).unwrap();
    on_start(move |image| {
        if image.script.version >= ASKS {
            let steering = handle.get().unwrap().steer().unwrap();
            let outcome = steering.rollback("book", RollbackTarget::Previous).unwrap();
            assert!(matches!(outcome, LoadOutcome::Staged { .. }), "{outcome:?}");
        }
    });
    let host = Arc::new(host);
    let mut total = 1;
    for (version, fault) in [(2, Some((Place::Start, Fault::Refuses))), (3, None)] {
        host.load(build(book::PLUGIN, version)).unwrap();
        let _ = Claim::sync(&mut owner);
        assert_eq!(owner.version().unwrap(), version);
        let publishes = {
            let host = host.clone();
            let asks = Script {
                version: ASKS + version,
                fault,
                ..Script::default()
            };
            thread::spawn(move || {
                host.load(file(book::PLUGIN, &asks)).unwrap();
            })
        };
        let end = Instant::now() + Duration::from_secs(10);
        while owner.version().unwrap() != 1 {
            assert!(Instant::now() < end, "the requested rollback is done");
            thread::sleep(Duration::from_millis(1));
            let _ = Claim::sync(&mut owner);
            total += 1;
            assert_eq!(owner.add(1).unwrap(), total, "no effect of a call is lost");
        }
        publishes.join().unwrap();
    }
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

/// The versions from this one on ask for a rollback.
const ASKS: u64 = 100;
