//! How long it takes until the old code answers again, from the return of the call in which the new one panicked to the end of the
//! first call that went well: `cargo xtask bench rollback`. Compared with what it takes, in the same rounds, to have another thread
//! do something: a word through a channel, and one back.

use fixture_interfaces::{BenchState, Counter, Probe};
use reslot::{Claim, Host, Policy, Reader, RollbackState, Slot};
use reslot_bench::{Report, Row, Samples, micros, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::spin_loop,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: f64 = 100.0;

enum Caller {
    Claimed(Claim<dyn Counter>),
    Open(Slot<dyn Probe>, Reader),
    OpenWithState(Slot<dyn BenchState>, Reader),
}

impl Caller {
    fn fails(&mut self) -> bool {
        match self {
            Self::Claimed(claim) => claim.fail("asked to").is_err(),
            Self::Open(slot, reader) => reader.view().get(slot).fail("asked to").is_err(),
            Self::OpenWithState(slot, reader) => reader.view().get(slot).fail("asked to").is_err(),
        }
    }

    fn stamp(&mut self) -> Option<u64> {
        match self {
            Self::Claimed(claim) => {
                let _ = Claim::sync(claim);
                claim.report().ok().map(|report| report.stamp)
            }
            Self::Open(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::OpenWithState(slot, reader) => reader.view().get(slot).stamp().ok(),
        }
    }
}

struct Way {
    name: &'static str,
    host: Host,
    folder: Folder,
    fixture: Fixture,
    caller: Caller,
    times: Vec<Duration>,
}

impl Way {
    fn new(name: &'static str, fixture: &str, state: RollbackState, caller: fn(&Host) -> Caller) -> Self {
        let policy = Policy::development()
            .probation(Duration::from_secs(3600))
            .rollback_state(state);
        let host = Host::builder().policy(policy).build().expect("the host starts");
        let (folder, fixture) = (Folder::new(), Fixture::build(fixture));
        host.load(folder.publish(fixture.file(), &fixture.stamped(0)))
            .expect("the fixture loads");
        Self {
            name,
            caller: caller(&host),
            host,
            folder,
            fixture,
            times: Vec::new(),
        }
    }

    /// A new build comes, panics, and is left again.
    fn round(&mut self, n: u64) {
        let path = self.folder.publish(self.fixture.file(), &self.fixture.stamped(n));
        self.host.load(path).expect("the fixture loads");
        assert_eq!(self.caller.stamp(), Some(n), "the new build serves");
        assert!(self.caller.fails(), "it panics");
        let begun = Instant::now();
        while self.caller.stamp() != Some(0) {
            assert!(begun.elapsed() < PATIENCE, "{}: the old build does not come back", self.name);
            spin_loop();
        }
        self.times.push(begun.elapsed());
        // That call may have waited in an old view, which the reader holds until its next look.
        assert_eq!(self.caller.stamp(), Some(0), "the old build keeps serving");
        assert!(
            self.host.wait_until_retired(PATIENCE),
            "{}: the faulty build stays",
            self.name
        );
    }
}

fn main() -> anyhow::Result<()> {
    let rounds = if only_a_test() { 3 } else { ROUNDS };
    let serves = "it serves";
    let claimed = |host: &Host| Caller::Claimed(host.claim("counter").expect("it serves"));
    let open = |host: &Host| Caller::Open(host.slot("probe").expect("it serves"), host.reader());
    let open_with_state = |host: &Host| {
        let slot: Slot<dyn BenchState> = host.slot("bench-state").expect("it serves");
        let mut reader = host.reader();
        reader.view().get(&slot).fill(8).expect("it fills");
        Caller::OpenWithState(slot, reader)
    };
    let mut rows = [
        Way::new(
            "claimed, state carried over",
            "fx-counter",
            RollbackState::KeepCurrent,
            claimed,
        ),
        Way::new("claimed, snapshot", "fx-counter", RollbackState::Snapshot, claimed),
        Way::new("shared, no state", "fx-probe", RollbackState::KeepCurrent, open),
        Way::new(
            "shared, state carried over",
            "fx-bench-state",
            RollbackState::KeepCurrent,
            open_with_state,
        ),
        Way::new("shared, snapshot", "fx-bench-state", RollbackState::Snapshot, open_with_state),
    ];
    let (words, answers) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let echo = thread::spawn(move || {
        while words.1.recv().is_ok() {
            answers.0.send(()).expect("somebody waits");
        }
    });
    let mut wakes = Vec::new();
    for n in 1..=rounds {
        rows.iter_mut().for_each(|row| row.round(n));
        // As long after its last word as the host's threads are after theirs.
        thread::sleep(Duration::from_millis(1));
        let begun = Instant::now();
        words.0.send(()).expect(serves);
        answers.1.recv().expect(serves);
        wakes.push(begun.elapsed());
    }
    drop(words.0);
    echo.join().expect("it only echoes");

    let mut report = Report::new("rollback");
    report.heading("From the return of the call that panicked to the end of the first call that the old code answered");
    let base = "a word to another thread, and one back";
    let wakes: Samples = wakes.into_iter().map(micros).collect();
    report.row(Row::new(base, &wakes, "µs"));
    for way in rows {
        let times: Samples = way.times.into_iter().map(micros).collect();
        // The promise is about the time itself, so the ratio has a row of its own where somebody looks for it.
        report.row(Row::new(way.name, &times, "µs").at_most(LIMIT).quoted());
        let name = format!("{}: against that word", way.name);
        report.row(Row::new(name, &times, "µs").against(base, &times.over(&wakes)));
    }
    report.finish()
}
