//! The message when a plugin's panic cannot be caught and ends the process. It is a separate test binary: it starts itself
//! again, and its child aborts.
#![forbid(unsafe_code)]

use fixture_interfaces::{Deed, Probe};
use reslot::Host;
use reslot_tests::{Fixture, Folder};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
    time::Duration,
};

/// Selects the child's case.
const HOW: &str = "RESLOT_TEST_LAST_WORDS";

fn child(test: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(HOW, "child");
    child.output().unwrap()
}

fn host() -> (Folder, Host) {
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    host.load(folder.publish("a.so", &Fixture::build("fx-aborts").stamped(1)))
        .unwrap();
    (folder, host)
}

fn assert_last_words(test: &str, expected: &[&str]) {
    let Output { status, stderr, .. } = child(test);
    let words = String::from_utf8_lossy(&stderr);
    assert_eq!(status.signal(), Some(6), "{words}");
    for part in expected {
        assert!(words.contains(part), "{part:?} is missing from:\n{words}");
    }
}

#[test]
fn panic_while_another_unwinds() {
    if std::env::var_os(HOW).is_some() {
        let (_folder, host) = host();
        let _ = host.slot::<dyn Probe>("probe").unwrap().load().fail("the first trouble");
        return;
    }
    let expected = [
        "reslot: plugin \"probe\", generation 1, panicked at ",
        "after it had panicked at tests/fixtures/aborts/src/lib.rs:",
        "the second trouble",
        "the process ends",
    ];
    assert_last_words("panic_while_another_unwinds", &expected);
}

#[test]
fn panic_in_a_thread_local_at_a_safe_point() {
    if std::env::var_os(HOW).is_some() {
        let (folder, host) = host();
        host.slot::<dyn Probe>("probe")
            .unwrap()
            .load()
            .act(Deed::ThreadLocal)
            .unwrap();
        host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(2)))
            .unwrap();
        let _ = host.wait_until_retired(Duration::from_secs(30));
        return;
    }
    let expected = [
        "reslot: plugin \"probe\", generation 1, panicked at tests/fixtures/aborts/src/lib.rs:",
        "a thread-local panics at its end",
        "the process ends",
    ];
    assert_last_words("panic_in_a_thread_local_at_a_safe_point", &expected);
}
