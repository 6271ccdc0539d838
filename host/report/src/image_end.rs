//! How an image ended: what it left behind, or why it could not be unmapped.

use std::time::Duration;

/// Why an image could not be unmapped safely.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// Threads that the plugin started still run its code. The image is unmapped once they end.
    ThreadsRunning(Vec<String>),
    /// The process's handlers of these signals lie in the image.
    SignalHandlers(Vec<i32>),
    /// Its static constructors made so many keys with a destructor, or threads, before they could be told from the process's own:
    /// libc holds pointers into it for good. It was refused, and never served.
    StaticConstructors(usize),
    /// It was mapped, and then found not to be what its file had promised; what its static constructors have done is not known. It
    /// was refused, and never served.
    NotVerified,
    /// This hook of it has not come back: its code still runs. The image is unmapped once it does.
    HookRunning(&'static str),
    /// The loader kept it although nothing that the host knows of holds it.
    LoaderKeepsIt(String),
}

impl QuarantineReason {
    /// Every word that [`kind`](Self::kind) answers, for counters that begin with zero.
    pub const KINDS: [&str; 6] = [
        "threads_running",
        "signal_handlers",
        "static_constructors",
        "not_verified",
        "hook_running",
        "loader_keeps_it",
    ];

    /// A short word for this kind of reason, as it stands in the labels of metrics.
    pub fn kind(&self) -> &'static str {
        let at = match self {
            Self::ThreadsRunning(_) => 0,
            Self::SignalHandlers(_) => 1,
            Self::StaticConstructors(_) => 2,
            Self::NotVerified => 3,
            Self::HookRunning(_) => 4,
            Self::LoaderKeepsIt(_) => 5,
        };
        Self::KINDS[at]
    }
}

impl std::fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ThreadsRunning(names) => write!(
                f,
                "threads of the plugin still run: {}; end them in `stop` and the image goes",
                names.join(", ")
            ),
            Self::SignalHandlers(signals) => write!(
                f,
                "the handlers of signals {signals:?} point into it; put back the former ones in `stop` and the image goes"
            ),
            Self::StaticConstructors(count) => write!(
                f,
                "its static constructors gave libc {count} pointer(s) into it, for good; make keys and threads in `start` instead"
            ),
            Self::NotVerified => write!(
                f,
                "it is not what its file promised, and nobody knows what its static constructors have done"
            ),
            Self::HookRunning(hook) => write!(f, "its {hook} has not come back; when it does, the image goes"),
            Self::LoaderKeepsIt(why) => write!(f, "the loader keeps it: {why}"),
        }
    }
}

/// What an image left behind, and how long its end took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnloadReport {
    /// Thread-local destructors of the image that were run, on the threads they belonged to.
    pub thread_locals_run: u64,
    /// Thread-local destructors skipped because their threads live on and did not come to a safe point in time: what they would
    /// have freed stays allocated.
    pub thread_locals_skipped: u64,
    /// The names of those threads.
    pub skipped_threads: Vec<String>,
    /// Bytes of files that the image had mapped and left so. They stay: the account cannot know whether `mremap` moved one
    /// of them meanwhile, and unmapping what is somebody else's by now would be worse than the leak.
    pub file_bytes_left: usize,
    /// Bytes that the image still had allocated when it was closed; none if its plugin counts none (`allocator = own`).
    pub live_bytes_left: Option<u64>,
    /// Bytes of these that were freed once the image was proven gone: if its plugin asked for it (`allocator = freeing`).
    pub bytes_freed: u64,
    /// In how many blocks.
    pub blocks_freed: u64,
    /// Waiting for the image's threads to end, and for threads that live on to run their thread-local destructors.
    pub settle: Duration,
    /// Looking up the names in backtraces of its panics that somebody still holds.
    pub names: Duration,
    /// Closing it.
    pub close: Duration,
    /// Looking for what is left of it.
    pub prove: Duration,
}
