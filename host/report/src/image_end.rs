//! How an image ended: what it left behind, or why it could not be unmapped.

use std::time::Duration;

/// Why an image could not be unmapped safely.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::QuarantineReason;
///
/// let reason = QuarantineReason::ThreadsRunning(vec!["poller".to_owned()]);
/// assert_eq!(reason.kind(), "threads_running");
/// assert!(reason.to_string().contains("end them in `stop`")); // every reason says what to do
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// Threads that the plugin started still run its code. The image is unmapped once they end.
    ThreadsRunning(Vec<String>),
    /// The process's handlers of these signals lie in the image.
    SignalHandlers(Vec<i32>),
    /// Its static constructors made this many pthread keys with a destructor, or threads, before the host could tell them
    /// from the process's own. libc holds pointers into the image until the process ends. The artifact was refused.
    StaticConstructors(usize),
    /// After it was mapped, it turned out to differ from its file. What its static constructors did is unknown. The artifact
    /// was refused.
    NotVerified,
    /// This hook has not returned, so code of the image still runs. The image is unmapped when the hook returns.
    HookRunning(&'static str),
    /// The loader kept it, although nothing known to the host holds it.
    LoaderKeepsIt(String),
}

impl QuarantineReason {
    /// All values of [`kind`](Self::kind), for counters that must exist before the first event.
    pub const KINDS: [&str; 6] = [
        "threads_running",
        "signal_handlers",
        "static_constructors",
        "not_verified",
        "hook_running",
        "loader_keeps_it",
    ];

    /// A short word for this kind of reason. Labels of metrics use it.
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
                "threads of the plugin still run: {}; end them in `stop`, and the image is unmapped",
                names.join(", ")
            ),
            Self::SignalHandlers(signals) => write!(
                f,
                "the handlers of signals {signals:?} point into it; restore the former handlers in `stop`, and the image \
                     is unmapped"
            ),
            Self::StaticConstructors(count) => write!(
                f,
                "its static constructors gave libc {count} pointer(s) into it, which libc keeps; make keys and threads in \
                     `start` instead"
            ),
            Self::NotVerified => write!(f, "it differs from its file, and what its static constructors did is unknown"),
            Self::HookRunning(hook) => write!(f, "its {hook} has not returned; the image is unmapped when it does"),
            Self::LoaderKeepsIt(why) => write!(f, "the loader keeps it: {why}"),
        }
    }
}

/// What an image left behind, and how long unloading took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnloadReport {
    /// The number of thread-local destructors of the image that ran, on their own threads.
    pub thread_locals_run: u64,
    /// The number of thread-local destructors that were skipped, because their threads did not reach a safe point in time.
    /// What they would have freed stays allocated.
    pub thread_locals_skipped: u64,
    /// The names of those threads.
    pub skipped_threads: Vec<String>,
    /// Bytes of file mappings that the image made and did not unmap. They stay: `mremap` may have moved a mapping meanwhile,
    /// and the host must not unmap an address that another owner may use now.
    pub file_bytes_left: usize,
    /// Bytes that the image had still allocated when it was closed. None if its plugin does not count them
    /// (`allocator = own`).
    pub live_bytes_left: Option<u64>,
    /// The part of these bytes that was freed after the image was proven gone. Only with `allocator = freeing`.
    pub bytes_freed: u64,
    /// The number of freed blocks.
    pub blocks_freed: u64,
    /// The time spent waiting for the image's threads to end, and for other threads to run their thread-local destructors.
    pub settle: Duration,
    /// The time spent looking up the names in backtraces of its panics that are still held.
    pub names: Duration,
    /// The time that closing took.
    pub close: Duration,
    /// The time that the proof took.
    pub prove: Duration,
}
