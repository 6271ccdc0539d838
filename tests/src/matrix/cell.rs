//! One cell, in a process of its own: a host, the plugin called on a thread of the column's kind, the reload, the end of the
//! old image, and a check that the thread and the process end normally.

use super::{
    Column, ROWS, Row,
    calling::{Calling, Socket, Telling},
    rows::{Act, End, Kept},
};
use crate::Footprint;
use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, Outcome, QuarantineReason, UnloadReport, mapped_copies};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// The first argument of a process that is a cell; the row's and the column's number, the folder of artifacts and the file for
/// the verdict follow.
pub(super) const CELL: &str = "unload-cell";

/// Much longer than needed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A short deadline.
const SOON: Duration = Duration::from_millis(20);
/// Enough time for the host's own threads to reach their safe points on a busy machine, before threads without safe points
/// are skipped.
const A_WHILE: Duration = Duration::from_millis(500);

/// If this process was started as a cell, runs the cell. It must be called first in `main`, on the main thread.
pub fn run_if_cell() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [mark, row, column, folder, verdict] = &arguments[..] else {
        return None;
    };
    if mark != CELL {
        return None;
    }
    let number = |text: &OsStr| text.to_str().and_then(|text| text.parse::<usize>().ok()).expect("a number");
    let (row, column) = (&ROWS[number(row)], Column::ALL[number(column)]);
    let (word, detail) = try_cell(row, column, Path::new(folder));
    fs::write(verdict, format!("{word}\n{detail}")).expect("the folder is writable");
    Some(ExitCode::SUCCESS)
}

/// The file in the folder of artifacts that holds a build of a fixture.
pub(super) fn artifact(folder: &Path, fixture: &str, build: u64) -> PathBuf {
    folder.join(format!("{fixture}-{build}.so"))
}

fn try_cell(row: &Row, column: Column, folder: &Path) -> (String, String) {
    let private = tempfile::tempdir().expect("a temporary folder");
    let socket_path = private.path().join("socket");
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .private_base(private.path())
        .drain_deadline(if row.kept == Kept::ByNothing { PATIENCE } else { SOON })
        .thread_local_deadline(if column == Column::Waiting { A_WHILE } else { PATIENCE })
        .build()
        .expect("the host starts");
    let libraries = libraries_beside(private.path());
    if let Err(refusal) = host.load(artifact(folder, row.fixture, 1)) {
        let _ = host.wait_until_retired(PATIENCE);
        return match mapped_copies(host.private_folder()) {
            0 => ("refused".to_owned(), refusal.to_string()),
            _ => ("refused, stays".to_owned(), refusal.to_string()),
        };
    }
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").expect("it serves");
    let before = Footprint::now();

    let (descriptor, write_end) = std::io::pipe().expect("a pipe");
    let telling = Telling {
        act: row.act,
        descriptor: Arc::new(descriptor.into()),
        socket: socket_path.clone(),
    };
    let socket = matches!(row.act, Act::Linger).then(|| Socket::bind(&socket_path));
    let mut calling = Calling::begin(column, &host, &slot, &telling);
    let mut ended_by = Some((write_end, socket.map(Socket::accept)));
    let used = matches!(row.kept, Kept::Until(End::UseEnds, _)).then(|| open_again(&host));

    host.load(artifact(folder, row.fixture, 2))
        .expect("another build of it loads");
    if column == Column::Ending {
        std::mem::replace(&mut calling, Calling::None).end();
    }
    let (mut word, detail) = match first_end(&mut events) {
        Outcome::Unmapped(left) => (gone("gone", &left), left.to_string()),
        Outcome::Quarantined(reason) => {
            let told = |words: &str| reason.to_string().contains(words);
            match row.kept {
                Kept::Until(what, words) if told(words) => {
                    match what {
                        End::ThreadEnds => ended_by = None,
                        End::HandlersPutBack => put_back(&reason),
                        End::UseEnds => drop(used),
                    }
                    let left = released(&mut events);
                    (gone("gone later", &left), reason.to_string())
                }
                Kept::ForGood(words) if told(words) => ("stays".to_owned(), reason.to_string()),
                _ => ("kept".to_owned(), reason.to_string()),
            }
        }
        other => (format!("{other:?}"), String::new()),
    };
    drop((telling, ended_by));

    assert_eq!(slot.load().stamp().expect("it answers"), 2);
    let copies = 1 + usize::from(word == "stays" || word == "kept");
    if mapped_copies(host.private_folder()) != copies {
        word += ", but its image is mapped";
    }
    let library_stays = libraries_beside(private.path()) != libraries;
    if library_stays {
        word += ", library stays";
    }
    if copies == 1 {
        for what in more_than(&before, &Footprint::now(), library_stays) {
            word += &format!(", but {what}");
        }
    }
    calling.end();
    fork();
    drop(slot);
    drop(host);
    // Reads all events until the second build was unloaded, too.
    while events.recv().is_some() {}
    (word, detail)
}

/// Opens the only image a second time, like another library that needs it.
fn open_again(host: &Host) -> libloading::Library {
    let files = fs::read_dir(host.private_folder()).expect("it is there").flatten();
    let copy = files
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "so"));
    // SAFETY: it is open already, so nothing of it runs.
    unsafe { libloading::Library::new(copy.expect("the host's copy")) }.expect("it is open already")
}

/// Restores the default handlers of these signals.
fn put_back(reason: &QuarantineReason) {
    let QuarantineReason::SignalHandlers(signals) = reason else {
        return;
    };
    for signal in signals {
        // SAFETY: the default action of the signal, which nobody sends.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
}

/// The unload report, in the documentation's words.
fn gone(word: &str, left: &UnloadReport) -> String {
    let mut word = word.to_owned();
    if left.thread_locals_run > 0 {
        word += ", dropped";
    }
    if left.thread_locals_skipped > 0 {
        word += ", skipped";
        if !left.skipped_threads.iter().any(|thread| thread.contains("elsewhere")) {
            word += " of another thread";
        }
    }
    if left.file_bytes_left > 0 {
        word += ", file stays";
    }
    word
}

fn first_end(events: &mut Events) -> Outcome {
    wait_for(events, |event| match event {
        Event::Retired(report) if report.generation == 1 => Some(report.outcome.clone()),
        _ => None,
    })
}

fn released(events: &mut Events) -> UnloadReport {
    wait_for(events, |event| match event {
        Event::Released {
            generation: 1, report, ..
        } => Some(report.clone()),
        _ => None,
    })
}

fn wait_for<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let record = events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let record = record.expect("the event did not come");
        if let Some(found) = wanted(&record.event) {
            return found;
        }
    }
}

/// The mapped libraries, without the host's copies of plugins and without libc's companion libraries, which most programs
/// have.
fn libraries_beside(private: &Path) -> BTreeSet<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let executable = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|flags| flags.contains('x')));
    let paths = executable.filter_map(|line| line.find('/').map(|at| line[at..].to_owned()));
    let is_other =
        |path: &String| !Path::new(path).starts_with(private) && !path.contains("/libm.so") && !path.contains("/libm-");
    paths.filter(is_other).collect()
}

/// The leaks: what the process holds more than before, with one image mapped in both cases.
fn more_than(before: &Footprint, after: &Footprint, library_stays: bool) -> Vec<String> {
    let figures = [
        ("executable mappings", before.executable_mappings, after.executable_mappings),
        ("descriptors", before.descriptors, after.descriptors),
        ("pthread keys", 1024 - before.free_keys, 1024 - after.free_keys),
    ];
    // A library that stays mapped keeps its pthread keys, because libc calls into it.
    let compared = figures.into_iter().take(if library_stays { 2 } else { 3 });
    let more = compared.filter(|(_, before, after)| after > before);
    more.map(|(what, before, after)| format!("{what}: {before} before, {after} after"))
        .collect()
}

/// Forks, to check that no fork handlers of an unmapped image run.
fn fork() {
    // SAFETY: the child does nothing but end, without the handlers for that.
    match unsafe { libc::fork() } {
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        child => {
            let mut status = 0;
            // SAFETY: room for the status of the child.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((ended, status), (child, 0), "a forked process must end well");
        }
    }
}
