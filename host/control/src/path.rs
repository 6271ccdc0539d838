//! Connects to a path of any length. An address has room for 107 bytes, and the paths of tests and builds are often longer.
//! A longer path is reached through the descriptor of its folder.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

/// The longest path that fits into an address.
const LONGEST: usize = 107;

/// A path that fits into an address, and the descriptor that must stay open while it is used.
pub(crate) fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= LONGEST {
        return Ok((path.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let folder = File::open(folder)?;
    let short = through(&folder).join(name);
    Ok((short, Some(folder)))
}

/// A short path to an open folder.
pub(crate) fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// Connects without waiting. If the process is stopped and its queue is full, the error is [`io::ErrorKind::WouldBlock`].
pub(crate) fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let (short, _folder) = short(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(&*short)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
