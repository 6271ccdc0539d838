//! How long a reload takes, from the rename of the finished file into place to the first call answered by the new code, as a
//! caller sees it, and by step: `cargo xtask bench reload`. Claimed and open slots, with state and without, under each policy; the
//! floor they are compared with, in the same rounds, is what any loader must do: read the file, write a copy, dlopen, dlsym,
//! dlclose.

use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{Claim, Event, Events, Host, HostBuilder, Policy, Preflight, Reader, Slot, Step};
use reslot_tests::{Fixture, Folder, preflight_program};
use std::{
    collections::BTreeMap,
    fs,
    hint::spin_loop,
    time::{Duration, Instant},
};

const ROUNDS: u64 = 120;

/// What is compared: the name, how its host is built, and whether old images go at once.
fn hosts() -> Vec<(&'static str, HostBuilder, bool)> {
    let mut preflight = Policy::without_probation();
    let how = Preflight {
        program: Some(preflight_program().to_owned()),
        ..Preflight::default()
    };
    preflight.preflight = Some(how);
    vec![
        ("no probation", Host::builder().policy(Policy::without_probation()), true),
        ("development", Host::builder().policy(Policy::development()), false),
        ("preflight", Host::builder().policy(preflight), true),
    ]
}

/// Who calls, and what.
enum Caller {
    Open(Slot<dyn Probe>, Reader),
    OpenWithState(Slot<dyn SharedCounter>, Reader),
    Claimed(Claim<dyn Probe>),
    ClaimedWithState(Claim<dyn Counter>),
}

const WAYS: [(&str, &str); 4] = [
    ("open, no state", "fx-probe"),
    ("open, with state", "fx-shared-counter"),
    ("claimed, no state", "fx-probe"),
    ("claimed, with state", "fx-counter"),
];

impl Caller {
    fn new(host: &Host, way: usize) -> Self {
        let serves = "the fixture was published";
        match way {
            0 => Self::Open(host.slot("probe").expect(serves), host.reader()),
            1 => Self::OpenWithState(host.slot("shared-counter").expect(serves), host.reader()),
            2 => Self::Claimed(host.claim("probe").expect(serves)),
            _ => Self::ClaimedWithState(host.claim("counter").expect(serves)),
        }
    }

    /// The number of the build that answers.
    fn stamp(&mut self) -> Option<u64> {
        match self {
            Self::Open(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::OpenWithState(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::Claimed(claim) => {
                claim.sync();
                claim.stamp().ok()
            }
            Self::ClaimedWithState(claim) => {
                claim.sync();
                claim.report().ok().map(|report| report.stamp)
            }
        }
    }
}

/// One way to be reloaded, under one policy.
struct Row {
    name: String,
    fixture: Fixture,
    folder: Folder,
    caller: Caller,
    events: Events,
    host: Host,
    retires: bool,
    times: Vec<Duration>,
    steps: BTreeMap<Step, Vec<Duration>>,
}

impl Row {
    fn new(policy: &str, builder: HostBuilder, retires: bool, way: usize) -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build(WAYS[way].1));
        folder.publish(fixture.file(), &fixture.stamped(0));
        let host = builder.watch(folder.path()).build().expect("the host starts");
        Self {
            name: format!("{}, {policy}", WAYS[way].0),
            caller: Caller::new(&host, way),
            events: host.events(),
            fixture,
            folder,
            host,
            retires,
            times: Vec::new(),
            steps: BTreeMap::new(),
        }
    }

    fn reload(&mut self, n: u64) {
        let renamed = publish(&self.folder, self.fixture.file(), &self.fixture.stamped(n));
        while self.caller.stamp() != Some(n) {
            spin_loop();
        }
        self.times.push(renamed.elapsed());
        while let Some(record) = self.events.try_recv() {
            match &record.event {
                Event::Swapped(report) if report.replaced.is_some() => {
                    for (step, took) in &report.steps {
                        self.steps.entry(*step).or_default().push(*took);
                    }
                }
                _ => {}
            }
        }
        // The first answer may have come through an old view, which a reader holds until its next look.
        assert_eq!(self.caller.stamp(), Some(n), "the new code serves on");
        if self.retires {
            assert!(self.host.wait_until_retired(Duration::from_secs(30)), "old images stay");
        }
    }
}

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--test") {
        3
    } else {
        ROUNDS
    };
    let elsewhere = Folder::new();
    let probe = Fixture::build("fx-probe");
    let mut rows: Vec<Row> = Vec::new();
    for way in 0..WAYS.len() {
        for (policy, builder, retires) in hosts() {
            rows.push(Row::new(policy, builder, retires, way));
        }
    }
    let mut floor = Vec::new();
    for n in 1..=rounds {
        floor.push(bare(&elsewhere.publish("floor.so", &probe.stamped(n)), &elsewhere));
        rows.iter_mut().for_each(|row| row.reload(n));
    }

    println!(
        "{rounds} interleaved rounds; artifacts of {} KiB; the watch has no debounce window for a rename; µs\n",
        probe.bytes().len() / 1024
    );
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>7}",
        "rename to first new answer", "median", "p90", "max", "ratio"
    );
    let base = quantile(&mut floor, 0.5);
    let line = |name: &str, times: &mut [Duration]| {
        let median = quantile(times, 0.5);
        let (p90, max) = (quantile(times, 0.9), quantile(times, 1.0));
        println!("{name:<44} {median:>8.0} {p90:>8.0} {max:>8.0} {:>7.2}", median / base);
    };
    line("floor: read, copy, dlopen, dlsym, dlclose", &mut floor);
    for row in &mut rows {
        line(&row.name, &mut row.times);
    }
    println!("\nmedians by step; the rest is the event's way from the kernel, those between threads, and the caller's");
    for row in &mut rows {
        print!("{:<36}", row.name);
        for (step, times) in &mut row.steps {
            print!(" {step} {:.0}", quantile(times, 0.5));
        }
        println!();
    }
}

/// Publishes, and answers when the rename began.
fn publish(folder: &Folder, name: &str, bytes: &[u8]) -> Instant {
    let (new, path) = (folder.path().join(".new.tmp"), folder.path().join(name));
    fs::write(&new, bytes).expect("the folder is writable");
    let begun = Instant::now();
    fs::rename(&new, &path).expect("the folder is writable");
    begun
}

/// What no loader can leave out.
fn bare(path: &std::path::Path, folder: &Folder) -> Duration {
    let begun = Instant::now();
    let bytes = fs::read(path).expect("it was just written");
    let copy = folder.path().join(format!("{:x}.so", begun.elapsed().as_nanos()));
    fs::write(&copy, bytes).expect("the folder is writable");
    // SAFETY: our own fixture; its static constructors are std's.
    let library = unsafe { libloading::Library::new(&copy) }.expect("the fixture opens");
    // SAFETY: only its address is taken.
    let found = unsafe { library.get::<*const ()>(b"reslot_root") }.is_ok();
    assert!(found, "the fixture has a root");
    drop(library);
    let took = begun.elapsed();
    fs::remove_file(copy).expect("it was just written");
    took
}

fn quantile(times: &mut [Duration], at: f64) -> f64 {
    times.sort();
    let index = ((times.len() - 1) as f64 * at).round() as usize;
    times[index].as_secs_f64() * 1e6
}
