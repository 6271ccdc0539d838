//! Who is at the other end of a Unix socket, as the kernel noted when it was connected: nothing that the other end says of itself.

use std::{
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

/// A process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// 0 if it is not seen from here: it lives in another namespace.
    pub(crate) process: u32,
    user: u32,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        // Not through rustix: its type for this number cannot be 0, and the kernel's can.
        let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is borrowed from `stream` and so open; the kernel writes at most `length` bytes into `found`, which has
        // so many, and in which any bits are valid.
        let status = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut found).cast(),
                &raw mut length,
            )
        };
        match status {
            0 => Ok(Self {
                process: u32::try_from(found.pid).unwrap_or(0),
                user: found.uid,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether it is this process's user, or root: nobody else may ask, or be believed.
    pub(crate) fn may_ask(self) -> bool {
        self.user == 0 || self.user == rustix::process::geteuid().as_raw()
    }

    /// Whether a client of this user may believe what it says: root looks at everybody's hosts.
    pub(crate) fn may_answer(self) -> bool {
        self.may_ask() || rustix::process::geteuid().is_root()
    }
}

/// A process in words: its number, and its name if it can be had.
pub(crate) fn in_words(process: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{process}/comm")) {
        _ if process == 0 => "a process of another container".to_owned(),
        Ok(name) => format!("process {process} ({})", name.trim_end()),
        Err(_) => format!("process {process}"),
    }
}
