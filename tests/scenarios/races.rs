//! Races: callers that arrive while a candidate is prepared, hosts that are dropped during an adoption. A gate holds each
//! race at the right moment, not a sleep. `requests` are the requests of several threads for one slot, `owners` those that
//! an owner carries out.

mod owners;
mod requests;

use crate::support::{Gate, PATIENCE, assert_nothing_left, wait_for, wait_for_staged};
use fixture_interfaces::{Counter, Listener, Probe};
use reslot::{Claim, Event, Host, Lifecycle, LoadOutcome, Step, SyncOutcome};
use reslot_tests::{Fixture, Folder};
use std::{sync::mpsc, thread, time::Duration};

#[test]
fn contract_that_is_bound_while_a_candidate_is_past_the_lint_is_kept() {
    let folder = Folder::new();
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    host.load(folder.publish("a.so", &Fixture::build("fx-counter").stamped(1)))
        .unwrap();
    let other = folder.publish("b.so", &Fixture::build("fx-waits-then-differs").stamped(901));
    let gate = Gate::new("create-901");
    let mut events = host.events();
    thread::scope(|scope| {
        let loading = scope.spawn(|| host.load(&other));
        wait_for(&mut events, |event| {
            matches!(
                event,
                Event::Lifecycle {
                    generation: 2,
                    to: Lifecycle::Loaded,
                    ..
                }
            )
            .then_some(())
        });
        let mut claim = host.claim::<dyn Counter>("counter").unwrap();
        gate.open();
        let refusal = loading.join().unwrap().unwrap_err();
        assert_eq!(refusal.step, Step::Swap);
        assert!(refusal.to_string().contains("`add`"), "{refusal}");
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        assert_eq!(claim.add(1).unwrap(), 1);
    });
}

#[test]
fn older_staged_build_does_not_replace_a_newer_one() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    host.load(folder.publish("a.so", &counter.stamped(1))).unwrap();
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    host.load(folder.publish("a.so", &counter.stamped(2))).unwrap();
    // Another plugin's start holds the reload thread, so that the third build is requested before the claim is dropped.
    let gate = Gate::new("start-902");
    let waits = folder.publish("b.so", &renamed(Fixture::build("fx-waits").stamped(902)));
    let third = folder.publish("a.so", &counter.stamped(3));
    thread::scope(|scope| {
        let holding = scope.spawn(|| host.load(waits));
        wait_for(&mut events, |event| {
            matches!(event, Event::Lifecycle { slot, to: Lifecycle::Starting, .. } if &**slot == "countes").then_some(())
        });
        let (asked, is_asked) = mpsc::channel();
        let host = &host;
        let loading = scope.spawn(move || {
            asked.send(()).unwrap();
            host.load(third)
        });
        is_asked.recv().unwrap();
        drop(claim);
        gate.open();
        holding.join().unwrap().unwrap();
        // In either order of the two requests, the newest build becomes current.
        assert!(matches!(loading.join().unwrap(), Ok(LoadOutcome::Swapped(_))));
    });
    assert!(host.wait_until_retired(PATIENCE));
    assert_eq!(host.claim::<dyn Counter>("counter").unwrap().report().unwrap().stamp, 3);
}

/// The same plugin under another name of the same length.
fn renamed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (from, to) = (br#""name":"counter""#, br#""name":"countes""#);
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("the manifest has its name");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn host_that_goes_waits_no_longer_than_its_deadline_for_a_reader() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .drain_deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    host.load(folder.publish("a.so", &Fixture::build("fx-counter").stamped(1)))
        .unwrap();
    host.load(folder.publish("b.so", Fixture::build("fx-probe").bytes())).unwrap();
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut reader = host.reader();
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    reader.view().get(&slot).stamp().unwrap();
    let dropping = thread::spawn(move || drop(claim));
    drop(host);
    dropping.join().unwrap();
    let holders = wait_for(&mut events, |event| match event {
        Event::DrainTimeout { slot, holders, .. } if &**slot == "probe" => Some(holders.clone()),
        _ => None,
    });
    assert!(holders[0].to_string().contains("host_that_goes"), "{holders:?}");
    // Held views still work.
    drop(reader);
}

#[test]
fn host_may_go_while_an_owner_adopts() {
    let (folder, waits) = (Folder::new(), Fixture::build("fx-waits"));
    let host = Host::builder().policy(reslot::Policy::without_probation()).build().unwrap();
    let mut events = host.events();
    host.load(folder.publish("a.so", &waits.stamped(903))).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(7).unwrap();
    host.load(folder.publish("a.so", &waits.stamped(904))).unwrap();
    wait_for_staged(&mut events, "counter", 2);
    let gate = Gate::new("start-904");
    let owner = thread::spawn(move || {
        let synced = Claim::sync(&mut claim);
        (synced, claim.add(1).unwrap())
    });
    gate.wait_until_reached();
    // The slot is claimed, so dropping the host does not wait; and the owner completes the adoption.
    drop(host);
    gate.open();
    assert_eq!(owner.join().unwrap(), (SyncOutcome::Adopted { generation: 2 }, 8));
    let mut ends: Vec<u64> = events
        .filter_map(|record| match &record.event {
            Event::Retired(report) => Some(report.generation),
            _ => None,
        })
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [1, 2], "both end, and with them the stream");
}

/// A plugin that requests its own reload through a lent object, while its own frames are on the stack.
#[test]
fn plugin_may_ask_for_its_own_reload_from_inside_a_call() {
    struct Reloads<'a>(&'a Host, &'a Folder, u64);
    impl Listener for Reloads<'_> {
        fn hear(&mut self, n: u64) -> u64 {
            self.2 += 1;
            let bytes = Fixture::build("fx-counter").stamped(self.2);
            self.0.load(self.1.publish("a.so", &bytes)).unwrap();
            // Everything else is unloaded, and the calling generation is not.
            assert!(self.0.wait_until_retired(PATIENCE));
            n
        }
    }
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut listener = Reloads(&host, &folder, 0);
    listener.hear(0);
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    for generation in 2..10 {
        claim.add(1).unwrap();
        assert_eq!(claim.tell(&mut listener).unwrap(), generation - 1);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation });
    }
    drop(claim);
    assert_nothing_left(&host, 1);
}
