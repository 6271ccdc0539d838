//! Events as they go over the socket: a word for programs, whose it is, and a sentence for people.

use super::protocol::EventMessage;
use crate::event::{Event, Record};
use std::time::{SystemTime, UNIX_EPOCH};

impl From<&Record> for EventMessage {
    fn from(record: &Record) -> Self {
        let (slot, generation) = whose(&record.event);
        Self {
            sequence: record.sequence,
            at_ms: milliseconds(record.at),
            event: kind(&record.event).to_owned(),
            slot,
            generation,
            text: record.event.to_string(),
        }
    }
}

/// Since 1970.
pub(super) fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Noticed { .. } => "noticed",
        Event::Waiting { .. } => "waiting",
        Event::Unchanged { .. } => "unchanged",
        Event::AlreadyStaged { .. } => "already-staged",
        Event::SameSlot { .. } => "same-slot",
        Event::StillRefused { .. } => "still-refused",
        Event::Linted { .. } => "linted",
        Event::Lifecycle { .. } => "lifecycle",
        Event::Staged { .. } => "staged",
        Event::Shadowed { .. } => "shadowed",
        Event::Superseded { .. } => "superseded",
        Event::Swapped(_) => "swapped",
        Event::Confirmed { .. } => "confirmed",
        Event::RolledBack(_) => "rolled-back",
        Event::NoFallback { .. } => "no-way-back",
        Event::Health { .. } => "health",
        Event::StopFailed { .. } => "stop-failed",
        Event::RestartFailed { .. } => "restart-failed",
        Event::SlotEmptied { .. } => "vacated",
        Event::Unloaded { .. } => "unloaded",
        Event::UnloadStaged { .. } => "unload-staged",
        Event::UnloadRefused { .. } => "unload-refused",
        Event::StillUnloaded { .. } => "still-unloaded",
        Event::FileDeleted { .. } => "file-deleted",
        Event::Reverted { .. } => "reverted",
        Event::HistoryFailed { .. } => "history-failed",
        Event::Configured { .. } => "configured",
        Event::ConfigApplied { .. } => "given",
        Event::ConfigRefused { .. } => "config-refused",
        Event::Refused(_) => "refused",
        Event::DrainTimeout { .. } => "straggling",
        Event::Retired(_) => "retired",
        Event::Released { .. } => "released",
        Event::CallFailed { .. } => "call-failed",
        Event::ThreadPanicked { .. } => "thread-panicked",
        Event::FolderMissing { .. } => "folder-missing",
        Event::FolderBack { .. } => "folder-back",
        Event::PrivateFolderRestored { .. } => "private-folder-restored",
        Event::ShutDown => "shut-down",
        Event::Lagged { .. } => "lagged",
    }
}

/// The slot and the generation that it is about.
fn whose(event: &Event) -> (Option<String>, Option<u64>) {
    let (slot, generation) = match event {
        Event::Noticed { .. }
        | Event::Waiting { .. }
        | Event::FolderMissing { .. }
        | Event::FolderBack { .. }
        | Event::PrivateFolderRestored { .. }
        | Event::Configured { .. }
        | Event::ShutDown
        | Event::Lagged { .. } => return (None, None),
        Event::StillRefused { refusal, .. } | Event::Refused(refusal) => {
            return (refusal.slot.as_deref().map(str::to_owned), refusal.candidate);
        }
        Event::HistoryFailed { slot, .. } | Event::ConfigRefused { slot, .. } => {
            return (slot.as_deref().map(str::to_owned), None);
        }
        Event::Shadowed { slot, shadow } => (slot, Some(*shadow)),
        Event::Linted { slot, .. }
        | Event::SameSlot { slot, .. }
        | Event::StillUnloaded { slot, .. }
        | Event::Reverted { slot, .. } => (slot, None),
        Event::Swapped(report) => (&report.slot, Some(report.generation)),
        Event::RolledBack(report) => (&report.slot, Some(report.to)),
        Event::Retired(report) => (&report.slot, Some(report.generation)),
        Event::Unchanged { slot, generation, .. }
        | Event::AlreadyStaged { slot, generation, .. }
        | Event::Lifecycle { slot, generation, .. }
        | Event::Staged { slot, generation }
        | Event::Superseded { slot, generation }
        | Event::Confirmed { slot, generation }
        | Event::ConfigApplied { slot, generation }
        | Event::NoFallback { slot, generation, .. }
        | Event::Health { slot, generation, .. }
        | Event::StopFailed { slot, generation, .. }
        | Event::RestartFailed { slot, generation, .. }
        | Event::SlotEmptied { slot, generation }
        | Event::Unloaded { slot, generation, .. }
        | Event::UnloadStaged { slot, generation }
        | Event::UnloadRefused { slot, generation, .. }
        | Event::FileDeleted { slot, generation, .. }
        | Event::DrainTimeout { slot, generation, .. }
        | Event::Released { slot, generation, .. }
        | Event::CallFailed { slot, generation, .. }
        | Event::ThreadPanicked { slot, generation, .. } => (slot, Some(*generation)),
    };
    (Some(slot.to_string()), generation)
}
