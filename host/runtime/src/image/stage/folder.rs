//! The private folder of a host, from its lock to its end, and the copies in it. Cleaners of temporary folders may remove it under a
//! running host, and anybody may then put something else in its place. So it is looked at before and after each copy is written: if it
//! is not the folder that was made here, another one is made, and nothing is written to, read from or removed where the first one was.

use parking_lot::Mutex;
use reslot_report::StageError;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::{PREFIX, PrivateCopies, Spares, memory};

pub(super) const LOCK: &str = ".lock";

/// Only a sweeper that holds the new folder's lock makes a host try again, so a few attempts are plenty.
const ATTEMPTS: usize = 16;

/// The private folder of one host, for its copies of artifacts.
///
/// It is removed when it and all its files are dropped. If files were kept, it stays, and stays locked until the process
/// ends; a later host's [`sweep`](super::sweep) then removes it. Clones are the same folder.
#[derive(Debug, Clone)]
pub struct StagingFolder(Arc<Home>);

#[derive(Debug)]
struct Home {
    base: PathBuf,
    copies: PrivateCopies,
    first: Link,
    /// Held while a folder is made again.
    renewing: Mutex<()>,
    restored: Mutex<Vec<Restored>>,
}

/// The folders that this host has had, in their order. None is ever taken out, so that the last one's path can be borrowed.
#[derive(Debug)]
struct Link {
    folder: Arc<Folder>,
    next: OnceLock<Box<Link>>,
}

/// The private folder was gone, or its lock was, and was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where it was.
    pub was: PathBuf,
    /// Where it is; the same if only its lock was gone.
    pub now: PathBuf,
}

/// Device and inode: no other file has them as long as this one is open or mapped.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The folder itself, held open. Locked as well where that works, because systemd-tmpfiles spares a folder that is: a host may
    /// run for months.
    opened: Mutex<Option<File>>,
    identity: Identity,
    /// Held open and locked: this is what says that the folder is in use.
    lock: Mutex<Option<Lock>>,
    /// Another folder is at its path, or none.
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

/// What a folder is found to be.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Whole,
    /// Its lock is not where it was.
    WithoutLock,
    /// It is not where it was.
    Gone,
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
    Here { memory: Option<OwnedFd>, folder: Arc<Folder> },
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

    /// Where it is now: it is made again, elsewhere, if it is removed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder().path
    }

    /// Where its copies are.
    #[must_use]
    pub fn copies(&self) -> PrivateCopies {
        self.0.copies
    }

    /// Where this folder's copies go when nobody needs them any more.
    pub(crate) fn spares(&self) -> Spares {
        self.folder().spares.clone()
    }

    /// Whether what is at its path is the folder that was made here.
    pub(crate) fn is_there(&self) -> bool {
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

    /// Makes the folder, or its lock, again if somebody has removed or replaced it.
    ///
    /// # Errors
    /// If it cannot be made, or if the process has changed its user and may not look into the folder any more.
    pub(crate) fn renew(&self) -> Result<(), StageError> {
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
            // Somebody else has its lock.
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
        // Nobody else adds one: see `renewing`.
        let _ = last.next.set(Box::new(Link::new(made)));
        Ok(())
    }

    /// What was made again since this was asked last, to be told.
    pub(crate) fn take_restored(&self) -> Vec<Restored> {
        std::mem::take(&mut *self.0.restored.lock())
    }

    /// Writes `bytes` as `<name_hint>-<random>.so`: a real copy, whose inode is no mapped image's, because the loader hands out the
    /// old image for anything that it recognises. Not synced: the copy need not outlive the process. If the folder is gone, it is made
    /// again before.
    ///
    /// # Errors
    /// If the file cannot be made or written; nothing of it then remains.
    pub fn write(&self, name_hint: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        let mut attempts = 0..2;
        loop {
            self.renew()?;
            let folder = self.folder().clone();
            let written = match write_once(&folder, self.0.copies, name_hint, bytes) {
                // What is only kept to be written over must not be what is missing.
                Err(StageError::NoSpace { .. }) if folder.spares.clear() => {
                    write_once(&folder, self.0.copies, name_hint, bytes)
                }
                written => written,
            };
            // A lookup may be allowed to a user who may write nothing.
            if written.is_err() {
                folder.check_user()?;
            }
            attempts.next();
            // It may have gone between the look and the writing. A file that was written then is not to be opened.
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
            // Without a lock, a sweeper came between: it removes the folder, and so does dropping `made`.
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
                // Copies are no files there, so no file is ever written over.
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
        let named = std::fs::symlink_metadata(self.path.join(LOCK));
        let held = self.lock.lock().as_ref().map(|lock| lock.identity);
        match named.is_ok_and(|named| Some(identity(&named)) == held) {
            true => Look::Whole,
            false => Look::WithoutLock,
        }
    }

    /// What another user may not look at is not gone.
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

    /// Whether what is at its path is this folder, and nothing that was put in its place.
    fn is_there(&self) -> bool {
        let found = || std::fs::symlink_metadata(&self.path);
        !self.lost.load(Ordering::Relaxed) && found().is_ok_and(|found| identity(&found) == self.identity)
    }

    /// Answers whether it is locked again.
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

    /// Another folder takes its place. What is still in it goes when it is needed no more.
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
            // Still mapped, so still in use: locked until the process ends.
            std::mem::forget(self.lock.lock().take());
            std::mem::forget(self.opened.lock().take());
        } else {
            let _ = std::fs::remove_file(self.path.join(LOCK));
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Takes the lock; `None` if somebody else has it, or if the file at `path` is no longer the one that was locked, which is
/// what happens when a sweeper and a new host meet: exactly one of them goes on.
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
