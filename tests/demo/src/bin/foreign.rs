//! `foreign FILE|FOLDER…`: opens and closes foreign libraries, each in its own child process, and prints the results.
//! `foreign --one FILE --report FILE --base FOLDER` is such a child. The parent maps none of them.

#![forbid(unsafe_code)]

use anyhow::Context;
use reslot::foreign::{Closed, ForeignError, Opening, Pin, Trust};
use reslot_demo::words::{bad, dim, good, heading};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A library that takes longer to open and close is ended.
const PATIENCE: Duration = Duration::from_secs(20);
/// Children at a time.
const AT_A_TIME: usize = 2;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [one, file, report, to, base, folder] = &arguments[..]
        && (one, report, base) == (&"--one".into(), &"--report".into(), &"--base".into())
    {
        end_when_too_slow(to.into());
        fs::write(to, look_at(Path::new(file), Path::new(folder)).to_string())?;
        // The behaviour of such libraries at the end of the process does not matter here.
        return Ok(ExitCode::SUCCESS);
    }
    let mut files = BTreeSet::new();
    for argument in &arguments {
        gather(Path::new(argument), &mut files)?;
    }
    if files.is_empty() {
        anstream::eprintln!("usage: foreign FILE|FOLDER…    in a folder, the files named *.so or *.so.*");
        return Ok(ExitCode::from(2));
    }
    let results = look_at_all(&files.into_iter().collect::<Vec<_>>())?;
    print(&results);
    Ok(ExitCode::SUCCESS)
}

/// The result for a library: its category, and the details.
struct Ending {
    outcome: &'static str,
    pins: Vec<String>,
    details: Vec<String>,
}

const UNMAPPED: &str = "unmapped";
const STAYS: &str = "stays";
const NOT_OPENED: &str = "not opened";
const REFUSED: &str = "refused";
const CRASHED: &str = "crashed";
const ENDED: &str = "ended the process";
const TOO_SLOW: &str = "took too long";

/// Runs in the child. A hanging library may hold any lock, so the process exits at once.
fn end_when_too_slow(report: PathBuf) {
    thread::spawn(move || {
        thread::sleep(PATIENCE);
        let told = json!({ "outcome": TOO_SLOW, "details": [format!("more than {PATIENCE:?}")] });
        let _ = fs::write(report, told.to_string());
        std::process::abort();
    });
}

/// Opens and closes a library. Runs in the child.
fn look_at(file: &Path, base: &Path) -> Value {
    let library = match Opening::new().private_base(base).open(file, Trust::Foreign) {
        Ok(library) => library,
        Err(error @ ForeignError::Loader(_)) => return json!({ "outcome": NOT_OPENED, "details": [error.to_string()] }),
        Err(error) => return json!({ "outcome": REFUSED, "details": [error.to_string()] }),
    };
    let cleared = library.had_nodelete().then_some("NODELETE was cleared");
    match library.close() {
        Closed::Unmapped => json!({ "outcome": UNMAPPED, "details": cleared.into_iter().collect::<Vec<_>>() }),
        Closed::Stays(staying) => {
            let pins: Vec<_> = staying.pins().iter().map(kind).collect();
            let details: Vec<_> = staying.pins().iter().map(ToString::to_string).collect();
            json!({ "outcome": STAYS, "pins": pins, "details": details })
        }
    }
}

/// The category of a pin, for the totals.
fn kind(pin: &Pin) -> &'static str {
    match pin {
        Pin::NoDelete => "NODELETE",
        Pin::UniqueSymbols(_) => "unique symbols",
        Pin::NeededBy(_) => "needed by others",
        Pin::BoundBy(_) => "used by what it needs",
        Pin::OpenedElsewhere(_) => "open elsewhere",
        Pin::SignalHandlers(_) => "signal handlers",
        Pin::ThreadsInside(_) => "threads",
        Pin::ThreadLocalDestructors(_) => "thread-local destructors",
        Pin::CalledByLibc { .. } => "libc's own threads",
        Pin::NotFoundOut(_) => "not found out",
        Pin::KeyDestructors(_) => "pthread keys",
        Pin::MarkedAtRunTime => "marked at run time",
        _ => "unexplained",
    }
}

/// The libraries below a folder, each once, even if several links lead to it.
fn gather(path: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        let file = fs::canonicalize(path).with_context(|| format!("cannot look at {}", path.display()))?;
        files.insert(file);
        return Ok(());
    }
    for entry in fs::read_dir(path)?.flatten() {
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // A folder that cannot be listed is skipped.
            let _ = gather(&path, files);
        } else if is_library(&path) && path.is_file() {
            files.extend(fs::canonicalize(path).ok());
        }
    }
    Ok(())
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.ends_with(".so") || name.contains(".so.")
}

fn look_at_all(files: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, Ending)>> {
    let scratch = tempfile::Builder::new().prefix("foreign-").tempdir()?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((at, file)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, files.get(at)?)))
                {
                    let ending = in_a_child(file, &scratch.path().join(at.to_string()))
                        .unwrap_or_else(|error| Ending::plain(NOT_OPENED, error.to_string()));
                    if let Ok(mut results) = results.lock() {
                        results.insert(at, (file.clone(), ending));
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    Ok(results.into_values().collect())
}

/// The child isolates this process from the library, including its output.
fn in_a_child(file: &Path, base: &Path) -> anyhow::Result<Ending> {
    fs::create_dir(base)?;
    let report = base.join("report");
    let ended = Command::new(std::env::current_exe()?)
        .arg("--one")
        .arg(file)
        .arg("--report")
        .arg(&report)
        .arg("--base")
        .arg(base)
        .current_dir(base)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let told = fs::read(&report)
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let _ = fs::remove_dir_all(base);
    Ok(match (ended.signal(), told.as_ref().map(Ending::told)) {
        (_, Some(slow)) if slow.outcome == TOO_SLOW => slow,
        (Some(signal), told) => {
            let when = told.map_or(
                "while it was opened or closed",
                |_| "at the end of the process, after all was told",
            );
            Ending::plain(CRASHED, format!("signal {signal} {when}"))
        }
        (None, None) => Ending::plain(ENDED, format!("by itself, with {}", ended.code().unwrap_or_default())),
        (None, Some(told)) => told,
    })
}

impl Ending {
    fn plain(outcome: &'static str, detail: String) -> Self {
        Self {
            outcome,
            pins: Vec::new(),
            details: vec![detail],
        }
    }

    fn told(report: &Value) -> Self {
        let texts = |field: &str| {
            let texts = report[field].as_array().into_iter().flatten();
            texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let told = report["outcome"].as_str().unwrap_or_default();
        let known = [UNMAPPED, STAYS, NOT_OPENED, REFUSED, TOO_SLOW]
            .into_iter()
            .find(|outcome| *outcome == told);
        Self {
            outcome: known.unwrap_or(ENDED),
            pins: texts("pins"),
            details: texts("details"),
        }
    }
}

fn print(results: &[(PathBuf, Ending)]) {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pins: BTreeMap<String, usize> = BTreeMap::new();
    for (file, ending) in results {
        *outcomes.entry(ending.outcome).or_default() += 1;
        for pin in &ending.pins {
            *pins.entry(pin.clone()).or_default() += 1;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let outcome = format!("{:<17}", ending.outcome);
        let details: String = ending.details.join("; ").chars().take(160).collect();
        let details = dim(details);
        match ending.outcome {
            UNMAPPED => anstream::println!("{name:<44} {} {details}", good(outcome)),
            CRASHED | ENDED | TOO_SLOW => anstream::println!("{name:<44} {} {details}", bad(outcome)),
            _ => anstream::println!("{name:<44} {outcome} {details}"),
        }
    }
    anstream::println!("\n{}", heading(format!("{} libraries", results.len())));
    for (outcome, count) in outcomes {
        anstream::println!("{count:>6} {outcome}");
    }
    for (pin, count) in pins {
        anstream::println!("{count:>6}   of those that stay: {pin}");
    }
}
