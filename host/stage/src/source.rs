//! Reads an artifact while other processes may write it: the complete file or nothing. It does not check the content.

use reslot_artifact::ContentHash;
use reslot_report::StageError;
use reslot_sync::{Instant, thread};
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use super::Bytes;

/// From this size on, a file's first bytes are checked before the rest is read. A smaller file is always read, so that its
/// hash is known and a refused file is not tried twice.
const LARGE: u64 = 8 << 20;

/// How long [`read_patiently`] waits, and the interval of its tries.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// From `asm-generic/fcntl.h`; the libc crate does not have it for glibc.
pub(super) const F_SETSIG: libc::c_int = 10;

/// Limits for reading.
#[derive(Debug, Clone)]
pub struct StageLimits {
    /// The largest artifact. Default: 1 GiB.
    pub max_bytes: u64,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

/// An artifact's bytes, read while no process wrote them.
pub struct Source {
    /// The path that was read.
    pub path: PathBuf,
    /// The bytes.
    pub bytes: Bytes,
    /// Their hash.
    pub hash: ContentHash,
    /// Their number.
    pub len: u64,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes are not printed, because they would fill a log.
        to.debug_struct("Source")
            .field("path", &self.path)
            .field("len", &self.len)
            .field("hash", &self.hash)
            .finish()
    }
}

/// Reads `path`, following links, if no process has it open for writing and it does not change meanwhile. An empty file is
/// accepted.
///
/// # Errors
/// See [`StageError`]; if [`StageError::is_transient`], try again soon.
pub fn read_source(path: &Path, limits: &StageLimits) -> Result<Source, StageError> {
    read_whole(path, limits.max_bytes, Is::Library)
}

/// The same for a file that is not an artifact.
///
/// # Errors
/// As [`read_source`].
pub fn read_other(path: &Path, max_bytes: u64) -> Result<Source, StageError> {
    read_whole(path, max_bytes, Is::Anything)
}

/// The expected kind of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Library,
    Anything,
}

fn read_whole(path: &Path, max_bytes: u64, is: Is) -> Result<Source, StageError> {
    let file = OpenOptions::new()
        .read(true)
        // Opening a pipe must not wait for its writer.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|source| StageError::io(path, "open", source))?;
    if !looked_at(path, file.metadata())?.is_file() {
        return Err(StageError::NotAFile {
            path: path.to_path_buf(),
        });
    }
    if has_writer(file.as_fd()) {
        return Err(StageError::BeingWritten {
            path: path.to_path_buf(),
        });
    }
    // The metadata is read after the probe, because a writer that closed just before may have changed the file.
    let before = looked_at(path, file.metadata())?;
    if before.len() > max_bytes {
        let len = before.len();
        return Err(StageError::TooLarge {
            path: path.to_path_buf(),
            len,
            max_bytes,
        });
    }
    let bytes = read_all(path, &file, &before, is)?;
    let after = looked_at(path, file.metadata())?;
    let named = std::fs::metadata(path);
    let replaced = named.is_ok_and(|named| appearance(&named) != appearance(&before));
    if replaced || appearance(&after) != appearance(&before) {
        return Err(StageError::ChangedWhileRead {
            path: path.to_path_buf(),
        });
    }
    let hash = ContentHash::of(&bytes);
    Ok(Source {
        path: path.to_path_buf(),
        hash,
        len: before.len(),
        bytes,
    })
}

/// The same, but it waits a little for a file that is open for writing. The writer may be this process's own child, which is
/// just starting and has not closed an inherited descriptor yet.
///
/// # Errors
/// As [`read_source`].
pub fn read_patiently(path: &Path, limits: &StageLimits) -> Result<Source, StageError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read_source(path, limits) {
            Err(error) if error.is_transient() && Instant::now() < deadline => thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

fn read_all(path: &Path, mut file: &File, before: &Metadata, is: Is) -> Result<Bytes, StageError> {
    let failed = |source: io::Error| match source.kind() {
        // The file became shorter while it was read.
        ErrorKind::UnexpectedEof => StageError::ChangedWhileRead {
            path: path.to_path_buf(),
        },
        _ => StageError::io(path, "read", source),
    };
    if is == Is::Library && before.len() >= LARGE {
        let mut found = [0; 4];
        file.read_exact_at(&mut found, 0).map_err(failed)?;
        if found != *b"\x7fELF" {
            return Err(StageError::NotALibrary {
                path: path.to_path_buf(),
                found,
            });
        }
    }
    let len = usize::try_from(before.len()).map_err(|_| failed(ErrorKind::OutOfMemory.into()))?;
    let mut bytes = Bytes::take();
    let room = bytes.as_mut_vec();
    room.try_reserve_exact(len)
        .map_err(|_| failed(ErrorKind::OutOfMemory.into()))?;
    file.read_to_end(room).map_err(failed)?;
    if bytes.len() != len {
        return Err(failed(ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn looked_at(path: &Path, found: io::Result<Metadata>) -> Result<Metadata, StageError> {
    found.map_err(|source| StageError::io(path, "look at", source))
}

fn appearance(found: &Metadata) -> [i128; 7] {
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    let which = [i128::from(found.dev()), i128::from(found.ino()), i128::from(found.size())];
    let when = [modified.0, modified.1, changed.0, changed.1].map(i128::from);
    [which[0], which[1], which[2], when[0], when[1], when[2], when[3]]
}

/// Whether a process has the file open or mapped for writing. The kernel grants a read lease only if there is no writer; the
/// lease is released at once. If leases do not work (a file of another owner, network mounts), the result is false, and only
/// the comparison before and after reading protects.
fn has_writer(file: BorrowedFd<'_>) -> bool {
    // SAFETY: fcntl on an open descriptor with these commands takes an integer and accesses no memory of this process. If another
    // process opens the file for writing while we hold the lease, the kernel sends us a signal. F_SETSIG makes it SIGURG, which is
    // ignored by default, because SIGIO would end the process. If F_SETSIG fails, the lease is not taken.
    unsafe {
        let file = file.as_raw_fd();
        if libc::fcntl(file, F_SETSIG, libc::SIGURG) != 0 {
            return false;
        }
        if libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    io::Error::last_os_error().kind() == ErrorKind::WouldBlock
}
