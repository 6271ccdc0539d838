//! Libraries that were not built for Reslot: small ones in C, compiled by the test, each of which does one thing that
//! pins a library or leaves a pointer with libc. The tests use the public interface, and check the result with the
//! loader's list and the kernel's map.

mod callers;
mod libc_lists;
mod pins;
mod whole;

use reslot::foreign::{Closed, Library, Pin, Staying};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with one library in it.
struct Built {
    folder: TempDir,
    path: PathBuf,
}

/// Compiles a library with the machine's C compiler.
fn compile(name: &str, source: &str, arguments: &[&str]) -> Built {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join(format!("lib{name}.so")), folder.path().join("source.c"));
    fs::write(&file, source).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command
        .args(["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o"])
        .arg(&path)
        .arg(&file)
        .args(arguments);
    let output = command.output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Built { folder, path }
}

/// Runs a test's body in a process that runs nothing else: this program, started again for that test alone.
fn in_own_process(test: &str, body: impl FnOnce()) {
    const MARK: &str = "RESLOT_FOREIGN_ALONE";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(MARK, "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A number that a library answers.
fn ask(library: &Library, name: &str) -> usize {
    // SAFETY: each function that is asked for so is declared as `unsigned long name(void)` in the sources here.
    let function = unsafe { library.function::<unsafe extern "C" fn() -> usize>(name) }.unwrap();
    // SAFETY: as above.
    unsafe { function() }
}

fn unmapped(closed: Closed) {
    if let Closed::Stays(staying) = closed {
        panic!("it stays: {:?}", staying.pins());
    }
}

fn stays(closed: Closed) -> Staying {
    match closed {
        Closed::Unmapped => panic!("it was unmapped"),
        Closed::Stays(staying) => staying,
    }
}

fn stays_for(closed: Closed, pins: &[Pin]) -> Staying {
    let staying = stays(closed);
    assert_eq!(staying.pins(), pins);
    staying
}

/// Tries until it goes: what pins it goes by itself, at a moment of which nobody tells.
fn is_unloaded_in_the_end(mut staying: Staying) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        staying = match staying.try_again() {
            Closed::Unmapped => return,
            Closed::Stays(staying) => staying,
        };
        assert!(Instant::now() < deadline, "{:?}", staying.pins());
        std::thread::yield_now();
    }
}

/// Whether the kernel's map has any memory under a name with this part.
fn kernel_knows(part: &str) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains(part)
}

fn private_folders(base: &Path) -> usize {
    fs::read_dir(base).unwrap().count()
}
