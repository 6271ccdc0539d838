//! Subscribers against a host that reports, and ends.

use super::{Described, build, builder};
use crate::plugins::left;
use reslot_runtime::{Events, Policy};
use reslot_sync::thread;
use std::time::Duration;

pub(super) const MODELS: &[Described] = &[(
    "events",
    "each subscriber has every event once and in order, and is woken at the end of the host; no deadlock",
    events,
)];

fn events() {
    let host = builder(Policy::without_probation()).build().unwrap();
    // One waits without a limit, one with a limit that passes again and again, one looks.
    let waits = reads(host.events(), |events| events.recv());
    let waits_for_a_while = reads(host.events(), |events| events.recv_timeout(Duration::from_millis(1)));
    let looks = reads(host.events(), |events| {
        thread::sleep(Duration::from_micros(300));
        events.try_recv()
    });
    for version in 1..3 {
        host.load(build(left::PLUGIN, version)).unwrap();
    }
    let _ = host.shutdown(Duration::from_secs(60));
    let seen = [waits, waits_for_a_while, looks].map(|reads| reads.join().unwrap());
    assert!(!seen[0].is_empty());
    assert!(
        seen.windows(2).all(|pair| pair[0] == pair[1]),
        "each has the same events: {seen:?}"
    );
}

/// Reads until no event can come any more, and answers their numbers.
fn reads(
    mut events: Events,
    mut next: impl FnMut(&mut Events) -> Option<std::sync::Arc<reslot_runtime::Record>> + Send + 'static,
) -> thread::JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        let mut numbers = Vec::new();
        loop {
            match next(&mut events) {
                Some(record) => numbers.push(record.sequence),
                None if events.is_over() => break,
                None => {}
            }
        }
        assert!(
            numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "once and in order: {numbers:?}"
        );
        numbers
    })
}
