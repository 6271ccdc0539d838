//! The private folder of a host, and the copies in it. Cleaners of temporary folders may remove it while the host runs, and
//! other users may then make a folder at its path. So the folder is checked before and after each copy is written. If it is
//! not the host's folder any more, the host makes another one, and does not touch the path of the first one.

use reslot_report::StageError;
use reslot_sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
use std::{
    ffi::OsStr,
    fs::{File, Metadata, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{PREFIX, PrivateCopies, Spares, memory};

pub(super) const LOCK: &str = ".lock";

/// The number of attempts. A retry is needed only if another host's sweep holds the new folder's lock, so a few are enough.
const ATTEMPTS: usize = 16;

/// The private folder of one host, for its copies of artifacts.
///
/// It is removed when it and all its files are dropped. If files are still mapped, the folder stays, locked until the
/// process ends; a later host's [`sweep`](super::sweep) then removes it. Clones refer to the same folder.
#[derive(Debug, Clone)]
pub struct StagingFolder(Arc<Home>);

#[derive(Debug)]
struct Home {
    base: PathBuf,
    copies: PrivateCopies,
    first: Link,
    /// Locked while a folder is made again.
    renewing: Mutex<()>,
    restored: Mutex<Vec<Restored>>,
}

/// The folders that this host has had, in order. None is ever removed from the list, so the last one's path can be borrowed.
#[derive(Debug)]
struct Link {
    folder: Arc<Folder>,
    next: OnceLock<Box<Link>>,
}

/// The private folder or its lock was removed, and the host has made it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The former path.
    pub was: PathBuf,
    /// The present path. It is the same if only the lock was removed.
    pub now: PathBuf,
}

/// Device and inode. No other file has them while this one is open or mapped.
pub type Identity = (u64, u64);

/// The identity of a file.
pub fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The open folder. It is also locked if possible, because systemd-tmpfiles does not clean locked folders, and a host
    /// may run for months.
    opened: Mutex<Option<File>>,
    identity: Identity,
    /// The open and locked file, which marks the folder as in use.
    lock: Mutex<Option<Lock>>,
    /// Whether the folder is not at its path any more.
    lost: AtomicBool,
    process: u32,
    /// The effective user that made it.
    user: u32,
    spares: Spares,
}

#[derive(Debug)]
struct Lock {
    identity: Identity,
    _file: File,
}

/// The result of checking a folder.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Whole,
    /// Its lock was removed or replaced.
    WithoutLock,
    /// It was removed or replaced.
    Gone,
}

/// A private copy. It is deleted when this is dropped, unless another process owns it.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// In a folder of this process. With `memory`, the file is a link to that memory.
    Here { memory: Option<OwnedFd>, folder: Arc<Folder> },
    /// Owned by another process, with its name in the kernel's map.
    Lent { name_in_map: PathBuf },
}

impl StagingFolder {
    /// Makes `reslot-<pid>-<random>` in `base`, which must exist and be local to this machine. `std::env::temp_dir()` is the
    /// usual base. By default copies are files, or memory if `base` is mounted noexec.
    ///
    /// # Errors
    /// If the folder or its lock cannot be made.
    pub fn create(base: &Path, copies: Option<PrivateCopies>) -> Result<Self, StageError> {
        // The program may change its working folder.
        let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
        let failed = |source| StageError::PrivateFolder {
            base: base.clone(),
            lost: None,
            source,
        };
        let copies = match copies {
            Some(asked) => asked,
            None if memory::forbids_execution(&base).map_err(failed)? => {
                tracing::warn!(
                    ?base,
                    "it is mounted noexec, so private copies are kept in memory; `private_base` names another folder"
                );
                PrivateCopies::Memory
            }
            None => PrivateCopies::Files,
        };
        let folder = Folder::make(&base, copies).map_err(failed)?;
        Ok(Self(Arc::new(Home {
            base,
            copies,
            first: Link::new(folder),
            renewing: Mutex::new(()),
            restored: Mutex::default(),
        })))
    }

    /// Its present path. If the folder is removed, it is made again with another path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder().path
    }

    /// The kind of its copies.
    #[must_use]
    pub fn copies(&self) -> PrivateCopies {
        self.0.copies
    }

    /// The spare files of this folder.
    pub fn spares(&self) -> Spares {
        self.folder().spares.clone()
    }

    /// Whether the folder is still at its path.
    pub fn is_there(&self) -> bool {
        self.folder().is_there()
    }

    fn folder(&self) -> &Arc<Folder> {
        &self.last().folder
    }

    fn last(&self) -> &Link {
        let mut last = &self.0.first;
        while let Some(next) = last.next.get() {
            last = next;
        }
        last
    }

    /// Makes the folder or its lock again, if it was removed or replaced.
    ///
    /// # Errors
    /// If it cannot be made, or if the process has changed its user and may not read the folder any more.
    pub fn renew(&self) -> Result<(), StageError> {
        if self.folder().look() == Look::Whole {
            return Ok(());
        }
        self.folder().check_user()?;
        let _one_at_a_time = self.0.renewing.lock();
        let last = self.last();
        let was = &last.folder;
        match was.look() {
            Look::Whole => return Ok(()),
            Look::WithoutLock if was.lock_again() => {
                self.0.restored.lock().push(Restored {
                    was: was.path.clone(),
                    now: was.path.clone(),
                });
                return Ok(());
            }
            // Another process holds its lock.
            Look::WithoutLock => {}
            Look::Gone => {}
        }
        let made = Folder::make(&self.0.base, self.0.copies).map_err(|source| StageError::PrivateFolder {
            base: self.0.base.clone(),
            lost: Some(was.path.clone()),
            source,
        })?;
        was.leave();
        self.0.restored.lock().push(Restored {
            was: was.path.clone(),
            now: made.path.clone(),
        });
        // No other thread adds a folder: see `renewing`.
        let _ = last.next.set(Box::new(Link::new(made)));
        Ok(())
    }

    /// The folders that were made again since the last call, for events.
    pub fn take_restored(&self) -> Vec<Restored> {
        std::mem::take(&mut *self.0.restored.lock())
    }

    /// Writes `bytes` as `<name_hint>-<random>.so`. It is a real copy with a new inode, because the loader returns the old
    /// image for an inode that it knows. It is not synced, because the copy need not outlive the process. If the folder was
    /// removed, it is made again first.
    ///
    /// # Errors
    /// If the file cannot be made or written; nothing of it then remains.
    pub fn write(&self, name_hint: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        let mut attempts = 0..2;
        loop {
            self.renew()?;
            let folder = self.folder().clone();
            let written = match write_once(&folder, self.0.copies, name_hint, bytes) {
                // Spare files are deleted if the disk is full.
                Err(StageError::NoSpace { .. }) if folder.spares.clear() => {
                    write_once(&folder, self.0.copies, name_hint, bytes)
                }
                written => written,
            };
            // The user may be allowed to read the folder but not to write.
            if written.is_err() {
                folder.check_user()?;
            }
            attempts.next();
            // The folder may have been removed between the check and the write. Then the written file must not be opened.
            match folder.look() {
                Look::Whole => return written,
                _ if !attempts.is_empty() => {}
                look => {
                    let gone = io::Error::from(io::ErrorKind::NotFound);
                    let lost = look == Look::Gone && written.is_ok();
                    return if lost {
                        Err(StageError::io(&folder.path, "keep a copy in", gone))
                    } else {
                        written
                    };
                }
            }
        }
    }
}

fn write_once(folder: &Arc<Folder>, copies: PrivateCopies, name_hint: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
    let prefix = file_prefix(name_hint);
    let mut named = tempfile::Builder::new();
    named.prefix(&prefix).suffix(".so").rand_bytes(12);
    let failed = |source| StageError::writing(&folder.path.join(name_hint), bytes.len(), source);
    if copies == PrivateCopies::Memory {
        let made = named
            .make_in(&folder.path, |link| memory::write(link, bytes))
            .map_err(failed)?;
        let (memory, path) = made.keep().map_err(|kept| failed(kept.error))?;
        return Ok(StagedFile::here(folder, path, Some(memory)));
    }
    let mut file = named
        .permissions(Permissions::from_mode(0o600))
        .make_in(&folder.path, |path| match folder.spares.take(path) {
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
    // A spare file may be longer than the new content.
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
    let path = file.into_temp_path().keep().map_err(|kept| failed(kept.error))?;
    Ok(StagedFile::here(folder, path, None))
}

impl Link {
    fn new(folder: Folder) -> Self {
        Self {
            folder: Arc::new(folder),
            next: OnceLock::new(),
        }
    }
}

impl Folder {
    fn make(base: &Path, copies: PrivateCopies) -> io::Result<Self> {
        let process = std::process::id();
        for _ in 0..ATTEMPTS {
            let made = tempfile::Builder::new()
                .prefix(&format!("{PREFIX}{process}-"))
                .rand_bytes(12)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(base)?;
            let locked = lock_file(&made.path().join(LOCK), true)?;
            // If the lock is taken, another host's sweep came in between. Both the sweep and dropping `made` remove the
            // folder.
            let Some(locked) = locked else { continue };
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
                .open(made.path())?;
            let _ = opened.try_lock();
            let lock = Lock {
                identity: identity(&locked.metadata()?),
                _file: locked,
            };
            let identity = identity(&opened.metadata()?);
            let path = made.keep();
            let spares = Spares::new(&path);
            if copies == PrivateCopies::Memory {
                // Copies are in memory, so no file is ever reused.
                spares.close();
            }
            return Ok(Self {
                spares,
                path,
                opened: Mutex::new(Some(opened)),
                identity,
                lock: Mutex::new(Some(lock)),
                lost: AtomicBool::new(false),
                process,
                user: effective_user(),
            });
        }
        Err(io::Error::other("each new folder was swept at once"))
    }

    fn look(&self) -> Look {
        if !self.is_there() {
            return Look::Gone;
        }
        let held = self.lock.lock().as_ref().map(|lock| lock.identity);
        match held.is_some() && named(&self.path.join(LOCK)) == held {
            true => Look::Whole,
            false => Look::WithoutLock,
        }
    }

    /// A folder that another user may not read was not removed.
    fn check_user(&self) -> Result<(), StageError> {
        let (was, now) = (self.user, effective_user());
        match was == now {
            true => Ok(()),
            false => Err(StageError::UserChanged {
                path: self.path.clone(),
                was,
                now,
            }),
        }
    }

    /// Whether the path is still this folder.
    fn is_there(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && named(&self.path) == Some(self.identity)
    }

    /// Takes the lock again. True if it succeeded.
    fn lock_again(&self) -> bool {
        let locked = lock_file(&self.path.join(LOCK), true).and_then(|locked| match locked {
            Some(file) => {
                let identity = identity(&file.metadata()?);
                Ok(Some(Lock { identity, _file: file }))
            }
            None => Ok(None),
        });
        match locked {
            Ok(Some(lock)) => {
                *self.lock.lock() = Some(lock);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Marks the folder as replaced by another one. Its remaining files are deleted when they are not needed any more.
    fn leave(&self) {
        if self.is_there() {
            self.spares.close();
            return;
        }
        self.lost.store(true, Ordering::Relaxed);
        drop(self.lock.lock().take());
        drop(self.opened.lock().take());
    }
}

impl StagedFile {
    fn here(folder: &Arc<Folder>, path: PathBuf, memory: Option<OwnedFd>) -> Self {
        let folder = Arc::clone(folder);
        let kept = Kept::Here { memory, folder };
        Self { path, kept }
    }

    /// A copy of another process, or a link to its memory. That process keeps it as long as this one needs it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lent(path: PathBuf) -> Result<Self, StageError> {
        let name_in_map = memory::name_of_lent(&path).map_err(|source| StageError::io(&path, "open", source))?;
        let kept = Kept::Lent { name_in_map };
        Ok(Self { path, kept })
    }

    /// The copy's full path, by which the loader knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in the kernel's map of this process.
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
        // A forked child has a copy of this value, but must not delete the parent's file.
        if let Kept::Here { folder, .. } = &self.kept
            && std::process::id() == folder.process
            && folder.is_there()
        {
            let _ = folder.spares.give_up(&self.path);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::process::id() != self.process || !self.is_there() {
            return;
        }
        self.spares.close();
        let files_remain = std::fs::read_dir(&self.path)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != OsStr::new(LOCK)));
        if files_remain {
            // Files are still mapped, so the folder stays locked until the process ends.
            std::mem::forget(self.lock.lock().take());
            std::mem::forget(self.opened.lock().take());
        } else {
            let _ = std::fs::remove_file(self.path.join(LOCK));
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// How often a path is asked for that may only be out of reach for a moment.
const LOOKS: usize = 3;

/// The file that has this name; a link is not followed. None if there is none. A system that has no memory for a moment, or was interrupted,
/// has not answered: a folder must not count as removed because of that.
fn named(path: &Path) -> Option<Identity> {
    let mut looks = (0..LOOKS).map(|_| std::fs::symlink_metadata(path));
    let is_gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let found = looks.find(|found| found.as_ref().map_or_else(is_gone, |_| true));
    found?.ok().map(|found| identity(&found))
}

fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Takes the lock. `None` if another process has it, or if the file at `path` is not the locked file any more. This happens
/// when a sweep and a new host meet, and makes sure that exactly one of them continues.
pub(super) fn lock_file(path: &Path, create: bool) -> io::Result<Option<File>> {
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
        // The folder was removed by a sweep.
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
    let same = named.is_ok_and(|named| identity(&named) == identity(&held));
    Ok(same.then_some(file))
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
