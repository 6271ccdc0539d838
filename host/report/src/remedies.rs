//! What a person can do when the system refuses something: one place for all floors, because the reason decides and not who asked. A
//! process without descriptors needs a higher limit, whatever it was about to open. What the files are for, and so what could be named
//! in their place, is said by the floor that asks.

use std::io::{self, ErrorKind};

/// What the system was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The folder for private copies, when a host is built.
    PrivateFolder,
    /// A private copy, or the folder for them, when a host runs.
    PrivateCopy,
    /// An artifact is read where it was published.
    Artifact,
    /// What is kept for going back.
    History,
    /// A folder is watched.
    Watch,
    /// A child process tries an artifact out.
    Preflight,
    /// A thread of the host.
    Thread,
    /// A library is mapped by the loader.
    Mapping,
}

/// Why the system refused something, as far as that decides what a person can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The process has as many open files as it may have.
    DescriptorsOfProcess,
    /// The machine has as many open files as it may have.
    DescriptorsOfMachine,
    /// The process gets no more memory.
    Memory,
    /// The process gets no more threads or processes.
    Threads,
    /// The file system has no space or inodes left.
    Space,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The user of the process may not do that.
    Denied,
    /// There is nothing of this name.
    Missing,
    /// A part of the path is no folder.
    NoFolder,
    /// Somebody else has the address.
    InUse,
    /// The address is none of this machine.
    NoSuchAddress,
    /// Anything else.
    Other,
}

/// What a person can do.
pub fn of(error: &io::Error, purpose: Purpose) -> &'static str {
    let reason = reason(error, purpose);
    of_process(reason).unwrap_or_else(|| by_purpose(reason, purpose))
}

/// What a person can do when the system has refused something to a surface: what holds for the process or the machine is said here, and for the
/// rest `otherwise` says it, by the reason.
pub fn remedy(error: &io::Error, otherwise: impl FnOnce(Reason) -> &'static str) -> &'static str {
    let reason = reason(error, Purpose::Watch);
    of_process(reason).unwrap_or_else(|| otherwise(reason))
}

/// The same for a thread that could not be started.
pub fn thread_remedy(error: &io::Error) -> &'static str {
    of(error, Purpose::Thread)
}

/// The same for words that end with the system's, as those of the loader do. None if they say no reason that is known here.
pub fn of_words(words: &str, purpose: Purpose) -> Option<&'static str> {
    const KNOWN: [i32; 10] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOSPC,
        libc::EROFS,
        libc::EACCES,
        libc::EPERM,
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EIO,
    ];
    let known = KNOWN.into_iter().map(io::Error::from_raw_os_error);
    let words = without_number(words);
    let mut said = known.filter(|error| words.ends_with(without_number(&error.to_string())));
    said.next().map(|error| of(&error, purpose))
}

/// Whether another file, or another path, would have done: it was not for want of anything that the process or the machine has.
pub fn is_about_the_file(error: &io::Error) -> bool {
    matches!(
        reason(error, Purpose::Preflight),
        Reason::Missing | Reason::NoFolder | Reason::Other
    )
}

/// The words of libc, which the loader uses as well. std adds the number.
fn without_number(words: &str) -> &str {
    words.rsplit_once(" (os error ").map_or(words, |(text, _)| text)
}

/// The system's number, also of an error that somebody has wrapped with a path and of which only words are left.
fn number(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let words = error.to_string();
        let (_, rest) = words.split_once("(os error ")?;
        rest.split_once(')')?.0.parse().ok()
    })
}

fn reason(error: &io::Error, purpose: Purpose) -> Reason {
    match number(error) {
        Some(libc::EMFILE) => return Reason::DescriptorsOfProcess,
        Some(libc::ENFILE) => return Reason::DescriptorsOfMachine,
        Some(libc::EAGAIN) if matches!(purpose, Purpose::Thread | Purpose::Preflight) => return Reason::Threads,
        _ => {}
    }
    match error.kind() {
        ErrorKind::OutOfMemory => Reason::Memory,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Reason::Space,
        ErrorKind::ReadOnlyFilesystem => Reason::ReadOnly,
        ErrorKind::PermissionDenied => Reason::Denied,
        ErrorKind::NotFound => Reason::Missing,
        // A file lies where a folder was to be made.
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Reason::NoFolder,
        ErrorKind::AddrInUse => Reason::InUse,
        ErrorKind::AddrNotAvailable => Reason::NoSuchAddress,
        _ => Reason::Other,
    }
}

/// What can be done for want of something that the process or the machine has too little of, whatever it was for.
fn of_process(reason: Reason) -> Option<&'static str> {
    let words = match reason {
        Reason::DescriptorsOfProcess => {
            "the process has as many open files as it may have: raise its limit (`ulimit -n`, or LimitNOFILE= of its systemd unit), or \
             close what it left open (`ls -l /proc/PID/fd` lists it), and try again"
        }
        Reason::DescriptorsOfMachine => {
            "the machine has as many open files as it may have: raise fs.file-max, or end what keeps so many open, and try again"
        }
        Reason::Memory => {
            "the process gets no more memory: raise its limits (`ulimit -v`, MemoryMax= of its systemd unit, vm.max_map_count), or let it \
             hold less, and try again"
        }
        Reason::Threads => {
            "the process gets no more threads or processes: raise the limits (`ulimit -u`, TasksMax= of its systemd unit, \
             kernel.threads-max), or end what is not needed, and try again"
        }
        _ => return None,
    };
    Some(words)
}

fn by_purpose(reason: Reason, purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::PrivateFolder => match reason {
            Reason::Missing => {
                "make that folder, or name another one with `HostBuilder::private_base`; if none was named, it is that of TMPDIR"
            }
            Reason::NoFolder => "name a folder with `HostBuilder::private_base`: part of this path is none",
            Reason::Denied => {
                "let the user of this process write to that folder, or name another one with `HostBuilder::private_base`"
            }
            Reason::ReadOnly => {
                "mount that file system writable, or name a folder on another one with `HostBuilder::private_base`"
            }
            Reason::Space => "free some space or inodes there, or name another folder with `HostBuilder::private_base`",
            _ => "name another folder with `HostBuilder::private_base`, on a local disk",
        },
        Purpose::PrivateCopy => match reason {
            Reason::Missing => {
                "make the folder again in which the host keeps its private copies, and load it again; and keep cleaners of temporary files \
                 away from there, or let `private_base` name a folder that nobody cleans"
            }
            Reason::NoFolder => {
                "put the folder back in which the host keeps its private copies, and load it again; or let `private_base` name another one"
            }
            Reason::Denied => {
                "let the user as whom the process runs now write there, and load it again; a program that changes its user builds its host \
                 afterwards"
            }
            Reason::ReadOnly => {
                "mount that file system writable, and load it again; or let `private_base` name a folder on another one"
            }
            Reason::Space => "free some space, and load it again; or give the host another `private_base`",
            _ => {
                "look after the disk that the private folder is on, and load it again; or let `private_base` name another folder"
            }
        },
        Purpose::Artifact => match reason {
            Reason::Missing => "name a file that exists, or publish it again: nothing is there any more",
            Reason::NoFolder => "name a file in a folder: part of this path is none",
            Reason::Denied => "let the host's user read the file and enter its folder, and publish it again",
            _ => "look after the file and the disk that it is on, and publish it again",
        },
        Purpose::History => match reason {
            Reason::Space => {
                "free some space, let the history keep fewer artifacts, or give the host another history folder"
            }
            Reason::ReadOnly => "mount that file system writable, or give the host another history folder",
            Reason::Denied => {
                "let the user as whom the process runs now write there, or give the host another history folder; a program that changes its \
                 user builds its host afterwards"
            }
            Reason::Missing => "make the folder again, or give the host another history folder",
            Reason::NoFolder => "give the host another history folder: part of this path is no folder",
            _ => "check the folder and the disk that it is on, or give the host another history folder",
        },
        Purpose::Watch => match reason {
            Reason::Space => "raise fs.inotify.max_user_watches, or have the host look in intervals (`HostBuilder::poll`)",
            Reason::Denied => "let the host's user read that folder and those above it",
            _ => "have the host look in intervals (`HostBuilder::poll`), or name another folder",
        },
        Purpose::Preflight => match reason {
            Reason::Denied => "let the host's user run the preflight's program, and start processes",
            Reason::Space => "free some space in the folder for temporary files, and load it again",
            Reason::Missing => "put back what is missing, and load it again",
            _ => "load it again; if that does not help, look at what the system says of it",
        },
        Purpose::Thread => "let the process have more threads and more memory, and try again",
        Purpose::Mapping => match reason {
            Reason::Denied => {
                "let `private_base` name a folder on a file system that allows execution (not noexec), or `private_copies` be memory; where the \
                 system forbids memory that becomes executable (MemoryDenyWriteExecute=, SELinux), allow that"
            }
            Reason::Missing => "install what the loader misses, or link the plugin against what is there",
            _ => "look after the disk that the private folder is on, and load it again",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSES: [Purpose; 8] = [
        Purpose::PrivateFolder,
        Purpose::PrivateCopy,
        Purpose::Artifact,
        Purpose::History,
        Purpose::Watch,
        Purpose::Preflight,
        Purpose::Thread,
        Purpose::Mapping,
    ];

    fn remedy(number: i32, purpose: Purpose) -> &'static str {
        of(&io::Error::from_raw_os_error(number), purpose)
    }

    #[test]
    fn what_the_process_lacks_is_said_whatever_it_was_for() {
        for purpose in PURPOSES {
            for (number, words) in [
                (libc::EMFILE, "`ulimit -n`"),
                (libc::ENFILE, "fs.file-max"),
                (libc::ENOMEM, "`ulimit -v`"),
            ] {
                assert!(remedy(number, purpose).contains(words), "{purpose:?}");
            }
            assert!(!remedy(libc::EIO, purpose).is_empty());
        }
        assert!(remedy(libc::EAGAIN, Purpose::Thread).contains("`ulimit -u`"));
    }

    #[test]
    fn system_that_takes_nothing_is_not_to_be_published_to() {
        for purpose in [Purpose::PrivateFolder, Purpose::PrivateCopy, Purpose::History] {
            let words = remedy(libc::EROFS, purpose);
            assert!(words.contains("writable") && !words.contains("publish"), "{words}");
        }
    }

    #[test]
    fn number_is_found_in_words_and_behind_a_path() {
        let wrapped = io::Error::other("Too many open files (os error 24) at path \"/x\"");
        assert!(of(&wrapped, Purpose::History).contains("`ulimit -n`"));
        let loader = "libx.so: cannot open shared object file: No such file or directory";
        assert!(of_words(loader, Purpose::Mapping).is_some_and(|words| words.starts_with("install")));
        let told = "the loader refused it: a.so: Cannot allocate memory (os error 12)";
        assert!(of_words(told, Purpose::Mapping).is_some_and(|words| words.contains("`ulimit -v`")));
        assert_eq!(of_words("nobody knows", Purpose::Mapping), None);
    }
}
