//! What the runtime does for plugins whose engine calls them as bytes, and whose instances may end: engines for slots, tables that are bound
//! late, calls that fail, rollbacks and replacements of ended instances. Real libraries, behind an engine of these tests.

mod loopback;

use fixture_interfaces::{Caller, Counter, Listener, Moody, SharedCounter};
use loopback::{Fault, Faults, Loopback, OtherFormat};
use reslot::{
    Cause, Claim, EndCause, EngineKind, Event, Events, Fault as CallFault, Host, HostBuilder, InstanceEnd, LoadOutcome,
    Native, Policy, RollbackReason, SyncOutcome,
};
use reslot_plugin_api::Interface;
use reslot_testkit::{Artifact, UpDownUp};
use reslot_tests::{Fixture, Folder};
use std::time::{Duration, Instant};

/// Much longer than needed; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host whose slot runs behind the engine of these tests.
struct Place {
    host: Host,
    events: Events,
    faults: Faults,
    folder: Folder,
}

impl Place {
    fn new<I: ?Sized + Interface>(slot: &str, policy: Policy) -> Self {
        Self::with::<I>(slot, policy, |builder| builder)
    }

    fn with<I: ?Sized + Interface>(slot: &str, policy: Policy, change: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let faults = Faults::default();
        let builder = Host::builder().policy(policy).engine(slot, Loopback::new::<I>(&faults));
        let host = change(builder).build().expect("the host starts");
        Self {
            events: host.events(),
            host,
            faults,
            folder: Folder::new(),
        }
    }

    fn load(&self, package: &str, stamp: u64) -> LoadOutcome {
        let bytes = Fixture::build(package).stamped(stamp);
        let path = self.folder.publish(&format!("lib{package}.so"), &bytes);
        self.host.load(path).expect("it loads")
    }

    fn serving_number(&self) -> u64 {
        let info = self.host.slots().into_iter().next();
        info.and_then(|info| info.generation).expect("it serves")
    }

    /// The next call of an instance meets this.
    fn next_call(&self, fault: Fault) {
        self.faults.lock().expect("no test holds it").push(fault);
    }

    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.events.recv_timeout(left).expect("the event comes");
            if let Some(found) = wanted(&record.event) {
                return found;
            }
        }
    }

    /// Waits until the slot's ended instance is replaced: the new generation, and how the old one had ended.
    fn wait_for_replacement(&mut self) -> (u64, InstanceEnd) {
        self.wait_for(|event| match event {
            Event::InstanceReplaced { generation, end, .. } => Some((*generation, end.clone())),
            _ => None,
        })
    }
}

/// What serves in a slot: its generation, and the engine that runs it.
fn serving(host: &Host, slot: &str) -> Option<(u64, EngineKind)> {
    let info = host.slots().into_iter().find(|info| info.name == slot)?;
    info.generation.zip(info.engine)
}

/// A trap, after so many calls whose effects are lost.
fn trap(lost_calls: u64) -> InstanceEnd {
    let what = "the test says so".to_owned();
    InstanceEnd::new(EndCause::Trap { what }, lost_calls)
}

fn on_probation() -> Policy {
    Policy::development().probation(Duration::from_secs(3600))
}

struct Hears(Vec<u64>);

impl Listener for Hears {
    fn hear(&mut self, n: u64) -> u64 {
        self.0.push(n);
        n * 2
    }
}

#[test]
fn claim_calls_and_reloads_a_plugin_behind_bytes() {
    let place = Place::new::<dyn Counter>("counter", Policy::without_probation());
    place.load("fx-counter", 1);
    // The table is bound here: the instance is older than the handle.
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    assert_eq!(serving(&place.host, "counter"), Some((1, EngineKind::Process)));
    assert_eq!(counter.add(2).expect("it answers"), 2);
    let mut hears = Hears(Vec::new());
    assert_eq!(counter.tell(&mut hears).expect("it answers"), 4);
    assert_eq!(hears.0, [2]);
    for stamp in 2..20 {
        assert!(matches!(place.load("fx-counter", stamp), LoadOutcome::Staged { .. }));
        assert!(matches!(Claim::sync(&mut counter), SyncOutcome::Adopted { .. }));
        let report = counter.report().expect("it answers");
        assert_eq!((report.total, report.stamp), (2, stamp));
    }
    let error = counter.fail("it slipped").expect_err("it panics");
    let CallFault::Panicked { message, location, .. } = error.fault() else {
        panic!("{error}")
    };
    assert_eq!(&**message, "it slipped");
    assert!(
        location.as_ref().is_some_and(|place| place.contains("counter/src/lib.rs")),
        "{location:?}"
    );
}

#[test]
fn views_and_guards_call_a_plugin_behind_bytes() {
    let place = Place::new::<dyn Moody>("moody", Policy::without_probation());
    place.load("fx-moody", 1);
    let moody = place.host.slot::<dyn Moody>("moody").expect("it serves");
    let mut reader = place.host.reader();
    assert_eq!(reader.view().get(&moody).add(3).expect("it answers"), 3);
    let old = moody.load();
    // The table of the next instance is bound before a caller can see it.
    place.load("fx-moody", 2);
    assert_eq!(reader.view().get(&moody).add(1).expect("it answers"), 4);
    assert_eq!(moody.load().stamp().expect("it answers"), 2);
    // A call through an old guard goes to where the state is.
    assert_eq!(old.add(1).expect("it answers"), 5);
}

#[test]
fn call_that_is_lost_leaves_the_instance() {
    let mut place = Place::new::<dyn Counter>("counter", on_probation());
    place.load("fx-counter", 1);
    place.load("fx-counter", 2);
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    counter.add(1).expect("it answers");
    place.next_call(Fault::Lost);
    let error = counter.add(1).expect_err("it is lost");
    let CallFault::NotCarried { reason } = error.fault() else {
        panic!("{error}")
    };
    assert!(reason.contains("it was lost"), "{reason}");
    place.wait_for(|event| matches!(event, Event::CallFailed { .. }).then_some(()));
    // The version is not at fault, so nothing goes back.
    assert_eq!(Claim::sync(&mut counter), SyncOutcome::Unchanged);
    assert_eq!(counter.add(1).expect("it answers"), 2);
}

#[test]
fn instance_that_ends_on_probation_is_rolled_back_with_the_state_that_was_saved_last() {
    let mut place = Place::new::<dyn Moody>("moody", on_probation());
    place.load("fx-moody", 1);
    let moody = place.host.slot::<dyn Moody>("moody").expect("it serves");
    moody.load().add(5).expect("it answers");
    place.load("fx-moody", 2);
    moody.load().add(2).expect("it answers");
    moody.load().add(2).expect("it answers");
    place.next_call(Fault::Ends);
    let error = moody.load().add(2).expect_err("it ends");
    assert_eq!(error.fault(), &CallFault::InstanceEnded(trap(2)));
    let report = place.wait_for(|event| match event {
        Event::RolledBack(report) => Some(report.clone()),
        _ => None,
    });
    assert_eq!((report.from, report.to), (2, 1));
    assert_eq!(report.reason, RollbackReason::InstanceEnded(trap(2)));
    assert_eq!(moody.load().stamp().expect("it answers"), 1);
    assert_eq!(
        moody.load().add(0).expect("it answers"),
        5,
        "the last saved state is that of the swap"
    );
}

#[test]
fn claimed_instance_that_ends_on_probation_is_rolled_back_by_its_owner() {
    let place = Place::new::<dyn Counter>("counter", on_probation());
    place.load("fx-counter", 1);
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    counter.add(5).expect("it answers");
    place.load("fx-counter", 2);
    assert_eq!(Claim::sync(&mut counter), SyncOutcome::Adopted { generation: 2 });
    place.next_call(Fault::Ends);
    counter.add(2).expect_err("it ends");
    assert_eq!(
        counter.add(2).expect_err("it has ended").fault(),
        &CallFault::InstanceEnded(trap(0))
    );
    assert_eq!(Claim::sync(&mut counter), SyncOutcome::RolledBack { from: 2, generation: 1 });
    assert_eq!(counter.add(1).expect("it answers"), 6);
}

#[test]
fn instance_that_ends_later_is_replaced_again_and_again() {
    let policy = Policy::without_probation().restart_pause(Duration::from_millis(1));
    let mut place = Place::new::<dyn Moody>("moody", policy);
    place.load("fx-moody", 1);
    let moody = place.host.slot::<dyn Moody>("moody").expect("it serves");
    for round in 0..4 {
        moody.load().add(1).expect("it answers");
        place.next_call(Fault::Ends);
        moody.load().add(1).expect_err("it ends");
        let (generation, end) = place.wait_for_replacement();
        // Since its state was saved: the call of this round, and the one that has looked at the round before.
        assert_eq!((generation, end), (2 + round, trap(if round == 0 { 1 } else { 2 })));
        assert_eq!(moody.load().add(0).expect("it answers"), 0, "what was added was never saved");
    }
}

#[test]
fn instance_that_ends_while_it_encodes_its_state_hands_over_no_older_one_in_silence() {
    let mut place = Place::new::<dyn Moody>("moody", Policy::without_probation());
    place.load("fx-moody", 1);
    let moody = place.host.slot::<dyn Moody>("moody").expect("it serves");
    moody.load().add(3).expect("it answers");
    place.next_call(Fault::EndsInSnapshot);
    let bytes = Fixture::build("fx-moody").stamped(2);
    let refusal = place
        .host
        .load(place.folder.publish("libfx-moody.so", &bytes))
        .expect_err("the state is lost");
    let Cause::Hook(reslot::Hook::Snapshot, reslot::HookError::InstanceEnded(end)) = &*refusal.cause else {
        panic!("{refusal}")
    };
    assert_eq!(end, &trap(1));
    // What serves is replaced, and the next build gets what that one was given.
    assert_eq!(place.wait_for_replacement(), (place.serving_number(), trap(1)));
    assert_eq!(moody.load().add(0).expect("it answers"), 0);
    place.load("fx-moody", 3);
    assert_eq!(moody.load().stamp().expect("it answers") % 1000, 3);
}

#[test]
fn first_instance_that_ends_is_replaced_because_nothing_is_older() {
    let mut place = Place::new::<dyn Counter>("counter", on_probation());
    place.load("fx-counter", 1);
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    place.next_call(Fault::Ends);
    counter.add(1).expect_err("it ends");
    let deadline = Instant::now() + PATIENCE;
    while !matches!(Claim::sync(&mut counter), SyncOutcome::Adopted { .. }) {
        assert!(Instant::now() < deadline, "another instance comes");
        std::thread::yield_now();
    }
    let (generation, end) = place.wait_for_replacement();
    assert_eq!((generation, end), (2, trap(0)));
    assert_eq!(counter.add(1).expect("it answers"), 1);
}

#[test]
fn health_check_notices_an_instance_that_ended_between_two_calls() {
    let policy = Policy::without_probation().health_every(Duration::from_millis(5));
    let mut place = Place::new::<dyn Moody>("moody", policy);
    place.load("fx-moody", 1);
    let moody = place.host.slot::<dyn Moody>("moody").expect("it serves");
    place.next_call(Fault::EndsAlone);
    let end = place.wait_for(|event| match event {
        Event::InstanceEnded { generation: 1, end, .. } => Some(end.clone()),
        _ => None,
    });
    assert_eq!(end, trap(0));
    place.wait_for_replacement();
    assert_eq!(moody.load().add(1).expect("it answers"), 1);
}

#[test]
fn shadow_runs_behind_the_same_engine() {
    let place = Place::new::<dyn Counter>("counter", Policy::without_probation());
    place.load("fx-counter", 1);
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    counter.add(7).expect("it answers");
    let path = place.folder.publish("shadow.so", &Fixture::build("fx-counter").stamped(9));
    let mut shadow = Claim::shadow(&counter, path).expect("it is made");
    assert_eq!(shadow.add(1).expect("it answers"), 8);
    assert_eq!(shadow.report().expect("it answers").stamp, 9);
    assert_eq!(counter.add(0).expect("it answers"), 7);
}

#[test]
fn plugin_that_calls_another_one_behind_bytes_needs_its_interface_named() {
    let file = |place: &Place, package: &str| {
        let bytes = Fixture::build(package).stamped(1);
        place.folder.publish(&format!("lib{package}.so"), &bytes)
    };
    let unnamed = Place::new::<dyn SharedCounter>("shared-counter", Policy::without_probation());
    unnamed.load("fx-shared-counter", 1);
    let refusal = unnamed
        .host
        .load(file(&unnamed, "fx-caller"))
        .expect_err("its `start` asks for the counter");
    let words = refusal.to_string();
    assert!(
        words.contains("has no stubs") && words.contains("HostBuilder::interface"),
        "{words}"
    );

    let named = Place::with::<dyn SharedCounter>("shared-counter", Policy::without_probation(), |builder| {
        builder.interface::<dyn SharedCounter>()
    });
    named.load("fx-shared-counter", 1);
    named.load("fx-caller", 1);
    let caller = named.host.slot::<dyn Caller>("caller").expect("it serves");
    assert_eq!(caller.load().add(2).expect("it answers").expect("the counter answers"), 2);
    named.load("fx-shared-counter", 2);
    assert_eq!(caller.load().add(2).expect("it answers").expect("the counter answers"), 4);
    named.next_call(Fault::Ends);
    let words = caller
        .load()
        .add(2)
        .expect("the caller lives")
        .expect_err("the counter has ended");
    assert!(
        words.contains("the test says so") && words.contains("the effect of 1 call"),
        "{words}"
    );
}

#[test]
fn slot_runs_only_what_its_engines_run() {
    let folder = Folder::new();
    let library = folder.publish("libfx-counter.so", &Fixture::build("fx-counter").stamped(1));
    let refuses = Host::builder()
        .engine("counter", OtherFormat)
        .build()
        .expect("the host starts");
    let refusal = refuses.load(&library).expect_err("no engine runs a library there");
    let Cause::NoEngine { slot, engines, format } = &*refusal.cause else {
        panic!("{refusal}")
    };
    assert_eq!(
        (&**slot, &engines[..], *format),
        ("counter", &[EngineKind::Wasm][..], "a shared library")
    );
    let words = refusal.to_string();
    assert!(
        words.contains("runs only wasm plugins") && words.contains("HostBuilder::engine"),
        "{words}"
    );
    assert_eq!(serving(&refuses, "counter"), None);

    let both = Host::builder()
        .engine("counter", Native)
        .engine("counter", OtherFormat)
        .build();
    let both = both.expect("the host starts");
    both.load(&library).expect("the native engine runs it");
    assert_eq!(serving(&both, "counter"), Some((1, EngineKind::Native)));
}

#[test]
fn testkit_reloads_a_plugin_behind_bytes_up_down_and_up() {
    let folder = Folder::new();
    let build = |stamp| {
        let path = folder.publish(
            &format!("libfx-counter-{stamp}.so"),
            &Fixture::build("fx-counter").stamped(stamp),
        );
        Artifact::at(path).expect("it is there")
    };
    let report = UpDownUp::<dyn Counter>::new(build(1), build(2))
        .engine(Loopback::new::<dyn Counter>(&Faults::default()))
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .panics(|counter| counter.fail("it slipped").map(drop))
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.units > 1_000 && report.unmapped > 30, "{report}");
    // The engine has no preflight.
    let skipped: Vec<_> = report.skipped().map(|tried| tried.fault.clone()).collect();
    assert_eq!(skipped, ["a preflight whose process aborts"], "{report}");
}
