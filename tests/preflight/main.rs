//! Preflights leave nothing in the host's process: no child, no thread, no descriptor, no mapping. It is a separate test
//! binary with one test, because it measures the whole process.
#![forbid(unsafe_code)]

use reslot::{Preflight, mapped_copies, preflight};
use reslot_tests::{Fixture, Folder, Footprint, preflight_program};
use std::{fs, time::Duration};

/// The fault of `fx-births`, by its stamp: none, crash when opened, crash, abort, exit, panic, print, leave a thread.
const STAMPS: [u64; 8] = [0, 1, 2, 3, 4, 6, 7, 8];
/// Hang; leave a process and hang; close every descriptor and hang; print without end.
const HANGING: [u64; 4] = [5, 9, 10, 13];
const ROUNDS: usize = 3;

#[test]
fn nothing_stays_of_a_preflight() {
    let (folder, fixture) = (Folder::new(), Fixture::build("fx-births"));
    let program = Some(preflight_program().to_owned());
    let mut before = None;
    for _ in 0..=ROUNDS {
        for stamp in STAMPS.into_iter().chain(HANGING) {
            let patience = if HANGING.contains(&stamp) { 300 } else { 30_000 };
            let how = Preflight {
                program: program.clone(),
                timeout: Duration::from_millis(patience),
            };
            let answer = preflight(folder.publish("a.so", &fixture.stamped(stamp)), &how);
            assert_eq!(answer.is_ok(), [0, 7, 8].contains(&stamp), "{stamp}: {answer:?}");
        }
        let after = Footprint::now();
        let after = (after.threads, after.descriptors, after.executable_mappings, after.free_keys);
        // The first round allocates what is needed only once.
        assert_eq!(*before.get_or_insert(after), after);
        assert_eq!(children(), "");
        assert_eq!(mapped_copies(&std::env::temp_dir()), 0);
    }
    let _ = fs::remove_file(std::env::temp_dir().join(format!("reslot-births-{}-9", std::process::id())));
}

/// The child processes of this process that are not reaped.
fn children() -> String {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap())
        .collect()
}
