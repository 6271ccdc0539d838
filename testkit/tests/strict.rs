//! This test is alone in its process: with `strict_process`, leaks are found.

mod common;

use common::{artifact, says};
use fixture_interfaces::Counter;
use reslot_testkit::{Broken, UpDownUp};
use reslot_tests::{Fixture, Folder};
use std::fs::File;

#[test]
fn descriptor_that_is_left_open() {
    let folder = Folder::new();
    // The fixture is built first, because talking to cargo needs descriptors.
    Fixture::build("fx-counter");
    let (build, mut left) = (artifact(&folder, "fx-counter", 1), None);
    let failure = UpDownUp::<dyn Counter>::same_build(build)
        .faults(false)
        .strict_process(true)
        .claimed(|counter| {
            left.get_or_insert_with(|| File::open("/dev/null").expect("it is there"));
            counter.add(1)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .run()
        .unwrap_err();
    assert!(matches!(failure.broken(), Broken::Left(_)), "{failure}");
    says(
        &failure,
        &[
            "at the end: something is left after the host was dropped",
            "descriptor(s), before it had",
        ],
    );
}
