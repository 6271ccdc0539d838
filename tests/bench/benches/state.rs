//! The pause of a hand-over as a function of the state's size: `cargo xtask bench state`. *Claimed*: how long the owner's `sync`
//! took. *Shared*: the longest time that a caller in a loop waited. Each against what cannot be avoided, measured in the same rounds:
//! encoding and decoding the same state in plain code, without a host.

#[path = "../../fixtures/bench-state/src/book.rs"]
mod book;

use book::Book;
use fixture_interfaces::{BenchState, Probe};
use reslot::{Claim, Event, Events, Host, LoadOutcome, Policy, ReloadReport, Step};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const SIZES: [(&str, u64); 4] = [
    ("1 KB", 1_000),
    ("1 MB", 1_000_000),
    ("10 MB", 10_000_000),
    ("100 MB", 100_000_000),
];

/// By name: old images go at once, or stand by, and with them the state as it was handed over.
fn policies() -> [(&'static str, Policy); 2] {
    let mut standing_by = Policy::development();
    // The growth of live memory is what is done here, and no fault.
    standing_by.max_live_bytes_growth = None;
    [("", Policy::without_probation()), (", probation", standing_by)]
}

/// The pause, and what of it was spent on what, in seconds.
#[derive(Default, Clone, Copy)]
struct Pause {
    whole: f64,
    encode: f64,
    decode: f64,
    start: f64,
    /// How far resident memory rose above what it was before, at its peak, in bytes.
    peak: f64,
    /// And how far above that it is afterwards.
    after: f64,
}

impl Pause {
    fn new(whole: Duration, report: &ReloadReport, memory: &Memory) -> Self {
        let of = |steps: &[Step]| {
            let took = report.steps.iter().filter(|(step, _)| steps.contains(step));
            took.map(|(_, took)| took.as_secs_f64()).sum()
        };
        let (peak, after) = memory.rose();
        Self {
            whole: whole.as_secs_f64(),
            encode: of(&[Step::Snapshot]),
            decode: of(&[Step::Migrate]),
            start: of(&[Step::Init, Step::Start, Step::Health]),
            peak,
            after,
        }
    }
}

/// The process's resident memory before something, whose peak is looked at after it.
struct Memory(f64);

impl Memory {
    fn before() -> Self {
        // The peak begins anew from here. Where that is not allowed, the row shows the peak of the whole run.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self(Self::now("VmRSS:"))
    }

    fn rose(&self) -> (f64, f64) {
        (Self::now("VmHWM:") - self.0, Self::now("VmRSS:") - self.0)
    }

    fn now(what: &str) -> f64 {
        let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.map_or(0.0, |kilobytes| kilobytes * 1024.0)
    }
}

/// The last hand-over that the events tell of.
fn last_report(events: &mut Events) -> ReloadReport {
    let mut last = None;
    while let Some(record) = events.try_recv() {
        match &record.event {
            Event::Swapped(report) => last = Some(report.clone()),
            Event::Refused(refusal) => panic!("{refusal}"),
            _ => {}
        }
    }
    last.expect("it has moved on")
}

/// A host with one slot, of which new builds come.
struct Setup {
    host: Host,
    events: Events,
    folder: Folder,
    fixture: Fixture,
    last: u64,
}

impl Setup {
    fn new(policy: Policy, fixture: &str) -> Self {
        let host = Host::builder().policy(policy).build().expect("the host starts");
        let mut setup = Self {
            events: host.events(),
            host,
            folder: Folder::new(),
            fixture: Fixture::build(fixture),
            last: 0,
        };
        setup.load();
        setup
    }

    /// Loads the next build.
    fn load(&mut self) -> LoadOutcome {
        self.last += 1;
        let path = self.folder.publish(self.fixture.file(), &self.fixture.stamped(self.last));
        self.host.load(path).expect("the fixture loads")
    }

    fn settle(&self) {
        assert!(self.host.wait_until_retired(Duration::from_secs(60)), "old images stay");
    }

    /// A hand-over in the owner's `sync`.
    fn claimed(&mut self, sync: impl FnOnce()) -> Pause {
        self.load();
        let memory = Memory::before();
        let begun = Instant::now();
        sync();
        let took = begun.elapsed();
        Pause::new(took, &last_report(&mut self.events), &memory)
    }

    /// A hand-over while a thread calls without pause.
    fn shared(&mut self, call: impl FnMut() + Send) -> Pause {
        let (end, longest) = (AtomicBool::new(false), AtomicU64::new(0));
        let memory = Memory::before();
        let mut call = call;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = Instant::now();
                while !end.load(Ordering::Relaxed) {
                    call();
                    let now = Instant::now();
                    longest.fetch_max((now - last).as_nanos() as u64, Ordering::Relaxed);
                    last = now;
                }
            });
            self.load();
            end.store(true, Ordering::Relaxed);
        });
        let longest = Duration::from_nanos(longest.load(Ordering::Relaxed));
        Pause::new(longest, &last_report(&mut self.events), &memory)
    }
}

/// What cannot be avoided, in seconds: encode, decode, and copying the encoded bytes.
fn plain(book: &Book) -> (f64, f64, f64, usize) {
    // With room for all of it, as the host has from the hand-over before.
    let len = encoded(book);
    let begun = Instant::now();
    let mut bytes = Vec::with_capacity(len + len / 8);
    rmp_serde::encode::write_named(&mut bytes, black_box(book)).expect("it encodes");
    let encode = begun.elapsed();
    let begun = Instant::now();
    let back: Book = rmp_serde::from_slice(black_box(&bytes)).expect("it decodes");
    let decode = begun.elapsed();
    assert_eq!(back.count(), book.count(), "all came back");
    let mut copy = bytes.clone();
    let begun = Instant::now();
    copy.copy_from_slice(black_box(&bytes));
    let copied = begun.elapsed();
    black_box(copy);
    (encode.as_secs_f64(), decode.as_secs_f64(), copied.as_secs_f64(), bytes.len())
}

/// How long a book is, encoded.
fn encoded(book: &Book) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    rmp_serde::encode::write_named(&mut counted, book).expect("it encodes");
    counted.0
}

/// Tells a hand-over: the pause, and what of it was spent on what.
fn tell(report: &mut Report, name: &str, pauses: &[Pause], plain: Option<(&str, &Samples)>, bytes: usize) {
    let of = |part: fn(&Pause) -> f64| -> Samples { pauses.iter().map(|pause| part(pause) * 1e6).collect() };
    let whole = of(|pause| pause.whole);
    let row = Row::new(name, &whole, "µs");
    report.row(match plain {
        Some((base, plain)) if name.ends_with("probation") => row.against(base, &whole.over(plain)),
        Some((base, plain)) => row.against(base, &whole.over(plain)).quoted(),
        None => row,
    });
    let parts = [
        ("encode", of(|pause| pause.encode)),
        ("decode", of(|pause| pause.decode)),
        ("init, start and health", of(|pause| pause.start)),
    ];
    for (part, samples) in parts.iter().filter(|(_, samples)| samples.median() > 0.0) {
        report.row(Row::new(format!("{name}: {part}"), samples, "µs"));
    }
    if bytes >= 1_000_000 {
        let copies =
            |part: fn(&Pause) -> f64| -> Samples { pauses.iter().map(|pause| part(pause) / bytes as f64).collect() };
        let unit = "encoded sizes";
        report.row(Row::new(
            format!("{name}: resident memory at the peak"),
            &copies(|pause| pause.peak),
            unit,
        ));
        report.row(Row::new(
            format!("{name}: resident memory after it"),
            &copies(|pause| pause.after),
            unit,
        ));
    }
}

/// One size, called in one way, under one policy.
struct Way {
    name: String,
    setup: Setup,
    claim: Option<Claim<dyn BenchState>>,
    pauses: Vec<Pause>,
}

impl Way {
    fn hand_over(&mut self) -> Pause {
        let pause = match &mut self.claim {
            Some(claim) => self.setup.claimed(|| {
                let _ = Claim::sync(claim);
            }),
            None => {
                let slot = self.setup.host.slot::<dyn BenchState>("bench-state").expect("it serves");
                let mut reader = self.setup.host.reader();
                self.setup.shared(|| {
                    let _ = black_box(reader.view().get(&slot).stamp());
                })
            }
        };
        self.setup.settle();
        pause
    }
}

/// One size, both ways, under each policy.
fn measure(report: &mut Report, name: &str, count: u64, rounds: usize) {
    let mut rows: Vec<Way> = Vec::new();
    for form in ["claimed", "shared"] {
        for (policy_name, policy) in policies() {
            let setup = Setup::new(policy, "fx-bench-state");
            let slot = setup.host.slot::<dyn BenchState>("bench-state").expect("it serves");
            slot.load().fill(count).expect("it fills");
            drop(slot);
            rows.push(Way {
                name: format!("{name}, {form}{policy_name}"),
                claim: (form == "claimed").then(|| setup.host.claim("bench-state").expect("it serves")),
                setup,
                pauses: Vec::new(),
            });
        }
    }
    let book = Book::of(count);
    let mut unavoidable = Vec::new();
    // The first hand-over does not know yet how large the state is: it is not counted.
    rows.iter_mut().for_each(|row| {
        row.hand_over();
    });
    for _ in 0..rounds {
        unavoidable.push(plain(&book));
        for row in &mut rows {
            let pause = row.hand_over();
            row.pauses.push(pause);
        }
    }
    let bytes = unavoidable[0].3;
    let of =
        |part: fn(&(f64, f64, f64, usize)) -> f64| -> Samples { unavoidable.iter().map(|one| part(one) * 1e6).collect() };
    report.heading(format!("{name} of state: {bytes} bytes in {count} entries"));
    let (base, plain) = (
        format!("{name}: encoding and decoding in plain code"),
        of(|one| one.0 + one.1),
    );
    report.row(Row::new(base.as_str(), &plain, "µs"));
    report.row(Row::new(format!("{name}: copying the encoded bytes"), &of(|one| one.2), "µs"));
    for row in &rows {
        tell(report, &row.name, &row.pauses, Some((&base, &plain)), bytes);
        let slot = row
            .claim
            .is_none()
            .then(|| row.setup.host.slot::<dyn BenchState>("bench-state").expect("it serves"));
        let counted = match (&row.claim, &slot) {
            (Some(claim), _) => claim.count(),
            (None, Some(slot)) => slot.load().count(),
            (None, None) => unreachable!("it is claimed or not"),
        };
        assert_eq!(counted.ok(), Some(count), "the state came over");
    }
}

/// Without a state, for comparison.
fn stateless(report: &mut Report, rounds: usize) {
    let (mut owned, mut shared) = (
        Setup::new(Policy::without_probation(), "fx-probe"),
        Setup::new(Policy::without_probation(), "fx-probe"),
    );
    let mut claim: Claim<dyn Probe> = owned.host.claim("probe").expect("it serves");
    let slot = shared.host.slot::<dyn Probe>("probe").expect("it serves");
    let (mut claimed, mut open) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        claimed.push(owned.claimed(|| {
            let _ = Claim::sync(&mut claim);
        }));
        let mut reader = shared.host.reader();
        open.push(shared.shared(|| {
            let _ = black_box(reader.view().get(&slot).stamp());
        }));
        drop(reader);
        owned.settle();
        shared.settle();
    }
    // What was done before anybody waited is no part of the pause.
    for pause in claimed.iter_mut().chain(&mut open) {
        pause.start = 0.0;
    }
    report.heading("Without a state");
    tell(report, "no state, claimed", &claimed, None, 0);
    tell(report, "no state, shared", &open, None, 0);
}

fn main() -> anyhow::Result<()> {
    let mut report = Report::new("state");
    let test = only_a_test();
    stateless(&mut report, if test { 2 } else { 100 });
    let entry = encoded(&Book::of(1_000)) as u64 / 1_000;
    for (name, bytes) in SIZES {
        let rounds = if test {
            1
        } else {
            (200_000_000 / bytes).clamp(7, 100) as usize
        };
        if !test || bytes <= 1_000_000 {
            measure(&mut report, name, bytes / entry, rounds);
        }
    }
    report.finish()
}
