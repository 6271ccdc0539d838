//! Making the private copy: reading an artifact only when it is whole, and writing it under a name that no loader has seen.
//!
//! What lives here is the safe way from a path that others write to a file that only this process knows, and the folder that
//! these files stand in, from its lock to the sweeping of those that dead processes left. What does not live here: any look
//! into the bytes beyond the first four (lint does that), and anything that opens a library.

mod bytes;
mod memory;
mod source;
mod spares;
mod sweep;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use bytes::Bytes;
pub use memory::PrivateCopies;
pub(crate) use memory::holding as memory_holding;
pub(crate) use source::read_other;
pub use source::{Source, StageLimits, read_patiently, read_source};
pub(crate) use spares::Spares;
use sweep::is_staging_name;
pub use sweep::sweep;

const PREFIX: &str = "reslot-";
const LOCK: &str = ".lock";
/// The one folder that a private folder may have in it.
pub(crate) const HISTORY: &str = ".history";

/// Only a sweeper that holds the new folder's lock makes a host try again, so a few attempts are plenty.
const ATTEMPTS: usize = 16;

/// Why an artifact could not be read or copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// Somebody has it open for writing.
    #[error("{path:?} is still being written")]
    BeingWritten {
        /// The artifact.
        path: PathBuf,
    },
    /// It was not the same before and after it was read.
    #[error("{path:?} changed while it was read")]
    ChangedWhileRead {
        /// The artifact.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// What was to be read.
        path: PathBuf,
    },
    /// Larger than is allowed.
    #[error("{path:?} has {len} bytes, and the limit is {max_bytes}")]
    TooLarge {
        /// The artifact.
        path: PathBuf,
        /// Its size.
        len: u64,
        /// The host's limit.
        max_bytes: u64,
    },
    /// A large file that begins like no library.
    #[error("{path:?} begins with {found:02x?}, which no ELF library does; it was not read further")]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: [u8; 4],
    },
    /// The disk or the quota is full.
    #[error("no space for the {needed} bytes of {path:?}")]
    NoSpace {
        /// The copy that could not be written.
        path: PathBuf,
        /// How large it would have been.
        needed: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else that the system refused.
    #[error("could not {doing} {path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StageError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BeingWritten { .. } | Self::ChangedWhileRead { .. } => {
                "nothing, it is tried again by itself; writing elsewhere and renaming into place avoids the wait"
            }
            Self::NotAFile { .. } => "put the built library itself, or a link to it, there",
            Self::TooLarge { .. } => "strip the library, or raise the limit",
            Self::NotALibrary { .. } => "publish the library that cargo built, a file named lib….so",
            Self::NoSpace { .. } => "free some space, or give the host another `private_base`",
            Self::Io { .. } => "check that it exists and that the host's user may do that, and publish it again",
        }
    }

    /// Whether trying again soon, without another notice, makes sense.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::BeingWritten { .. } | Self::ChangedWhileRead { .. })
    }

    fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            doing,
            source,
        }
    }

    fn writing(path: &Path, needed: usize, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                path: path.to_path_buf(),
                needed,
                source,
            },
            _ => Self::io(path, "write the copy", source),
        }
    }
}

/// The private folder of one host, for its copies of artifacts.
///
/// It is removed when it and all its files are dropped. If files were kept, it stays, and stays locked until the process
/// ends; a later host's [`sweep`] then removes it.
#[derive(Debug)]
pub struct StagingFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held open and locked: this is what says that the folder is in use.
    lock: Option<File>,
    /// Locked as well, because systemd-tmpfiles spares a folder that is: a host may run for months.
    aging: Option<File>,
    process: u32,
    copies: PrivateCopies,
    spares: Spares,
}

/// A copy; it is deleted when this is dropped, unless it is lent.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// In a folder of this process; behind a link, if there is memory.
    Here { memory: Option<OwnedFd>, folder: Arc<Inner> },
    /// By another process, with what the kernel's map calls it.
    Lent { name_in_map: PathBuf },
}

impl StagingFolder {
    /// Makes `reslot-<pid>-<random>` in `base`, which must exist and be local to this machine. `std::env::temp_dir()` is the usual
    /// base. If nobody asks for a kind of copies, they are files, or memory where `base` is mounted noexec.
    ///
    /// # Errors
    /// If the folder or its lock cannot be made.
    pub fn create(base: &Path, copies: Option<PrivateCopies>) -> Result<Self, StageError> {
        let copies = match copies {
            Some(asked) => asked,
            None if memory::forbids_execution(base).map_err(|source| StageError::io(base, "look at", source))? => {
                tracing::warn!(
                    ?base,
                    "it is mounted noexec, so private copies are kept in memory; `private_base` names another folder"
                );
                PrivateCopies::Memory
            }
            None => PrivateCopies::Files,
        };
        let process = std::process::id();
        for _ in 0..ATTEMPTS {
            let made = tempfile::Builder::new()
                .prefix(&format!("{PREFIX}{process}-"))
                .rand_bytes(12)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(base)
                .map_err(|source| StageError::io(base, "make a staging folder in", source))?;
            let lock = made.path().join(LOCK);
            let locked = lock_file(&lock, true).map_err(|source| StageError::io(&lock, "lock", source))?;
            // Without a lock, a sweeper came between: it removes the folder, and so does dropping `made`.
            if let Some(locked) = locked {
                let aging = File::open(made.path()).ok().filter(|folder| folder.try_lock().is_ok());
                let path = made.keep();
                let spares = Spares::new(&path);
                if copies == PrivateCopies::Memory {
                    // Copies are no files there, so no file is ever written over.
                    spares.close();
                }
                let inner = Inner {
                    spares,
                    path,
                    lock: Some(locked),
                    aging,
                    process,
                    copies,
                };
                return Ok(Self { inner: Arc::new(inner) });
            }
        }
        let source = io::Error::other("each new folder was swept at once");
        Err(StageError::io(base, "keep a staging folder in", source))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Where its copies are.
    #[must_use]
    pub fn copies(&self) -> PrivateCopies {
        self.inner.copies
    }

    /// Where this folder's copies go when nobody needs them any more.
    pub(crate) fn spares(&self) -> Spares {
        self.inner.spares.clone()
    }

    /// Writes `bytes` as `<name_hint>-<random>.so`: a real copy, whose inode is no mapped image's, because the loader hands out the
    /// old image for anything that it recognises. Not synced: the copy need not outlive the process.
    ///
    /// # Errors
    /// If the file cannot be made or written; nothing of it then remains.
    pub fn write(&self, name_hint: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        match self.write_once(name_hint, bytes) {
            // What is only kept to be written over must not be what is missing.
            Err(StageError::NoSpace { .. }) if self.inner.spares.clear() => self.write_once(name_hint, bytes),
            written => written,
        }
    }

    fn write_once(&self, name_hint: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        let prefix = file_prefix(name_hint);
        let mut named = tempfile::Builder::new();
        named.prefix(&prefix).suffix(".so").rand_bytes(12);
        let failed = |source| StageError::writing(&self.path().join(name_hint), bytes.len(), source);
        if self.inner.copies == PrivateCopies::Memory {
            let made = named
                .make_in(self.path(), |link| memory::write(link, bytes))
                .map_err(failed)?;
            let (memory, path) = made
                .keep()
                .map_err(|kept| StageError::io(kept.file.path(), "keep", kept.error))?;
            return Ok(self.staged(path, Some(memory)));
        }
        let mut file = named
            .permissions(Permissions::from_mode(0o600))
            .make_in(self.path(), |path| match self.inner.spares.take(path) {
                Some(spare) => Ok(spare),
                None => OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path),
            })
            .map_err(failed)?;
        let len = bytes.len() as u64;
        // A spare may have been longer.
        let written = file
            .as_file_mut()
            .write_all(bytes)
            .and_then(|()| match file.as_file().metadata()?.len() {
                found if found > len => file.as_file().set_len(len),
                _ => Ok(()),
            });
        if let Err(source) = written {
            return Err(StageError::writing(file.path(), bytes.len(), source));
        }
        let path = file.into_temp_path();
        let path = path.keep().map_err(|kept| StageError::io(&kept.path, "keep", kept.error))?;
        Ok(self.staged(path, None))
    }

    fn staged(&self, path: PathBuf, memory: Option<OwnedFd>) -> StagedFile {
        let folder = Arc::clone(&self.inner);
        let kept = Kept::Here { memory, folder };
        StagedFile { path, kept }
    }
}

impl StagedFile {
    /// Another process's copy, or a link to its memory, which that process keeps as long as this one needs it.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn lent(path: PathBuf) -> Result<Self, StageError> {
        let name_in_map = memory::name_of_lent(&path).map_err(|source| StageError::io(&path, "open", source))?;
        let kept = Kept::Lent { name_in_map };
        Ok(Self { path, kept })
    }

    /// The copy's full path, under which the loader knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel's map of this process calls it.
    #[must_use]
    pub fn name_in_map(&self) -> PathBuf {
        match &self.kept {
            Kept::Here { memory: Some(_), .. } => memory::name_in_map(&self.path),
            Kept::Here { memory: None, .. } => self.path.clone(),
            Kept::Lent { name_in_map } => name_in_map.clone(),
        }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // A forked child has a copy of this value, and none of the rights.
        if let Kept::Here { folder, .. } = &self.kept
            && std::process::id() == folder.process
        {
            let _ = folder.spares.give_up(&self.path);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        self.spares.close();
        let files_remain = std::fs::read_dir(&self.path)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != OsStr::new(LOCK)));
        if files_remain {
            // Still mapped, so still in use: locked until the process ends.
            std::mem::forget(self.lock.take());
            std::mem::forget(self.aging.take());
        } else {
            let _ = std::fs::remove_file(self.path.join(LOCK));
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Takes the lock; `None` if somebody else has it, or if the file at `path` is no longer the one that was locked, which is
/// what happens when a sweeper and a new host meet: exactly one of them goes on.
fn lock_file(path: &Path, create: bool) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // The folder itself went: only a sweeper does that.
        Err(gone) if create && gone.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(other),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(source),
    }
    let held = file.metadata()?;
    let named = std::fs::symlink_metadata(path);
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
    Ok(same.then_some(file))
}

/// Whether a path is that of a private copy, of whichever folder in this process.
pub(crate) fn is_private_copy(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(is_staging_name)
}

/// A file name's beginning that is readable in a debugger and harmless everywhere.
fn file_prefix(hint: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || "_-".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let hint: String = hint.chars().take(64).map(plain).collect();
    if hint.is_empty() {
        "artifact-".into()
    } else {
        format!("{hint}-")
    }
}
