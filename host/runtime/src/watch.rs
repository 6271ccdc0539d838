//! Watches one folder for files that could be loaded (or for certain names: a configuration, resources), and sends one
//! notice for each new or changed file.
//!
//! This module decides *when* a file is due: at once if it was renamed into place, after a quiet moment if it was written
//! there. It does not judge the content: `image::stage` reads the file safely, the lint checks it, and the receiver skips an
//! equal hash. So an extra notice is harmless, and a missing notice is a bug.

mod file_watch;
mod fingerprint;
mod keeper;
mod native;
#[cfg(test)]
mod tests;

use reslot_sync::{
    Instant, RwLock,
    mpsc::{self, Sender},
    thread::{self, JoinHandle},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use file_watch::FileWatch;
use fingerprint::Fingerprint;
pub(crate) use fingerprint::is_artifact;
use reslot_report::remedies::{self, Purpose};
use reslot_system::background::{self, Kind};
use rustix::fs::inotify;

use keeper::{Keeper, Signal};
use native::Native;

/// A notice to the watch's receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A file that could be an artifact is new or has changed.
    Artifact {
        /// The file: the watched folder's absolute path and the file's name.
        path: PathBuf,
        /// It arrived by rename, so its author had finished writing it.
        complete: bool,
        /// When the last event of the change arrived; the debounce is counted from here.
        at: Instant,
    },
    /// A file that could be an artifact has been missing for a while; its folder exists.
    Deleted {
        /// The file.
        path: PathBuf,
        /// When the watch found this.
        at: Instant,
    },
    /// The folder is missing; also sent once if it is missing at the start.
    FolderGone {
        /// The watched folder.
        folder: PathBuf,
        /// When the watch found this.
        at: Instant,
    },
    /// The folder exists (again). Its files follow, each as [`Notice::Artifact`].
    FolderBack {
        /// The watched folder.
        folder: PathBuf,
        /// When the watch found this.
        at: Instant,
    },
}

/// The receiver of notices.
type Deliver = Arc<dyn Fn(Notice) + Send + Sync>;

/// Which files of a folder are watched.
#[derive(Debug, Clone, Default)]
pub enum Files {
    /// Files that could be artifacts.
    #[default]
    Artifacts,
    /// Files with these names; names may be added later.
    Named(Arc<RwLock<BTreeSet<OsString>>>),
}

impl Files {
    fn has(&self, path: &Path) -> bool {
        match self {
            Self::Artifacts => is_artifact(path),
            Self::Named(names) => path.file_name().is_some_and(|name| names.read().contains(name)),
        }
    }
}

/// How a folder is watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// How long a file that was not renamed into place must be quiet. Default: 4 ms, so that with the wake-up after it less than 5 are added.
    pub debounce: Duration,
    /// `Some(interval)`: scan the folder at each interval instead of asking the system for events; a file is delivered once
    /// two scans found it unchanged. For network mounts and containers that get no events. Default: `None`.
    pub polling: Option<Duration>,
    /// How often the watch checks everything in addition to events: a path component may have been replaced, or an event
    /// missed. Default: 500 ms.
    pub heartbeat: Duration,
    /// How long a file must be missing before it counts as deleted, because some programs delete a file before they replace
    /// it. Default: 2 s.
    pub gone_after: Duration,
    /// Which of its files. Default: those that could be artifacts.
    pub(crate) files: Files,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(4),
            polling: None,
            heartbeat: Duration::from_millis(500),
            gone_after: Duration::from_secs(2),
            files: Files::Artifacts,
        }
    }
}

/// Why a folder cannot be watched.
///
/// ```
/// use reslot::{BuildError, Host, WatchError};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("libpricer.so");
/// # std::fs::write(&file, "")?;
/// let error = Host::builder().watch(&file).build().unwrap_err(); // a file where a folder should be
/// let BuildError::Watch(error) = error else { panic!("{error}") };
/// assert!(matches!(error, WatchError::NotAFolder { .. }));
/// assert_eq!(error.remedy(), "name the folder that artifacts are put into");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The path cannot be made absolute.
    #[error("cannot watch {folder:?}: its absolute path cannot be found: {source}")]
    Path {
        /// The folder as it was given.
        folder: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The path is not a folder.
    #[error("cannot watch {folder:?}: it is not a folder")]
    NotAFolder {
        /// The path to watch.
        folder: PathBuf,
    },
    /// The system offers no events for it.
    #[error("cannot get events for {folder:?}: {source}")]
    Native {
        /// The path to watch.
        folder: PathBuf,
        /// notify's reason.
        source: notify::Error,
    },
    /// The user has reached the limit of inotify instances.
    #[error("cannot get events for {folder:?}: this user has too many inotify instances")]
    Instances {
        /// The path to watch.
        folder: PathBuf,
    },
    /// The system refuses a thread.
    #[error("cannot watch {folder:?}: no thread could be started: {source}")]
    Thread {
        /// The path to watch.
        folder: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl WatchError {
    /// What a person can do about this error.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Path { .. } => "give an absolute path",
            Self::NotAFolder { .. } => "name the folder that artifacts are put into",
            Self::Native { source, .. } => match &source.kind {
                notify::ErrorKind::Io(source) => remedies::of(source, Purpose::Watch),
                notify::ErrorKind::MaxFilesWatch => remedies::of(&std::io::ErrorKind::StorageFull.into(), Purpose::Watch),
                _ => remedies::of(&std::io::ErrorKind::Other.into(), Purpose::Watch),
            },
            Self::Instances { .. } => {
                "raise fs.inotify.max_user_instances, end other programs of this user that watch folders, or have the host look in \
                 intervals (`HostBuilder::poll`)"
            }
            Self::Thread { source, .. } => remedies::of(source, Purpose::Thread),
        }
    }

    fn native(folder: &Path, source: notify::Error) -> Self {
        let folder = folder.to_path_buf();
        let is_full = |source: &std::io::Error| source.raw_os_error() == Some(libc::EMFILE);
        match &source.kind {
            // The kernel says the same of descriptors and of instances: it means the latter if it refuses one while there are descriptors.
            notify::ErrorKind::Io(reason)
                if is_full(reason)
                    && inotify::init(inotify::CreateFlags::CLOEXEC).is_err()
                    && std::fs::File::open("/dev/null").is_ok() =>
            {
                Self::Instances { folder }
            }
            _ => Self::Native { folder, source },
        }
    }
}

/// The files in `folder` that could be artifacts, sorted; none if the folder is missing.
///
/// For the first load: start the watch, *then* scan. A file that changes in between is then seen by both, not by neither.
#[must_use]
pub fn scan(folder: &Path) -> Vec<PathBuf> {
    fingerprint::list(folder, &Files::Artifacts).into_keys().collect()
}

/// The artifacts of a folder at one moment, by what their files look like: to tell whether one was published since.
#[derive(Default)]
pub(crate) struct Listing(BTreeMap<PathBuf, Fingerprint>);

impl Listing {
    /// Lists this folder now.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(fingerprint::list(folder, &Files::Artifacts))
    }

    /// Whether this file was listed, and has not changed since.
    pub(crate) fn still_has(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(|seen| Fingerprint::of(path) == Some(*seen))
    }
}

/// A watched folder; dropping it ends the watch and its threads.
#[derive(Debug)]
pub struct Watch {
    signals: Option<Sender<Signal>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches `folder`, not its subfolders, for files named `*.so`, `*.wasm` or `*.cwasm` that do not begin with a dot, or those of the options.
    /// When this returns, the watch is in place; what is in the folder already is taken as known (see [`scan`]). The folder
    /// may be missing: it is picked up when it appears. `deliver` is called on the watch's own threads, so it should only
    /// pass the notice on.
    ///
    /// # Errors
    /// If the system cannot give events for an existing folder, or a thread.
    pub fn start(
        folder: PathBuf,
        options: WatchOptions,
        deliver: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Self, WatchError> {
        let folder = match std::path::absolute(&folder) {
            Ok(absolute) => absolute,
            Err(source) => return Err(WatchError::Path { folder, source }),
        };
        if std::fs::metadata(&folder).is_ok_and(|found| !found.is_dir()) {
            return Err(WatchError::NotAFolder { folder });
        }
        let (signals, inbox) = mpsc::channel();
        let deliver: Deliver = Arc::new(deliver);
        let native = match options.polling {
            Some(_) => None,
            None => Some(Native::new(&folder, options.files.clone(), signals.clone(), deliver.clone())?),
        };
        let mut keeper = Keeper::new(folder.clone(), options, native, deliver);
        keeper.begin()?;
        let thread = background::spawn(Kind::Background, "reslot-watch", move || keeper.run(&inbox))
            .map_err(|source| WatchError::Thread { folder, source })?;
        Ok(Self {
            signals: Some(signals),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(signals) = self.signals.take() {
            let _ = signals.send(Signal::Stop);
        }
        if let Some(thread) = self.thread.take()
            // Dropped inside `deliver`: the thread ends as soon as that returns, and cannot wait for itself.
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
