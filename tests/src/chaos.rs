//! Chaos: threads that call, and threads that reload, roll back, confirm, configure and load sets at random, all at once. At
//! the end the state must have the effect of every call, across all swaps: no call is lost unless a report says so. The soak
//! test and `cargo xtask stress chaos` run this code.

use crate::{Fixture, Folder};
use fixture_interfaces::{Counter, Lending, Moody};
use reslot::{
    CallError, Cause, Claim, Event, Fault, Host, Outcome, Policy, Reader, RestoredState, RollbackError, RollbackTarget,
    Slot,
    config::{Configuration, Layers, LiveConfiguration},
    mapped_copies,
};
use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const CALLERS: u64 = 8;
const MOVERS: u64 = 3;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run did, and what went wrong.
#[derive(Debug)]
pub struct ChaosReport {
    /// The seed, which repeats the run as far as the scheduler allows.
    pub seed: u64,
    /// The number of calls that returned.
    pub calls: u64,
    /// The operations on the slots, with their counts.
    pub moves: BTreeMap<&'static str, u64>,
    /// Rollbacks that carried the newer version's state.
    pub carried: u64,
    /// Rollbacks that did not, with the reasons that their reports give.
    pub snapshots: Vec<String>,
    /// The longest that a call took.
    pub longest_call: Duration,
    /// The faults; empty after a success.
    pub faults: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A small pseudo-random generator (SplitMix64), so that a run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// The data that the threads share.
struct Tally {
    seed: u64,
    done: AtomicBool,
    calls: AtomicU64,
    /// The sums that were added to each of the slots, by successful calls and by calls that panicked after they had added.
    added: [AtomicU64; 3],
    longest: AtomicU64,
    moves: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<String>>,
}

/// The slots, by their places in [`Tally::added`].
const LENDING: usize = 0;
const MOODY: usize = 1;
const COUNTER: usize = 2;
const SLOTS: [&str; 3] = ["lending", "moody", "counter"];

impl Tally {
    fn random(&self, thread: u64) -> Random {
        let mut mixed = Random(self.seed ^ (thread << 32));
        Random(mixed.next())
    }

    fn going(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    fn fault(&self, words: String) {
        let mut faults = self.faults.lock().expect("nobody panics with it");
        if faults.len() < 20 {
            faults.push(words);
        }
    }

    fn moved(&self, how: &'static str) {
        *self.moves.lock().expect("nobody panics with it").entry(how).or_default() += 1;
    }

    /// A call that adds one, timed and counted.
    fn add(&self, slot: usize, call: impl FnOnce() -> Result<u64, CallError>) {
        let begun = Instant::now();
        let answer = call();
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.longest.fetch_max(took, Ordering::Relaxed);
        self.count(answer);
        self.added[slot].fetch_add(1, Ordering::Relaxed);
    }

    fn count<T>(&self, answer: Result<T, impl Display>) -> Option<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        answer.map_err(|error| self.fault(format!("a call failed: {error}"))).ok()
    }

    /// A call that adds one and panics.
    fn fail(&self, slot: usize, answer: Result<(), CallError>) {
        match answer {
            Err(error) if matches!(error.fault(), Fault::Panicked { .. }) => {
                self.added[slot].fetch_add(1, Ordering::Relaxed);
            }
            other => self.fault(format!("a call that panics answered {other:?}")),
        }
    }
}

/// Different builds of the fixtures.
struct Builds {
    folder: Folder,
    fixtures: Mutex<(u64, [Fixture; 3])>,
}

impl Builds {
    fn new() -> Self {
        let fixtures = ["fx-lending", "fx-moody", "fx-counter"].map(Fixture::build);
        Self {
            folder: Folder::new(),
            fixtures: Mutex::new((0, fixtures)),
        }
    }

    /// Publishes the next build under a unique name, because several threads load at once. Dropping the result removes the
    /// file.
    fn next(&self, slot: usize) -> Build {
        let mut fixtures = self.fixtures.lock().expect("nobody panics with it");
        let (number, fixtures) = &mut *fixtures;
        *number += 1;
        let fixture = &mut fixtures[slot];
        fixture.stamp(*number);
        Build(self.folder.publish(&format!("{number}-{}", fixture.file()), fixture.bytes()))
    }
}

/// A published file. It is removed when this is dropped, after the host has copied it.
struct Build(PathBuf);

impl Drop for Build {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs chaos for this time.
///
/// # Panics
/// If the fixtures do not build or the host does not start.
pub fn chaos(seed: u64, length: Duration) -> ChaosReport {
    let begun = Instant::now();
    let builds = Builds::new();
    let settings = tempfile::tempdir().expect("there is a folder for temporary files");
    let settings = settings.path().join("settings.toml");
    configure(&settings, 0);
    let mut policy = Policy::development().probation(Duration::from_millis(400));
    // A slow health check is slow because of the other threads.
    policy.health_timeout = PATIENCE;
    policy.hook_deadline = PATIENCE;
    let host = Host::builder()
        .policy(policy)
        .drain_deadline(PATIENCE)
        .attach(Configuration::of(Layers::new().file(&settings)))
        .build()
        .expect("the host starts");
    for slot in [LENDING, MOODY, COUNTER] {
        host.load(&builds.next(slot).0).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    let lending = host.slot::<dyn Lending>("lending").expect("it serves");
    let moody = host.slot::<dyn Moody>("moody").expect("it serves");
    let mut claim = host.claim::<dyn Counter>("counter").expect("it serves");
    let tally = Tally {
        seed,
        done: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        added: Default::default(),
        longest: AtomicU64::new(0),
        moves: Mutex::default(),
        faults: Mutex::default(),
    };
    // One idle reader, which keeps a borrow from the first version.
    let mut idle = host.reader();
    let lent = idle.view().get(&lending).label().expect("it answers").to_owned();
    let lent_still = idle.view().get(&lending).label().expect("it answers");
    let (carried, snapshots) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&host, &tally));
        let mut threads = Vec::new();
        for thread in 0..CALLERS {
            let (host, lending, moody, tally) = (&host, &lending, &moody, &tally);
            threads.push(scope.spawn(move || call(host, lending, moody, tally, thread)));
        }
        threads.push(scope.spawn(|| own(&mut claim, &tally)));
        for thread in 0..MOVERS {
            let (host, builds, tally, settings, lending, moody) = (&host, &builds, &tally, &settings, &lending, &moody);
            threads.push(scope.spawn(move || {
                let mut random = tally.random(CALLERS + thread);
                while tally.going() {
                    do_something(host, builds, settings, lending, moody, tally, &mut random);
                }
            }));
        }
        thread::sleep(length);
        tally.done.store(true, Ordering::Relaxed);
        for thread in threads {
            if thread.join().is_err() {
                tally.fault("a thread panicked".to_owned());
            }
        }
        watching.join().expect("it does not panic")
    });
    if lent_still != lent {
        tally.fault(format!("what was borrowed was {lent:?}, and is {lent_still:?}"));
    }
    drop(idle);
    let _ = Claim::sync(&mut claim);
    let totals = [
        lending.load().total().ok(),
        moody.load().total().ok(),
        claim.report().ok().map(|report| report.total),
    ];
    for ((slot, total), added) in SLOTS.iter().zip(totals).zip(&tally.added) {
        let added = added.load(Ordering::Relaxed);
        // A rollback to a snapshot reports that changes were lost.
        let is_told = snapshots.iter().any(|(of, _)| of == slot);
        if total != Some(added) && !(is_told && total < Some(added)) {
            tally.fault(format!("{slot}: {added} was added, and the state has {total:?}"));
        }
    }
    drop((claim, lending, moody));
    for slot in SLOTS {
        let _ = host.confirm(slot);
    }
    if !host.wait_until_retired(PATIENCE) {
        tally.fault(format!("images stay: {:?}", host.images()));
    }
    let left = mapped_copies(host.private_folder());
    if left != SLOTS.len() {
        tally.fault(format!("{left} images are mapped where {} serve", SLOTS.len()));
    }
    ChaosReport {
        seed,
        calls: tally.calls.load(Ordering::Relaxed),
        moves: tally.moves.into_inner().expect("nobody panics with it"),
        carried,
        snapshots: snapshots.into_iter().map(|(slot, why)| format!("{slot}: {why}")).collect(),
        longest_call: Duration::from_micros(tally.longest.load(Ordering::Relaxed)),
        faults: tally.faults.into_inner().expect("nobody panics with it"),
        took: begun.elapsed(),
    }
}

fn configure(settings: &Path, threshold: u64) {
    // Several threads do this at once.
    let new = settings.with_extension(format!("{:?}", thread::current().id()));
    fs::write(&new, format!("[plugins.lending]\nthreshold = {threshold}\n")).expect("the folder is writable");
    fs::rename(&new, settings).expect("the folder is writable");
}

/// A caller: through views new and old, through `load`, and with borrows.
fn call(host: &Host, lending: &Slot<dyn Lending>, moody: &Slot<dyn Moody>, tally: &Tally, thread: u64) {
    let mut random = tally.random(thread);
    let mut reader = host.reader();
    while tally.going() {
        match random.below(8) {
            0 | 1 => tally.add(LENDING, || reader.view().get(lending).add(1)),
            2 | 3 => tally.add(MOODY, || reader.view().get(moody).add(1)),
            4 => tally.add(LENDING, || lending.load().add(1)),
            5 => tally.add(MOODY, || moody.load().add(1)),
            6 => keep_a_view(&mut reader, lending, moody, tally, &mut random),
            _ => {
                let loaded = lending.load();
                let lent = tally.count(loaded.label());
                let was = lent.map(str::to_owned);
                pause(&mut random);
                tally.add(LENDING, || loaded.add(1));
                if lent != was.as_deref() {
                    tally.fault(format!("what was borrowed was {was:?}, and is {lent:?}"));
                }
            }
        }
        // On a machine with few processors the other threads need a chance to run.
        thread::yield_now();
    }
}

/// Calls through one view for a while, across swaps.
fn keep_a_view(
    reader: &mut Reader,
    lending: &Slot<dyn Lending>,
    moody: &Slot<dyn Moody>,
    tally: &Tally,
    random: &mut Random,
) {
    let view = reader.view();
    for _ in 0..random.below(8) {
        pause(random);
        tally.add(LENDING, || view.get(lending).add(1));
        tally.add(MOODY, || view.get(moody).add(1));
    }
    if random.below(4) == 0 {
        reader.release();
    }
}

fn pause(random: &mut Random) {
    thread::sleep(Duration::from_micros(random.below(5_000)));
}

/// The owner of the claimed counter: each answer must be one more than the last.
fn own(claim: &mut Claim<dyn Counter>, tally: &Tally) {
    let mut random = tally.random(CALLERS + MOVERS);
    while tally.going() {
        let _ = Claim::sync(claim);
        match random.below(2_000) {
            0 => match Claim::rollback(claim, RollbackTarget::Previous) {
                Ok(_) => tally.moved("an owner's rollback"),
                Err(error) => answer(tally, "an owner's rollback", &error),
            },
            1 => {
                tally.fail(COUNTER, claim.fail("on purpose"));
                tally.moved("an owner's fault");
            }
            _ => {
                let before = tally.added[COUNTER].load(Ordering::Relaxed);
                if let Some(total) = tally.count(claim.add(1)) {
                    tally.added[COUNTER].fetch_add(1, Ordering::Relaxed);
                    if total != before + 1 {
                        tally.fault(format!("the owner's state jumped from {before} to {total}"));
                    }
                }
            }
        }
        if random.below(64) == 0 {
            pause(&mut random);
        }
        thread::yield_now();
    }
}

/// Does one random operation.
fn do_something(
    host: &Host,
    builds: &Builds,
    settings: &Path,
    lending: &Slot<dyn Lending>,
    moody: &Slot<dyn Moody>,
    tally: &Tally,
    random: &mut Random,
) {
    let slot = match random.below(5) {
        0 | 1 => LENDING,
        2 | 3 => MOODY,
        _ => COUNTER,
    };
    match random.below(16) {
        0..6 => match host.load(&builds.next(slot).0) {
            Ok(_) => tally.moved("a reload"),
            Err(refusal) => tally.fault(refusal.to_string()),
        },
        6..10 => match host.rollback(SLOTS[slot], RollbackTarget::Previous) {
            Ok(_) => tally.moved("a rollback"),
            Err(error) => answer(tally, "a rollback", &error),
        },
        10 | 11 => {
            if host.confirm(SLOTS[slot]).unwrap_or_default() {
                tally.moved("a confirmation");
            }
        }
        12 => {
            configure(settings, random.below(4));
            host.surface::<LiveConfiguration>().expect("it is attached").read_again();
            tally.moved("a configuration");
        }
        13 => {
            let set = [LENDING, MOODY].map(|slot| builds.next(slot));
            match host.load_together(set.iter().map(|build| &build.0)) {
                Ok(_) => tally.moved("a set"),
                Err(refusal) => tally.fault(refusal.to_string()),
            }
        }
        14 => {
            tally.fail(LENDING, lending.load().fail("on purpose"));
            tally.moved("a fault");
        }
        _ => {
            tally.fail(MOODY, moody.load().fail("on purpose"));
            tally.moved("a fault");
        }
    }
}

/// A rollback may fail because there is no earlier version.
fn answer(tally: &Tally, how: &'static str, error: &RollbackError) {
    match error {
        RollbackError::Refused(refusal) if matches!(&*refusal.cause, Cause::NothingToGoBackTo(_)) => {
            tally.moved("a rollback with nothing to go back to");
        }
        error => tally.fault(format!("{how}: {error}")),
    }
}

/// Reads the host's events until the end. Returns the number of rollbacks that carried the state, and the reasons of the
/// others.
fn watch(host: &Host, tally: &Tally) -> (u64, Vec<(String, String)>) {
    let mut events = host.events();
    let (mut carried, mut snapshots) = (0, Vec::new());
    loop {
        let going = tally.going();
        while let Some(record) = events.try_recv() {
            match &record.event {
                Event::RolledBack(report) => match &report.state {
                    RestoredState::Snapshot { why, .. } => {
                        let why = why.clone().unwrap_or_else(|| "no reason is given".to_owned());
                        snapshots.push((report.slot.to_string(), format!("{} to {}: {why}", report.from, report.to)));
                    }
                    _ => carried += 1,
                },
                Event::Retired(report) if !matches!(report.outcome, Outcome::Unmapped(_)) => {
                    tally.fault(format!("not unmapped: {report:?}"));
                }
                Event::StopFailed { .. }
                | Event::RestartFailed { .. }
                | Event::SlotEmptied { .. }
                | Event::ThreadPanicked { .. }
                | Event::ConfigRefused { .. }
                | Event::Lagged { .. } => tally.fault(record.event.to_string()),
                _ => {}
            }
        }
        if !going {
            return (carried, snapshots);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
