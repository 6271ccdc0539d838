//! Unloading against those who use the slot.

use super::{Described, build, builder, end};
use crate::{
    plugins::{Calls, Tally, asks, asks_nobody, tally},
    world::{self, only_calls},
};
use reslot_runtime::{Claim, Fault, Policy, SyncOutcome, UnloadError, UnloadOutcome};
use reslot_sync::thread;
use std::sync::{Arc, atomic::Ordering::Relaxed};

pub(super) const MODELS: &[Described] = &[
    (
        "unload-against-adoption",
        "without force no slot is unloaded that a serving plugin uses when its state is taken, also if that plugin is adopted meanwhile",
        unload_against_adoption,
    ),
    (
        "unload-under-callers",
        "no call changes a state that an unload has taken, and none is lost that was answered",
        unload_under_callers,
    ),
];

fn unload_against_adoption() {
    let host = Arc::new(builder(Policy::without_probation()).build().unwrap());
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host.load(build(asks_nobody::PLUGIN, 1)).unwrap();
    let mut owner = host.claim::<dyn Calls>("asks").unwrap();
    host.load(build(asks::PLUGIN, 2)).unwrap();
    let adopts = thread::spawn(move || {
        let synced = Claim::sync(&mut owner);
        (owner, synced, world::moment())
    });
    let unloaded = host.unload("tally");
    let (owner, synced, adopted_at) = adopts.join().unwrap();
    let is_adopted = matches!(synced, SyncOutcome::Adopted { .. });
    match &unloaded {
        Ok(_) => {
            let images = world::images();
            let image = images.iter().find(|image| &*image.slot == "tally").unwrap();
            let encoded_at = image.encoded.load(Relaxed);
            assert!(
                !is_adopted || encoded_at < adopted_at,
                "a slot is unloaded that a serving plugin uses when its state is taken"
            );
            assert!(host.slot::<dyn Tally>("tally").is_err());
        }
        Err(error) => {
            assert!(matches!(error, UnloadError::Used { .. }), "{error}");
            assert!(is_adopted, "{synced:?}");
            assert_eq!(owner.add(2).unwrap(), 2, "what is used stays");
        }
    }
    drop(owner);
    end(Arc::into_inner(host).unwrap());
}

fn unload_under_callers() {
    let host = builder(Policy::without_probation()).build().unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let mut reader = host.reader();
    let calls = |mut add: Box<dyn FnMut() -> Result<u64, reslot_runtime::CallError> + Send>| {
        thread::spawn(move || {
            only_calls();
            let mut added = 0;
            for _ in 0..3 {
                match add() {
                    Ok(_) => added += 1,
                    Err(error) => assert!(matches!(error.fault(), Fault::Unloaded), "{error}"),
                }
            }
            added
        })
    };
    let through_a_view = slot.clone();
    let callers = [
        calls(Box::new({
            let slot = slot.clone();
            move || slot.load().add(1)
        })),
        calls(Box::new(move || reader.view().get(&through_a_view).add(1))),
    ];
    let UnloadOutcome::Unloaded(unloaded) = host.unload("tally").unwrap() else {
        panic!("nobody has claimed the slot");
    };
    host.load_from("tally", build(tally::PLUGIN, 2), unloaded.state.unwrap())
        .unwrap();
    let added: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert_eq!(slot.load().total().unwrap(), added, "no effect of a call is lost");
    drop(slot);
    end(host);
}
