//! Runs the matrix: it builds and stamps the fixtures, runs several processes at a time, one for each cell, and collects the
//! results.

use super::{
    Column, ROWS, Row,
    cell::{CELL, artifact},
    promised,
};
use crate::{Fixture, fixture::Profile};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Longer than the longest wait of a cell.
const PATIENCE: Duration = Duration::from_secs(150);

/// The promise and the result of a cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The behaviour.
    pub row: String,
    /// The calling thread.
    pub column: Column,
    /// The promise; `None` if the documentation does not have this cell.
    pub promised: Option<String>,
    /// The result; `None` if the program does not have this cell.
    pub found: Option<String>,
    /// The host's event about it.
    pub detail: String,
}

impl Cell {
    /// Whether the promise was kept.
    pub fn is_kept(&self) -> bool {
        self.promised == self.found
    }
}

/// The results of a matrix.
pub struct Matrix {
    /// How the plugins were built.
    pub profile: Profile,
    /// Row by row.
    pub cells: Vec<Cell>,
    /// Building the plugins.
    pub built_in: Duration,
    /// Trying all cells.
    pub took: Duration,
}

/// Runs the rows whose name contains `only`, with plugins built with the profile.
///
/// # Panics
/// If the fixtures do not build, or a process cannot be started.
pub fn run(profile: Profile, only: &str) -> Matrix {
    let rows: Vec<(usize, &Row)> = ROWS.iter().enumerate().filter(|(_, row)| row.name.contains(only)).collect();
    let begun = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("matrix-")
        .tempdir()
        .expect("a temporary folder");
    build(profile, &rows, folder.path());
    let built_in = begun.elapsed();

    let begun = Instant::now();
    let jobs = rows
        .iter()
        .flat_map(|(row, of)| of.columns.iter().map(move |column| (*row, *column)));
    let jobs: Vec<(usize, Column)> = jobs.collect();
    let (next, at_once) = (AtomicUsize::new(0), thread::available_parallelism().map_or(2, usize::from));
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..at_once {
            let (sender, jobs, next, folder) = (sender.clone(), &jobs, &next, folder.path());
            scope.spawn(move || {
                while let Some((row, column)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = try_cell(*row, *column, folder);
                    sender.send(((*row, *column), found)).expect("they are gathered");
                }
            });
        }
    });
    drop(sender);
    let found: Vec<_> = receiver.into_iter().collect();
    Matrix {
        profile,
        cells: compared(only, &found),
        built_in,
        took: begun.elapsed(),
    }
}

/// Two builds of each fixture, in the folder.
fn build(profile: Profile, rows: &[(usize, &Row)], folder: &Path) {
    let mut packages: Vec<_> = rows.iter().map(|(_, row)| row.fixture).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return;
    }
    for (package, fixture) in packages.iter().zip(Fixture::build_all(&packages, profile)) {
        for stamp in [1, 2] {
            fs::write(artifact(folder, package, stamp), fixture.stamped(stamp)).expect("the folder is writable");
        }
    }
}

type Found = ((usize, Column), (String, String));

/// All tested or promised cells, in the order of the documentation.
fn compared(only: &str, found: &[Found]) -> Vec<Cell> {
    let promised: Vec<_> = promised().into_iter().filter(|(name, _)| name.contains(only)).collect();
    let names = promised.iter().map(|(name, _)| name.as_str());
    let rest = ROWS.iter().map(|row| row.name).filter(|name| name.contains(only));
    let rest = rest.filter(|name| promised.iter().all(|(promised, _)| promised != name));
    let names: Vec<&str> = names.chain(rest).collect();
    let cells = names
        .into_iter()
        .flat_map(|name| Column::ALL.into_iter().map(move |column| (name, column)));
    let cell = |(name, column): (&str, Column)| {
        let of_row = promised.iter().find(|(row, _)| row == name);
        let at = Column::ALL.iter().position(|known| *known == column);
        let tried = found.iter().find(|((row, of), _)| ROWS[*row].name == name && *of == column);
        Cell {
            row: name.to_owned(),
            column,
            promised: of_row.and_then(|(_, outcomes)| outcomes[at?].clone()),
            found: tried.map(|(_, (word, _))| word.clone()),
            detail: tried.map_or_else(String::new, |(_, (_, detail))| detail.clone()),
        }
    };
    cells.map(cell).collect()
}

/// Starts the process of a cell, and returns its result, or how it died.
fn try_cell(row: usize, column: Column, folder: &Path) -> (String, String) {
    let at = Column::ALL
        .iter()
        .position(|known| *known == column)
        .expect("it is one of them");
    let verdict = folder.join(format!("verdict-{row}-{at}"));
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg(CELL)
        .args([row.to_string(), at.to_string()])
        .args([folder, &verdict])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(complaint(&verdict)).expect("the folder is writable"))
        .spawn()
        .expect("it starts");
    let mut output = child.stdout.take().expect("a pipe");
    let (sender, said) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    // An ended process has closed the pipe.
    let Ok(said) = said.recv_timeout(PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        let _ = reading.join();
        return ("hangs".to_owned(), complaints(&verdict));
    };
    let _ = reading.join();
    let status = child.wait().expect("it was started");
    let written = fs::read_to_string(&verdict).ok();
    match (written, death(status)) {
        (Some(written), None) => {
            let (word, detail) = written.split_once('\n').unwrap_or((&written, ""));
            match ROWS[row].says.iter().find(|words| !said.contains(**words)) {
                None => (word.to_owned(), detail.to_owned()),
                Some(_) => (format!("{word}, but its output is lost"), said),
            }
        }
        (Some(_), Some(death)) => (format!("{death} at its exit"), complaints(&verdict)),
        (None, death) => (death.unwrap_or_else(|| "no verdict".to_owned()), complaints(&verdict)),
    }
}

fn complaint(verdict: &Path) -> PathBuf {
    verdict.with_extension("complaint")
}

fn complaints(verdict: &Path) -> String {
    fs::read_to_string(complaint(verdict)).unwrap_or_default()
}

/// How a process died, if it did not end well.
fn death(status: ExitStatus) -> Option<String> {
    match (status.success(), status.signal()) {
        (true, _) => None,
        (_, Some(libc::SIGSEGV)) => Some("SIGSEGV".to_owned()),
        (_, Some(libc::SIGABRT)) => Some("SIGABRT".to_owned()),
        (_, Some(libc::SIGBUS)) => Some("SIGBUS".to_owned()),
        (_, Some(signal)) => Some(format!("signal {signal}")),
        (_, None) => Some("failed".to_owned()),
    }
}
