//! Who holds what: every mapped generation of a slot, its condition, and by name everybody who keeps it. Answers
//! `Host::who_holds`, and names stragglers for the reaper.

use super::{
    holds::HoldBy,
    images::{MappedImages, Phase},
    record::{Mode, SlotRecord},
    slots::Slots,
    taken::Taken,
};
use crate::image::{ImageResources, QuarantineReason};
use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    time::{Duration, Instant},
};

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

/// How far a mapped generation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenerationStatus {
    /// On its way to serving.
    Candidate,
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
    /// [`track_guards`](crate::HostBuilder::track_guards).
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
    /// [safe point](crate::safe_point) after the plugin's end.
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
    /// [`track_guards`](crate::HostBuilder::track_guards); another plugin that calls it is not.
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
        match &self.condition {
            GenerationStatus::Candidate => write!(f, "is a candidate")?,
            GenerationStatus::Staged => write!(f, "waits for its owner's `sync`")?,
            GenerationStatus::Serving => write!(f, "serves")?,
            GenerationStatus::Standby => write!(f, "stands by until its successor has proved itself")?,
            GenerationStatus::Retired => write!(f, "serves no more")?,
            GenerationStatus::Ending => write!(f, "has ended, and its image goes as soon as it can")?,
            GenerationStatus::Quarantined(reason) => write!(f, "is quarantined: {reason}")?,
        }
        write!(f, " (for {:.1?}", self.since)?;
        if let Some(bytes) = self.live_bytes {
            write!(f, ", {bytes} bytes on its heap")?;
        }
        write!(f, ")")?;
        self.holders.iter().try_for_each(|holder| write!(f, "\n  held by {holder}"))
    }
}

/// Every mapped generation of a slot, oldest first.
pub(crate) fn who_holds(slots: &Slots, images: &MappedImages, record: &SlotRecord) -> Vec<GenerationHolders> {
    let holders = holders_by_generation(slots, record);
    let (current, staged, staged_bytes) = {
        let state = record.lock();
        let waiting = state.waiting(record.id);
        (
            state.current.as_ref().map(|current| current.generation.number()),
            waiting.map(|(number, _)| number),
            waiting.and_then(|(_, bytes)| bytes),
        )
    };
    let held = images.of_slot(&record.name).into_iter().map(|image| {
        let number = image.number;
        let (is_held, kept_by_hook) = (image.is_held(), image.kept_by_hook());
        let condition = match image.phase {
            Phase::Live if current == Some(number) => GenerationStatus::Serving,
            Phase::Live if staged == Some(number) => GenerationStatus::Staged,
            // One of another name; never asked for here.
            Phase::Live | Phase::Shadow => GenerationStatus::Candidate,
            Phase::Standby => GenerationStatus::Standby,
            Phase::Retired => GenerationStatus::Retired,
            Phase::Ending => GenerationStatus::Ending,
            Phase::Quarantined(reason) => GenerationStatus::Quarantined(reason),
        };
        let mut holders = holders.get(&number).cloned().unwrap_or_default();
        holders.extend(kept_by_hook.map(|hook| Holder::Hook { hook: hook.name() }));
        match condition {
            // Still held, and by nobody who is written down.
            GenerationStatus::Retired if holders.is_empty() && is_held => holders.push(Holder::Unknown),
            _ => {}
        }
        // Also of one that serves: they will have to be waited for.
        holders.extend(own_threads(&image.resources));
        let live_bytes = match condition {
            GenerationStatus::Staged => staged_bytes,
            _ => image.resources.live_bytes(),
        };
        GenerationHolders {
            generation: number,
            live_bytes,
            condition,
            since: image.since.elapsed(),
            holders,
        }
    });
    held.collect()
}

/// Who holds one generation.
pub(crate) fn holders_of(slots: &Slots, images: &MappedImages, slot: &str, number: u64) -> Vec<Holder> {
    let record = slots.named(slot);
    let held = record.map(|record| who_holds(slots, images, &record)).unwrap_or_default();
    let held = held.into_iter().find(|held| held.generation == number);
    held.map(|held| held.holders).unwrap_or_default()
}

fn holders_by_generation(slots: &Slots, record: &SlotRecord) -> BTreeMap<u64, Vec<Holder>> {
    let now = Instant::now();
    let since = |taken: &Taken| now.saturating_duration_since(taken.since);
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    let mut holding = Vec::new();
    {
        let state = record.lock();
        if let Some(current) = &state.current {
            let of = holders.entry(current.generation.number()).or_default();
            of.push(Holder::Slot);
            if let (Mode::Claimed, Some(taken)) = (state.mode, &state.owner) {
                of.push(Holder::Owner {
                    thread: taken.thread.clone(),
                    since: since(taken),
                    at: taken.at,
                });
            }
        }
        if let Some(standby) = state.probation.as_ref().and_then(|probation| probation.standby.as_ref()) {
            let number = standby.current.generation.number();
            holders.entry(number).or_default().push(Holder::Slot);
        }
        if let Some((staged, _)) = state.waiting(record.id) {
            holders.entry(staged).or_default().push(Holder::Slot);
        }
    }
    for hold in slots.holds.living() {
        let Some((view, taken)) = hold.held() else { continue };
        let Some(generation) = view.held(record.index, record.id) else {
            continue;
        };
        let (thread, since, at) = (taken.thread.clone(), since(&taken), taken.at);
        let holder = match hold.by {
            HoldBy::Reader => Holder::Reader { thread, since, at },
            HoldBy::Load => Holder::Load { thread, since, at },
        };
        holders.entry(generation.number()).or_default().push(holder);
        holding.push((generation.number(), generation.keeps()));
    }
    for (generation, held) in holding {
        let predecessor = Holder::Predecessor { generation };
        for number in held {
            let of = holders.entry(number).or_default();
            if !of.contains(&predecessor) {
                of.push(predecessor.clone());
            }
        }
    }
    holders
}

fn own_threads(resources: &ImageResources) -> Vec<Holder> {
    let threads = resources.running_threads().into_iter();
    let values = resources.threads_with_values().into_iter();
    threads
        .map(|thread| Holder::PluginThread { thread })
        .chain(values.map(|thread| Holder::ThreadLocals { thread }))
        .collect()
}
