//! Helpers: waiting for events, and hosts for scenarios.

use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, Outcome, Record, Refusal, RetireReport, mapped_copies};
use reslot_tests::Folder;
use std::{
    cell::Cell,
    collections::BTreeSet,
    ffi::CString,
    fs::{self, File, OpenOptions},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Much longer than needed; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A host that watches a folder.
pub fn host(folder: &Folder) -> Host {
    Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .build()
        .expect("the host starts")
}

/// Waits for the first event that `wanted` turns into something.
pub fn wait_for<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut seen: Vec<Arc<Record>> = Vec::new();
    loop {
        let record = events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let Some(record) = record else {
            panic!("the event did not come; these did: {seen:#?}")
        };
        if let Some(found) = wanted(&record.event) {
            return found;
        }
        seen.push(record);
    }
}

/// Waits until a generation has ended, and returns its report.
pub fn wait_for_retired(events: &mut Events, slot: &str, generation: u64) -> RetireReport {
    wait_for(events, |event| match event {
        Event::Retired(report) if &*report.slot == slot && report.generation == generation => Some(report.clone()),
        _ => None,
    })
}

/// Waits until a generation is proven unmapped.
pub fn wait_for_unmapped(events: &mut Events, slot: &str, generation: u64) -> RetireReport {
    let report = wait_for_retired(events, slot, generation);
    assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:#?}");
    report
}

/// Waits until a slot has swapped to a generation.
pub fn wait_for_swapped(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Swapped(report) if &*report.slot == slot && report.generation == generation => Some(()),
        _ => None,
    });
}

/// Waits until a candidate is staged.
pub fn wait_for_staged(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Staged {
            slot: of,
            generation: number,
        } if &**of == slot && *number == generation => Some(()),
        _ => None,
    });
}

/// Waits until a file was refused, and returns the refusal.
pub fn wait_for_refused(events: &mut Events) -> Refusal {
    wait_for(events, |event| match event {
        Event::Refused(refusal) => Some(refusal.clone()),
        _ => None,
    })
}

/// Waits for a condition without an event.
pub fn wait_until(mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Checks that only the images and private files of `serving` generations exist.
pub fn assert_nothing_left(host: &Host, serving: usize) {
    assert!(host.wait_until_retired(PATIENCE), "{:?} mapped", host.images());
    let images = host.images();
    assert_eq!((images.mapped, images.quarantined), (serving, 0));
    assert_eq!(mapped_copies(host.private_folder()), serving);
    assert_eq!(
        copies(host.private_folder()).len(),
        serving,
        "{:?}",
        copies(host.private_folder())
    );
}

/// The files in a host's private folder without its lock.
pub fn copies(private: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(private).expect("the private folder is there").flatten();
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    entries.map(|entry| entry.path()).filter(|path| !hidden(path)).collect()
}

/// Writes the bytes beside `path` and renames them onto it, for folders that are not a [`Folder`].
pub fn publish(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("tmp");
    fs::write(&new, bytes).expect("the folder is writable");
    fs::rename(&new, path).expect("the folder is writable");
}

/// Makes the plugin `fx-lingering` start its thread. Dropping the returned stream ends the thread.
pub fn start_lingering(host: &Host, folder: &Folder) -> UnixStream {
    let path = folder.path().join("socket");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(slot.load().echo(path).unwrap(), path);
    listener.accept().unwrap().0
}

/// A gate at which a fixture waits (see `fixture_interfaces::wait_at_gate`): two named pipes, one to report that it waits,
/// and one to let it continue.
pub struct Gate {
    reached: PathBuf,
    gate: PathBuf,
    is_reached: Cell<bool>,
}

/// The gates that stand.
static GATES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Gate {
    /// Makes a closed gate.
    pub fn new(name: &str) -> Self {
        Self::of(std::process::id(), name)
    }

    /// Makes a closed gate for a fixture in another process.
    pub fn of(process: u32, name: &str) -> Self {
        let gate = std::env::temp_dir().join(format!("reslot-gate-{process}-{name}"));
        let reached = gate.with_extension("reached");
        let is_new = GATES.lock().unwrap_or_else(PoisonError::into_inner).insert(gate.clone());
        assert!(
            is_new,
            "another test has put up the gate {name:?}: each needs a name of its own"
        );
        for path in [&reached, &gate] {
            // A killed process with the same number may have left one.
            let _ = fs::remove_file(path);
            let text = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
            // SAFETY: a C string.
            assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0, "{path:?}");
        }
        let is_reached = Cell::new(false);
        Self {
            reached,
            gate,
            is_reached,
        }
    }

    /// Waits until a thread waits at the gate.
    pub fn wait_until_reached(&self) {
        if !self.is_reached.replace(true) {
            // Opening the pipe waits for the other end.
            drop(File::open(&self.reached).expect("the pipe is there"));
        }
    }

    /// Lets waiting and later threads continue.
    pub fn open(&self) {
        self.wait_until_reached();
        drop(OpenOptions::new().write(true).open(&self.gate).expect("the pipe is there"));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for path in [&self.reached, &self.gate] {
            let _ = fs::remove_file(path);
        }
        GATES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.gate);
    }
}
