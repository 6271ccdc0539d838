//! How the time of a reload depends on other quantities: `cargo xtask bench growth`. It should not depend on the number of threads with
//! readers, of slots, and of earlier generations; it must depend on the size of the state and on that of the library. A reload here is
//! [`Host::load`], from the call to its return, when the new code is current.
//!
//! Growth by generations is 100,000 reloads one after another, and takes most of the time; `-- --generations N` asks for another number.

use fixture_interfaces::{BenchState, Probe};
use reslot::{Host, Policy, Reader, Slot};
use reslot_bench::{Report, Row, Samples, micros, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const ROUNDS: u64 = 60;
const GENERATIONS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The name in the fixture, of as many letters as each that takes its place.
const NAME: &str = "slot-0000000000";
/// What is flat may lie so far above where it began: two threads of a shared machine.
const FLAT: f64 = 1.25;

fn main() -> anyhow::Result<()> {
    let mut report = Report::new("growth");
    readers(&mut report);
    slots(&mut report);
    generations(&mut report);
    state(&mut report);
    library(&mut report);
    report.finish()
}

fn host() -> Host {
    let builder = Host::builder().policy(Policy::without_probation());
    builder.build().expect("the host starts")
}

/// As many as are measured, or the first ones if it is only a test.
fn sizes<T: Copy>(all: &[T]) -> &[T] {
    if only_a_test() { &all[..2] } else { all }
}

fn rounds() -> u64 {
    if only_a_test() { 3 } else { ROUNDS }
}

/// One slot whose reloads are timed.
struct Timed {
    folder: Folder,
    fixture: Fixture,
    stamp: u64,
}

impl Timed {
    fn new(host: &Host, fixture: Fixture) -> Self {
        let mut timed = Self {
            folder: Folder::new(),
            fixture,
            stamp: 0,
        };
        timed.reload(host);
        timed
    }

    fn reload(&mut self, host: &Host) -> Duration {
        self.stamp += 1;
        self.fixture.stamp(self.stamp);
        let path = self.folder.publish(self.fixture.file(), self.fixture.bytes());
        let begun = Instant::now();
        host.load(path).expect("the fixture loads");
        begun.elapsed()
    }
}

/// Tells a curve, each point against the first.
fn tell(report: &mut Report, name: &str, points: &[(u64, Samples)], flat: bool) {
    let first = format!("{name}: {}", points[0].0);
    for (at, samples) in points {
        let row = Row::new(format!("{name}: {at}"), samples, "µs").at(*at as f64);
        let is_last = *at == points[points.len() - 1].0;
        let row = match *at == points[0].0 {
            true => row,
            false => row.against(&first, &samples.over(&points[0].1)),
        };
        report.row(match flat && is_last {
            true => row.at_most(FLAT).quoted(),
            false => row,
        });
    }
}

/// Readers whose threads wait for a message, and take a view at each message.
struct Readers {
    look: Arc<Barrier>,
    done: Arc<Barrier>,
    end: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Readers {
    fn new(host: &Host, slot: &Slot<dyn Probe>, count: usize) -> Self {
        let (look, done) = (Arc::new(Barrier::new(count + 1)), Arc::new(Barrier::new(count + 1)));
        let end = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (look, done, end) = (look.clone(), done.clone(), end.clone());
            let (slot, mut reader): (_, Reader) = (slot.clone(), host.reader());
            let body = move || {
                while {
                    look.wait();
                    !end.load(Ordering::Relaxed)
                } {
                    reader.view().get(&slot).stamp().expect("it serves");
                    done.wait();
                }
            };
            let named = thread::Builder::new().stack_size(128 << 10);
            named.spawn(body).expect("a thread")
        });
        let threads = threads.collect();
        Self {
            look,
            done,
            end,
            threads,
        }
    }

    fn look(&self) {
        self.look.wait();
        self.done.wait();
    }

    fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        self.look.wait();
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().expect("a reader panicked"));
    }
}

fn readers(report: &mut Report) {
    let mut all: Vec<_> = sizes(&[1, 10, 100, 1_000])
        .iter()
        .map(|count| {
            let host = host();
            let timed = Timed::new(&host, Fixture::build("fx-probe"));
            let slot = host.slot("probe").expect("it serves");
            let readers = Readers::new(&host, &slot, *count);
            (
                host,
                timed,
                readers,
                (*count as u64, Samples::new()),
                (*count as u64, Samples::new()),
            )
        })
        .collect();
    for _ in 0..rounds() {
        for (host, timed, readers, (_, reloads), (_, ends)) in &mut all {
            // Each of them holds the view, and with it the generation that is replaced.
            readers.look();
            reloads.push(micros(timed.reload(host)));
            let begun = Instant::now();
            readers.look();
            assert!(host.wait_until_retired(PATIENCE), "an old image stays");
            ends.push(micros(begun.elapsed()));
        }
    }
    let (mut reloads, mut ends) = (Vec::new(), Vec::new());
    for (_, _, readers, by_reloads, by_ends) in all {
        reloads.push(by_reloads);
        ends.push(by_ends);
        readers.end();
    }
    report.heading("A reload, by the number of threads whose readers hold the view");
    tell(report, "reader threads", &reloads, true);
    report.heading(
        "From when the readers look again until the old image is proven gone: each thread has to be woken for that",
    );
    tell(report, "reader threads", &ends, false);
}

/// The fixture under another name.
fn named(fixture: &Fixture, number: u64) -> Vec<u8> {
    let (mut bytes, name) = (fixture.bytes().to_vec(), format!("slot-{number:010}"));
    let found: Vec<usize> = bytes
        .windows(NAME.len())
        .enumerate()
        .filter_map(|(at, window)| (window == NAME.as_bytes()).then_some(at))
        .collect();
    for at in found {
        bytes[at..at + NAME.len()].copy_from_slice(name.as_bytes());
    }
    bytes
}

fn slots(report: &mut Report) {
    let fixture = Fixture::build("fx-bench-slot");
    let mut all: Vec<_> = sizes(&[1, 10, 100, 1_000])
        .iter()
        .map(|count| {
            let (host, folder) = (host(), Folder::new());
            for number in 1..*count {
                host.load(folder.publish("one.so", &named(&fixture, number)))
                    .expect("the fixture loads");
            }
            let timed = Timed::new(&host, Fixture::build("fx-probe"));
            (*count, host, timed, Samples::new())
        })
        .collect();
    for _ in 0..rounds() {
        for (_, host, timed, reloads) in &mut all {
            reloads.push(micros(timed.reload(host)));
            assert!(host.wait_until_retired(PATIENCE), "an old image stays");
        }
    }
    report.heading(
        "A reload, by the number of slots that serve in the same host; the images of all of them are in the process",
    );
    let points: Vec<_> = all.iter().map(|(count, _, _, samples)| (*count, samples.clone())).collect();
    tell(report, "slots", &points, true);
}

/// Each time beside a host that has just begun, reload by reload: over minutes the machine changes more than the host does.
fn generations(report: &mut Report) {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--generations").skip(1);
    let asked = arguments.next().and_then(|number| number.parse().ok());
    let most = asked.unwrap_or(if only_a_test() { 1_000 } else { GENERATIONS });
    let old = host();
    let mut timed = Timed::new(&old, Fixture::build("fx-probe"));
    let reload = |host: &Host, timed: &mut Timed| {
        let took = micros(timed.reload(host));
        assert!(host.wait_until_retired(PATIENCE), "an old image stays");
        took
    };
    report.heading("A reload, by the number of generations that were before, against a host that has just begun; a hundred of them each");
    for mark in [100, 1_000, 10_000, 100_000].into_iter().filter(|mark| *mark <= most) {
        while timed.stamp < mark {
            reload(&old, &mut timed);
        }
        let new = host();
        let mut fresh = Timed::new(&new, Fixture::build("fx-probe"));
        // Its stamps are its own, so that nothing of the old one's serves it.
        fresh.stamp = 1_000_000_000 + mark;
        for _ in 0..10 {
            reload(&new, &mut fresh);
        }
        let (mut by_old, mut by_new) = (Samples::new(), Samples::new());
        for _ in 0..100 {
            by_new.push(reload(&new, &mut fresh));
            by_old.push(reload(&old, &mut timed));
        }
        let base = format!("a host that has just begun, beside {mark}");
        report.row(Row::new(&base, &by_new, "µs").at(mark as f64));
        let row = Row::new(format!("generations: {mark}"), &by_old, "µs").at(mark as f64);
        let row = row.against(&base, &by_old.over(&by_new));
        report.row(if mark == most { row.at_most(FLAT).quoted() } else { row });
    }
}

fn state(report: &mut Report) {
    report.heading("A reload, by the size of the encoded state in bytes: positions of 68 bytes each");
    let mut all: Vec<_> = sizes(&[1_000, 10_000, 100_000, 1_000_000, 10_000_000])
        .iter()
        .map(|size| {
            let host = host();
            let timed = Timed::new(&host, Fixture::build("fx-bench-state"));
            let slot = host.slot::<dyn BenchState>("bench-state").expect("it serves");
            slot.load().fill(*size / 68).expect("it serves");
            (*size, host, timed, Samples::new())
        })
        .collect();
    for _ in 0..rounds() / 3 {
        for (_, host, timed, reloads) in &mut all {
            reloads.push(micros(timed.reload(host)));
            assert!(host.wait_until_retired(PATIENCE), "an old image stays");
        }
    }
    let points: Vec<_> = all.iter().map(|(size, _, _, samples)| (*size, samples.clone())).collect();
    tell(report, "state", &points, false);
}

fn library(report: &mut Report) {
    let fixture = Fixture::build("fx-probe");
    report.heading(
        "A reload, by the size of the library in KiB; what is added is bytes at its end, as debug information would be",
    );
    let mut all: Vec<_> = sizes(&[0, 4 << 20, 16 << 20, 64 << 20])
        .iter()
        .map(|more| {
            let host = host();
            let folder = Folder::new();
            (*more, host, folder, Samples::new(), fixture.bytes().len() as u64 + more)
        })
        .collect();
    for round in 0..=rounds() / 3 {
        for (more, host, folder, reloads, _) in &mut all {
            let mut bytes = fixture.stamped(round);
            bytes.resize(bytes.len() + usize::try_from(*more).expect("it fits"), 0x5a);
            let path: PathBuf = folder.publish(fixture.file(), &bytes);
            let begun = Instant::now();
            host.load(&path).expect("the fixture loads");
            // The first one has nothing to write over.
            if round > 0 {
                reloads.push(micros(begun.elapsed()));
            }
            assert!(host.wait_until_retired(PATIENCE), "an old image stays");
            fs::remove_file(path).expect("it was just written");
        }
    }
    let points: Vec<_> = all.iter().map(|row| (row.4 >> 10, row.3.clone())).collect();
    tell(report, "library", &points, false);
}
