//! What became of a host that was shut down, and of each image that it had mapped.

use crate::{FORK_REMEDY, GenerationHolders, GenerationStatus, Lifecycle};
use std::{fmt, sync::Arc, time::Duration};

/// How the end of a host went: what `Host::shutdown` answers.
///
/// ```
/// # use reslot_report as reslot;
/// # use reslot::{GenerationHolders, GenerationStatus, Lifecycle, ShutdownReport, StillMapped, Unfinished};
/// # use std::time::Duration;
/// /// What the program says at its end, from what `host.shutdown(timeout)` answers.
/// fn tell(report: &ShutdownReport) {
///     for image in report.still_mapped.iter().filter(|image| !image.is_quarantined()) {
///         eprintln!("{} generation {} is still held: {}", image.slot, image.held.generation, image.held);
///     }
///     if !report.is_complete() {
///         eprintln!("{report}");
///     }
/// }
/// # let mut report = ShutdownReport::new(Some(Unfinished::Generations), Duration::from_secs(5));
/// # let held = GenerationHolders::new(3, GenerationStatus::Retired, Duration::from_secs(5));
/// # report.still_mapped.push(StillMapped::new("momentum".into(), Lifecycle::Started, held));
/// # tell(&report);
/// # assert!(!report.is_complete());
/// # assert!(report.to_string().contains("still mapped: slot \"momentum\": generation 3"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The images that were proven unmapped, by slot and generation.
    pub unmapped: Vec<UnmappedImage>,
    /// The generations of plugins that are linked into the program: their instances were dropped, and their code stays.
    pub linked: Vec<UnmappedImage>,
    /// The images that are still mapped, and what keeps each of them.
    pub still_mapped: Vec<StillMapped>,
    /// What the host still waits for. None if it has ended; then only quarantined images are still mapped.
    pub unfinished: Option<Unfinished>,
    /// How long the call took.
    pub took: Duration,
}

impl ShutdownReport {
    /// A report in which nothing was mapped.
    pub fn new(unfinished: Option<Unfinished>, took: Duration) -> Self {
        Self {
            unmapped: Vec::new(),
            linked: Vec::new(),
            still_mapped: Vec::new(),
            unfinished,
            took,
        }
    }

    /// Whether the host has ended and nothing of it is left: every image was proven unmapped.
    pub fn is_complete(&self) -> bool {
        self.unfinished.is_none() && self.still_mapped.is_empty()
    }
}

/// A generation that ended while its host was shut down: its image was proven unmapped, unless its plugin is linked into the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct UnmappedImage {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation.
    pub generation: u64,
}

impl UnmappedImage {
    /// This generation of this slot.
    pub fn new(slot: Arc<str>, generation: u64) -> Self {
        Self { slot, generation }
    }
}

impl fmt::Display for UnmappedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} generation {}", self.slot, self.generation)
    }
}

/// An image that was still mapped when the report was made.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::{GenerationHolders, GenerationStatus, Lifecycle, QuarantineReason, StillMapped};
/// use std::time::Duration;
///
/// let reason = QuarantineReason::HookRunning("`stop`");
/// let held = GenerationHolders::new(2, GenerationStatus::Quarantined(reason), Duration::from_secs(3));
/// let image = StillMapped::new("momentum".into(), Lifecycle::Failed, held);
/// assert!(image.is_quarantined());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StillMapped {
    /// The slot. A shadow has the name `NAME~shadow`.
    pub slot: Arc<str>,
    /// How far its generation has come: while it is `Stopping`, its `stop` runs.
    pub lifecycle: Lifecycle,
    /// Its status (for a quarantined image, with the reason), and who holds it.
    pub held: GenerationHolders,
}

impl StillMapped {
    /// This generation of this slot.
    pub fn new(slot: Arc<str>, lifecycle: Lifecycle, held: GenerationHolders) -> Self {
        Self { slot, lifecycle, held }
    }

    /// Whether the image is quarantined: it may stay for good, and nobody has to let go of it.
    pub fn is_quarantined(&self) -> bool {
        matches!(self.held.condition, GenerationStatus::Quarantined(_))
    }
}

impl fmt::Display for StillMapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {:?}: {}", self.slot, self.held)?;
        if self.is_quarantined() {
            return Ok(());
        }
        match self.lifecycle {
            Lifecycle::Loading | Lifecycle::Loaded => write!(f, "\n  it is being opened"),
            Lifecycle::Initializing => write!(f, "\n  its hooks up to `init` run"),
            Lifecycle::Starting => write!(f, "\n  its `start` runs"),
            Lifecycle::Stopping => write!(f, "\n  its `stop` runs"),
            Lifecycle::Destroying => write!(f, "\n  it is being dropped, or its threads or thread-locals are waited for"),
            _ => Ok(()),
        }
    }
}

/// What a host that is shutting down still waits for. It goes on in the background, and ends when that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfinished {
    /// The thread that watches the folder is still reading it.
    Watch,
    /// A reload is under way; a hook of its candidate may be running.
    Reload,
    /// A rollback, or a request of a surface, is under way.
    Rollback,
    /// Somebody holds a generation, or a generation is on its way out. [`ShutdownReport::still_mapped`] names each of them.
    Generations,
    /// A surface has not ended yet: a thread of it is in the middle of something.
    Surfaces,
    /// Code of the program or of a surface panicked while the host ended, such as the `drop` of what runs of a surface. The other surfaces
    /// have ended.
    Panicked,
    /// The call came from one of the host's own threads, such as a subscriber's callback on the reload thread. The host cannot wait for
    /// that thread on that thread, so it ends after the callback has returned.
    Reentrant {
        /// The name of the thread.
        thread: String,
    },
    /// The system gave no thread on which the host could end. It was left running.
    NoThread,
    /// This is a forked child of the process in which the host was built. The host is the parent's, and nothing was done.
    ForkedProcess,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch => write!(f, "the watch is still reading its folder"),
            Self::Reload => write!(f, "a reload is under way"),
            Self::Rollback => write!(f, "a rollback, or a request of a surface, is under way"),
            Self::Generations => write!(f, "some generations are still held, or on their way out"),
            Self::Surfaces => write!(f, "a surface has not ended yet"),
            Self::Panicked => write!(
                f,
                "code of a surface or of the program panicked, so a part of it may be left\n  what to do: read the panic's message on the standard \
                 error; what runs of a surface must not panic when it is dropped"
            ),
            Self::Reentrant { thread } => write!(
                f,
                "`shutdown` was called on the host's own thread {thread:?}; the host ends after the callback has returned"
            ),
            Self::NoThread => write!(
                f,
                "the system gave no thread for it, and the host was left running\n  what to do: raise the limit of threads (`ulimit -u`)"
            ),
            Self::ForkedProcess => write!(
                f,
                "this process is a forked child of the one in which the host was built, so nothing was done\n  what to do: {FORK_REMEDY}"
            ),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unfinished {
            None => write!(f, "the host ended in {:.1?}", self.took)?,
            Some(Unfinished::Panicked) => write!(f, "the host ended in {:.1?}, but {}", self.took, Unfinished::Panicked)?,
            Some(unfinished) => write!(f, "the host has not ended after {:.1?}: {unfinished}", self.took)?,
        }
        if let Some(Unfinished::ForkedProcess) = self.unfinished {
            return Ok(());
        }
        let names: Vec<_> = self.unmapped.iter().map(UnmappedImage::to_string).collect();
        match &names[..] {
            [] => write!(f, "\nproven unmapped: none")?,
            names => write!(f, "\nproven unmapped: {}", names.join(", "))?,
        }
        if !self.linked.is_empty() {
            let names: Vec<_> = self.linked.iter().map(UnmappedImage::to_string).collect();
            write!(f, "\nlinked into the program, and dropped: {}", names.join(", "))?;
        }
        self.still_mapped
            .iter()
            .try_for_each(|image| write!(f, "\nstill mapped: {image}"))
    }
}
