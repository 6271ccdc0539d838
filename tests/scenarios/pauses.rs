//! The cost of a reload for callers: the pause is reported and contains only necessary work, and the host's threads do not
//! preempt the program.

use crate::support::{wait_for, wait_until};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{Claim, Event, Events, Host, Policy, ReloadReport, Step, SyncOutcome, VersionStatus, control::ControlSocket};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    time::{Duration, Instant},
};

fn report(events: &mut Events, generation: u64) -> ReloadReport {
    wait_for(events, |event| match event {
        Event::Swapped(report) if report.generation == generation => Some(report.clone()),
        _ => None,
    })
}

/// The time of the steps during which calls wait.
fn handing_over(report: &ReloadReport) -> Duration {
    let steps = report.steps.iter().filter(|(step, _)| *step >= Step::Snapshot);
    steps.map(|(_, took)| *took).sum()
}

#[test]
fn pause_is_the_whole_time_that_the_owner_waited() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    host.load(folder.publish("counter.so", &counter.stamped(1))).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    for generation in 2..50 {
        host.load(folder.publish("counter.so", &counter.stamped(generation))).unwrap();
        let begun = Instant::now();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation });
        let waited = begun.elapsed();
        let report = report(&mut events, generation);
        assert!(handing_over(&report) > Duration::ZERO, "{report}");
        assert!(report.pause >= handing_over(&report) && report.pause <= waited, "{report}");
        assert!(
            report.pause <= report.total && report.to_string().contains("of which calls waited"),
            "{report}"
        );
    }
}

#[test]
fn pause_is_that_of_the_gate_and_nothing_where_there_is_none() {
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    let (shared, probe) = (Fixture::build("fx-shared-counter"), Fixture::build("fx-probe"));
    let mut events = host.events();
    for stamp in [1, 2] {
        host.load(folder.publish("shared.so", &shared.stamped(stamp))).unwrap();
    }
    let _slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let with_state = report(&mut events, 2);
    assert!(with_state.pause >= handing_over(&with_state), "{with_state}");
    assert!(handing_over(&with_state) > Duration::ZERO, "{with_state}");
    for stamp in [1, 2] {
        host.load(folder.publish("probe.so", &probe.stamped(stamp))).unwrap();
    }
    let _slot = host.slot::<dyn Probe>("probe").unwrap();
    let without = report(&mut events, 2);
    assert_eq!(without.pause, Duration::ZERO, "{without}");
    assert!(!without.to_string().contains("waited"), "{without}");
}

#[test]
fn last_adoption_before_the_end_is_kept_in_the_history() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    for stamp in 1..40 {
        let kept = Folder::new();
        let build = || Host::builder().policy(Policy::without_probation()).history(kept.path());
        let host = build().build().unwrap();
        host.load(folder.publish("counter.so", &counter.stamped(2 * stamp))).unwrap();
        let mut claim = host.claim::<dyn Counter>("counter").unwrap();
        host.load(folder.publish("counter.so", &counter.stamped(2 * stamp + 1)))
            .unwrap();
        assert!(matches!(Claim::sync(&mut claim), SyncOutcome::Adopted { .. }));
        drop(claim);
        drop(host);
        let known = build().build().unwrap().history("counter");
        let good = known.iter().filter(|kept| kept.condition == VersionStatus::Confirmed);
        assert_eq!(good.count(), 2, "{known:?}");
    }
}

/// The name and the scheduling policy of a thread of this process; none if it has ended.
fn scheduled(thread: &str) -> Option<(String, u32)> {
    let folder = format!("/proc/self/task/{thread}");
    let name = fs::read_to_string(format!("{folder}/comm")).ok()?;
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    // The 41st field; the second is the name, in brackets.
    let policy = stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse().ok()?;
    Some((name.trim_end().to_owned(), policy))
}

#[test]
fn background_threads_do_not_preempt() {
    const SCHED_OTHER: u32 = 0;
    const SCHED_BATCH: u32 = 3;
    const KINDS: [(&str, u32); 6] = [
        ("reslot-reload", SCHED_BATCH),
        ("reslot-reaper", SCHED_BATCH),
        ("reslot-watch", SCHED_BATCH),
        ("reslot-control", SCHED_BATCH),
        ("reslot-supervis", SCHED_OTHER),
        ("reslot-hooks", SCHED_OTHER),
    ];
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    let host = Host::builder()
        .watch(folder.path())
        .attach(ControlSocket::at(folder.path().join("socket")))
        .build()
        .unwrap();
    host.load(folder.publish("counter.so", counter.bytes())).unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let threads: Vec<_> = threads
        .map(|thread| thread.unwrap().file_name().into_string().unwrap())
        .collect();
    for (name, policy) in KINDS {
        let of_this_kind: Vec<_> = threads
            .iter()
            .filter(|thread| scheduled(thread).is_some_and(|(known, _)| known == name))
            .collect();
        assert!(!of_this_kind.is_empty(), "there is no {name}");
        let is_so = || {
            of_this_kind
                .iter()
                .filter_map(|thread| scheduled(thread))
                .all(|(_, known)| known == policy)
        };
        // A thread gets its name before its policy.
        wait_until(is_so, name);
    }
}
