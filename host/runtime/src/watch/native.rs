//! The system's events: which folders are asked for them, and what each event means to the watch. No decision about time is made
//! here: what needs none, because it was finished before it got its name, is delivered at once.

use reslot_sync::{Instant, mpsc::Sender};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::fingerprint::{Fingerprint, Identity};
use super::keeper::Signal;
use super::{Deliver, Files, Notice, WatchError};

/// How often arming is repeated while the path changes under it; after that the heartbeat tries again.
const ROUNDS: usize = 32;

/// The folders that events are wanted from: the watched one, and those above it in which a name decides where it is.
pub(super) struct Native {
    watcher: RecommendedWatcher,
    armed: HashMap<PathBuf, Identity>,
    /// The last refusal to watch something that exists.
    pub(super) refused: Option<notify::Error>,
    reported: bool,
}

impl Native {
    /// What was renamed into place needs no decision, so it is delivered from here: one thread less has to wake up for it.
    pub(super) fn new(folder: &Path, files: Files, signals: Sender<Signal>, deliver: Deliver) -> Result<Self, WatchError> {
        let watched = folder.to_path_buf();
        let mut last_cookie = None;
        let watcher = notify::recommended_watcher(move |event| {
            let signal = match translate(&watched, &files, event) {
                None => return,
                // The second of the two events of one rename.
                Some(Meaning::Renamed { cookie, .. }) if cookie.is_some() && cookie == last_cookie => return,
                Some(Meaning::Renamed { path, cookie, at }) => {
                    last_cookie = cookie;
                    // What it looks like is taken before it is delivered: a change from now on is then seen as one.
                    let seen = Fingerprint::of(&path);
                    if seen.is_some() {
                        let (path, complete) = (path.clone(), true);
                        deliver(Notice::Artifact { path, complete, at });
                    }
                    Signal::Delivered { path, seen, at }
                }
                Some(Meaning::Other(signal)) => signal,
            };
            // Nobody listens any more: the watch is being dropped.
            let _ = signals.send(signal);
        })
        .map_err(|source| WatchError::native(folder, source))?;
        Ok(Self {
            watcher,
            armed: HashMap::new(),
            refused: None,
            reported: false,
        })
    }

    /// Arms what is wanted now, until nothing moves meanwhile. Whether the folder itself was armed anew: then events may have
    /// been missed, and all its files count as new.
    pub(super) fn settle(&mut self, folder: &Path) -> bool {
        let mut anew = false;
        for _ in 0..ROUNDS {
            let wanted = wanted(folder);
            let (armed, settled) = self.arm(&wanted);
            anew |= armed.iter().any(|path| path == folder);
            // Nothing wanted: the path changed during the look itself.
            if settled && !wanted.is_empty() {
                break;
            }
        }
        if let Some(reason) = &self.refused
            && !std::mem::replace(&mut self.reported, true)
        {
            tracing::warn!(?folder, %reason, "no events from a watched folder; it is only looked at on each heartbeat");
        }
        anew
    }

    /// Whatever is watched at `path` or below is dead, or follows something that has moved away.
    pub(super) fn forget(&mut self, path: &Path) {
        let below: Vec<PathBuf> = self.armed.keys().filter(|armed| armed.starts_with(path)).cloned().collect();
        for path in below {
            self.armed.remove(&path);
            // notify has often dropped it already, and then says so.
            let _ = self.watcher.unwatch(&path);
        }
    }

    /// What was armed anew, and whether nothing had to be done: then what was wanted is what was armed before it was looked up.
    fn arm(&mut self, wanted: &BTreeMap<PathBuf, Identity>) -> (Vec<PathBuf>, bool) {
        let stale: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(path, is)| wanted.get(*path) != Some(is))
            .map(|(path, _)| path.clone())
            .collect();
        let mut settled = stale.is_empty();
        for path in stale {
            self.forget(&path);
        }
        let mut anew = Vec::new();
        for (path, is) in wanted {
            if self.armed.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(path.clone(), *is);
                    anew.push(path.clone());
                }
                // Gone again between the look and the watch: the next round sees it.
                Err(refused) if is_gone(&refused) => settled = false,
                Err(refused) => self.refused = Some(refused),
            }
        }
        settled &= anew.is_empty();
        (anew, settled)
    }
}

/// notify has two ways of saying so: before and after it has the watch.
fn is_gone(refused: &notify::Error) -> bool {
    match &refused.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(reason) => reason.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The folders to watch so that `folder` is known to be the right one: itself; the parent of each link on the way, because
/// swapping a link notifies nobody else; and where the path ends, the last one that exists.
fn wanted(folder: &Path) -> BTreeMap<PathBuf, Identity> {
    let mut wanted = BTreeMap::new();
    let mut want = |path: &Path| {
        if let Some(is) = Identity::of_folder(path) {
            wanted.insert(path.to_path_buf(), is);
        }
    };
    let way: Vec<&Path> = folder.ancestors().collect();
    for step in way.into_iter().rev() {
        let Some(parent) = step.parent() else { continue };
        match std::fs::symlink_metadata(step) {
            Ok(found) if found.is_symlink() => want(parent),
            Ok(_) => {}
            Err(_) => {
                want(parent);
                break;
            }
        }
    }
    // Last, so that a folder that appears meanwhile is in, whatever the steps were.
    want(folder);
    wanted
}

/// What one event comes to.
enum Meaning {
    /// An artifact's name was renamed into the folder; the cookie pairs the two events of one rename.
    Renamed {
        path: PathBuf,
        cookie: Option<usize>,
        at: Instant,
    },
    /// The rest is the watch's own thread's to decide.
    Other(Signal),
}

/// What an event means, and `None` for most: each time that anybody opens a file there is one.
fn translate(folder: &Path, files: &Files, event: notify::Result<Event>) -> Option<Meaning> {
    let at = Instant::now();
    let Ok(event) = event else {
        return Some(Meaning::Other(Signal::Overflow));
    };
    if event.need_rescan() {
        return Some(Meaning::Other(Signal::Overflow));
    }
    let cookie = event.tracker();
    let path = event.paths.into_iter().next_back()?;
    let inside = path.parent() == Some(folder);
    if inside && files.has(&path) {
        return match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
                Some(Meaning::Renamed { path, cookie, at })
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                Some(Meaning::Other(Signal::Removed { path, at }))
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Any => Some(Meaning::Other(Signal::Touched { path, at })),
            EventKind::Access(_) | EventKind::Other => None,
        };
    }
    let on_the_way = folder.starts_with(&path);
    match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => None,
        _ if on_the_way => Some(Meaning::Other(Signal::Way { path })),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) if inside => {
            Some(Meaning::Other(Signal::SiblingChanged { at }))
        }
        _ => None,
    }
}
