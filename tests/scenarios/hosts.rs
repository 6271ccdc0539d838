//! More than one host: in one process, in two, one after the other; and what still works after a host was dropped.

use crate::support::{
    assert_nothing_left, copies, host, wait_for, wait_for_staged, wait_for_swapped, wait_for_unmapped, wait_until,
};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{
    BuildError, Claim, DeletedFile, Event, Events, Fault, Host, Policy, PolicyError, RollbackState, SyncOutcome,
    mapped_copies,
};
use reslot_tests::{Fixture, Folder};
use std::{
    env, fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

fn wait_for_shut_down(events: &mut Events) {
    wait_for(events, |event| matches!(event, Event::ShutDown).then_some(()));
}

#[test]
fn two_hosts_in_one_process_on_one_folder() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &probe(1));
    let (first, second) = (host(&folder), host(&folder));
    let (mut first_events, mut second_events) = (first.events(), second.events());
    assert_ne!(first.private_folder(), second.private_folder());
    let (in_first, in_second) = (
        first.slot::<dyn Probe>("probe").unwrap(),
        second.slot::<dyn Probe>("probe").unwrap(),
    );
    // A slot belongs to one host.
    let error = second.reader().view().get(&in_first).stamp().unwrap_err();
    assert!(matches!(error.fault(), Fault::Vacant), "{error}");

    folder.publish("libprobe.so", &probe(2));
    wait_for_unmapped(&mut first_events, "probe", 1);
    wait_for_unmapped(&mut second_events, "probe", 1);
    assert_eq!((in_first.load().stamp().unwrap(), in_second.load().stamp().unwrap()), (2, 2));
    assert_nothing_left(&first, 1);
    assert_nothing_left(&second, 1);

    let private = first.private_folder().to_owned();
    drop((first, in_first));
    wait_for_shut_down(&mut first_events);
    assert_eq!(mapped_copies(&private), 0);
    assert!(!private.exists());
    folder.publish("libprobe.so", &probe(3));
    wait_for_unmapped(&mut second_events, "probe", 2);
    assert_eq!(in_second.load().stamp().unwrap(), 3);
    assert_nothing_left(&second, 1);
}

/// A new image in the loader's list may belong to another host.
#[test]
fn hosts_that_open_at_the_same_time_keep_nothing_of_each_other() {
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (folder, host) = (
                    Folder::new(),
                    Host::builder().policy(Policy::without_probation()).build().unwrap(),
                );
                let mut events = host.events();
                for n in 1..=50 {
                    host.load(folder.publish("libprobe.so", &probe(n))).unwrap();
                    if n > 1 {
                        wait_for_unmapped(&mut events, "probe", n - 1);
                    }
                }
                assert_nothing_left(&host, 1);
            });
        }
    });
}

#[test]
fn claim_outlives_its_host() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    folder.publish("libcounter.so", &counter.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let private = host.private_folder().to_owned();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    // A staged candidate is unloaded with the host.
    folder.publish("libcounter.so", &counter.stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    drop(host);
    wait_for_shut_down(&mut events);
    wait_for_unmapped(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
    assert_eq!(claim.add(1).unwrap(), 6);
    assert!(claim.fail("contained").is_err());
    assert_eq!((mapped_copies(&private), copies(&private).len()), (1, 1));
    drop(claim);
    let report = wait_for_unmapped(&mut events, "counter", 1);
    assert!(report.served);
    assert!(events.recv().is_none(), "that was all");
    assert_eq!(mapped_copies(&private), 0);
    wait_until(|| !private.exists(), "the end of the private folder");
}

#[test]
fn view_and_slot_outlive_their_host() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-shared-counter"));
    folder.publish("libcounter.so", &counter.stamped(1));
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .drain_deadline(Duration::from_millis(20))
        .build()
        .unwrap();
    let mut events = host.events();
    let private = host.private_folder().to_owned();
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let mut reader = host.reader();
    let view = reader.view();
    assert_eq!(view.get(&slot).add(5).unwrap(), 5);
    drop(host);
    // Held views still work; new requests fail.
    assert_eq!(view.get(&slot).add(1).unwrap(), 6);
    assert_eq!(view.get(&slot).label().unwrap(), "unnamed");
    assert!(matches!(slot.load().add(1).unwrap_err().fault(), Fault::HostEnded));
    assert_eq!(mapped_copies(&private), 1);
    reader.release();
    wait_for_unmapped(&mut events, "shared-counter", 1);
    assert_eq!(mapped_copies(&private), 0);
    drop((reader, slot));
    wait_until(|| !private.exists(), "the end of the private folder");
}

/// Another process with a host: this test's own program, which runs only [`host_in_a_child`].
struct Other {
    process: Child,
    orders: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The prefix of a child's lines, which distinguishes them from the test runner's own.
const MARK: &str = "the child says: ";

impl Other {
    fn start(folder: &Folder, base: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "hosts::host_in_a_child", "--ignored", "--nocapture"])
            .env("RESLOT_TEST_FOLDER", folder.path())
            .env("RESLOT_TEST_BASE", base)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let orders = process.stdin.take();
        Self { process, orders, lines }
    }

    /// Its next line.
    fn hear(&mut self) -> String {
        let said = self.lines.find_map(|line| Some(line.unwrap().split_once(MARK)?.1.to_owned()));
        said.expect("the child lives")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child: it prints its private folder, then each loaded stamp, until its input ends.
#[test]
#[ignore = "runs in a process that another test starts"]
fn host_in_a_child() {
    let (Some(folder), Some(base)) = (env::var_os("RESLOT_TEST_FOLDER"), env::var_os("RESLOT_TEST_BASE")) else {
        return;
    };
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder)
        .private_base(base)
        .build()
        .unwrap();
    let mut events = host.events();
    println!("{MARK}{}", host.private_folder().display());
    let telling = thread::spawn(move || {
        while let Some(record) = events.recv() {
            if let Event::Swapped(report) = &record.event {
                println!("{MARK}{} serves as {}", report.hash, report.generation);
            }
        }
    });
    std::io::stdin().lines().for_each(drop);
    drop(host);
    telling.join().unwrap();
    println!("{MARK}good bye");
}

#[test]
fn two_processes_on_one_folder() {
    let (folder, base) = (Folder::new(), Folder::new());
    folder.publish("libprobe.so", &probe(1));
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .private_base(base.path())
        .build()
        .unwrap();
    let mut events = host.events();
    let mut other = Other::start(&folder, base.path());
    let private = PathBuf::from(other.hear());
    assert_ne!(private, host.private_folder());
    assert!(other.hear().ends_with("serves as 1"));
    for number in 2..=4 {
        folder.publish("libprobe.so", &probe(number));
        wait_for_swapped(&mut events, "probe", number);
        assert!(other.hear().ends_with(&format!("serves as {number}")));
    }
    // Neither host removes the other's folder.
    let third = Host::builder()
        .policy(Policy::without_probation())
        .private_base(base.path())
        .build()
        .unwrap();
    assert!(private.exists() && host.private_folder().exists());
    drop(third);

    drop(other.orders.take());
    assert_eq!(other.hear(), "good bye");
    assert!(other.process.wait().unwrap().success());
    assert!(!private.exists());
    folder.publish("libprobe.so", &probe(5));
    wait_for_unmapped(&mut events, "probe", 4);
    assert_nothing_left(&host, 1);
}

#[test]
fn folder_of_a_killed_process_is_swept_by_the_next_host() {
    let (folder, base) = (Folder::new(), Folder::new());
    folder.publish("libprobe.so", &probe(1));
    let mut other = Other::start(&folder, base.path());
    let private = PathBuf::from(other.hear());
    assert!(other.hear().ends_with("serves as 1"));
    assert_eq!(copies(&private).len(), 1);
    other.process.kill().unwrap();
    other.process.wait().unwrap();
    assert_eq!(copies(&private).len(), 1, "nobody has cleaned up after it");
    let host = Host::builder()
        .policy(Policy::without_probation())
        .watch(folder.path())
        .private_base(base.path())
        .build()
        .unwrap();
    assert!(!private.exists());
    let folders: Vec<_> = fs::read_dir(base.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(folders, [host.private_folder()]);
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 1);
}

#[test]
fn unusable_policy_is_refused_and_the_wrong_field_named() {
    let none = Duration::ZERO;
    for (policy, wrong) in [
        (Policy::development().hook_deadline(none), "hook_deadline"),
        (Policy::production().health_timeout(none), "health_timeout"),
        (Policy::development().call_deadline(none), "call_deadline"),
        (Policy::without_probation().health_failures(0), "health_failures"),
    ] {
        let error = Host::builder().policy(policy).build().unwrap_err();
        let BuildError::Policy(why) = &error else {
            panic!("{error:?}")
        };
        match why {
            PolicyError::NoTime { field } => assert_eq!(*field, wrong),
            why => assert_eq!((why, wrong), (&PolicyError::NoFailures, "health_failures")),
        }
        let told = error.to_string();
        assert!(told.contains(wrong) && told.contains("what to do: "), "{told}");
    }
    // The methods set the fields, and unusual but possible values are accepted.
    let policy = Policy::production()
        .probation(none)
        .probation_calls(2)
        .max_panics(3)
        .call_deadline(None)
        .without_health_checks()
        .max_live_bytes_growth(None)
        .history(0)
        .preflight(None)
        .rollback_state(RollbackState::Snapshot)
        .on_deleted_file(DeletedFile::Unload);
    assert_eq!((policy.probation, policy.probation_calls, policy.max_panics), (none, 2, 3));
    assert_eq!(
        (policy.call_deadline, policy.max_live_bytes_growth, policy.history),
        (None, None, 0)
    );
    assert_eq!((policy.health_every, policy.preflight.is_none()), (none, true));
    assert_eq!(
        (policy.rollback_state, policy.on_deleted_file),
        (RollbackState::Snapshot, DeletedFile::Unload)
    );
    drop(Host::builder().policy(policy).build().unwrap());
}
