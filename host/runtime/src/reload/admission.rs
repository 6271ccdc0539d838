//! Admission: every decision about whether an artifact may become a candidate, each in a function with its name, before anything of the
//! artifact runs. There are two rounds. [`known_outcome`] asks whether there is anything to do, by the hash alone; [`admit`] holds what the
//! artifact says of itself against the slot. A new decision, such as whether its signature is good, is a function here and a line in one
//! of the two.
//!
//! The kind of the candidate decides which of them apply; each asks for it without a catch-all.

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

/// What an artifact comes to in one slot, by its hash alone; none if the slot does not know it, and a candidate is to be made.
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
        .is_there_already()
        .or_else(|| known.is_still_unloaded())
        .or_else(|| known.was_refused_before())
}

/// The refusal of an artifact that every slot refused before.
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

/// An artifact in one slot, of which only the hash is known.
struct Known<'a> {
    host: &'a Runtime,
    request: &'a LoadRequest,
    slot: &'a Arc<str>,
    hash: &'a ContentHash,
    options: LoadOptions<'a>,
}

impl Known<'_> {
    /// A saved state is for a slot in which nothing serves: what serves has a state of its own, which would be lost.
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

    /// The same content serves, or waits for the owner.
    fn is_there_already(&self) -> Option<SlotLoad> {
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

    /// The slot was unloaded, and the file is as it was then.
    fn is_still_unloaded(&self) -> Option<SlotLoad> {
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

    /// The same content was refused here before.
    fn was_refused_before(&self) -> Option<SlotLoad> {
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

/// Decides, by what the artifact says of itself, whether a candidate may be made of it.
pub(super) fn admit(attempt: &Attempt<'_>, kind: &CandidateKind, manifest: &Manifest) -> Result<(), Refusal> {
    let candidate = Applicant { attempt, kind, manifest };
    candidate.is_of_the_same_plugin()?;
    candidate.fits_its_callers()?;
    candidate.takes_the_state()?;
    candidate.is_in_no_cycle()?;
    candidate.is_not_known_bad()?;
    candidate.has_room()
}

/// An artifact that has passed the lint, before anything of it runs.
struct Applicant<'a> {
    attempt: &'a Attempt<'a>,
    kind: &'a CandidateKind,
    manifest: &'a Manifest,
}

impl Applicant<'_> {
    fn refuse(&self, cause: impl Into<Cause>) -> Refusal {
        self.attempt.refusal(Step::Lint, cause)
    }

    fn name(&self) -> &Arc<str> {
        self.attempt.target.name()
    }

    /// A slot's state is not given to another plugin than the one that serves.
    fn is_of_the_same_plugin(&self) -> Result<(), Refusal> {
        let state = self.attempt.target.slot.lock();
        let fits = match state.current() {
            Some(current) => check_plugin(current.generation.instance().manifest(), self.manifest),
            None => Ok(()),
        };
        drop(state);
        fits.map_err(|cause| self.refuse(cause))
    }

    /// It has every interface by which the slot is called. Asked again before it comes to serve: a caller may ask for another
    /// interface meanwhile.
    fn fits_its_callers(&self) -> Result<(), Refusal> {
        let fits = check_contracts(&self.attempt.target.slot.lock(), self.manifest);
        fits.map_err(|cause| self.refuse(cause))
    }

    /// There is a way from the state that it is to start from to its own schema.
    fn takes_the_state(&self) -> Result<(), Refusal> {
        let fits = match self.kind {
            CandidateKind::Fresh { saved: Some(saved), .. } => check_state(&self.attempt.target.slot.lock(), self.manifest)
                .and_then(|()| check_saved(saved, self.manifest).map_err(Cause::from)),
            CandidateKind::Fresh { saved: None, .. } | CandidateKind::SetMember | CandidateKind::Reinstance { .. } => {
                check_state(&self.attempt.target.slot.lock(), self.manifest)
            }
            // If it cannot start from the state of what it replaces, there may be an earlier one for it.
            CandidateKind::Rollback(_) => Ok(()),
            CandidateKind::Shadow { state } => match state {
                Some(state) => check_schemas(state.of.instance().manifest(), self.manifest),
                None => Ok(()),
            },
        };
        fits.map_err(|cause| self.refuse(cause))
    }

    /// It does not call itself through other plugins.
    fn is_in_no_cycle(&self) -> Result<(), Refusal> {
        match self.kind {
            CandidateKind::Fresh { .. } | CandidateKind::Rollback(_) | CandidateKind::Reinstance { .. } => {}
            // Looked at when all members are known: what serves may be replaced together with it.
            CandidateKind::SetMember => return Ok(()),
            // Nobody calls it.
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

    /// No slot went back from it; or somebody asks for it all the same, and then it is bad no longer.
    fn is_not_known_bad(&self) -> Result<(), Refusal> {
        let by_name = match self.kind {
            CandidateKind::Fresh { by_name, .. } => *by_name,
            CandidateKind::SetMember | CandidateKind::Rollback(_) => true,
            // It serves already, or never comes to serve.
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

    /// The slot has not too many images that cannot be unmapped. If it has, a file is tried again when there is room.
    fn has_room(&self) -> Result<(), Refusal> {
        let host = self.attempt.host;
        let (waits_for_room, may_retry) = match self.kind {
            CandidateKind::Fresh { .. } | CandidateKind::SetMember | CandidateKind::Rollback(_) => (true, true),
            // What is to be given is looked at again when there is room.
            CandidateKind::Reinstance { .. } => (false, true),
            CandidateKind::Shadow { .. } => (false, false),
        };
        let Some(full) = quarantine_full(&host.slots, &host.images, self.name()) else {
            if waits_for_room {
                // What waited for room is older than this.
                host.retries.take_for_room(self.name());
            }
            return Ok(());
        };
        if waits_for_room {
            host.retries.wait_for_room(self.name(), self.attempt.path);
        }
        // One of them may have gone before it could know that somebody waits for that.
        if may_retry && quarantine_full(&host.slots, &host.images, self.name()).is_none() {
            host.retries.room_freed(self.name());
        }
        Err(self.attempt.refusal(Step::Open, full))
    }
}

/// Refuses another plugin than the one that serves: it must not be given that one's state.
pub(crate) fn check_plugin(serving: &Manifest, candidate: &Manifest) -> Result<(), Cause> {
    match serving.name == candidate.name {
        true => Ok(()),
        false => Err(Cause::OtherPlugin {
            serving: serving.name.clone(),
            candidate: candidate.name.clone(),
        }),
    }
}

/// Refuses what a caller of the slot could not call.
pub(super) fn check_contracts(slot: &SlotState, candidate: &Manifest) -> Result<(), Cause> {
    let fits = slot.check(&candidate.interface);
    fits.map_err(|differences| LintError::Interface(differences).into())
}

/// Refuses what no chain of migrations connects with the state of what serves.
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
        // The newer one knows the way down, and that is the one that serves.
        false => new.schema >= old.oldest,
    };
    match reaches {
        true => Ok(()),
        false => Err(Cause::Schema(SchemaGap::new(old, new))),
    }
}

/// Refuses what cannot start from a state that was saved.
fn check_saved(state: &SavedState, candidate: &Manifest) -> Result<(), SavedStateError> {
    if *candidate.name != *state.plugin() {
        return Err(SavedStateError::OtherPlugin {
            saved: state.plugin().to_owned(),
            candidate: candidate.name.clone(),
        });
    }
    let (saved, takes) = (state.schema(), candidate.state);
    match takes {
        Some(takes) if (takes.oldest..=takes.schema).contains(&saved) => Ok(()),
        _ => Err(SavedStateError::Schema { saved, takes }),
    }
}

/// Why there is no room for another image of this name, if there is none.
fn quarantine_full(slots: &Slots, images: &MappedImages, name: &str) -> Option<Cause> {
    let (quarantined, cap) = (images.kept(name), images.quarantine_cap());
    let held_too_long = images.held_past_deadline(name);
    let all = quarantined.len() + held_too_long.len();
    if all == 0 || all < cap {
        return None;
    }
    // Its own threads and thread-locals go when it ends, and so are not what keeps it.
    let keeps = |holder: &Holder| !matches!(holder, Holder::PluginThread { .. } | Holder::ThreadLocals { .. });
    let holders = |number| {
        let all = holders_of(slots, images, name, number);
        all.into_iter().filter(keeps).collect()
    };
    let held = held_too_long.into_iter().map(|number| (number, holders(number))).collect();
    Some(Cause::QuarantineFull { quarantined, held, cap })
}
