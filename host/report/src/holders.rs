//! The mapped generations of a slot, their status, and what keeps each of them.

use crate::QuarantineReason;
use std::{fmt, panic::Location, time::Duration};

/// A mapped generation, and what keeps it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerationHolders {
    /// Its number.
    pub generation: u64,
    /// Its status.
    pub condition: GenerationStatus,
    /// How long it has had this status.
    pub since: Duration,
    /// The bytes that it has allocated now. None if its plugin does not count them (`allocator = own`), and before and after
    /// its instance exists.
    pub live_bytes: Option<u64>,
    /// Who keeps it.
    pub holders: Vec<Holder>,
}

impl GenerationHolders {
    /// A generation with this status, without holders.
    pub fn new(generation: u64, condition: GenerationStatus, since: Duration) -> Self {
        Self {
            generation,
            condition,
            since,
            live_bytes: None,
            holders: Vec::new(),
        }
    }
}

/// The status of a mapped generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenerationStatus {
    /// A reload is preparing it.
    Candidate,
    /// Its owner runs it beside what serves, and it goes when he drops it.
    Shadow,
    /// It waits for its owner's `sync`.
    Staged,
    /// It is the slot's current generation.
    Serving,
    /// It was replaced, and is kept complete until its successor has passed its probation.
    Standby,
    /// It was replaced, and is unloaded when its last holder releases it.
    Retired,
    /// Its instance is dropped; the host waits for its threads and thread-locals.
    Ending,
    /// Its image stays mapped for this reason.
    Quarantined(QuarantineReason),
}

impl fmt::Display for GenerationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate => write!(f, "is a candidate"),
            Self::Shadow => write!(f, "is a shadow, which its owner keeps"),
            Self::Staged => write!(f, "waits for its owner's `sync`"),
            Self::Serving => write!(f, "serves"),
            Self::Standby => write!(f, "is the standby until its successor has passed its probation"),
            Self::Retired => write!(f, "is retired"),
            Self::Ending => write!(f, "has ended, and its image is unmapped as soon as possible"),
            Self::Quarantined(reason) => write!(f, "is quarantined: {reason}"),
        }
    }
}

/// What keeps a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The slot itself: the generation is current, staged, or the standby.
    Slot,
    /// The owner of the slot's claim.
    Owner {
        /// The thread that claimed the slot, or that adopted the last generation.
        thread: String,
        /// The time since the claim.
        since: Duration,
        /// Where it was claimed.
        at: &'static Location<'static>,
    },
    /// The owner of a [shadow](GenerationStatus::Shadow).
    ShadowOwner {
        /// The thread that made the shadow.
        thread: String,
        /// The time since then.
        since: Duration,
        /// Where it was made.
        at: &'static Location<'static>,
    },
    /// A reader that holds an older view.
    Reader {
        /// The thread that called `Reader::view` last.
        thread: String,
        /// The time since that call.
        since: Duration,
        /// Where it called.
        at: &'static Location<'static>,
    },
    /// A guard that `Slot::load` returned; known if the host was built with `track_guards`.
    Load {
        /// The thread that loaded it.
        thread: String,
        /// The time since then.
        since: Duration,
        /// Where it was loaded.
        at: &'static Location<'static>,
    },
    /// An older generation that is still held. Either its holder has a borrow from this generation, because the state moved
    /// here; or the host has ended, and calls through the older generation come here.
    Predecessor {
        /// Its number.
        generation: u64,
    },
    /// A thread that the plugin started.
    PluginThread {
        /// Its name, as the kernel knows it.
        thread: String,
    },
    /// A thread of the host program that has thread-locals of the plugin. They are dropped at its first safe point after the
    /// plugin's end.
    ThreadLocals {
        /// Its name, as the kernel knows it.
        thread: String,
    },
    /// A hook that has not returned. It is of another instance in the same image, which a rollback made in place of this
    /// one.
    Hook {
        /// The hook, as its author calls it.
        hook: &'static str,
    },
    /// An unrecorded holder. Guards of `Slot::load` are recorded if the host is built with `track_guards`; guards of other
    /// plugins are not.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot => write!(f, "the slot itself"),
            Self::Owner { thread, since, at } => {
                write!(f, "the claim of thread {thread:?} (made {since:.1?} ago at {at})")
            }
            Self::ShadowOwner { thread, since, at } => {
                write!(
                    f,
                    "the owner of this shadow, thread {thread:?} (made {since:.1?} ago at {at})"
                )
            }
            Self::Reader { thread, since, at } => {
                write!(f, "the reader of thread {thread:?} (its last view: {since:.1?} ago at {at})")
            }
            Self::Load { thread, since, at } => {
                write!(f, "a guard of `slot.load()` of thread {thread:?} ({since:.1?} ago at {at})")
            }
            Self::Predecessor { generation } => {
                write!(f, "generation {generation}, which is still held and whose state it has")
            }
            Self::Hook { hook } => write!(f, "the {hook} of another instance in its image, which has not returned"),
            Self::PluginThread { thread } => write!(f, "the plugin's own thread {thread}"),
            Self::ThreadLocals { thread } => {
                write!(
                    f,
                    "thread-locals of thread {thread}, dropped at its first safe point after the plugin's end"
                )
            }
            Self::Unknown => write!(
                f,
                "a guard of `slot.load()`, or a borrow from it (`HostBuilder::track_guards` records where), or a guard of \
                     another plugin's `peer.load()`"
            ),
        }
    }
}

impl fmt::Display for GenerationHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} ", self.generation)?;
        write!(f, "{}", self.condition)?;
        write!(f, " (for {:.1?}", self.since)?;
        if let Some(bytes) = self.live_bytes {
            write!(f, ", {bytes} bytes on its heap")?;
        }
        write!(f, ")")?;
        self.holders.iter().try_for_each(|holder| write!(f, "\n  held by {holder}"))
    }
}
