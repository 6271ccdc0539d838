//! The resources that plugins have named. They are read once, and again after each event on their files; a hash detects
//! changes. Each folder with such a resource has its own watch, from the first use on.

use super::Content;
use crate::watch::{Files, Notice, Watch, WatchError, WatchOptions};
use reslot_artifact::ContentHash;
use reslot_report::StageError;
use reslot_stage::read_other;
use reslot_sync::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest size of a resource.
const MOST: u64 = 64 << 20;

/// The function that the watches call when a resource may have changed.
pub(crate) type Notices = Arc<dyn Fn(String) + Send + Sync>;

/// The result of reading a resource.
pub(crate) enum Read {
    /// Its content has changed.
    Changed,
    /// The file is open for writing; it must be read again soon.
    BeingWritten { name: String, file: PathBuf, why: String },
    /// It cannot be read; its last known content stays.
    Failed { file: PathBuf, error: String },
}

pub(super) struct Resources {
    folder: PathBuf,
    options: WatchOptions,
    notices: Notices,
    known: Mutex<BTreeMap<String, Option<Arc<Content>>>>,
    /// None after the watches have ended.
    watches: Mutex<Option<BTreeMap<PathBuf, Watched>>>,
}

struct Watched {
    names: Arc<RwLock<BTreeSet<OsString>>>,
    _watch: Watch,
}

impl Resources {
    pub(super) fn new(folder: PathBuf, options: WatchOptions, notices: Notices) -> Self {
        Self {
            // Resolves the folder now, because the working directory may change.
            folder: std::path::absolute(&folder).unwrap_or(folder),
            options,
            notices,
            known: Mutex::default(),
            watches: Mutex::new(Some(BTreeMap::new())),
        }
    }

    pub(super) fn end(&self) {
        // The lock is released first, because dropping the watches waits for their threads.
        let watches = self.watches.lock().take();
        drop(watches);
    }

    pub(super) fn learn(&self, names: &[String]) -> Vec<Read> {
        let mut troubles = Vec::new();
        for name in names {
            if self.known.lock().contains_key(name) {
                continue;
            }
            // The watch starts before the first read, so that no change is missed.
            if let Err(error) = self.watch(name) {
                let (file, error) = (self.folder.join(name), error.to_string());
                troubles.push(Read::Failed { file, error });
            }
            self.known.lock().insert(name.clone(), None);
            troubles.extend(self.read_again(name).filter(|read| !matches!(read, Read::Changed)));
        }
        troubles
    }

    pub(super) fn known(&self, names: &[String]) -> Vec<(String, Arc<Content>)> {
        let known = self.known.lock();
        let of = |name: &String| Some((name.clone(), known.get(name)?.clone()?));
        names.iter().filter_map(of).collect()
    }

    pub(super) fn read_again(&self, name: &str) -> Option<Read> {
        let file = self.folder.join(name);
        match read_other(&file, MOST) {
            Ok(source) => {
                let mut known = self.known.lock();
                let entry = known.get_mut(name)?;
                if entry.as_ref().is_some_and(|content| content.hash == source.hash) {
                    return None;
                }
                let (hash, bytes) = (source.hash, source.bytes.to_vec());
                debug_assert_eq!(hash, ContentHash::of(&bytes));
                *entry = Some(Arc::new(Content { hash, bytes }));
                Some(Read::Changed)
            }
            Err(error) if error.is_transient() => Some(Read::BeingWritten {
                name: name.to_owned(),
                file,
                why: error.to_string(),
            }),
            // The file is missing, perhaps only for a moment: its last known content stays.
            Err(StageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                let error = error.to_string();
                Some(Read::Failed { file, error })
            }
        }
    }

    fn watch(&self, name: &str) -> Result<(), WatchError> {
        let file = self.folder.join(name);
        let (Some(folder), Some(file)) = (file.parent(), file.file_name()) else {
            return Ok(());
        };
        let mut watches = self.watches.lock();
        // A load that is pending at the host's end must not start a new watch.
        let Some(watches) = watches.as_mut() else {
            return Ok(());
        };
        if let Some(watched) = watches.get(folder) {
            watched.names.write().insert(file.to_owned());
            return Ok(());
        }
        let names = Arc::new(RwLock::new(BTreeSet::from([file.to_owned()])));
        let options = WatchOptions {
            files: Files::Named(names.clone()),
            ..self.options.clone()
        };
        let (root, notices) = (self.folder.clone(), self.notices.clone());
        let watch = Watch::start(folder.to_owned(), options, move |notice| {
            if let Notice::Artifact { path, .. } = notice
                && let Some(name) = name_in(&root, &path)
            {
                notices(name);
            }
        })?;
        watches.insert(folder.to_owned(), Watched { names, _watch: watch });
        Ok(())
    }
}

fn name_in(root: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(root).ok()?.to_str()?.to_owned())
}
