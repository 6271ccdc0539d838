//! Waiting for what a host tells, and the hosts that scenarios begin with.

use reslot::{Event, Events, Host, Outcome, Record, RetireReport};
use reslot_tests::Folder;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Far more than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A host that watches a folder.
pub fn host(folder: &Folder) -> Host {
    Host::builder().watch(folder.path()).build().expect("the host starts")
}

/// Waits for the first event that `wanted` turns into something.
pub fn wait_for<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut seen: Vec<Arc<Record>> = Vec::new();
    loop {
        let record = events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let Some(record) = record else {
            panic!("the event did not come; these did: {seen:#?}")
        };
        if let Some(found) = wanted(&record.event) {
            return found;
        }
        seen.push(record);
    }
}

/// Waits until a generation has ended, and answers how.
pub fn wait_for_retired(events: &mut Events, slot: &str, generation: u64) -> RetireReport {
    wait_for(events, |event| match event {
        Event::Retired(report) if &*report.slot == slot && report.generation == generation => Some(report.clone()),
        _ => None,
    })
}

/// Waits until a generation is proven unmapped.
pub fn wait_for_unmapped(events: &mut Events, slot: &str, generation: u64) -> RetireReport {
    let report = wait_for_retired(events, slot, generation);
    assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:#?}");
    report
}

/// Waits until a slot has moved on to a generation.
pub fn wait_for_swapped(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Swapped(report) if &*report.slot == slot && report.generation == generation => Some(()),
        _ => None,
    });
}

/// Waits until a candidate waits for its owner.
pub fn wait_for_staged(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Staged {
            slot: of,
            generation: number,
        } if &**of == slot && *number == generation => Some(()),
        _ => None,
    });
}
