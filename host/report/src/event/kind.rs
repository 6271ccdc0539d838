//! The kind and the subject of each event: the one table of events, for code that filters or counts them.

use super::Event;

impl Event {
    /// A short word for this kind of event, in lower case with hyphens, such as `rolled-back`. It stays the same from release to release.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Noticed { .. } => "noticed",
            Self::Waiting { .. } => "waiting",
            Self::Unchanged { .. } => "unchanged",
            Self::AlreadyStaged { .. } => "already-staged",
            Self::SameSlot { .. } => "same-slot",
            Self::StillRefused { .. } => "still-refused",
            Self::Linted { .. } => "linted",
            Self::Lifecycle { .. } => "lifecycle",
            Self::Staged { .. } => "staged",
            Self::Shadowed { .. } => "shadowed",
            Self::Superseded { .. } => "superseded",
            Self::Swapped(_) => "swapped",
            Self::Confirmed { .. } => "confirmed",
            Self::RolledBack(_) => "rolled-back",
            Self::NoFallback { .. } => "no-fallback",
            Self::Health { .. } => "health",
            Self::StopFailed { .. } => "stop-failed",
            Self::RestartFailed { .. } => "restart-failed",
            Self::SlotEmptied { .. } => "slot-emptied",
            Self::Unloaded { .. } => "unloaded",
            Self::UnloadStaged { .. } => "unload-staged",
            Self::UnloadRefused { .. } => "unload-refused",
            Self::StillUnloaded { .. } => "still-unloaded",
            Self::FileDeleted { .. } => "file-deleted",
            Self::Reverted { .. } => "reverted",
            Self::HistoryFailed { .. } => "history-failed",
            Self::Configured { .. } => "configured",
            Self::ConfigApplied { .. } => "config-applied",
            Self::ConfigRefused { .. } => "config-refused",
            Self::Refused(_) => "refused",
            Self::ImageDamaged { .. } => "image-damaged",
            Self::ImageNotCompared { .. } => "image-not-compared",
            Self::RepairGivenUp { .. } => "repair-given-up",
            Self::ImageRenewed { .. } => "image-renewed",
            Self::InstanceEnded { .. } => "instance-ended",
            Self::InstanceReplaced { .. } => "instance-replaced",
            Self::SnapshotDamaged { .. } => "snapshot-damaged",
            Self::DrainTimeout { .. } => "drain-timeout",
            Self::Retired(_) => "retired",
            Self::Released { .. } => "released",
            Self::CallFailed { .. } => "call-failed",
            Self::ThreadPanicked { .. } => "thread-panicked",
            Self::FolderMissing { .. } => "folder-missing",
            Self::FolderBack { .. } => "folder-back",
            Self::PrivateFolderRestored { .. } => "private-folder-restored",
            Self::ShutDown => "shut-down",
            Self::Lagged { .. } => "lagged",
        }
    }

    /// The slot that the event is about, if it is about one.
    pub fn slot(&self) -> Option<&str> {
        self.subject().0
    }

    /// The generation that the event is about, if it is about one. For a rollback this is the generation that is current
    /// afterwards.
    pub fn generation(&self) -> Option<u64> {
        self.subject().1
    }

    fn subject(&self) -> (Option<&str>, Option<u64>) {
        let (slot, generation) = match self {
            Self::Noticed { .. }
            | Self::Waiting { .. }
            | Self::FolderMissing { .. }
            | Self::FolderBack { .. }
            | Self::PrivateFolderRestored { .. }
            | Self::Configured { .. }
            | Self::ShutDown
            | Self::Lagged { .. } => return (None, None),
            Self::StillRefused { refusal, .. } | Self::Refused(refusal) => {
                return (refusal.slot.as_deref(), refusal.candidate);
            }
            Self::HistoryFailed { slot, .. } | Self::ConfigRefused { slot, .. } => {
                return (slot.as_deref(), None);
            }
            Self::Shadowed { slot, shadow } => (slot, Some(*shadow)),
            Self::NoFallback { slot, generation, .. } => (slot, *generation),
            Self::Linted { slot, .. }
            | Self::SameSlot { slot, .. }
            | Self::StillUnloaded { slot, .. }
            | Self::SnapshotDamaged { slot, .. }
            | Self::Reverted { slot, .. } => (slot, None),
            Self::Swapped(report) => (&report.slot, Some(report.generation)),
            Self::RolledBack(report) => (&report.slot, Some(report.to)),
            Self::Retired(report) => (&report.slot, Some(report.generation)),
            Self::Unchanged { slot, generation, .. }
            | Self::AlreadyStaged { slot, generation, .. }
            | Self::Lifecycle { slot, generation, .. }
            | Self::Staged { slot, generation }
            | Self::Superseded { slot, generation }
            | Self::Confirmed { slot, generation }
            | Self::ConfigApplied { slot, generation }
            | Self::Health { slot, generation, .. }
            | Self::StopFailed { slot, generation, .. }
            | Self::RestartFailed { slot, generation, .. }
            | Self::SlotEmptied { slot, generation }
            | Self::Unloaded { slot, generation, .. }
            | Self::UnloadStaged { slot, generation }
            | Self::UnloadRefused { slot, generation, .. }
            | Self::FileDeleted { slot, generation, .. }
            | Self::ImageDamaged { slot, generation, .. }
            | Self::ImageNotCompared { slot, generation, .. }
            | Self::RepairGivenUp { slot, generation, .. }
            | Self::ImageRenewed { slot, generation, .. }
            | Self::InstanceEnded { slot, generation, .. }
            | Self::InstanceReplaced { slot, generation, .. }
            | Self::DrainTimeout { slot, generation, .. }
            | Self::Released { slot, generation, .. }
            | Self::CallFailed { slot, generation, .. }
            | Self::ThreadPanicked { slot, generation, .. } => (slot, Some(*generation)),
        };
        (Some(slot), generation)
    }
}
