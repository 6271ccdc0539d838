//! A storm: reloads without pause while threads call, including short-lived threads. The soak test and `cargo xtask stress`
//! run this code.

use crate::{Fixture, Folder, Footprint, process::Silence};
use fixture_interfaces::{Counter, Deed, Probe, SharedCounter};
use reslot::{Claim, Event, Events, Host, LoadOutcome, Outcome, Slot, mapped_copies};
use std::{
    fmt::Display,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The usual number of reloads before the first measurement, because allocator arenas, thread-local blocks and the host's history
/// of events are made once.
pub const WARM_UP: u64 = 1_000;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The allowed growth of resident memory from the 1,000th reload to the last, in KiB. Debug builds use much more memory to
/// read debug information, which fragments the heap.
const MOST_GROWTH: usize = if cfg!(debug_assertions) { 4_096 } else { 1_024 };
/// The frames of every n-th panic are checked.
const LOOKED_AT: u64 = 64;

const DEEDS: [Deed; 8] = [
    Deed::ThreadLocal,
    Deed::CurrentThread,
    Deed::SpawnJoin,
    Deed::Scope,
    Deed::Receive,
    Deed::HashMap,
    Deed::LazyLock,
    Deed::CatchPanic,
];

/// The report of a storm.
#[derive(Debug)]
pub struct StormReport {
    /// The number of reloads, including the warm-up.
    pub reloads: u64,
    /// The number of calls that returned.
    pub calls: u64,
    /// The faults; empty after a success.
    pub faults: Vec<String>,
    /// The number of threads that called and ended.
    pub short_lived_threads: u64,
    /// The footprint after the warm-up.
    pub before: Footprint,
    /// The footprint at the end, with the same threads still calling.
    pub after: Footprint,
    /// How long it took.
    pub took: Duration,
}

/// The data that the threads share.
#[derive(Default)]
struct Tally {
    done: AtomicBool,
    calls: AtomicU64,
    added: AtomicU64,
    threads: AtomicU64,
    faults: Mutex<Vec<String>>,
    /// Short-lived threads hold this lock, so that none of them reads debug information, which needs megabytes for a moment,
    /// while the process is measured.
    busy: RwLock<()>,
}

impl Tally {
    fn count<T, E: Display>(&self, answer: Result<T, E>) -> Option<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        answer.map_err(|error| self.fault(format!("a call failed: {error}"))).ok()
    }

    fn fault(&self, words: String) {
        let mut faults = self.faults.lock().expect("nobody panics with it");
        if faults.len() < 20 {
            faults.push(words);
        }
    }

    fn going(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }
}

/// Runs a storm until `enough` returns true. It gets the number of reloads before each reload. The first measurement comes after
/// `warm_up` reloads.
///
/// # Panics
/// If the fixtures do not build or the host does not start.
pub fn storm(warm_up: u64, mut enough: impl FnMut(u64) -> bool) -> StormReport {
    let begun = Instant::now();
    // The plugins print, so standard output is discarded.
    let _silence = Silence::of_stdout();
    let folder = Folder::new();
    let mut fixtures = ["fx-probe", "fx-counter", "fx-shared-counter"].map(Fixture::build);
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        // Each thread comes to a safe point again and again, or ends: on a slow machine, too, no thread-local may be skipped.
        .thread_local_deadline(PATIENCE)
        .build()
        .expect("the host starts");
    let mut events = host.events();
    let mut reload = |n: u64| {
        let fixture = &mut fixtures[(n % 3) as usize];
        // The stamp is changed in place, so that the storm itself does not need a large heap.
        fixture.stamp(n);
        host.load(folder.publish(fixture.file(), fixture.bytes()))
    };
    for n in 0..3 {
        reload(n).expect("the fixtures load");
    }
    let mut claim = host.claim::<dyn Counter>("counter").expect("it serves");
    let probe = host.slot::<dyn Probe>("probe").expect("it serves");
    let shared = host.slot::<dyn SharedCounter>("shared-counter").expect("it serves");
    let tally = Tally::default();

    let mut reloads = 3;
    let (before, after, owned) = thread::scope(|scope| {
        let owner = scope.spawn(|| own(&mut claim, &tally));
        scope.spawn(|| read(&host, &probe, &shared, &tally));
        scope.spawn(|| call_on_short_lived_threads(&probe, &shared, &tally));
        let mut go_on_to = |most: &mut dyn FnMut(u64) -> bool| {
            while !most(reloads) {
                match reload(reloads) {
                    Ok(LoadOutcome::Swapped(_) | LoadOutcome::Staged { .. }) => {}
                    other => tally.fault(format!("reload {reloads}: {other:?}")),
                }
                note_endings(&mut events, &tally);
                reloads += 1;
            }
            // The last candidate may still be staged.
            while host.slots().iter().any(|slot| slot.staged.is_some()) {
                if let Some(record) = events.recv_timeout(PATIENCE) {
                    note(&record.event, &tally);
                }
            }
            if !host.wait_until_retired(PATIENCE) {
                tally.fault(format!("images stay: {:?}", host.images()));
            }
            let _quiet = tally.busy.write().expect("nobody panics with it");
            Footprint::trimmed()
        };
        let before = go_on_to(&mut |n| n >= warm_up);
        let after = go_on_to(&mut enough);
        tally.done.store(true, Ordering::Relaxed);
        (before, after, owner.join().expect("the owner's thread panicked"))
    });

    let check = |held: bool, words: String| {
        if !held {
            tally.fault(words);
        }
    };
    let total = claim.report().map_or(0, |report| report.total);
    check(total == owned, format!("the owner added {owned}, the counter holds {total}"));
    let (total, added) = (shared.load().total().unwrap_or(0), tally.added.load(Ordering::Relaxed));
    check(
        total == added,
        format!("{added} was added by many, the counter holds {total}"),
    );
    check(host.wait_until_retired(PATIENCE), "images stay at the end".to_owned());
    let left = mapped_copies(host.private_folder());
    check(left == 3, format!("{left} images are mapped where 3 serve"));
    note_endings(&mut events, &tally);
    StormReport {
        reloads,
        calls: tally.calls.load(Ordering::Relaxed),
        short_lived_threads: tally.threads.load(Ordering::Relaxed),
        faults: tally.faults.into_inner().expect("nobody panics with it"),
        before,
        after,
        took: begun.elapsed(),
    }
}

/// The owner of the claimed counter: each answer must be one more than the last, across all swaps.
fn own(claim: &mut Claim<dyn Counter>, tally: &Tally) -> u64 {
    let mut sum = 0;
    while tally.going() {
        let _ = Claim::sync(claim);
        if let Some(answer) = tally.count(claim.add(1)) {
            sum += 1;
            if answer != sum {
                tally.fault(format!("the owner's state jumped from {sum} to {answer}"));
            }
        }
    }
    let _ = Claim::sync(claim);
    sum
}

/// A long-lived thread with a reader.
fn read(host: &Host, probe: &Slot<dyn Probe>, shared: &Slot<dyn SharedCounter>, tally: &Tally) {
    let mut reader = host.reader();
    for deed in DEEDS.iter().cycle().take_while(|_| tally.going()) {
        let view = reader.view();
        tally.count(view.get(probe).act(*deed));
        if tally.count(view.get(shared).add(1)).is_some() {
            tally.added.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Short-lived threads, one after the other, each of which leaves thread-locals behind.
fn call_on_short_lived_threads(probe: &Slot<dyn Probe>, shared: &Slot<dyn SharedCounter>, tally: &Tally) {
    while tally.going() {
        let _busy = tally.busy.read().expect("nobody panics with it");
        let body = || {
            for deed in DEEDS {
                tally.count(probe.load().act(deed));
            }
            tally.count(probe.load().act(Deed::Print));
            panics(probe, tally);
            if tally.count(shared.load().add(1)).is_some() {
                tally.added.fetch_add(1, Ordering::Relaxed);
            }
        };
        tally.threads.fetch_add(1, Ordering::Relaxed);
        if thread::scope(|scope| scope.spawn(body).join()).is_err() {
            tally.fault("a short-lived thread panicked".to_owned());
        }
    }
}

/// A panic through a method is an error that names the plugin's function.
fn panics(probe: &Slot<dyn Probe>, tally: &Tally) {
    let count = tally.calls.fetch_add(1, Ordering::Relaxed);
    let answer = probe.load().fail("as it was told");
    let Err(error) = answer else {
        return tally.fault("a panic came back as an answer".to_owned());
    };
    let Some(backtrace) = error.backtrace().filter(|_| error.to_string().contains("as it was told")) else {
        return tally.fault(format!("an error without its panic: {error}"));
    };
    if count.is_multiple_of(LOOKED_AT) {
        let frames = backtrace.frames();
        let named = || frames.iter().filter_map(|frame| frame.function.as_deref());
        // A stripped plugin has no names.
        let is_stripped = named().all(|function| !function.contains("fx_probe"));
        if frames.is_empty() || !is_stripped && !named().any(|function| function.contains("fail")) {
            tally.fault(format!("a backtrace without the plugin's function:\n{backtrace:#}"));
        }
    }
}

fn note_endings(events: &mut Events, tally: &Tally) {
    while let Some(record) = events.try_recv() {
        note(&record.event, tally);
    }
}

fn note(event: &Event, tally: &Tally) {
    match event {
        Event::Retired(report) if !matches!(report.outcome, Outcome::Unmapped(_)) => {
            tally.fault(format!("not unmapped: {report:?}"));
        }
        Event::Retired(report) if matches!(&report.outcome, Outcome::Unmapped(left) if left.thread_locals_skipped > 0) => {
            tally.fault(format!("thread-locals were skipped: {report:?}"));
        }
        Event::Refused(refusal) => tally.fault(refusal.to_string()),
        Event::DrainTimeout { .. } | Event::ThreadPanicked { .. } | Event::Lagged { .. } => {
            tally.fault(format!("{event:?}"))
        }
        _ => {}
    }
}

impl StormReport {
    /// The growth of the process, beyond the resources of the short-lived thread that may exist now.
    pub fn growth(&self) -> Vec<String> {
        self.growth_beside_memory()
            .into_iter()
            .chain(self.growth_of_memory())
            .collect()
    }

    fn growth_of_memory(&self) -> Vec<String> {
        let (before, after) = (&self.before, &self.after);
        let figures = [
            more("mappings", before.mappings, after.mappings, 16),
            more("resident KiB", before.resident_kib, after.resident_kib, MOST_GROWTH),
        ];
        figures.into_iter().flatten().collect()
    }

    /// The growth without that of memory, which is another one under a tool with an allocator of its own.
    pub fn growth_beside_memory(&self) -> Vec<String> {
        let (before, after) = (&self.before, &self.after);
        let figures = [
            more("pthread keys in use", 1024 - before.free_keys, 1024 - after.free_keys, 0),
            more("descriptors", before.descriptors, after.descriptors, 0),
            more(
                "executable mappings",
                before.executable_mappings,
                after.executable_mappings,
                0,
            ),
            // A short-lived thread and one of the plugin's own, each with a stack, a guard and perhaps an arena.
            more("threads", before.threads, after.threads, 3),
        ];
        figures.into_iter().flatten().collect()
    }
}

fn more(what: &str, before: usize, after: usize, slack: usize) -> Option<String> {
    (after > before + slack).then(|| format!("{what}: {before} before, {after} after"))
}
