//! System calls by name, what each may plausibly answer when the system is in trouble, and what a call is about.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// A call that a thread is about to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub number: i64,
    pub arguments: [u64; 6],
}

/// How a call is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It does nothing and answers this error.
    Error(i32),
    /// It is done, and answers this error nevertheless, as `close` may.
    ErrorAfter(i32),
    /// It reads or writes half of what was asked for.
    Half,
}

impl Trouble {
    /// How libc describes the error.
    pub fn words(self) -> Option<String> {
        match self {
            Self::Error(number) | Self::ErrorAfter(number) => {
                let words = io::Error::from_raw_os_error(number).to_string();
                Some(words.split(" (os error").next().unwrap_or_default().to_owned())
            }
            Self::Half => None,
        }
    }

    /// Whether callers repeat a call that answers this, or are right to go on as if nothing had happened.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Half | Self::ErrorAfter(_) | Self::Error(libc::EINTR))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Error(number) | Self::ErrorAfter(number)) = self else {
            return f.write_str("half");
        };
        let name = match *number {
            libc::EACCES => "EACCES",
            libc::EAGAIN => "EAGAIN",
            libc::EDQUOT => "EDQUOT",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::EMFILE => "EMFILE",
            libc::ENOLCK => "ENOLCK",
            libc::ENOMEM => "ENOMEM",
            libc::ENOSPC => "ENOSPC",
            libc::EPERM => "EPERM",
            libc::EROFS => "EROFS",
            other => return write!(f, "error {other}"),
        };
        f.write_str(name)
    }
}

/// Where a call says what it is about.
#[derive(Clone, Copy)]
enum About {
    Nothing,
    /// In this argument there is a path.
    Path(usize),
    /// In this argument there is a descriptor.
    Descriptor(usize),
    /// In these arguments there are a folder's descriptor and a path in it.
    PathIn(usize, usize),
}

macro_rules! calls {
    ($($name:ident $about:expr),* $(,)?) => { &[$((libc::$name, stringify!($name), $about)),*] };
}

/// The calls that are disturbed. These are left out, because they cannot fail or nobody can see that they did: `futex`, `brk` (it answers
/// no error), `munmap` of whole mappings, `gettid`, `sched_yield`, the masks and handlers of signals, `prctl`, the end of a thread.
#[rustfmt::skip]
const CALLS: &[(i64, &str, About)] = calls![
    SYS_open About::Path(0), SYS_openat About::PathIn(0, 1), SYS_close About::Descriptor(0),
    SYS_read About::Descriptor(0), SYS_pread64 About::Descriptor(0), SYS_readv About::Descriptor(0),
    SYS_write About::Descriptor(0), SYS_pwrite64 About::Descriptor(0), SYS_writev About::Descriptor(0),
    SYS_mmap About::Descriptor(4), SYS_mprotect About::Nothing, SYS_mremap About::Nothing,
    SYS_fsync About::Descriptor(0), SYS_fdatasync About::Descriptor(0), SYS_ftruncate About::Descriptor(0), SYS_fallocate About::Descriptor(0),
    SYS_rename About::Path(0), SYS_renameat About::PathIn(0, 1), SYS_renameat2 About::PathIn(0, 1),
    SYS_link About::Path(1), SYS_linkat About::PathIn(2, 3), SYS_symlink About::Path(1), SYS_symlinkat About::PathIn(1, 2),
    SYS_unlink About::Path(0), SYS_unlinkat About::PathIn(0, 1), SYS_rmdir About::Path(0),
    SYS_mkdir About::Path(0), SYS_mkdirat About::PathIn(0, 1), SYS_chmod About::Path(0), SYS_fchmod About::Descriptor(0),
    SYS_fchmodat About::PathIn(0, 1),
    SYS_stat About::Path(0), SYS_lstat About::Path(0), SYS_fstat About::Descriptor(0), SYS_newfstatat About::PathIn(0, 1),
    SYS_statx About::PathIn(0, 1), SYS_statfs About::Path(0), SYS_fstatfs About::Descriptor(0), SYS_access About::Path(0),
    SYS_readlink About::Path(0), SYS_readlinkat About::PathIn(0, 1), SYS_getdents64 About::Descriptor(0),
    SYS_fcntl About::Descriptor(0), SYS_flock About::Descriptor(0), SYS_memfd_create About::Path(0),
    SYS_poll About::Nothing, SYS_ppoll About::Nothing, SYS_epoll_wait About::Descriptor(0), SYS_epoll_ctl About::Descriptor(2),
    SYS_inotify_add_watch About::Path(1), SYS_eventfd2 About::Nothing, SYS_pipe2 About::Nothing, SYS_socketpair About::Nothing,
    SYS_clone About::Nothing, SYS_clone3 About::Nothing, SYS_fork About::Nothing, SYS_vfork About::Nothing, SYS_execve About::Path(0),
    SYS_wait4 About::Nothing, SYS_waitid About::Nothing, SYS_sched_setscheduler About::Nothing, SYS_sched_setaffinity About::Nothing,
    SYS_sched_getaffinity About::Nothing, SYS_getrandom About::Nothing, SYS_sigaltstack About::Nothing, SYS_setpgid About::Nothing,
    SYS_prlimit64 About::Nothing, SYS_pidfd_open About::Nothing, SYS_process_vm_readv About::Nothing,
];

/// Calls that are left out, for the report of how much that is.
#[rustfmt::skip]
const LEFT_OUT: &[(i64, &str, About)] = calls![
    SYS_futex About::Nothing, SYS_brk About::Nothing, SYS_munmap About::Nothing, SYS_madvise About::Nothing, SYS_gettid About::Nothing,
    SYS_getpid About::Nothing, SYS_sched_yield About::Nothing, SYS_prctl About::Nothing, SYS_rt_sigprocmask About::Nothing,
    SYS_rt_sigaction About::Nothing, SYS_exit About::Nothing, SYS_exit_group About::Nothing, SYS_set_robust_list About::Nothing,
    SYS_rseq About::Nothing, SYS_lseek About::Nothing, SYS_sched_getscheduler About::Nothing, SYS_kill About::Nothing,
    SYS_clock_nanosleep About::Nothing, SYS_restart_syscall About::Nothing, SYS_arch_prctl About::Nothing,
    SYS_set_tid_address About::Nothing, SYS_membarrier About::Nothing, SYS_dup About::Nothing, SYS_dup2 About::Nothing,
    SYS_fcntl About::Nothing, SYS_ioctl About::Nothing, SYS_geteuid About::Nothing, SYS_getuid About::Nothing,
];

/// How often each of these was made, with their names.
pub fn numbered(calls: &BTreeMap<i64, usize>) -> String {
    let name = |number: &i64| {
        let known = CALLS.iter().chain(LEFT_OUT).find(|(known, ..)| known == number);
        known.map_or_else(
            || format!("call {number}"),
            |(_, name, _)| name.trim_start_matches("SYS_").to_owned(),
        )
    };
    let each: Vec<_> = calls
        .iter()
        .map(|(number, times)| format!("{} {times}", name(number)))
        .collect();
    each.join(", ")
}

/// The file was opened to be written, and may come to be.
fn creates(flags: u64) -> bool {
    flags & libc::O_CREAT as u64 != 0
}

impl Call {
    fn entry(&self) -> Option<&'static (i64, &'static str, About)> {
        CALLS.iter().find(|(number, ..)| *number == self.number)
    }

    /// Its name, if calls of this kind are disturbed.
    pub fn name(&self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| name.trim_start_matches("SYS_"))
    }

    /// What it may answer in trouble, the most telling first.
    pub fn troubles(&self) -> Vec<Trouble> {
        use libc::{EACCES, EAGAIN, EDQUOT, EINTR, EIO, EMFILE, ENOLCK, ENOMEM, ENOSPC, EPERM, EROFS};
        let Some(name) = self.name() else { return Vec::new() };
        let half = Some(Trouble::Half).filter(|_| self.arguments[2] > 1);
        let errors: &[i32] = match name {
            "open" if creates(self.arguments[1]) => &[ENOSPC, EMFILE, EACCES, EIO, EINTR, ENOMEM, EROFS],
            "openat" if creates(self.arguments[2]) => &[ENOSPC, EMFILE, EACCES, EIO, EINTR, ENOMEM, EROFS],
            "open" | "openat" => &[EMFILE, EACCES, EIO, EINTR, ENOMEM],
            "close" => return vec![Trouble::ErrorAfter(EIO), Trouble::ErrorAfter(EINTR)],
            "read" | "pread64" | "readv" => {
                let errors = [EIO, EINTR].map(Trouble::Error);
                return errors.into_iter().chain(half.filter(|_| name != "readv")).collect();
            }
            "write" | "pwrite64" | "writev" => {
                let errors = [ENOSPC, EIO, EINTR, EDQUOT].map(Trouble::Error);
                return errors.into_iter().chain(half.filter(|_| name != "writev")).collect();
            }
            "mmap" if self.arguments[2] & libc::PROT_EXEC as u64 != 0 => &[ENOMEM, EACCES, EPERM],
            "mmap" | "mremap" => &[ENOMEM],
            "mprotect" => &[ENOMEM, EACCES],
            "fsync" | "fdatasync" | "ftruncate" | "fallocate" => &[EIO, ENOSPC, EINTR],
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" => {
                &[ENOSPC, EIO, EACCES, ENOMEM]
            }
            "unlink" | "unlinkat" | "rmdir" => &[EIO, EACCES, EROFS],
            "mkdir" | "mkdirat" => &[ENOSPC, EACCES, EIO],
            "chmod" | "fchmod" | "fchmodat" => &[EIO, EPERM, EROFS],
            "fstat" | "getdents64" => &[EIO, ENOMEM],
            "stat" | "lstat" | "newfstatat" | "statx" | "statfs" | "access" | "readlink" | "readlinkat" => {
                &[EIO, ENOMEM, EACCES]
            }
            "fstatfs" => &[EIO, EINTR],
            "fcntl" => match self.arguments[1] as i32 {
                libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => &[EMFILE],
                libc::F_SETLEASE => &[EAGAIN, EACCES, ENOLCK, ENOMEM],
                libc::F_GETFL | libc::F_GETFD | libc::F_SETFD => &[],
                _ => &[EPERM],
            },
            "flock" => &[EINTR, ENOLCK],
            "memfd_create" | "eventfd2" | "pipe2" | "socketpair" | "pidfd_open" => &[EMFILE, ENOMEM],
            "poll" | "ppoll" => &[EINTR, ENOMEM],
            "epoll_wait" | "wait4" | "waitid" | "getrandom" => &[EINTR],
            "epoll_ctl" => &[ENOMEM, ENOSPC],
            "inotify_add_watch" => &[ENOSPC, ENOMEM, EACCES],
            "clone" | "clone3" | "fork" | "vfork" => &[EAGAIN, ENOMEM],
            "execve" => &[ENOMEM, EACCES, EIO],
            "sigaltstack" => &[ENOMEM],
            // A container's filter of system calls answers this.
            "process_vm_readv" => &[EPERM, ENOMEM],
            _ => &[EPERM],
        };
        errors.iter().copied().map(Trouble::Error).collect()
    }

    /// What it is about: a path, as the thread `tid` sees it.
    pub fn about(&self, tid: i32) -> String {
        let path = |at: usize| text_at(tid, self.arguments[at]).unwrap_or_default();
        let descriptor = |at: usize| {
            let link = format!("/proc/{tid}/fd/{}", self.arguments[at] as i32);
            fs::read_link(link).map_or_else(|_| String::new(), |path| path.display().to_string())
        };
        match self.entry().map_or(About::Nothing, |(.., about)| *about) {
            About::Nothing => String::new(),
            About::Path(at) => path(at),
            About::Descriptor(at) => descriptor(at),
            About::PathIn(folder, at) => match path(at) {
                path if path.starts_with('/') => path,
                path if self.arguments[folder] as i32 == libc::AT_FDCWD => path,
                path => Path::new(&descriptor(folder)).join(path).display().to_string(),
            },
        }
    }
}

fn text_at(tid: i32, address: u64) -> io::Result<String> {
    let mut memory = fs::File::open(format!("/proc/{tid}/mem"))?;
    memory.seek(SeekFrom::Start(address))?;
    let mut bytes = Vec::new();
    // A path may end just before memory that is not mapped.
    let mut part = [0; 64];
    while bytes.len() < 4096 {
        let room = 64 - (address as usize + bytes.len()) % 64;
        let read = memory.read(&mut part[..room])?;
        let end = part[..read].iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(&part[..end.unwrap_or(read)]);
        if end.is_some() || read == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
