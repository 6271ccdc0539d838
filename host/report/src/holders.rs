//! Every mapped generation of a slot, how far it has come, and by name what keeps it.

use crate::QuarantineReason;
use std::{fmt, panic::Location, time::Duration};

/// A mapped generation, and what keeps it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerationHolders {
    /// Its number.
    pub generation: u64,
    /// How far it has come.
    pub condition: GenerationStatus,
    /// For how long it has been in this condition.
    pub since: Duration,
    /// Bytes that it has allocated just now. None if its plugin does not count them (`allocator = own`), or before and after its
    /// time.
    pub live_bytes: Option<u64>,
    /// Who keeps it.
    pub holders: Vec<Holder>,
}

impl GenerationHolders {
    /// A generation in this status, for so long, that nobody holds.
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

/// How far a mapped generation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenerationStatus {
    /// On its way to serving.
    Candidate,
    /// Its owner runs it beside what serves, and it goes when he drops it.
    Shadow,
    /// It waits for its owner's `sync`.
    Staged,
    /// It is the slot's current one.
    Serving,
    /// It was replaced, and is kept, quiet and complete, until its successor has proved itself.
    Standby,
    /// It was replaced, and goes when its last holder lets go.
    Retired,
    /// Nobody holds its instance, which is gone; its threads and thread-locals are waited for.
    Ending,
    /// Its image stays, for this reason.
    Quarantined(QuarantineReason),
}

impl fmt::Display for GenerationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate => write!(f, "is a candidate"),
            Self::Shadow => write!(f, "is a shadow, which its owner keeps"),
            Self::Staged => write!(f, "waits for its owner's `sync`"),
            Self::Serving => write!(f, "serves"),
            Self::Standby => write!(f, "stands by until its successor has proved itself"),
            Self::Retired => write!(f, "serves no more"),
            Self::Ending => write!(f, "has ended, and its image goes as soon as it can"),
            Self::Quarantined(reason) => write!(f, "is quarantined: {reason}"),
        }
    }
}

/// Somebody who keeps a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The slot itself: it serves, is staged, or stands by.
    Slot,
    /// The owner of the slot's claim.
    Owner {
        /// The thread that claimed the slot, or adopted a generation last.
        thread: String,
        /// Since the claim.
        since: Duration,
        /// Where it was claimed.
        at: &'static Location<'static>,
    },
    /// A reader that holds an older view.
    Reader {
        /// The thread that looked last.
        thread: String,
        /// Since that look.
        since: Duration,
        /// Where it looked.
        at: &'static Location<'static>,
    },
    /// What `Slot::load` answered; known if the host was built with
    /// `track_guards`.
    Load {
        /// The thread that loaded it.
        thread: String,
        /// Since then.
        since: Duration,
        /// Where it was loaded.
        at: &'static Location<'static>,
    },
    /// An older generation that somebody holds: he has borrowed from this one through it, because its state has gone to this one; or the
    /// host has ended, and calls through it go to this one.
    Predecessor {
        /// Its number.
        generation: u64,
    },
    /// A thread that the plugin started.
    PluginThread {
        /// Its name, as the kernel knows it.
        thread: String,
    },
    /// A thread of the host program that has thread-locals of the plugin; they are dropped at its first
    /// safe point after the plugin's end.
    ThreadLocals {
        /// Its name, as the kernel knows it.
        thread: String,
    },
    /// A hook that has not come back: of another instance in the same image, which was to serve in this one's stead after a rollback.
    Hook {
        /// The hook, as its author calls it.
        hook: &'static str,
    },
    /// Somebody who is not written down: what `Slot::load` answered is, if the host is built with
    /// `track_guards`; another plugin that calls it is not.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot => write!(f, "the slot itself"),
            Self::Owner { thread, since, at } => {
                write!(f, "the claim of thread {thread:?} (made {since:.1?} ago at {at})")
            }
            Self::Reader { thread, since, at } => {
                write!(f, "the reader of thread {thread:?} (it looked {since:.1?} ago at {at})")
            }
            Self::Load { thread, since, at } => {
                write!(
                    f,
                    "what thread {thread:?} got from `slot.load()` ({since:.1?} ago at {at}) and keeps"
                )
            }
            Self::Predecessor { generation } => {
                write!(f, "generation {generation}, whose state it has, and which somebody holds")
            }
            Self::Hook { hook } => write!(f, "the {hook} of another instance in its image, which has not come back"),
            Self::PluginThread { thread } => write!(f, "the plugin's own thread {thread}"),
            Self::ThreadLocals { thread } => {
                write!(
                    f,
                    "thread-locals of thread {thread}, dropped at its first safe point after the plugin's end"
                )
            }
            Self::Unknown => write!(
                f,
                "what `slot.load()` answered, or a borrow of it, kept by somebody (`HostBuilder::track_guards` tells where), or \
                 what another plugin got from `peer.load()`"
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
