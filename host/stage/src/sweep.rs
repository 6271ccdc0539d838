//! Removes the staging folders of dead processes. A locked folder belongs to a living host.

use reslot_report::StageError;
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::{LOCK, lock_file};
use super::{HISTORY, PREFIX};

/// A folder without a lock file belongs to a host that is just starting, unless it is older than this.
const BIRTH: Duration = Duration::from_secs(60);

/// Removes the staging folders in `base` whose hosts are dead, and returns their paths. The folder of a living host is never
/// touched, even if the host is in another pid namespace: the lock decides, not the pid in the name. Only folders of this
/// user are removed, no links to folders. Inside them, files, links and the history's folder are removed, but not the
/// targets of links. A folder that cannot be removed is left for the next time.
///
/// # Errors
/// If `base` cannot be listed or written.
pub fn sweep(base: &Path) -> Result<Vec<PathBuf>, StageError> {
    let entries = std::fs::read_dir(base).map_err(|source| StageError::io(base, "list", source))?;
    // The owner of a new file is this process's user, even if user ids are mapped.
    let user = tempfile::tempfile_in(base)
        .and_then(|probe| probe.metadata())
        .map_err(|source| StageError::io(base, "make a file in", source))?
        .uid();
    let mut swept = Vec::new();
    for entry in entries.flatten().filter(|entry| is_staging_name(&entry.file_name())) {
        // The metadata of the entry itself, not of a link's target.
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user);
        if !ours {
            continue;
        }
        match sweep_folder(&entry) {
            Ok(true) => swept.push(entry.path()),
            Ok(false) => {}
            Err(reason) => tracing::debug!(folder = ?entry.path(), %reason, "a leftover staging folder stays"),
        }
    }
    Ok(swept)
}

fn sweep_folder(entry: &DirEntry) -> io::Result<bool> {
    let folder = entry.path();
    let lock = folder.join(LOCK);
    let held = match lock_file(&lock, false) {
        Ok(Some(held)) => held,
        Ok(None) => return Ok(false),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let age = SystemTime::now()
                .duration_since(entry.metadata()?.modified()?)
                .unwrap_or_default();
            // This removes only an empty folder. A very slow host finds its folder gone and makes another one.
            return if age > BIRTH {
                std::fs::remove_dir(&folder).map(|()| true)
            } else {
                Ok(false)
            };
        }
        Err(other) => return Err(other),
    };
    for inside in std::fs::read_dir(&folder)? {
        let inside = inside?;
        if inside.file_name() == OsStr::new(HISTORY) {
            std::fs::remove_dir_all(inside.path())?;
            continue;
        }
        if inside.file_name() != OsStr::new(LOCK) && !inside.file_type()?.is_dir() {
            std::fs::remove_file(inside.path())?;
        }
    }
    // The lock is removed last and held until the folder is gone. A process that opened it meanwhile finds that the path is
    // not that file any more.
    std::fs::remove_file(&lock)?;
    let removed = std::fs::remove_dir(&folder);
    drop(held);
    removed.map(|()| true)
}

/// The pattern is `reslot-<digits>-<random>`, so that a folder such as `reslot-notes` of the same user is not removed.
pub(super) fn is_staging_name(name: &OsStr) -> bool {
    let Some((process, random)) = name
        .to_str()
        .and_then(|name| name.strip_prefix(PREFIX))
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let digits = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    digits && !random.is_empty() && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
