//! Panics with messages that nobody reads to their end: what the process holds because of them is bounded.

use fixture_interfaces::Probe;
use reslot::{Events, Host, Policy};
use reslot_tests::{Fixture, Folder, allocated_bytes};

const PANICS: usize = 300;
/// Of each message.
const BYTES: usize = 5 << 20;
/// What the host's history of events may hold, and the rest of what 300 panics leave.
const MOST: usize = Events::MOST_BYTES_KEPT + (2 << 20);

#[test]
fn three_hundred_long_panics_hold_no_more_than_the_history_may() {
    let _alone = crate::alone();
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("a.so", &Fixture::build("fx-panics-unhooked").stamped(1)))
        .unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let words = "x".repeat(BYTES);
    // What is made once.
    slot.load().fail("short").unwrap_err();
    let before = allocated_bytes();
    for _ in 0..PANICS {
        let error = slot.load().fail(&words).unwrap_err();
        assert!(error.to_string().contains("xxx"));
    }
    let held = allocated_bytes().saturating_sub(before);
    eprintln!("{PANICS} panics of {BYTES} bytes each hold {held} bytes");
    assert!(held < MOST, "{held} bytes are held");
}
