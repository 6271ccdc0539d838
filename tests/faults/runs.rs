//! Which runs there are: one records the calls of a reload, and each other one disturbs one of them. They run side by side, because
//! most of the time they wait.

use super::{
    calls::{self, Trouble},
    child::CALLER,
    place::{Builds, Place, Variant},
    tracer::{Deed, End, Point, Seen, Traced, trace},
    verdict::{self, Finding},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::File,
    io,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A child with this variable is the one that starts after another was killed.
pub const UNTRACED: &str = "RESLOT_FAULTS_UNTRACED";

/// How long one process may take, beside the time for which it is stopped.
const LIMIT: Duration = Duration::from_secs(60);
/// How many processes run at once; those that are stopped take no processor.
const AT_ONCE: usize = 4;
const STOPPED_AT_ONCE: usize = 24;
/// Threads take turns in another order each time, so a run may not come to its call: then it is tried again.
const TRIES: usize = 3;
/// How often an undisturbed reload is recorded, for the same reason: some calls are made only by some of them.
const RECORDS: usize = 3;

/// What to run.
pub struct Options {
    /// All of it, and not a sample.
    all: bool,
    /// How long the process is stopped.
    stop: Duration,
    /// Only runs whose names contain all these words.
    words: Vec<String>,
    /// Keep the folders of each run.
    keep: bool,
}

impl Options {
    pub fn of(arguments: &[String]) -> Self {
        let stop = arguments.iter().find_map(|argument| argument.strip_prefix("--stop="));
        let stop = stop.map(|seconds| seconds.parse().expect("--stop takes seconds"));
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let words = arguments.iter().filter(|argument| !argument.starts_with('-'));
        Self {
            all: has("--all"),
            stop: stop.map_or(Duration::from_secs(3), Duration::from_secs_f64),
            words: words.cloned().collect(),
            keep: has("--keep"),
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    pub variant: Variant,
    pub deed: Deed,
    /// What the call is about, as it was recorded.
    pub about: String,
}

impl Run {
    pub fn name(&self) -> String {
        let deed = match &self.deed {
            Deed::Record => "undisturbed".to_owned(),
            Deed::Disturb(point, trouble) => format!("{point} {trouble}"),
            Deed::Kill(point) => format!("{point} SIGKILL"),
            Deed::Stop(point, _) => format!("{point} SIGSTOP"),
        };
        format!("{} {deed}", self.variant.name())
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}#{}", self.thread, self.call, self.nth)
    }
}

/// What a run has shown.
pub struct Ran {
    pub run: Run,
    pub place: Place,
    pub traced: Traced,
    /// With [`Deed::Kill`]: how the next process ended.
    pub next: Option<End>,
    /// The history's index when the process was killed.
    pub index: Option<String>,
    /// The stamp of the build that was in the watched folder then.
    pub published: u64,
    /// What an undisturbed run left.
    pub usual: Option<[[usize; 3]; 2]>,
}

/// Runs all that is asked for, prints what is wrong, and how much there was.
pub fn run(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("reslot-faults-")
        .tempdir()
        .expect("a temporary folder");
    let (folder, _removed) = match options.keep {
        true => (folder.keep(), None),
        false => (folder.path().to_owned(), Some(folder)),
    };
    let mut findings = Vec::new();
    let mut counts = Counts::default();
    // The sample is one of the plainest host.
    let variants = if options.all { &Variant::ALL[..] } else { &Variant::ALL[..1] };
    for variant in variants.iter().copied() {
        let builds = Builds::make(folder.join(variant.name()), variant);
        let recorded: io::Result<Vec<Ran>> = (0..if options.all { RECORDS } else { 1 })
            .map(|nth| record(&folder, &builds, variant, nth))
            .collect();
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(error) => {
                println!("no system call can be disturbed: {error}");
                return ExitCode::FAILURE;
            }
        };
        let usual: Result<Vec<_>, _> = recorded.iter().map(verdict::usual).collect();
        let usual = match usual {
            Ok(usual) => usual[0],
            Err(wrong) => {
                findings.extend(wrong);
                continue;
            }
        };
        let seen = &all_seen(&recorded);
        let others = &recorded[0].traced.others;
        println!(
            "{}: {} calls of a reload can be disturbed; {} more are of kinds that are left out ({})",
            variant.name(),
            seen.len(),
            others.values().sum::<usize>(),
            calls::numbered(others)
        );
        // A reload makes about a hundred. A kernel that tells the tracer nothing must not look like a host without faults.
        assert!(seen.len() >= 40, "the tracer has seen only {} calls of a reload", seen.len());
        let mut runs = runs_of(variant, seen, options);
        runs.retain(|run| options.words.iter().all(|word| run.name().contains(word.as_str())));
        let (stopped, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| matches!(run.deed, Deed::Stop(..)));
        for (runs, at_once) in [(others, AT_ONCE), (stopped, STOPPED_AT_ONCE)] {
            let ran = side_by_side(&folder, &builds, usual, runs, at_once, options.keep);
            for (found, point, reached) in ran {
                counts.runs += 1;
                counts.unreached += usize::from(!reached);
                *counts.calls.entry((variant, point)).or_default() |= reached;
                findings.extend(found);
            }
        }
    }
    report(&findings);
    assert!(counts.runs > 0 || !options.words.is_empty(), "no call was disturbed");
    counts.print();
    println!("in {:.0} s: {} findings", begun.elapsed().as_secs_f64(), findings.len());
    if options.keep {
        println!("kept: {}", folder.display());
    }
    match findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[derive(Default)]
struct Counts {
    runs: usize,
    /// Runs that did not come to their call, however often they were tried.
    unreached: usize,
    /// The calls, and whether one of their runs has come to it.
    calls: BTreeMap<(Variant, Point), bool>,
}

impl Counts {
    fn print(&self) {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        println!(
            "{} runs; {} ({:.1} %) did not come to their call in {TRIES} tries, and so showed a reload without a fault",
            self.runs,
            self.unreached,
            share(self.unreached, self.runs)
        );
        let never: Vec<_> = self.calls.iter().filter(|(_, reached)| !**reached).collect();
        println!(
            "{} of {} calls ({:.1} %) were never reached by any run{}",
            never.len(),
            self.calls.len(),
            share(never.len(), self.calls.len()),
            if never.is_empty() { "" } else { ":" }
        );
        for ((variant, point), _) in never {
            println!("  {} {point}", variant.name());
        }
    }
}

/// What is wrong in the same words is printed once.
fn report(findings: &[Finding]) {
    let mut same: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        same.entry(&finding.what).or_default().push(finding);
    }
    for (what, findings) in same {
        println!("\n{what}");
        for finding in findings {
            println!("  in: {} ({})", finding.run, finding.about);
        }
    }
}

fn record(folder: &Path, builds: &Builds, variant: Variant, nth: usize) -> io::Result<Ran> {
    let run = Run {
        variant,
        deed: Deed::Record,
        about: String::new(),
    };
    one(
        &folder.join(format!("{}-undisturbed-{nth}", variant.name())),
        builds,
        run,
        None,
    )
}

/// Each call that one of these runs has seen, once.
fn all_seen(recorded: &[Ran]) -> Vec<Seen> {
    let mut known = BTreeSet::new();
    let seen = recorded.iter().flat_map(|ran| &ran.traced.seen);
    seen.filter(|seen| known.insert(&seen.point)).cloned().collect()
}

/// All runs of a variant, or a sample.
fn runs_of(variant: Variant, seen: &[Seen], options: &Options) -> Vec<Run> {
    let run = |seen: &Seen, deed| Run {
        variant,
        deed,
        about: seen.about.clone(),
    };
    let mut disturbed = Vec::new();
    let mut killed = Vec::new();
    let mut stopped = Vec::new();
    for (at, seen) in seen.iter().enumerate() {
        let mut troubles = seen.call.troubles();
        if !options.all {
            // Each call is disturbed in one way; another call of the same kind in another way.
            troubles = vec![troubles[(at / 2) % troubles.len()]];
        }
        disturbed.extend(
            troubles
                .into_iter()
                .map(|trouble| run(seen, Deed::Disturb(seen.point.clone(), trouble))),
        );
        killed.push(run(seen, Deed::Kill(seen.point.clone())));
        stopped.push(run(seen, Deed::Stop(seen.point.clone(), options.stop)));
    }
    if !options.all {
        let every = |runs: Vec<Run>, most: usize| -> Vec<Run> {
            let step = runs.len().div_ceil(most).max(1);
            runs.into_iter().step_by(step).collect()
        };
        (disturbed, killed, stopped) = (every(disturbed, 40), every(killed, 12), every(stopped, 16));
    }
    disturbed.into_iter().chain(killed).chain(stopped).collect()
}

/// Runs these, and answers what is wrong with each, its call, and whether it came to that.
fn side_by_side(
    folder: &Path,
    builds: &Builds,
    usual: [[usize; 3]; 2],
    runs: Vec<Run>,
    at_once: usize,
    keep: bool,
) -> Vec<(Vec<Finding>, Point, bool)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once.min(runs.len()) {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let point = run.deed.point().expect("it is about a call").clone();
                    let (mut found, mut reached) = (Vec::new(), false);
                    for _ in 0..TRIES {
                        let folder = folder.join(format!("run-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
                        let ran = one(&folder, builds, run.clone(), Some(usual)).expect("a child can be traced");
                        found = verdict::judge(&ran);
                        if found.is_empty() && !keep {
                            let _ = std::fs::remove_dir_all(&folder);
                        }
                        reached = ran.traced.reached.is_some();
                        if reached || !found.is_empty() {
                            break;
                        }
                    }
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((found, point, reached));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one process to its end; after one that is killed, the next process on the same folders.
fn one(folder: &Path, builds: &Builds, run: Run, usual: Option<[[usize; 3]; 2]>) -> io::Result<Ran> {
    // The deadlines are shorter than the time for which the process sleeps.
    let (deadlines, stopped) = match &run.deed {
        Deed::Stop(_, time) => (Some(*time / 2), *time),
        Deed::Record | Deed::Disturb(..) | Deed::Kill(_) => (None, Duration::ZERO),
    };
    let place = Place::make(folder, builds, run.variant, deadlines);
    let mut command = child(&place);
    let publish = |mark| {
        if mark == 1 {
            place.publish(2);
        }
    };
    let traced = trace(&mut command, &run.deed, CALLER, LIMIT + stopped, publish)?;
    let index = std::fs::read_to_string(place.history().join("index.json")).ok();
    let published = place.published();
    let killed = matches!(run.deed, Deed::Kill(_)) && traced.end == End::Signal(libc::SIGKILL);
    let next = killed.then(|| -> io::Result<End> {
        for report in ["ready", "disturbed", "undisturbed", "ended"] {
            let _ = std::fs::remove_file(place.folder.join(report));
        }
        // It runs to its end, with a tracer that does nothing, because that has a limit.
        let mut command = child(&place);
        command.env(UNTRACED, "1");
        Ok(trace(&mut command, &Deed::Record, CALLER, LIMIT, |_| {})?.end)
    });
    let next = next.transpose()?;
    Ok(Ran {
        run,
        place,
        traced,
        next,
        index,
        published,
        usual,
    })
}

fn child(place: &Place) -> Command {
    let output = File::create(place.folder.join("output")).expect("the folder is writable");
    let mut command = Command::new(env::current_exe().expect("a program knows itself"));
    command
        .envs(place.environment())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(output);
    command
}

impl Run {
    /// The disturbance, if it is one.
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.deed {
            Deed::Disturb(_, trouble) => Some(*trouble),
            Deed::Record | Deed::Kill(_) | Deed::Stop(..) => None,
        }
    }
}
