//! The reasons why a library stays mapped, and their texts. `close` finds them.

use std::{fmt, path::PathBuf};

/// A reason why a library stays mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pin {
    /// Its file is marked as never to be unloaded, and [`keep_nodelete`](super::Opening::keep_nodelete) was set.
    NoDelete,
    /// It defines these unique symbols (`STB_GNU_UNIQUE`). glibc never unloads a library after one of them was looked up.
    UniqueSymbols(Vec<String>),
    /// These mapped objects need it.
    NeededBy(Vec<PathBuf>),
    /// It needs these libraries, and the loader has bound symbols of theirs to it, so they use it, too.
    BoundBy(Vec<PathBuf>),
    /// It is opened this many more times by other code in the process, often by itself.
    OpenedElsewhere(u32),
    /// The process's handlers of these signals lie in it.
    SignalHandlers(Vec<i32>),
    /// These threads may be inside it or enter it. Either they began in it, in an object that was mapped after it was opened, or at
    /// an unknown place; or they began elsewhere outside the program, and their stacks hold addresses in it.
    ThreadsInside(Vec<String>),
    /// libc may still call it, or write to its memory, from libc's own threads: it (or a dependency, or an object that came with it)
    /// imports these functions, and libc has such threads and, for timers, such timers. It cannot be found out whose they are. The
    /// library can be closed after they have ended; some of libc's threads never end.
    CalledByLibc {
        /// The functions.
        imports: Vec<String>,
        /// libc's threads.
        threads: Vec<String>,
    },
    /// libc has still to run this many destructors of its thread-locals, at the end of threads that live.
    ThreadLocalDestructors(u32),
    /// This many pthread keys have destructors in it, which libc would call when a thread with a value ends.
    KeyDestructors(usize),
    /// None of the reasons above applies: it was marked as never to be unloaded at run time. Some libraries mark themselves.
    MarkedAtRunTime,
    /// A check for one of these reasons could not be made, so `dlclose` was not called.
    NotFoundOut(String),
    /// The reason could not be found.
    Unexplained(String),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDelete => write!(f, "it is marked NODELETE, and it was opened with `keep_nodelete`"),
            Self::UniqueSymbols(names) => {
                let (first, more) = names.split_at(names.len().min(3));
                write!(f, "it defines unique symbols: {}", first.join(", "))?;
                match more.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::NeededBy(paths) => write!(f, "it is needed by {}", listed(paths)),
            Self::BoundBy(paths) => write!(f, "symbols of {} were bound to it", listed(paths)),
            Self::OpenedElsewhere(times) => write!(f, "other code, perhaps the library itself, has it open {times} time(s)"),
            Self::SignalHandlers(signals) => write!(f, "the handlers of signals {signals:?} point into it"),
            Self::ThreadsInside(names) => write!(f, "threads of it still run: {}", names.join(", ")),
            Self::CalledByLibc { imports, threads } => write!(
                f,
                "libc may still call it from libc's own threads {}, because it (or a library it needs or opened) imports {}",
                threads.join(", "),
                imports.join(", ")
            ),
            Self::ThreadLocalDestructors(count) => {
                write!(
                    f,
                    "libc has still to run {count} destructor(s) of its thread-locals, when live threads end"
                )
            }
            Self::KeyDestructors(count) => write!(f, "{count} pthread key(s) have destructors in it"),
            Self::MarkedAtRunTime => write!(f, "it was marked as never to be unloaded at run time"),
            Self::NotFoundOut(what) => write!(f, "a check that could find a reason was not possible: {what}"),
            Self::Unexplained(why) => write!(f, "the reason could not be found: {why}"),
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
