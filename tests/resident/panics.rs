//! Panics with very long messages: the memory that the process keeps for them is limited.

use fixture_interfaces::Probe;
use reslot::{Events, Host, Policy};
use reslot_tests::{Fixture, Folder, allocated_bytes};

const PANICS: usize = 300;
/// The length of each message.
const BYTES: usize = 5 << 20;
/// The limit of the host's log of events, plus an allowance for the rest of 300 panics.
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
    // The first panic allocates memory that is needed only once.
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
