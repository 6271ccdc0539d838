//! The watch's own thread: what is waited for, when a file is due, and whether the folder is still the same one. Where
//! events come from and what they mean is `native`; how files are told apart is `fingerprint`.

use reslot_sync::{
    Instant,
    mpsc::{Receiver, RecvTimeoutError},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use super::fingerprint::{self, Fingerprint, Identity};
use super::native::Native;
use super::{Deliver, Notice, WatchError, WatchOptions};

/// How long a file that was found by looking, not by an event, must stay the same before it is delivered: where events are
/// missed (network mounts), silence says nothing.
const SETTLE: Duration = Duration::from_millis(100);

/// How many signals are taken before due files are delivered, so that a flood of events cannot starve them.
const SIGNALS_AT_ONCE: usize = 1024;

/// What reaches the watch's thread: events, already reduced to what matters.
#[derive(Debug)]
pub(super) enum Signal {
    /// An artifact was renamed into the folder, looked like this, and has been delivered; or was gone again.
    Delivered {
        path: PathBuf,
        seen: Option<Fingerprint>,
        at: Instant,
    },
    /// An artifact was created, linked, written, closed or touched.
    Touched { path: PathBuf, at: Instant },
    /// An artifact's name is gone.
    Removed { path: PathBuf, at: Instant },
    /// A folder on the way, or the folder itself, came, went or was swapped.
    Way { path: PathBuf },
    /// Another name in the folder came: possibly the link that the artifacts point through.
    SiblingChanged { at: Instant },
    /// Events were lost.
    Overflow,
    /// The watch is dropped.
    Stop,
}

/// A file that waits until it is quiet.
struct Pending {
    due: Instant,
    at: Instant,
    /// What it looked like when it was found by looking; it must still look so when it is due.
    seen: Option<Fingerprint>,
}

/// The state of the watch's thread.
pub(super) struct Keeper {
    folder: PathBuf,
    options: WatchOptions,
    native: Option<Native>,
    deliver: Deliver,
    /// The folder that was there at the last check.
    present: Option<Identity>,
    /// What each file looked like just before it was delivered.
    known: HashMap<PathBuf, Fingerprint>,
    /// Sorted, so that files that become due together are delivered in the order of their names.
    pending: BTreeMap<PathBuf, Pending>,
    /// Files that are gone, and when each counts as deleted.
    gone: BTreeMap<PathBuf, Instant>,
    next_check: Instant,
    /// An early look, because another file of its folder changed.
    next_look: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(folder: PathBuf, options: WatchOptions, native: Option<Native>, deliver: Deliver) -> Self {
        Self {
            folder,
            options,
            native,
            deliver,
            present: None,
            known: HashMap::new(),
            pending: BTreeMap::new(),
            gone: BTreeMap::new(),
            next_check: Instant::now(),
            next_look: None,
        }
    }

    /// Arms the watch and remembers what is there, on the caller's thread, so that nothing after `start` is missed.
    pub(super) fn begin(&mut self) -> Result<(), WatchError> {
        if let Some(native) = &mut self.native {
            native.settle(&self.folder);
            if let Some(source) = native.refused.take() {
                return Err(WatchError::native(&self.folder, source));
            }
        }
        self.present = Identity::of_folder(&self.folder);
        self.known = fingerprint::list(&self.folder, &self.options.files).into_iter().collect();
        self.next_check = Instant::now() + self.interval();
        Ok(())
    }

    fn interval(&self) -> Duration {
        self.options.polling.unwrap_or(self.options.heartbeat)
    }

    pub(super) fn run(mut self, inbox: &Receiver<Signal>) {
        if self.present.is_none() {
            (self.deliver)(Notice::FolderGone {
                folder: self.folder.clone(),
                at: Instant::now(),
            });
        }
        'watching: loop {
            let wait = self.next_due().saturating_duration_since(Instant::now());
            let mut next = match inbox.recv_timeout(wait) {
                Ok(signal) => Some(signal),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // All that is waiting, before anything is delivered: it may postpone what is due.
            for _ in 0..SIGNALS_AT_ONCE {
                match next {
                    Some(Signal::Stop) => break 'watching,
                    Some(signal) => self.take(signal),
                    None => break,
                }
                next = inbox.try_recv().ok();
            }
            if let Some(signal) = next {
                if matches!(signal, Signal::Stop) {
                    break;
                }
                self.take(signal);
            }
            self.deliver_due(Instant::now());
        }
        // notify's thread cannot be joined, but it owns the other end of the inbox and drops it when it ends.
        self.native = None;
        let patience = Instant::now() + Duration::from_secs(1);
        while let Ok(_late) = inbox.recv_timeout(patience.saturating_duration_since(Instant::now())) {}
    }

    fn next_due(&self) -> Instant {
        let pending = self.pending.values().map(|waiting| waiting.due);
        let gone = self.gone.values().copied();
        pending.chain(gone).chain(self.next_look).fold(self.next_check, Instant::min)
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Delivered { path, seen, at } => {
                self.cancel_pending(&path, at);
                match seen {
                    Some(seen) => {
                        self.gone.remove(&path);
                        self.known.insert(path, seen);
                    }
                    None => self.note_deleted(path),
                }
            }
            Signal::Touched { path, at } => {
                self.gone.remove(&path);
                self.pending.insert(
                    path,
                    Pending {
                        due: at + self.options.debounce,
                        at,
                        seen: None,
                    },
                );
            }
            Signal::Removed { path, at } => {
                self.cancel_pending(&path, at);
                self.note_deleted(path);
            }
            Signal::Way { path } => {
                if let Some(native) = &mut self.native {
                    native.forget(&path);
                }
                self.check_folder();
            }
            Signal::SiblingChanged { at } => {
                self.next_look.get_or_insert(at + self.options.debounce);
            }
            Signal::Overflow => {
                if let Some(native) = &mut self.native {
                    native.forget(Path::new("/"));
                }
                self.check_folder();
            }
            Signal::Stop => {}
        }
    }

    /// An event that was read at this time makes a pending delivery unnecessary, unless a look has found the file since: the folder may have
    /// been made anew, and then the event is about a file of the folder before.
    fn cancel_pending(&mut self, path: &Path, read_at: Instant) {
        if self.pending.get(path).is_some_and(|pending| pending.at <= read_at) {
            self.pending.remove(path);
        }
    }

    /// A file was deleted, perhaps only for a moment.
    fn note_deleted(&mut self, path: PathBuf) {
        self.known.remove(&path);
        // A look may come too early to see what replaces it.
        let patience = self.options.polling.map_or(Duration::ZERO, |interval| interval * 2);
        let due = Instant::now() + self.options.gone_after.max(patience);
        self.gone.entry(path).or_insert(due);
    }

    /// Reports those that have been gone for long enough, if their folder is still the same.
    fn deliver_gone(&mut self, now: Instant) {
        if self.gone.values().all(|due| *due > now) {
            return;
        }
        if self.present.is_none() {
            // The folder went, which deletes none of its files.
            self.gone.clear();
            return;
        }
        if Identity::of_folder(&self.folder) != self.present {
            // That is reported for the folder, and for no file.
            self.check_folder();
            return;
        }
        let due: Vec<PathBuf> = self
            .gone
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            self.gone.remove(&path);
            if Fingerprint::of(&path).is_none() {
                (self.deliver)(Notice::Deleted { path, at: now });
            }
        }
    }

    fn deliver_due(&mut self, now: Instant) {
        if self.next_check <= now {
            self.check_folder();
            self.look(self.options.polling.unwrap_or(SETTLE));
            self.next_check = Instant::now() + self.interval();
            self.next_look = None;
        } else if self.next_look.is_some_and(|due| due <= now) {
            self.next_look = None;
            self.look(self.options.debounce);
        }
        self.deliver_gone(now);
        let due: Vec<PathBuf> = self
            .pending
            .iter()
            .filter(|(_, waiting)| waiting.due <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            let Some(waiting) = self.pending.remove(&path) else { continue };
            match (waiting.seen, Fingerprint::of(&path)) {
                // Still growing, although no event said so.
                (Some(seen), Some(now_seen)) if seen != now_seen => {
                    let due = now + self.options.polling.unwrap_or(SETTLE);
                    self.pending.insert(
                        path,
                        Pending {
                            due,
                            at: now,
                            seen: Some(now_seen),
                        },
                    );
                }
                _ => self.hand_over(path, waiting.at),
            }
        }
    }

    /// Delivers `path` if it is a file. What it looks like is taken before: a change from now on is then seen as one.
    fn hand_over(&mut self, path: PathBuf, at: Instant) {
        match Fingerprint::of(&path) {
            Some(seen) => {
                self.gone.remove(&path);
                self.known.insert(path.clone(), seen);
                let complete = false;
                (self.deliver)(Notice::Artifact { path, complete, at });
            }
            None => self.note_deleted(path),
        }
    }

    /// Compares all files with what was delivered; what differs must stay as it is for `settle`.
    fn look(&mut self, settle: Duration) {
        let found = fingerprint::list(&self.folder, &self.options.files);
        let missing: Vec<PathBuf> = self.known.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        missing.into_iter().for_each(|path| self.note_deleted(path));
        self.gone.retain(|path, _| !found.contains_key(path));
        let at = Instant::now();
        for (path, seen) in found {
            if self.known.get(&path) == Some(&seen) {
                continue;
            }
            let unchanged = self
                .pending
                .get(&path)
                .is_some_and(|waiting| waiting.seen.is_none_or(|was| was == seen));
            if !unchanged {
                self.pending.insert(
                    path,
                    Pending {
                        due: at + settle,
                        at,
                        seen: Some(seen),
                    },
                );
            }
        }
    }

    /// Finds out whether the folder is there and is still the same one, and watches it again if it is not.
    fn check_folder(&mut self) {
        let rearmed = self.native.as_mut().is_some_and(|native| native.settle(&self.folder));
        let present = Identity::of_folder(&self.folder);
        let was = std::mem::replace(&mut self.present, present);
        let (folder, at) = (self.folder.clone(), Instant::now());
        match (was, present) {
            (None, None) => {}
            (Some(_), None) => {
                self.known.clear();
                self.pending.clear();
                self.gone.clear();
                (self.deliver)(Notice::FolderGone { folder, at });
            }
            (was, Some(_)) => {
                if was.is_none() {
                    (self.deliver)(Notice::FolderBack { folder, at });
                }
                if was != present {
                    // What was in the other folder was not deleted from this one.
                    self.gone.clear();
                    self.known.clear();
                }
                if was != present || rearmed {
                    let found = fingerprint::list(&self.folder, &self.options.files);
                    let missing: Vec<PathBuf> =
                        self.known.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
                    missing.into_iter().for_each(|path| self.note_deleted(path));
                    self.known.clear();
                    self.look(self.options.polling.unwrap_or(self.options.debounce));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        sync::{Arc, mpsc},
    };

    /// Which notices come if a look finds `a.so`, and then this signal is taken: its event was read before the look, or after it.
    fn notices_after(signal: impl Fn(PathBuf, Instant) -> Signal, read_before_the_look: bool) -> Vec<Notice> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.so");
        let (send, notices) = mpsc::channel();
        let deliver: Deliver = Arc::new(move |notice| send.send(notice).unwrap_or(()));
        let mut keeper = Keeper::new(folder.path().to_owned(), WatchOptions::default(), None, deliver);
        keeper.begin().expect("the folder is there");
        let before = Instant::now();
        fs::write(&path, b"x").expect("written");
        keeper.look(Duration::ZERO);
        let read_at = if read_before_the_look { before } else { Instant::now() };
        keeper.take(signal(path, read_at));
        keeper.deliver_due(Instant::now());
        notices.try_iter().collect()
    }

    fn delivered(path: PathBuf, at: Instant) -> Signal {
        let seen = Fingerprint::of(&path);
        Signal::Delivered { path, seen, at }
    }

    /// The file before may have had the same inode, size and times.
    #[test]
    fn an_event_that_was_read_before_a_look_cancels_nothing_that_the_look_found() {
        let gone = |path, at| Signal::Delivered { path, seen: None, at };
        let removed = |path, at| Signal::Removed { path, at };
        for notices in [
            notices_after(delivered, true),
            notices_after(gone, true),
            notices_after(removed, true),
        ] {
            assert!(matches!(&notices[..], [Notice::Artifact { .. }]), "{notices:?}");
        }
    }

    #[test]
    fn a_pending_file_that_an_event_has_delivered_is_not_delivered_again() {
        assert_eq!(notices_after(delivered, false), []);
    }
}
