//! The process at the other end of a Unix socket, as the kernel recorded it when the socket was connected.

use std::{
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

/// The process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// None if it is not visible, because it is in another namespace.
    pub(crate) process: Option<u32>,
    user: u32,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        // rustix cannot be used: its type for a process id cannot be 0, and the kernel's value can.
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
                process: u32::try_from(found.pid).ok().filter(|process| *process != 0),
                user: found.uid,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the other end is this process's user or root. Only these may send requests.
    pub(crate) fn may_ask(self) -> bool {
        self.user == 0 || self.user == rustix::process::geteuid().as_raw()
    }

    /// Whether a client may trust the other end. Root may use the hosts of all users.
    pub(crate) fn may_answer(self) -> bool {
        self.may_ask() || rustix::process::geteuid().is_root()
    }
}

/// The process id, and the process's name if it is known.
pub(crate) fn in_words(process: Option<u32>) -> String {
    let Some(process) = process else {
        return "a process of another container".to_owned();
    };
    match std::fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(name) => format!("process {process} ({})", name.trim_end()),
        Err(_) => format!("process {process}"),
    }
}
