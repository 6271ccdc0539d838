//! Every event as a sentence for a person, by `Display`. A program matches on the event itself.

use super::{Event, Outcome, ReloadReport, RetireReport};
use crate::{EngineKind, Holder, RestoredState, RollbackReason, RollbackReport, UnloadReason, UnloadReport};
use std::{
    fmt::{self, Display, Formatter},
    path::Path,
    time::Duration,
};

/// `{:#}` prints the backtrace as well, if the event has one.
impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.sentence(f)?;
        match self.backtrace() {
            Some(backtrace) if f.alternate() && !matches!(self, Self::Refused(_)) => write!(f, "\n{backtrace}"),
            _ => Ok(()),
        }
    }
}

impl Event {
    fn sentence(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noticed { path } => write!(f, "{}: noticed", name(path)),
            Self::Waiting { path, why } => write!(f, "{}: not loaded yet: {why}", name(path)),
            Self::Unchanged { slot, path, generation } => write!(
                f,
                "{slot}: {} has not changed; generation {generation} keeps serving",
                name(path)
            ),
            Self::AlreadyStaged { slot, path, generation } => write!(
                f,
                "{slot}: {} is already staged; generation {generation} waits for its owner's `sync`",
                name(path)
            ),
            Self::SameSlot { slot, path, other } => write!(
                f,
                "{slot}: {} was loaded, and {} in the same folder has the same plugin; both are for this slot, which loads \
                     the one that was published last\n  what to do: remove one of the files; or give each a slot of its \
                     own with `instances`",
                name(path),
                name(other)
            ),
            Self::StillRefused { path, .. } => {
                write!(f, "{}: unchanged since it was refused; not tried again", name(path))
            }
            Self::Linted { slot, warnings } if warnings.is_empty() => write!(f, "{slot}: a new build passed the lint"),
            Self::Linted { slot, warnings } => write!(f, "{slot}: note: {}", warnings.join("; ")),
            Self::Lifecycle {
                slot,
                generation,
                from,
                to,
            } => write!(f, "{slot}: generation {generation} moved from {from} to {to}"),
            Self::Confirmed { slot, generation } => write!(f, "{slot}: generation {generation} has passed its probation"),
            Self::RolledBack(report) => report.fmt(f),
            Self::NoFallback {
                slot, generation: None, ..
            } => write!(
                f,
                "{slot}: the slot is empty: the published version cannot be loaded, and the history has no good one"
            ),
            Self::NoFallback {
                slot,
                generation: Some(generation),
                reason: reason @ (RollbackReason::Manual | RollbackReason::Restarted | RollbackReason::GroupMember { .. }),
            } => write!(
                f,
                "{slot}: generation {generation} keeps serving, because the history has no earlier good version; a \
                     rollback was due: {reason}"
            ),
            Self::NoFallback {
                slot,
                generation: Some(generation),
                reason,
            } => write!(
                f,
                "{slot}: generation {generation} is faulty, and keeps serving, because the history has no earlier good \
                     version: {reason}"
            ),
            Self::Health {
                slot,
                generation,
                health,
            } => write!(f, "{slot}: health of generation {generation}: {health}"),
            Self::StopFailed { slot, generation, error } => write!(
                f,
                "{slot}: the `stop` of generation {generation} failed, and the reload continues: {error}"
            ),
            Self::RestartFailed { slot, generation, error } => write!(
                f,
                "{slot}: generation {generation} could not be started again, and keeps serving without what its `start` \
                     acquires: {error}"
            ),
            Self::SlotEmptied { slot, generation } => write!(
                f,
                "{slot}: the slot is empty: the `stop` of generation {generation} did not return, and its successor failed"
            ),
            Self::Unloaded {
                slot,
                generation,
                state_bytes,
                reason,
            } => {
                write!(f, "{slot}: generation {generation} is unloaded, and the slot is empty")?;
                if let Some(bytes) = state_bytes {
                    write!(f, "; its state ({bytes} bytes) is kept until the slot is loaded again")?;
                }
                match reason {
                    UnloadReason::Requested => Ok(()),
                    UnloadReason::FileDeleted { path } => write!(f, "\n  because: its file {} was deleted", path.display()),
                }
            }
            Self::UnloadStaged { slot, generation } => {
                write!(
                    f,
                    "{slot}: generation {generation} will be unloaded by its owner's next `sync`"
                )
            }
            Self::UnloadRefused { error, .. } => error.fmt(f),
            Self::StillUnloaded { slot, path } => write!(
                f,
                "{slot}: {} is unchanged since the slot was unloaded, so it is not loaded by itself; publish it again, or \
                     load it by name",
                name(path)
            ),
            Self::FileDeleted { slot, path, generation } => {
                write!(
                    f,
                    "{slot}: its file {} was deleted; generation {generation} keeps serving",
                    name(path)
                )
            }
            Self::Reverted { slot, from, to } => {
                write!(
                    f,
                    "{slot}: version {from:.12} had not passed its probation when the host ended; "
                )?;
                match to {
                    Some(to) => write!(f, "the last good version, {to:.12}, is loaded instead"),
                    None => write!(f, "the history has no good version, so it is tried again"),
                }
            }
            Self::HistoryFailed { error, .. } => write!(f, "history: {error}\n  what to do: {}", error.remedy()),
            Self::Configured { files, requires_restart } => {
                if let Some(file) = files.first() {
                    write!(f, "{}: ", file.display())?;
                }
                write!(f, "the configuration is valid")?;
                match requires_restart.is_empty() {
                    true => Ok(()),
                    false => write!(
                        f,
                        "; these keys take effect at the next start: {}",
                        requires_restart.join(", ")
                    ),
                }
            }
            Self::ConfigApplied { slot, generation } => {
                write!(
                    f,
                    "{slot}: generation {generation} has the current configuration and resources"
                )
            }
            Self::ConfigRefused { file, slot, reason } => {
                if let Some(slot) = slot {
                    write!(f, "{slot}: ")?;
                }
                if let Some(file) = file {
                    write!(f, "{}: ", file.display())?;
                }
                write!(f, "refused, the last good one stays in use: {reason}")
            }
            Self::Staged { slot, generation } => {
                write!(
                    f,
                    "{slot}: generation {generation} is staged; it waits for its owner's `sync`"
                )
            }
            Self::Shadowed { slot, shadow } => {
                write!(
                    f,
                    "{slot}: shadow {shadow} runs beside the current generation, with a copy of its state"
                )
            }
            Self::Superseded { slot, generation } => {
                write!(
                    f,
                    "{slot}: staged generation {generation} was discarded: a newer build, a rollback, an unload or a fresh image took its \
                         place"
                )
            }
            Self::Swapped(report) => report.fmt(f),
            Self::Refused(refusal) if f.alternate() => write!(f, "refused: {refusal:#}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::ImageDamaged {
                slot,
                generation,
                difference,
                more,
            } => {
                write!(
                    f,
                    "{slot}: the image of generation {generation} differs in memory from its artifact at {difference}"
                )?;
                match more {
                    0 => Ok(()),
                    more => write!(f, ", and at {more} more place(s)"),
                }
            }
            Self::ImageNotCompared {
                slot,
                generation,
                reason,
            } => {
                write!(
                    f,
                    "{slot}: the image of generation {generation} could not be compared with its artifact: {reason}"
                )
            }
            Self::RepairGivenUp {
                slot,
                generation,
                difference,
                fresh_images,
            } => {
                write!(
                    f,
                    "{slot}: the damaged generation {generation} is not replaced any more: the last {fresh_images} fresh images differed at \
                     {difference} as well, so another image does not help: something may write there, such as a debugger or a faulty library"
                )
            }
            Self::SnapshotDamaged { slot, error } => {
                write!(
                    f,
                    "{slot}: the snapshot of the last swap is damaged, and the current state is carried over: {error}"
                )
            }
            Self::ImageRenewed {
                slot,
                generation,
                damaged,
            } => write!(
                f,
                "{slot}: generation {generation}, of the same artifact, replaced generation {damaged}, whose image is damaged"
            ),
            Self::InstanceEnded { slot, generation, end } => {
                write!(f, "{slot}: the instance of generation {generation} has ended: {end}")
            }
            Self::InstanceReplaced {
                slot,
                generation,
                ended,
                end,
            } => write!(
                f,
                "{slot}: generation {generation}, of the same artifact, replaced generation {ended}, whose instance has ended: {end}"
            ),
            Self::DrainTimeout {
                slot,
                generation,
                holders,
            } => write!(
                f,
                "{slot}: generation {generation} is retired, but still held by {}; it is unloaded when they release it",
                listed(holders)
            ),
            Self::Retired(report) => report.fmt(f),
            Self::Released {
                slot,
                generation,
                engine: EngineKind::Linked,
                ..
            } => write!(
                f,
                "{slot}: generation {generation} is gone after all: its instance is dropped, and its code, a part of the program, stays"
            ),
            Self::Released {
                slot,
                generation,
                engine: EngineKind::Native,
                report,
            } => write!(
                f,
                "{slot}: generation {generation} has left quarantine: image proven unmapped ({report})"
            ),
            Self::Released {
                slot,
                generation,
                engine: EngineKind::Wasm | EngineKind::Process,
                ..
            } => write!(
                f,
                "{slot}: generation {generation} has left quarantine: nothing of it is left"
            ),
            Self::CallFailed { error, .. } => write!(f, "call failed: {error}"),
            Self::ThreadPanicked {
                slot,
                generation,
                message,
                ..
            } => write!(f, "{slot}: a thread of generation {generation} panicked: {message}"),
            Self::FolderMissing { path } => write!(
                f,
                "the folder {} does not exist; the host watches it as soon as it is created",
                path.display()
            ),
            Self::FolderBack { path } => write!(f, "the folder {} exists again; its plugins are loaded", path.display()),
            Self::PrivateFolderRestored { was, now } => {
                let (was_there, is_there) = (was.display(), now.display());
                match was == now {
                    true => write!(
                        f,
                        "the lock of the private folder {was_there} was removed, and the host has made it \
                         again"
                    )?,
                    false => write!(
                        f,
                        "the private folder {was_there} was removed, and the host has made it again as \
                         {is_there}"
                    )?,
                }
                write!(
                    f,
                    "\n  what to do: exclude it from cleaners of temporary files, or set `private_base` to a folder that \
                         is not cleaned"
                )
            }
            Self::ShutDown => write!(f, "the host is shutting down"),
            Self::Lagged { missed } => write!(f, "({missed} events were lost, because this stream was read too slowly)"),
        }
    }
}

impl Display for ReloadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: generation {} ", self.slot, self.generation)?;
        match self.replaced {
            Some(old) => write!(f, "replaced {old}")?,
            None => write!(f, "is loaded")?,
        }
        write!(f, " in {}", Readable(self.total))?;
        if !self.pause.is_zero() {
            write!(f, ", of which calls waited {}", Readable(self.pause))?;
        }
        if let Some(bytes) = self.state_bytes {
            write!(f, ", with {bytes} bytes of state")?;
        }
        let mut parts: Vec<String> = self
            .steps
            .iter()
            .map(|(step, took)| format!("{step} {}", took.as_micros()))
            .collect();
        // The rest of the total time is the wait for the owner of a claimed slot, or for the calls inside a shared plugin
        // with state.
        let wait = self.total.saturating_sub(self.steps.iter().map(|(_, took)| *took).sum());
        if self.replaced.is_some() && wait > Duration::from_micros(20) {
            parts.push(format!("waiting {}", wait.as_micros()));
        }
        write!(f, " ({}; in µs)", parts.join(", "))
    }
}

impl Display for RollbackReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (slot, from, to) = (&self.slot, self.from, self.to);
        write!(
            f,
            "{slot}: rolled back from generation {from} to {to} in {}",
            Readable(self.total)
        )?;
        match &self.state {
            RestoredState::None => {}
            RestoredState::Carried { bytes } => write!(f, "; state carried over ({bytes} bytes)")?,
            RestoredState::Snapshot { why: None, .. } => write!(f, "; state restored from the snapshot of the swap")?,
            RestoredState::Snapshot { why: Some(why), .. } => {
                write!(
                    f,
                    "; state restored from the snapshot of the swap, because the newer state could not be carried \
                     over: {why}"
                )?;
            }
        }
        write!(f, "\n  because: {}", self.reason)
    }
}

impl Display for RetireReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: generation {}", self.slot, self.generation)?;
        if !self.served {
            write!(f, ", which never served,")?;
        }
        match &self.outcome {
            Outcome::Unmapped(report) => {
                write!(f, " is gone: image proven unmapped (")?;
                if self.served {
                    write!(f, "its last holder released it after {}, ", Readable(self.held))?;
                }
                write!(f, "{report})")?;
            }
            Outcome::Linked => {
                write!(
                    f,
                    " is gone: its instance is dropped, and its code, a part of the program, stays"
                )?;
                if self.served {
                    write!(f, " (its last holder released it after {})", Readable(self.held))?;
                }
            }
            Outcome::ProcessEnded { pid } => write!(f, " is gone: its process {pid} has ended and was reaped")?,
            Outcome::SandboxFreed => write!(f, " is gone: its sandbox is freed, and its code proven unmapped")?,
            Outcome::Quarantined(reason) => write!(f, " has ended, but its image stays mapped: {reason}")?,
        }
        if !self.late_holders.is_empty() {
            write!(f, "\n  held after the drain deadline by {}", listed(&self.late_holders))?;
        }
        for (hook, error) in [("stop", &self.stop_error), ("drop", &self.destroy_error)] {
            if let Some(error) = error {
                write!(f, "\n  its `{hook}` failed: {error}")?;
            }
        }
        Ok(())
    }
}

impl Display for UnloadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "unloaded in {}", Readable(self.close + self.prove))?;
        if self.settle > Duration::from_millis(1) {
            write!(f, " after waiting {} for its threads", Readable(self.settle))?;
        }
        if self.thread_locals_skipped > 0 {
            write!(
                f,
                "; left: {} thread-local value(s) of running threads ({})",
                self.thread_locals_skipped,
                self.skipped_threads.join(", ")
            )?;
        }
        if self.file_bytes_left > 0 {
            write!(f, "; left: {} bytes of mapped files", self.file_bytes_left)?;
        }
        match self.live_bytes_left {
            _ if self.blocks_freed > 0 => write!(f, "; {} of its heap freed", Size(self.bytes_freed))?,
            Some(left) if left > 0 => write!(f, "; left {} on its heap", Size(left))?,
            _ => {}
        }
        Ok(())
    }
}

fn listed(holders: &[Holder]) -> String {
    let words: Vec<String> = holders.iter().map(Holder::to_string).collect();
    words.join(", ")
}

/// A duration with two significant digits or so.
struct Readable(Duration);

impl Display for Readable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            long if long >= 10.0 => write!(f, "{long:.0} s"),
            long if long >= 1.0 => write!(f, "{long:.1} s"),
            middle if middle >= 0.01 => write!(f, "{:.0} ms", middle * 1e3),
            middle if middle >= 0.001 => write!(f, "{:.1} ms", middle * 1e3),
            short => write!(f, "{:.0} µs", short * 1e6),
        }
    }
}

/// A number of bytes, rounded for a person.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            few @ 0..1_000 => write!(f, "{few} bytes"),
            some @ 1_000..1_000_000 => write!(f, "{:.1} KB", some as f64 / 1e3),
            many => write!(f, "{:.1} MB", many as f64 / 1e6),
        }
    }
}

fn name(path: &Path) -> impl Display {
    path.file_name().unwrap_or(path.as_os_str()).display()
}
