//! Waiting for what a host tells, and the hosts that scenarios begin with.

use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, Outcome, Record, Refusal, RetireReport, mapped_copies};
use reslot_tests::Folder;
use std::{
    cell::Cell,
    ffi::CString,
    fs::{self, File, OpenOptions},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Far more than anything here takes; a test that waits so long has failed.
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

/// Waits until a generation has ended, and answers how.
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

/// Waits until a slot has moved on to a generation.
pub fn wait_for_swapped(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Swapped(report) if &*report.slot == slot && report.generation == generation => Some(()),
        _ => None,
    });
}

/// Waits until a candidate waits for its owner.
pub fn wait_for_staged(events: &mut Events, slot: &str, generation: u64) {
    wait_for(events, |event| match event {
        Event::Staged {
            slot: of,
            generation: number,
        } if &**of == slot && *number == generation => Some(()),
        _ => None,
    });
}

/// Waits until a file was refused, and answers how.
pub fn wait_for_refused(events: &mut Events) -> Refusal {
    wait_for(events, |event| match event {
        Event::Refused(refusal) => Some(refusal.clone()),
        _ => None,
    })
}

/// Waits for something that has no event, because it happens outside of the host.
pub fn wait_until(mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Nothing is mapped, and no file stands in the private folder, beyond those of `serving` generations.
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

/// The files in a host's private folder, but for its lock.
pub fn copies(private: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(private).expect("the private folder is there").flatten();
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    entries.map(|entry| entry.path()).filter(|path| !hidden(path)).collect()
}

/// Writes the bytes beside `path` and renames them onto it, for folders that are no [`Folder`].
pub fn publish(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("tmp");
    fs::write(&new, bytes).expect("the folder is writable");
    fs::rename(&new, path).expect("the folder is writable");
}

/// Has the plugin `fx-lingering` start its thread; the answer is the end by which the thread is ended.
pub fn start_lingering(host: &Host, folder: &Folder) -> UnixStream {
    let path = folder.path().join("socket");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(slot.load().echo(path).unwrap(), path);
    listener.accept().unwrap().0
}

/// A gate at which a fixture waits (see `fixture_interfaces::wait_at_gate`): two named pipes, one by which it tells that it is
/// there, one by which it is let through.
pub struct Gate {
    reached: PathBuf,
    gate: PathBuf,
    is_reached: Cell<bool>,
}

impl Gate {
    /// Puts it up, shut.
    pub fn new(name: &str) -> Self {
        Self::of(std::process::id(), name)
    }

    /// Puts it up for a fixture in another process.
    pub fn of(process: u32, name: &str) -> Self {
        let gate = std::env::temp_dir().join(format!("reslot-gate-{process}-{name}"));
        let reached = gate.with_extension("reached");
        for path in [&reached, &gate] {
            // A process that was killed may have left one, and had the same number.
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

    /// Waits until somebody waits there.
    pub fn wait_until_reached(&self) {
        if !self.is_reached.replace(true) {
            // Opens when the other end does.
            drop(File::open(&self.reached).expect("the pipe is there"));
        }
    }

    /// Lets whoever waits, or comes, go on.
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
    }
}
