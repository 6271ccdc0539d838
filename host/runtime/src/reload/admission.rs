//! Admission: every decision about whether an artifact may become a candidate, each in a function with its name, before anything of the
//! artifact runs. There are two rounds. [`known_outcome`] asks whether there is anything to do, by the hash alone; [`admit`] compares the
//! manifest with what the slot needs. A new decision, such as whether a signature is good, is a function here and a line in one of the two.
//!
//! The kind of the candidate decides which decisions apply. Each of them matches on the kind without a catch-all.

use super::{
    attempt::{Attempt, refusal},
    messages::{LoadOptions, LoadOutcome, SlotLoad},
    uses,
};
use crate::{
    event::Log,
    instances::LoadRequest,
    runtime::Runtime,
    slot::{CandidateKind, ContentPlace, MappedImages, SavedState, SlotState, Slots, holders_of},
};
use reslot_artifact::{ContentHash, lint::LintError, manifest::Manifest};
use reslot_report::{Cause, Event, Holder, Refusal, SavedStateError, SchemaGap, Step};
use std::sync::Arc;

/// The outcome for one slot, if the hash alone decides it: the artifact is current, staged, still unloaded, or was refused before. With
/// none, a candidate is made.
pub(super) fn known_outcome(
    host: &Runtime,
    request: &LoadRequest,
    slot: &Arc<str>,
    hash: &ContentHash,
    options: LoadOptions<'_>,
) -> Option<SlotLoad> {
    let known = Known {
        host,
        request,
        slot,
        hash,
        options,
    };
    if options.saved.is_some() {
        return known.needs_an_empty_slot();
    }
    known
        .current_or_staged()
        .or_else(|| known.still_unloaded())
        .or_else(|| known.refused_before())
}

/// An earlier refusal of this artifact that holds for every slot.
pub(super) fn refused_everywhere(
    slots: &Slots,
    log: &Log,
    request: &LoadRequest,
    hash: &ContentHash,
    options: LoadOptions<'_>,
) -> Option<SlotLoad> {
    let refusal = slots.refusals.of(hash, None).filter(|_| !options.by_name)?;
    Some(still_refused(log, request, refusal))
}

/// An artifact of which only the hash is known, and one slot.
struct Known<'a> {
    host: &'a Runtime,
    request: &'a LoadRequest,
    slot: &'a Arc<str>,
    hash: &'a ContentHash,
    options: LoadOptions<'a>,
}

impl Known<'_> {
    /// A saved state is only for an empty slot: the state of the current generation would be lost.
    fn needs_an_empty_slot(&self) -> Option<SlotLoad> {
        let record = self.host.slots.named(self.slot)?;
        let generation = record.lock().serving_number()?;
        let cause = SavedStateError::Serves { generation };
        Some(SlotLoad::Refused(refusal(
            Some(&record),
            None,
            &self.request.path,
            Step::Read,
            cause,
        )))
    }

    /// The artifact is current already, or it is staged.
    fn current_or_staged(&self) -> Option<SlotLoad> {
        let (slot, path) = (self.slot.clone(), self.request.path.clone());
        match self.host.slots.content_place(self.slot, self.hash)? {
            ContentPlace::Serves(generation) => {
                self.host.log.push(Event::Unchanged {
                    slot: slot.clone(),
                    path,
                    generation,
                });
                Some(SlotLoad::Done(LoadOutcome::Unchanged { slot, generation }))
            }
            ContentPlace::Waits(generation) => {
                self.host.log.push(Event::AlreadyStaged {
                    slot: slot.clone(),
                    path,
                    generation,
                });
                Some(SlotLoad::Done(LoadOutcome::Staged { slot, generation }))
            }
        }
    }

    /// The slot was unloaded, and the file has not changed since.
    fn still_unloaded(&self) -> Option<SlotLoad> {
        if self.options.by_name || !self.host.slots.is_still_unloaded(self.slot, &self.request.path) {
            return None;
        }
        let slot = self.slot.clone();
        self.host.log.push(Event::StillUnloaded {
            slot: slot.clone(),
            path: self.request.path.clone(),
        });
        Some(SlotLoad::Done(LoadOutcome::StillUnloaded { slot }))
    }

    /// The artifact was refused for this slot before.
    fn refused_before(&self) -> Option<SlotLoad> {
        let refused = self.host.slots.refusals.of(self.hash, Some(self.slot));
        let refusal = refused.filter(|_| !self.options.by_name)?;
        Some(still_refused(&self.host.log, self.request, refusal))
    }
}

fn still_refused(log: &Log, request: &LoadRequest, refusal: Refusal) -> SlotLoad {
    log.push(Event::StillRefused {
        path: request.path.clone(),
        refusal: refusal.clone(),
    });
    SlotLoad::Known(refusal)
}

/// Decides, by the manifest and by what is known of the slot and the version, whether a candidate may be made of an artifact.
pub(super) fn admit(attempt: &Attempt<'_>, kind: &CandidateKind, manifest: &Manifest) -> Result<(), Refusal> {
    let check = AdmissionCheck { attempt, kind, manifest };
    check.check_same_plugin()?;
    check.check_callers()?;
    check.check_starting_state()?;
    check.check_cycle()?;
    check.check_or_clear_bad_mark()?;
    check.check_quarantine_room()
}

/// An artifact that has passed the lint, and of which no code has run yet.
struct AdmissionCheck<'a> {
    attempt: &'a Attempt<'a>,
    kind: &'a CandidateKind,
    manifest: &'a Manifest,
}

impl AdmissionCheck<'_> {
    fn refuse(&self, cause: impl Into<Cause>) -> Refusal {
        self.attempt.refusal(Step::Lint, cause)
    }

    fn name(&self) -> &Arc<str> {
        self.attempt.target.name()
    }

    /// The state of a slot is not given to another plugin.
    fn check_same_plugin(&self) -> Result<(), Refusal> {
        let state = self.attempt.target.slot.lock();
        let fits = match state.current() {
            Some(current) => check_plugin(current.generation.instance().manifest(), self.manifest),
            None => Ok(()),
        };
        drop(state);
        fits.map_err(|cause| self.refuse(cause))
    }

    /// It has every interface by which the slot is called. This is asked again before the swap, because a caller may ask for another
    /// interface meanwhile.
    fn check_callers(&self) -> Result<(), Refusal> {
        let fits = check_contracts(&self.attempt.target.slot.lock(), self.manifest);
        fits.map_err(|cause| self.refuse(cause))
    }

    /// Migrations lead from the state that it is to start from to its own schema.
    fn check_starting_state(&self) -> Result<(), Refusal> {
        let fits = match self.kind {
            CandidateKind::Fresh { saved: Some(saved), .. } => check_state(&self.attempt.target.slot.lock(), self.manifest)
                .and_then(|()| check_saved(saved, self.manifest).map_err(Cause::from)),
            CandidateKind::Fresh { saved: None, .. } | CandidateKind::SetMember | CandidateKind::Reinstance { .. } => {
                check_state(&self.attempt.target.slot.lock(), self.manifest)
            }
            // If it cannot start from the state of the current generation, there may be an earlier state for it.
            CandidateKind::Rollback(_) => Ok(()),
            CandidateKind::Shadow { state } => match state {
                Some(state) => check_schemas(state.of.instance().manifest(), self.manifest),
                None => Ok(()),
            },
        };
        fits.map_err(|cause| self.refuse(cause))
    }

    /// It is in no cycle of plugins that call each other.
    fn check_cycle(&self) -> Result<(), Refusal> {
        match self.kind {
            CandidateKind::Fresh { .. } | CandidateKind::Rollback(_) | CandidateKind::Reinstance { .. } => {}
            // This is asked when all members are known: another member may replace the plugin that would close the cycle.
            CandidateKind::SetMember => return Ok(()),
            // No plugin can call a shadow.
            CandidateKind::Shadow { .. } => return Ok(()),
        }
        // A plugin without `uses` cannot be part of a cycle, so the scan of all slots is skipped.
        if self.manifest.uses.is_empty() {
            return Ok(());
        }
        match uses::cycle(&self.attempt.host.slots.uses_of_serving(), self.name(), &self.manifest.uses) {
            Some(cycle) => Err(self.refuse(Cause::DependencyCycle(cycle))),
            None => Ok(()),
        }
    }

    /// No slot was rolled back from it. If somebody asks for it by name all the same, the history's mark is removed instead.
    fn check_or_clear_bad_mark(&self) -> Result<(), Refusal> {
        let by_name = match self.kind {
            CandidateKind::Fresh { by_name, .. } => *by_name,
            CandidateKind::SetMember | CandidateKind::Rollback(_) => true,
            // It is current already, or it is never published.
            CandidateKind::Reinstance { .. } | CandidateKind::Shadow { .. } => return Ok(()),
        };
        let (host, hash) = (self.attempt.host, &self.attempt.hash);
        match host.storage.history.known_bad(self.name(), hash) {
            Some(why) if !by_name => return Err(self.refuse(Cause::KnownBad(why))),
            Some(_) => host
                .storage
                .report_history_error(self.name(), host.storage.history.unblock(self.name(), hash)),
            None => {}
        }
        Ok(())
    }

    /// The slot has room for another image: not too many of its images are quarantined. If it has not, a file is tried again when there is
    /// room.
    fn check_quarantine_room(&self) -> Result<(), Refusal> {
        let host = self.attempt.host;
        let (waits_for_room, may_retry) = match self.kind {
            CandidateKind::Fresh { .. } | CandidateKind::SetMember | CandidateKind::Rollback(_) => (true, true),
            // When there is room, the inputs of all slots are checked again, and with them this one.
            CandidateKind::Reinstance { .. } => (false, true),
            CandidateKind::Shadow { .. } => (false, false),
        };
        let Some(full) = quarantine_full(&host.slots, &host.images, self.name()) else {
            if waits_for_room {
                // The file that waited for room is older than this one.
                host.retries.take_waiting_for_quarantine(self.name());
            }
            return Ok(());
        };
        if waits_for_room {
            host.retries.wait_for_quarantine_room(self.name(), self.attempt.path);
        }
        // An image may have been unmapped after it was counted and before the file was noted as waiting, so count again.
        if may_retry && quarantine_full(&host.slots, &host.images, self.name()).is_none() {
            host.retries.quarantine_room_freed(self.name());
        }
        Err(self.attempt.refusal(Step::Open, full))
    }
}

/// Refuses another plugin than the current one, because it must not get that one's state.
pub(crate) fn check_plugin(serving: &Manifest, candidate: &Manifest) -> Result<(), Cause> {
    match serving.name == candidate.name {
        true => Ok(()),
        false => Err(Cause::OtherPlugin {
            serving: serving.name.clone(),
            candidate: candidate.name.clone(),
        }),
    }
}

/// Refuses an artifact that lacks something which callers of the slot use.
pub(super) fn check_contracts(slot: &SlotState, candidate: &Manifest) -> Result<(), Cause> {
    let fits = slot.check(&candidate.interface);
    fits.map_err(|differences| LintError::Interface(differences).into())
}

/// Refuses an artifact if no migrations connect its schema with that of the current state.
pub(super) fn check_state(slot: &SlotState, candidate: &Manifest) -> Result<(), Cause> {
    match slot.current() {
        Some(current) => check_schemas(current.generation.instance().manifest(), candidate),
        None => Ok(()),
    }
}

fn check_schemas(serving: &Manifest, candidate: &Manifest) -> Result<(), Cause> {
    let (Some(old), Some(new)) = (serving.state, candidate.state) else {
        return Ok(());
    };
    let reaches = match old.schema <= new.schema {
        true => old.schema >= new.oldest,
        // The current generation is newer, so its `migrate` converts the state down.
        false => new.schema >= old.oldest,
    };
    match reaches {
        true => Ok(()),
        false => Err(Cause::Schema(SchemaGap::new(old, new))),
    }
}

/// Refuses an artifact that cannot start from a saved state.
fn check_saved(state: &SavedState, candidate: &Manifest) -> Result<(), SavedStateError> {
    if *candidate.name != *state.plugin() {
        return Err(SavedStateError::OtherPlugin {
            saved: state.plugin().to_owned(),
            candidate: candidate.name.clone(),
        });
    }
    state.snapshot.intact()?;
    let (saved, takes) = (state.schema(), candidate.state);
    match takes {
        Some(takes) if (takes.oldest..=takes.schema).contains(&saved) => Ok(()),
        _ => Err(SavedStateError::Schema { saved, takes }),
    }
}

/// The refusal for want of room in the slot of this name, if it has none.
fn quarantine_full(slots: &Slots, images: &MappedImages, name: &str) -> Option<Cause> {
    let (quarantined, cap) = (images.kept(name), images.quarantine_cap());
    let held_too_long = images.held_past_deadline(name);
    let all = quarantined.len() + held_too_long.len();
    if all == 0 || all < cap {
        return None;
    }
    // Threads and thread-locals of the plugin are ended together with the image, so they do not count as holders.
    let keeps = |holder: &Holder| !matches!(holder, Holder::PluginThread { .. } | Holder::ThreadLocals { .. });
    let holders = |number| {
        let all = holders_of(slots, images, name, number);
        all.into_iter().filter(keeps).collect()
    };
    let held = held_too_long.into_iter().map(|number| (number, holders(number))).collect();
    Some(Cause::QuarantineFull { quarantined, held, cap })
}
