//! The traced process: a host like a user's, whose slot has state and callers, and which is given a new build between two marks. It writes
//! what it saw into a file, and judges nothing that depends on how it was disturbed.

use super::place::{Place, Variant};
use fixture_interfaces::{Counter, SharedCounter};
use reslot::{
    Claim, ContentHash, Event, Events, Host, Outcome, PrivateCopies, SyncOutcome, VersionStatus,
    control::{
        Client, ControlSocket,
        protocol::{Answer, Request},
    },
    mapped_copies,
};
use reslot_tests::Footprint;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The name of the threads that call the plugin.
pub const CALLER: &str = "caller";
/// Much longer than a reload takes, and shorter than the tracer's limit.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the process has seen by a mark, or by its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What became of the last build that was published.
    pub outcome: Came,
    /// The stamp of the build that answers calls.
    pub stamp: u64,
    /// What the host said since the last report, with its remedies.
    pub messages: Vec<String>,
    /// What is wrong, whatever was disturbed.
    pub faults: Vec<String>,
    /// Descriptors, threads and executable mappings.
    pub footprint: [usize; 3],
    /// The versions in the history, newest first.
    pub kept: Vec<(String, String)>,
}

/// What became of a build.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    #[default]
    Nothing,
    Swapped,
    Refused(String),
}

/// Runs the process as the tracer's child (`with_marks`), or as the one that is started after another was killed.
pub fn main(place: &Place, with_marks: bool) -> ExitCode {
    if with_marks {
        // The tracer has to be there before the first thread.
        let _ = io::stdin().read_line(&mut String::new());
        fs::write("/proc/self/comm", "main").expect("a thread may name itself");
    }
    let at_start = footprint();
    let mut report = Report::default();
    let mut run = Run::start(place, &mut report);
    if with_marks {
        run.events = run.host.events();
        while run.events.try_recv().is_some() {}
        report = run.report(Came::Nothing);
        place.write_report("ready", &report);
        let second = place.builds.hash(2);
        raise_mark();
        let outcome = run.follow(&second, 2);
        raise_mark();
        report = run.report(outcome);
        place.write_report("disturbed", &report);
    } else {
        report = run.report(Came::Swapped);
        place.write_report("ready", &report);
    }
    place.publish(3);
    let outcome = run.follow(&place.builds.hash(3), 3);
    report = run.report(outcome);
    run.look_whole(&mut report);
    place.write_report("undisturbed", &report);
    run.end(place, at_start);
    ExitCode::SUCCESS
}

fn raise_mark() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1)
        .expect("a process may signal itself");
}

/// How long a look at what the process has goes on.
const LOOKS_FOR: Duration = Duration::from_millis(60);

/// What stays: what is open or mapped at each of many looks. The watch may notice the file once more, which is then open for a moment.
fn footprint() -> [usize; 3] {
    let look = || {
        let now = Footprint::now();
        [now.descriptors, now.threads, now.executable_mappings]
    };
    let (begun, mut least) = (Instant::now(), look());
    while begun.elapsed() < LOOKS_FOR {
        thread::yield_now();
        for (least, now) in least.iter_mut().zip(look()) {
            *least = now.min(*least);
        }
    }
    least
}

struct Run {
    host: Host,
    events: Events,
    variant: Variant,
    claim: Option<Claim<dyn Counter>>,
    callers: Option<Callers>,
    messages: Vec<String>,
    faults: Vec<String>,
}

impl Run {
    fn start(place: &Place, report: &mut Report) -> Self {
        let mut builder = Host::builder()
            .policy(place.policy())
            .watch(place.artifacts())
            .private_base(place.private())
            .attach(ControlSocket::at(place.socket()));
        builder = match place.variant {
            Variant::Memory => builder.private_copies(PrivateCopies::Memory),
            Variant::Plain | Variant::Claim | Variant::Preflight => builder.history(place.history()),
        };
        let host = builder.build().expect("the host starts");
        let events = host.events();
        let slot = place.variant.slot();
        host.confirm(slot).expect("the slot has a plugin");
        let (mut claim, mut callers) = (None, None);
        match place.variant {
            Variant::Claim => {
                let mut counter = host.claim::<dyn Counter>(slot).expect("the slot has a plugin");
                counter.add(7).expect("it is good");
                claim = Some(counter);
            }
            Variant::Plain | Variant::Memory | Variant::Preflight => callers = Some(Callers::start(&host, slot)),
        }
        if !host.wait_until_retired(PATIENCE) {
            report.faults.push(format!("{:?} are mapped at the start", host.images()));
        }
        Self {
            host,
            events,
            variant: place.variant,
            claim,
            callers,
            messages: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Waits for what becomes of the build with this stamp, confirms it, and waits until what it replaced has ended.
    fn follow(&mut self, hash: &str, stamp: u64) -> Came {
        let hash: ContentHash = hash.parse().expect("it is a hash");
        let deadline = Instant::now() + PATIENCE;
        let outcome = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(record) = self.events.recv_timeout(left) else {
                break Came::Nothing;
            };
            self.note(&record.event);
            match &record.event {
                Event::Staged { .. } => {
                    if let Some(claim) = &mut self.claim
                        && let other @ SyncOutcome::RolledBack { .. } = Claim::sync(claim)
                    {
                        self.faults.push(format!("the owner's sync: {other:?}"));
                    }
                }
                Event::Swapped(report) if report.hash == hash => break Came::Swapped,
                // A refusal says nothing of an earlier build here: the last one is waited for.
                Event::Refused(refusal) if stamp == 2 => break Came::Refused(refusal.to_string()),
                _ => {}
            }
        };
        if outcome == Came::Swapped
            && let Err(error) = self.host.confirm(self.variant.slot())
        {
            self.faults.push(format!("the confirmation: {error}"));
        }
        // The owner's `sync` drops what it has replaced.
        if !self.host.wait_until_retired(PATIENCE) {
            self.faults.push(format!(
                "{:?} stay mapped; held by {:?}",
                self.host.images(),
                self.host.who_holds(self.variant.slot())
            ));
        }
        while let Some(record) = self.events.try_recv() {
            self.note(&record.event);
        }
        outcome
    }

    /// Keeps what an operator would be shown of something that went wrong.
    fn note(&mut self, event: &Event) {
        let is_usual = match event {
            Event::Noticed { .. }
            | Event::Lifecycle { .. }
            | Event::Staged { .. }
            | Event::Swapped(_)
            | Event::Confirmed { .. }
            | Event::Released { .. } => true,
            Event::Health { health, .. } => matches!(health, reslot::Health::Ok),
            Event::Linted { warnings, .. } => warnings.is_empty(),
            Event::Retired(report) => matches!(report.outcome, Outcome::Unmapped(_)),
            // The same file was looked at twice.
            Event::Unchanged { .. } | Event::AlreadyStaged { .. } => true,
            _ => false,
        };
        if !is_usual {
            self.messages.push(event.to_string());
        }
    }

    fn report(&mut self, outcome: Came) -> Report {
        let stamp = match (&self.claim, &self.callers) {
            (Some(claim), _) => claim.report().map(|report| report.stamp),
            (None, Some(callers)) => callers.slot.load().stamp(),
            (None, None) => Ok(0),
        };
        let stamp = stamp.unwrap_or_else(|error| {
            self.faults.push(format!("a call failed: {error}"));
            0
        });
        let kept = self.host.history(self.variant.slot());
        Report {
            outcome,
            stamp,
            messages: std::mem::take(&mut self.messages),
            faults: std::mem::take(&mut self.faults),
            footprint: footprint(),
            kept: kept
                .iter()
                .map(|kept| (kept.hash.to_string(), condition(&kept.condition).to_owned()))
                .collect(),
        }
    }

    /// Whether state and resources are as if nothing had ever happened.
    fn look_whole(&mut self, report: &mut Report) {
        let faults = &mut report.faults;
        if let Some(callers) = self.callers.take() {
            callers.stop(faults);
        }
        if let Some(claim) = &mut self.claim {
            match claim.report() {
                Ok(counted) if counted.total == 7 => {}
                other => faults.push(format!("the claimed state is {other:?} and should have the total 7")),
            }
        }
        let images = self.host.images();
        if (images.mapped, images.quarantined) != (1, 0) {
            faults.push(format!("images: {images:?}"));
        }
        let private = self.host.private_folder();
        let names = |folder: &std::path::Path| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        let copies = names(private).into_iter().filter(|name| !name.starts_with('.')).count();
        if (copies, mapped_copies(private)) != (1, 1) {
            faults.push(format!(
                "the private folder has {:?}, and {} are mapped",
                names(private),
                mapped_copies(private)
            ));
        }
        let spares = names(private).into_iter().filter(|name| name.starts_with(".spare")).count();
        if spares > 2 {
            faults.push(format!("the private folder has {spares} spare files"));
        }
        match Client::connect(self.host_socket()).and_then(|mut client| client.ask(Request::Overview)) {
            Ok(Answer::Overview(_)) => {}
            other => faults.push(format!("the control socket answers {other:?}")),
        }
    }

    fn host_socket(&self) -> std::path::PathBuf {
        Place::of_environment().expect("a child has a place").socket()
    }

    /// The host ends, and nothing of it stays.
    fn end(self, place: &Place, at_start: [usize; 3]) {
        let mut report = Report::default();
        let Self { host, events, claim, .. } = self;
        drop((claim, events, host));
        // notify's thread cannot be joined, so its end may come a moment later.
        let deadline = Instant::now() + PATIENCE;
        report.footprint = footprint();
        while report.footprint[1] > at_start[1] && Instant::now() < deadline {
            thread::yield_now();
            report.footprint = footprint();
        }
        if report.footprint[1] != at_start[1] {
            report.faults.push(format!(
                "{} threads have outlived the host",
                report.footprint[1] - at_start[1]
            ));
        }
        let left: Vec<_> = fs::read_dir(place.private()).into_iter().flatten().flatten().collect();
        if !left.is_empty() {
            report.faults.push(format!("private folders stay: {left:?}"));
        }
        place.write_report("ended", &report);
    }
}

fn condition(condition: &VersionStatus) -> &'static str {
    match condition {
        VersionStatus::Confirmed => "confirmed",
        VersionStatus::Unconfirmed => "unconfirmed",
        _ => "bad",
    }
}

/// Two threads that call an open slot all the time, and count.
struct Callers {
    slot: reslot::Slot<dyn SharedCounter>,
    done: Arc<AtomicBool>,
    added: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(host: &Host, slot: &str) -> Self {
        let slot = host.slot::<dyn SharedCounter>(slot).expect("the slot has a plugin");
        let (done, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..2).map(|_| {
            let (slot, done, added) = (slot.clone(), done.clone(), added.clone());
            let body = move || {
                let mut failed = Vec::new();
                while !done.load(Ordering::Acquire) {
                    match slot.load().add(1) {
                        Ok(_) => drop(added.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failed.push(error.to_string()),
                    }
                    // This limits the load, so that many processes can run side by side.
                    thread::sleep(Duration::from_micros(200));
                }
                failed
            };
            thread::Builder::new().name(CALLER.to_owned()).spawn(body).expect("a thread")
        });
        let threads = threads.collect();
        Self {
            slot,
            done,
            added,
            threads,
        }
    }

    fn stop(self, faults: &mut Vec<String>) {
        self.done.store(true, Ordering::Release);
        for thread in self.threads {
            faults.extend(
                thread
                    .join()
                    .expect("a caller does not panic")
                    .into_iter()
                    .map(|error| format!("a call failed: {error}")),
            );
        }
        let (added, total) = (self.added.load(Ordering::Relaxed), self.slot.load().total());
        if total.as_ref().ok() != Some(&added) {
            faults.push(format!("{added} were added, and the state has {total:?}"));
        }
    }
}
