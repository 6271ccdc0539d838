//! What can keep a library mapped, in words. Finding out is done elsewhere.

use std::{fmt, path::PathBuf};

/// Something that keeps a library mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pin {
    /// Its author marked it as never to be unloaded, and the mark was to be kept.
    NoDelete,
    /// glibc never unloads a library once one of these was looked up.
    UniqueSymbols(Vec<String>),
    /// These mapped objects need it.
    NeededBy(Vec<PathBuf>),
    /// Symbols of these libraries, which it needs, were bound to it: they use it in their turn.
    BoundBy(Vec<PathBuf>),
    /// Somebody else has it open, so many times: often the library itself.
    OpenedElsewhere(u32),
    /// The process's handlers of these signals lie in it.
    SignalHandlers(Vec<i32>),
    /// These threads may be inside or come in: they began in it, or in something that was mapped after it was opened, or where it
    /// cannot be told; or elsewhere outside the program, and their stacks hold addresses in it.
    ThreadsInside(Vec<String>),
    /// It, or what it needs or came with it, imports these functions, which have libc call it on threads of libc's own, or write to
    /// it; and there are such threads, and, for timers, such timers of libc's. Nothing tells whose: it goes when these have gone,
    /// which some never do.
    CalledByLibc {
        /// The functions.
        imports: Vec<String>,
        /// libc's threads.
        threads: Vec<String>,
    },
    /// libc is to run so many destructors of its thread-locals, on threads that still live.
    ThreadLocalDestructors(u32),
    /// So many pthread keys have destructors in it, which libc would call when a thread with a value ends.
    KeyDestructors(usize),
    /// Nothing of all that: it was marked as never to be unloaded while the program ran, which libraries do to themselves.
    MarkedAtRunTime,
    /// Something that would pin it could not be looked for, so that it was not asked to go.
    NotFoundOut(String),
    /// It could not be found out.
    Unexplained(String),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDelete => write!(f, "it is marked NODELETE, and that was to be kept"),
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
            Self::OpenedElsewhere(times) => write!(f, "somebody else, perhaps itself, has it open {times} time(s)"),
            Self::SignalHandlers(signals) => write!(f, "the handlers of signals {signals:?} point into it"),
            Self::ThreadsInside(names) => write!(f, "threads of it still run: {}", names.join(", ")),
            Self::CalledByLibc { imports, threads } => write!(
                f,
                "with {}, which are imported by it or what came with it, libc may call it on its threads {}",
                imports.join(", "),
                threads.join(", ")
            ),
            Self::ThreadLocalDestructors(count) => {
                write!(
                    f,
                    "libc is to run {count} destructor(s) of its thread-locals, on threads that live"
                )
            }
            Self::KeyDestructors(count) => write!(f, "{count} pthread key(s) have destructors in it"),
            Self::MarkedAtRunTime => write!(f, "it was marked as never to be unloaded while the program ran"),
            Self::NotFoundOut(what) => write!(f, "this could not be found out, and may pin it: {what}"),
            Self::Unexplained(why) => write!(f, "for a reason that could not be found out: {why}"),
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
