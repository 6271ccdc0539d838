//! Telling files and folders apart by what `stat` says, following links. No content is read here: two files that look the
//! same are for the receiver's hash to tell apart.

use super::Files;
use rustix::fs::{Dir, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which folder it is. Inode numbers are used again at once by some file systems, so its birth counts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// `None` if there is no folder.
    pub(super) fn of_folder(path: &Path) -> Option<Self> {
        let found = metadata(path).filter(std::fs::Metadata::is_dir)?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            born: found.created().ok(),
        })
    }
}

/// What a file looks like. The change time tells of a write whose author put the old modification time back (`cp -p`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// `None` if there is no regular file, also behind a link.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = metadata(path).filter(std::fs::Metadata::is_file)?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// How often a path is asked for that may only be out of reach for a moment.
const LOOKS: usize = 3;

/// None if there is nothing at this path. A system that has no memory for a moment has not answered: a folder must not count as missing
/// because of that.
fn metadata(path: &Path) -> Option<std::fs::Metadata> {
    let mut looks = (0..LOOKS).map(|_| std::fs::metadata(path));
    let is_gone = |error: &std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    looks.find(|found| found.as_ref().map_or_else(is_gone, |_| true))?.ok()
}

/// How the names of artifacts end: libraries, and WebAssembly modules. A compiled module (`cwasm`) is noticed so that its refusal is reported:
/// nothing in it can be checked.
const ARTIFACT_ENDINGS: [&str; 3] = ["so", "wasm", "cwasm"];

/// Whether this name could be an artifact's: hidden files are other people's temporary ones.
pub(crate) fn is_artifact(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_known = |ending: &OsStr| ARTIFACT_ENDINGS.iter().any(|known| ending == *known);
    !hidden && path.extension().is_some_and(is_known)
}

/// All files of the folder that are of interest; none if it cannot be read, which the next look finds out again.
pub(super) fn list(folder: &Path, files: &Files) -> BTreeMap<PathBuf, Fingerprint> {
    // Not with `std::fs::read_dir`, which panics if the system cannot close the folder again, and so would end the watch.
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).and_then(Dir::new);
    let entries = opened.into_iter().flatten().flatten();
    entries
        .map(|entry| folder.join(OsStr::from_bytes(entry.file_name().to_bytes())))
        .filter(|path| files.has(path))
        .filter_map(|path| Fingerprint::of(&path).map(|seen| (path, seen)))
        .collect()
}
