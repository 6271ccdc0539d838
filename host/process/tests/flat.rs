//! What a host has in its process after many children: as much as before. It is one test, because other tests in the same process would disturb the
//! counts.

use fixture_interfaces::Counter;
use reslot::{Claim, Host, Policy};
use reslot_process::{Process, Sandbox};
use reslot_tests::{Fixture, Folder};
use std::{fs, time::Duration};

/// Descriptors, mappings of shared memory, and children, also zombies.
fn count() -> (usize, usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("they can be listed").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("it can be read");
    let threads = fs::read_dir("/proc/self/task").expect("they can be listed");
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children = children.map(|line| line.split_whitespace().count()).sum();
    (descriptors, maps.matches("memfd:reslot-process").count(), children)
}

#[test]
fn reloads_leave_no_descriptor_no_mapping_and_no_child() {
    let engine = Process::new()
        .program(env!("CARGO_BIN_EXE_reslot-child"))
        .sandbox(Sandbox::strict());
    let fixture = Fixture::build("fx-counter");
    let folder = Folder::new();
    let mut first = None;
    for round in 0..3 {
        let host = Host::builder()
            .policy(Policy::without_probation())
            .engine("counter", engine.clone())
            .build()
            .expect("the host starts");
        let load = |stamp| {
            let path = folder.publish("libfx_counter.so", &fixture.stamped(stamp));
            host.load(path).unwrap_or_else(|refusal| panic!("{refusal}"));
        };
        load(100 * round + 1);
        let mut counter = host.claim::<dyn Counter>("counter").expect("it serves");
        for stamp in 2..30 {
            load(100 * round + stamp);
            let _ = Claim::sync(&mut counter);
            assert_eq!(counter.add(1).expect("it answers"), stamp - 1, "the state is handed over");
        }
        drop(counter);
        let _ = host.shutdown(Duration::from_secs(10));
        let counted = count();
        assert_eq!((counted.1, counted.2), (0, 0), "after round {round}");
        let (descriptors, ..) = *first.get_or_insert(counted);
        assert!(
            counted.0 <= descriptors,
            "{} descriptors, and {descriptors} before",
            counted.0
        );
    }
}
