//! The socket's file. It is opened so that no other user can ever reach it, and removed so that no other socket is removed.
//!
//! The umask belongs to the whole process, so it is not changed. The socket is bound in a new folder that only this user may
//! enter, gets its mode there, and is then renamed: at its final path it always has its final mode. A lock on a file beside
//! it protects looking at an existing socket, replacing it, and removing it. The holder of the lock removes the lock's file,
//! so after locking the next holder checks that the file still has its name.

use crate::{
    path::{connect_to, through},
    peer::{self, Peer},
};
use reslot_runtime::surface::{Reason, remedy};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the lock. Hosts hold it only for a few system calls.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Why a host could not open its control socket.
///
/// ```
/// use reslot::{BuildError, Host, control::{ControlError, ControlSocket}};
///
/// # let plugins = example_plugins::folder();
/// let socket = plugins.join("control.sock");
/// let first = Host::builder().attach(ControlSocket::at(&socket)).build()?;
/// let error = Host::builder().attach(ControlSocket::at(&socket)).build().unwrap_err();
/// let BuildError::Surface(error) = error else { panic!("{error}") };
/// let error: &ControlError = error.downcast_ref().expect("it is the socket's");
/// assert_eq!(error.remedy(), "end that host first, or give each host a socket of its own");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another process, or another host of this process, listens there.
    #[error("the control socket {path:?} is in use: {} listens there", peer::in_words(*.process))]
    Taken {
        /// The socket.
        path: PathBuf,
        /// The process id; none if it is not visible.
        process: Option<u32>,
    },
    /// The path exists and is not a socket. It is not changed.
    #[error("the control socket {path:?} cannot be opened: the path is {found}")]
    NotASocket {
        /// The socket.
        path: PathBuf,
        /// What the path is.
        found: &'static str,
    },
    /// Another process holds the lock and does not release it.
    #[error("the control socket {path:?} cannot be opened: another process holds the lock {lock:?}")]
    Locked {
        /// The socket.
        path: PathBuf,
        /// The lock's file.
        lock: PathBuf,
    },
    /// The system refused.
    #[error("could not {doing} for the control socket {path:?}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The refused operation.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "end that host first, or give each host a socket of its own",
            Self::NotASocket { .. } => "name another path, or move the file away",
            Self::Locked { .. } => "check whether that process is stopped, and try again",
            Self::Io { source, .. } => remedy(source, |reason| match reason {
                Reason::Denied => "name a path in a folder that belongs to the host's user",
                Reason::ReadOnly => "name a path on a file system that is mounted writable, in a folder of the host's user",
                Reason::Space => "free some space there, or name a path on another file system",
                Reason::Missing => "name a path whose folder exists or can be made",
                Reason::NoFolder => "name another path: part of this one is not a folder",
                _ => "name another path, on a local file system, in a folder of the host's user",
            }),
        }
    }
}

/// An open socket. Dropping it removes its file, if the path is still this socket.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode. No other file can have them while the listener is open.
    identity: (u64, u64),
}

impl Listening {
    /// Opens the socket.
    pub(crate) fn open(path: &Path) -> Result<Self, ControlError> {
        let failed = |doing| {
            move |source| ControlError::Io {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        let path = &std::path::absolute(path).map_err(failed("find the absolute path"))?;
        let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(failed("find a file's name")(ErrorKind::InvalidFilename.into()));
        };
        let make = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make.map_err(failed("make the folder"))?;
        let _lock = Lock::take(path)?;
        make_room(path)?;
        let private = tempfile::Builder::new()
            .prefix(".reslot-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(folder)
            .map_err(failed("make a folder"))?;
        let opened = File::open(private.path()).map_err(failed("open a folder"))?;
        let short = through(&opened).join("s");
        let bound = private.path().join("s");
        let listener = UnixListener::bind(&short).map_err(failed("bind"))?;
        fs::set_permissions(&bound, Permissions::from_mode(0o600)).map_err(failed("set the mode"))?;
        let found = fs::symlink_metadata(&bound).map_err(failed("look at the file"))?;
        give_name(&bound, path).map_err(failed("give the name"))?;
        Ok(Self {
            listener,
            path: path.clone(),
            identity: (found.dev(), found.ino()),
        })
    }
}

impl Listening {
    pub(crate) fn failed(&self, doing: &'static str, source: io::Error) -> ControlError {
        let path = self.path.clone();
        ControlError::Io { path, doing, source }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Without the lock the file stays, as after a killed process, and the next host replaces it.
        let Ok(_lock) = Lock::within(&self.path, PAUSE) else { return };
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives the socket its name. It does not replace a file that appeared meanwhile, if the file system supports that.
fn give_name(bound: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(bound, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => fs::rename(bound, path),
        done => done,
    }
}

/// Removes a socket of an ended process, and nothing else.
fn make_room(path: &Path) -> Result<(), ControlError> {
    let failed = |doing| {
        move |source| ControlError::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at the path")(error)),
    };
    if !found.is_socket() {
        let found = match () {
            () if found.is_symlink() => "a symbolic link",
            () if found.is_dir() => "a folder",
            () if found.is_file() => "an ordinary file",
            () => "a pipe or a device",
        };
        return Err(ControlError::NotASocket {
            path: path.to_owned(),
            found,
        });
    }
    let taken = |process| ControlError::Taken {
        path: path.to_owned(),
        process,
    };
    match connect_to(path) {
        Ok(stream) => Err(taken(Peer::of(&stream).ok().and_then(|peer| peer.process))),
        // The process is stopped or busy, but it exists.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(taken(None)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the socket of a dead process"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("find out whether a process listens")(error)),
    }
}

/// A lock against other hosts that open a socket at the same path.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, ControlError> {
        Self::within(socket, LOCK_PATIENCE)
    }

    fn within(socket: &Path, patience: Duration) -> Result<Self, ControlError> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let begun = Instant::now();
        loop {
            if let Some(file) = Self::attempt(&path).map_err(|source| ControlError::Io {
                path: socket.to_owned(),
                doing: "lock a file beside it",
                source,
            })? {
                return Ok(Self { path, _file: file });
            }
            if begun.elapsed() > patience {
                let path = socket.to_owned();
                let mut lock = path.as_os_str().to_owned();
                lock.push(".lock");
                return Err(ControlError::Locked { path, lock: lock.into() });
            }
            thread::sleep(PAUSE);
        }
    }

    /// None if another host holds the lock, or has just removed its file.
    fn attempt(path: &Path) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let held = file.metadata()?;
        let named = fs::symlink_metadata(path);
        let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
        Ok(same.then_some(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file is removed while it is locked, so a host that opened it before sees that it lost its name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::ControlError;
    use std::{io, path::PathBuf};

    fn remedy(number: i32) -> &'static str {
        let (path, doing) = (PathBuf::from("control.sock"), "bind");
        let source = io::Error::from_raw_os_error(number);
        ControlError::Io { path, doing, source }.remedy()
    }

    #[test]
    fn each_system_error_has_a_remedy() {
        for (number, words) in [
            (libc::EMFILE, "`ulimit -n`"),
            (libc::ENFILE, "fs.file-max"),
            (libc::ENOMEM, "`ulimit -v`"),
            (libc::EROFS, "writable"),
        ] {
            assert!(
                remedy(number).contains(words) && !remedy(number).contains("publish"),
                "{words}"
            );
        }
        assert!(!remedy(libc::EIO).is_empty());
    }
}
