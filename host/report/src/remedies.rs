//! What to do when the system refuses something. All crates share this table, because the remedy depends on the reason: a
//! process without free descriptors needs a higher limit, whatever it was about to open. `Purpose` adds what the file is
//! for, and so which setting can name another one.

use std::io::{self, ErrorKind};

/// What the host requested from the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The folder for private copies, when a host is built.
    PrivateFolder,
    /// A private copy, or the folder for them, when a host runs.
    PrivateCopy,
    /// Reading a published artifact.
    Artifact,
    /// The history's folder.
    History,
    /// Watching a folder.
    Watch,
    /// Starting a preflight.
    Preflight,
    /// A thread of the host.
    Thread,
    /// Mapping a library.
    Mapping,
}

/// Why the system refused something, as far as the remedy depends on it.
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
    /// The user of the process lacks a permission.
    Denied,
    /// The path does not exist.
    Missing,
    /// A part of the path is not a folder.
    NoFolder,
    /// The address is in use.
    InUse,
    /// The address does not belong to this machine.
    NoSuchAddress,
    /// Anything else.
    Other,
}

/// What to do about an error.
pub fn of(error: &io::Error, purpose: Purpose) -> &'static str {
    let reason = reason(error, purpose);
    of_process(reason).unwrap_or_else(|| by_purpose(reason, purpose))
}

/// What to do about an error of a surface. Limits of the process and the machine are answered here; `otherwise` answers the
/// rest.
pub fn remedy(error: &io::Error, otherwise: impl FnOnce(Reason) -> &'static str) -> &'static str {
    let reason = reason(error, Purpose::Watch);
    of_process(reason).unwrap_or_else(|| otherwise(reason))
}

/// What to do if a thread could not be started.
pub fn thread_remedy(error: &io::Error) -> &'static str {
    of(error, Purpose::Thread)
}

/// What to do about a message that ends with the system's text, as the loader's messages do. None if the text is unknown.
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

/// Whether the error is about the file or its path, and not about a limit of the process or the machine.
pub fn is_about_the_file(error: &io::Error) -> bool {
    matches!(
        reason(error, Purpose::Preflight),
        Reason::Missing | Reason::NoFolder | Reason::Other
    )
}

/// The text of libc, which the loader uses as well. std appends the number.
fn without_number(words: &str) -> &str {
    words.rsplit_once(" (os error ").map_or(words, |(text, _)| text)
}

/// The system's error number. If the error was wrapped with a path, the number is read from its text.
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
        // A file has the path of the folder.
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Reason::NoFolder,
        ErrorKind::AddrInUse => Reason::InUse,
        ErrorKind::AddrNotAvailable => Reason::NoSuchAddress,
        _ => Reason::Other,
    }
}

/// What to do about a limit of the process or the machine, for any purpose.
fn of_process(reason: Reason) -> Option<&'static str> {
    let words = match reason {
        Reason::DescriptorsOfProcess => {
            "the process has reached its limit of open files: raise it (`ulimit -n`, or LimitNOFILE= of its systemd unit), \
                 or close unused files (`ls -l /proc/PID/fd` lists it), and try again"
        }
        Reason::DescriptorsOfMachine => {
            "the machine has reached its limit of open files: raise fs.file-max, or end the process that has so many open, \
                 and try again"
        }
        Reason::Memory => {
            "the process gets no more memory: raise its limits (`ulimit -v`, MemoryMax= of its systemd unit, \
                 vm.max_map_count), or make it use less, and try again"
        }
        Reason::Threads => {
            "the process gets no more threads or processes: raise the limits (`ulimit -u`, TasksMax= of its systemd unit, \
             kernel.threads-max), or end some of them, and try again"
        }
        _ => return None,
    };
    Some(words)
}

fn by_purpose(reason: Reason, purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::PrivateFolder => match reason {
            Reason::Missing => {
                "make that folder, or name another one with `HostBuilder::private_base`; the default is the folder in TMPDIR"
            }
            Reason::NoFolder => "name a folder with `HostBuilder::private_base`: part of this path is not a folder",
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
                "make the folder for the host's private copies again, and load the artifact again; and exclude that folder \
                     from cleaners of temporary files, or set `private_base` to a folder that is not cleaned"
            }
            Reason::NoFolder => {
                "restore the folder for the host's private copies, and load the artifact again; or set `private_base` to \
                     another one"
            }
            Reason::Denied => {
                "let the process's current user write there, and load the artifact again; a program that changes its user \
                     must build its host afterwards"
            }
            Reason::ReadOnly => {
                "mount that file system writable, and load the artifact again; or set `private_base` to a folder on \
                     another one"
            }
            Reason::Space => "free some space, and load the artifact again; or give the host another `private_base`",
            _ => {
                "check the disk of the private folder, and load the artifact again; or set `private_base` to another folder"
            }
        },
        Purpose::Artifact => match reason {
            Reason::Missing => "name a file that exists, or publish it again: the path does not exist",
            Reason::NoFolder => "name a file in a folder: part of this path is not a folder",
            Reason::Denied => "let the host's user read the file and enter its folder, and publish it again",
            _ => "check the file and its disk, and publish it again",
        },
        Purpose::History => match reason {
            Reason::Space => {
                "free some space, let the history keep fewer artifacts, or give the host another history folder"
            }
            Reason::ReadOnly => "mount that file system writable, or give the host another history folder",
            Reason::Denied => {
                "let the process's current user write there, or give the host another history folder; a program that \
                     changes its user must build its host afterwards"
            }
            Reason::Missing => "make the folder again, or give the host another history folder",
            Reason::NoFolder => "give the host another history folder: part of this path is not a folder",
            _ => "check the folder and the disk that it is on, or give the host another history folder",
        },
        Purpose::Watch => match reason {
            Reason::Space => "raise fs.inotify.max_user_watches, or make the host poll the folder (`HostBuilder::poll`)",
            Reason::Denied => "let the host's user read that folder and those above it",
            _ => "make the host poll the folder (`HostBuilder::poll`), or name another folder",
        },
        Purpose::Preflight => match reason {
            Reason::Denied => "let the host's user run the preflight's program, and start processes",
            Reason::Space => "free some space in the folder for temporary files, and load the artifact again",
            Reason::Missing => "restore the missing file, and load the artifact again",
            _ => "load the artifact again; if that does not help, follow the system's message",
        },
        Purpose::Thread => "raise the process's limits for threads and memory, and try again",
        Purpose::Mapping => match reason {
            Reason::Denied => {
                "set `private_base` to a folder on a file system that allows execution (not noexec), or set \
                     `private_copies` to memory; if the system forbids memory that becomes executable \
                     (MemoryDenyWriteExecute=, SELinux), allow it"
            }
            Reason::Missing => "install the library that the loader misses, or link the plugin against an installed one",
            _ => "check the disk of the private folder, and load the artifact again",
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
    fn missing_resource_of_the_process_is_reported_for_every_purpose() {
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
