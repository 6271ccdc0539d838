//! A program that exports a function and data under names that a plugin uses for its own. It is a separate test binary,
//! because a program's exports affect the whole process; `build.rs` makes the linker export them.

#[allow(dead_code)]
#[path = "../scenarios/support.rs"]
mod support;

use crate::support::{assert_nothing_left, wait_for_unmapped};
use fixture_interfaces::{Deed, Probe};
use reslot::{Event, Host, LoadOutcome, Policy, RollbackTarget};
use reslot_tests::{Fixture, Folder};
use std::ffi::CStr;

#[unsafe(no_mangle)]
extern "C" fn reslot_test_helper() -> u64 {
    1
}

#[unsafe(no_mangle)]
static RESLOT_TEST_NUMBER: u64 = 1;

/// The plugin's answer if all three of its uses find its own symbols; see the fixture.
const ITS_OWN: u64 = 222;

/// The address of the program's export with this name.
fn exported(name: &CStr) -> usize {
    // SAFETY: the name ends with a zero byte, and looking it up calls nothing.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.addr()
}

fn assert_host_exports_its_own() {
    assert_eq!(exported(c"reslot_test_helper"), reslot_test_helper as *const () as usize);
    assert_eq!(exported(c"RESLOT_TEST_NUMBER"), (&raw const RESLOT_TEST_NUMBER).addr());
    assert_eq!((reslot_test_helper(), RESLOT_TEST_NUMBER), (1, 1));
}

fn called(host: &Host) -> u64 {
    let probe = host.slot::<dyn Probe>("probe").unwrap();
    probe.load().act(Deed::ThreadLocal).unwrap()
}

#[test]
fn plugin_finds_its_own_and_the_host_keeps_its_own() {
    finds_its_own(&Fixture::build("fx-own-symbol"));
}

/// A library as linkers write it without the option to bind all symbols at once.
#[test]
fn plugin_without_flags_finds_its_own() {
    let fixture = Fixture::build("fx-own-symbol").changed(|bytes| {
        let (flags, bind_now) = (30_u64.to_ne_bytes(), 24_u64.to_ne_bytes());
        let entry = [flags, 8_u64.to_ne_bytes()].concat();
        let found: Vec<_> = bytes
            .chunks(8)
            .enumerate()
            .filter(|(at, _)| bytes[at * 8..].starts_with(&entry))
            .collect();
        let [(at, _)] = &*found else {
            panic!("it has one such entry: {found:?}")
        };
        // DT_BIND_NOW means the same, and cannot hold other flags.
        let at = at * 8;
        bytes[at..at + 8].copy_from_slice(&bind_now);
    });
    finds_its_own(&fixture);
}

fn finds_its_own(fixture: &Fixture) {
    assert_host_exports_its_own();
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    host.load(folder.publish("a.so", &fixture.stamped(1))).unwrap();
    assert_eq!(called(&host), ITS_OWN);
    assert_host_exports_its_own();
    while let Some(record) = events.try_recv() {
        if let Event::Linted { warnings, .. } = &record.event {
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }

    host.load(folder.publish("a.so", &fixture.stamped(2))).unwrap();
    wait_for_unmapped(&mut events, "probe", 1);
    assert_eq!(called(&host), ITS_OWN);
    assert_nothing_left(&host, 1);
    assert_host_exports_its_own();
}

/// The history keeps the changed copy of such an artifact, and of one that is marked NODELETE. Each rollback can restore it.
#[test]
fn slot_rolls_back_repeatedly_to_changed_settings() {
    for (fixture, answer) in [("fx-own-symbol", ITS_OWN), ("fx-nodelete", 7)] {
        goes_back_again_and_again(&Fixture::build(fixture), answer);
    }
}

fn goes_back_again_and_again(fixture: &Fixture, answer: u64) {
    let (folder, kept) = (Folder::new(), Folder::new());
    let host = Host::builder()
        .policy(Policy::without_probation())
        .history(kept.path())
        .build()
        .unwrap();
    let load = |stamp| match host.load(folder.publish("a.so", &fixture.stamped(stamp))).unwrap() {
        LoadOutcome::Swapped(report) => report.hash,
        other => panic!("{other:?}"),
    };
    let first = load(1);
    for stamp in 2..5 {
        load(stamp);
        host.rollback("probe", RollbackTarget::Hash(first)).unwrap();
        assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 1);
        assert_eq!(called(&host), answer);
        host.artifact("probe", first).unwrap();
    }
    assert_nothing_left(&host, 1);
}
