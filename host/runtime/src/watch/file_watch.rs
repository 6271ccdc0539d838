//! Watching files that are no artifacts, by their names: for settings, and for whatever else a surface reads.

use super::{Files, Notice, Watch, WatchError, WatchOptions};
use reslot_sync::RwLock;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A watch on files, whichever folders they are in. Folders are watched, not files, so that it does not matter whether a file is written in
/// place, renamed, deleted and made again, or reached through a link that is swapped. Dropping it ends it.
///
/// ```
/// use reslot::surface::{FileWatch, WatchOptions};
/// use std::{fs, sync::mpsc};
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("rules.toml");
/// let (changed, changes) = mpsc::channel();
/// let _watch = FileWatch::start([&file], &WatchOptions::default(), move |path| drop(changed.send(path.to_owned())))?;
/// fs::write(&file, "limit = 3")?;
/// assert_eq!(changes.recv()?, file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileWatch {
    _watches: Vec<Watch>,
}

impl FileWatch {
    /// Calls `changed` whenever one of the files has come or changed, on a thread of the watch: once too often rather than not.
    ///
    /// # Errors
    /// If one of the folders cannot be watched.
    pub fn start<P: AsRef<Path>>(
        files: impl IntoIterator<Item = P>,
        options: &WatchOptions,
        changed: impl Fn(&Path) + Send + Sync + 'static,
    ) -> Result<Self, WatchError> {
        let mut folders: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for file in files {
            let file = file.as_ref();
            if let (Some(folder), Some(name)) = (file.parent(), file.file_name()) {
                folders.entry(folder.to_owned()).or_default().insert(name.to_owned());
            }
        }
        let changed = Arc::new(changed);
        let start = |(folder, names)| {
            let options = WatchOptions {
                files: Files::Named(Arc::new(RwLock::new(names))),
                ..options.clone()
            };
            let changed = changed.clone();
            Watch::start(folder, options, move |notice| {
                if let Notice::Artifact { path, .. } = notice {
                    changed(&path);
                }
            })
        };
        let watches: Result<_, _> = folders.into_iter().map(start).collect();
        Ok(Self { _watches: watches? })
    }
}
