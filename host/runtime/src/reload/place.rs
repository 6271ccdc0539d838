//! Where a candidate goes: before its owner, or straight into its slot. Three ways, by who calls the slot:
//!
//! - *claimed*: the candidate is staged, and the owner's `sync` hands over, on the owner's thread;
//! - *open, with state or something exclusive*: the gate of what serves is closed for the length of it; callers wait, none fails;
//! - *open otherwise*: nobody waits for anything.

use super::{
    Clock, LoadOutcome, ReloadMessage, given,
    hand_over::{Member, Moved, close, hand_over},
    pipeline::refusal,
    prepare::{Origin, check_schemas, prepare},
    together,
};
use crate::{
    background::ForegroundPriority,
    content::ContentHash,
    deadline::after,
    error::{Cause, Refusal},
    event::{Event, Step, defer_notifications},
    host::Inner,
    image::lint::LintError,
    instances::LoadRequest,
    slot::{Access, Candidate, Generation, Mode, OwnersTurn, SlotRecord, SlotState, Staged},
};
use std::sync::Arc;

/// Puts a candidate in its place, or before its owner.
pub(super) fn place(host: &Arc<Inner>, candidate: Candidate) -> Result<LoadOutcome, Refusal> {
    // Also by whoever is called behind a gate: no subscriber runs while the slot moves on.
    let _told_later = defer_notifications();
    let Candidate { record, staged } = candidate;
    let staged = prepare_early(host, &record, staged)?;
    let mut state = record.lock_settled();
    if is_outdated(&state, &staged) {
        let generation = state.current.as_ref().map_or(0, |current| current.generation.number());
        drop(state);
        let slot = record.name.clone();
        pass_over(host, &record, staged);
        return Ok(LoadOutcome::Unchanged { slot, generation });
    }
    if let Err(cause) = still_fits(&state, &staged) {
        drop(state);
        return Err(no_longer_fits(&record, &staged, cause));
    }
    if state.mode == Mode::Claimed {
        let generation = staged.generation.number();
        let staged = Staged {
            fits: Some(state.contracts_number()),
            ..staged
        };
        if staged.reinstance_of.is_none() {
            host.given.forget_vetoed(&record.name);
        }
        let superseded = state.staged.replace(staged);
        let set = state.together.take();
        record.stage(true);
        let event = Event::Staged {
            slot: record.name.clone(),
            generation,
        };
        // Under the lock, which the owner needs for adopting: nobody hears of the adoption before the staging.
        host.log.append(event.clone());
        drop(state);
        host.log.trace(&event);
        report_superseded(host, &record, superseded);
        together::supersede(host, set);
        // Mostly the owner comes at once.
        host.hooks.wake_all();
        return Ok(LoadOutcome::Staged {
            slot: record.name.clone(),
            generation,
        });
    }
    let moving = record.moving(&mut state);
    // Left by a claim that was dropped, and older than what comes now.
    let superseded = state.staged.take();
    let set = state.together.take();
    record.stage(false);
    let old = state.current.as_ref().map(|current| current.generation.clone());
    drop(state);
    report_superseded(host, &record, superseded);
    together::supersede(host, set);
    // Plugin code runs here, so no lock is held; `moving` keeps claims out.
    let moved = move_on(host, &record, old.as_ref(), staged);
    drop(moving);
    moved.map(|moved| LoadOutcome::Swapped(moved.report))
}

/// A candidate that needs nothing of what serves is started before anybody waits for it.
fn prepare_early(host: &Inner, record: &SlotRecord, staged: Staged) -> Result<Staged, Refusal> {
    let serving_is_exclusive = {
        let state = record.lock();
        state
            .current
            .as_ref()
            .is_some_and(|current| current.generation.instance().is_exclusive())
    };
    if staged.prepared || staged.generation.instance().has_state() || serving_is_exclusive {
        return Ok(staged);
    }
    let Staged { generation, steps, .. } = staged;
    let number = generation.number();
    let mut clock = Clock::resume(staged.noticed, steps);
    let origin = Origin {
        artifact: Some(staged.hash),
        ..Origin::default()
    };
    let prepared = prepare(host, generation, origin, Vec::new(), &mut clock)
        .map_err(|(step, cause)| refusal(Some(record), Some(number), &staged.path, step, cause))?;
    Ok(Staged {
        generation: prepared.generation,
        steps: clock.steps,
        prepared: true,
        ..staged
    })
}

pub(super) fn report_superseded(host: &Inner, record: &SlotRecord, superseded: Option<Staged>) {
    if let Some(superseded) = superseded {
        if superseded.reinstance_of.is_none() {
            host.history.forget(&record.name, &superseded.hash);
        }
        host.log.push(Event::Superseded {
            slot: record.name.clone(),
            generation: superseded.generation.number(),
        });
    }
}

/// Adopts what was staged for a claim that was dropped.
pub(super) fn settle(host: &Arc<Inner>, record: &Arc<SlotRecord>) {
    let _told_later = defer_notifications();
    let mut state = record.lock_settled();
    if state.mode == Mode::Claimed {
        return;
    }
    record.stage(false);
    if let Some(set) = state.together.clone() {
        drop(state);
        together::settle(host, &set);
        return;
    }
    let Some(staged) = state.staged.take() else { return };
    if is_outdated(&state, &staged) {
        drop(state);
        pass_over(host, record, staged);
        return;
    }
    let fits = still_fits(&state, &staged);
    let moving = record.moving(&mut state);
    let old = state.current.as_ref().map(|current| current.generation.clone());
    drop(state);
    let (hash, is_reinstance, saved) = (staged.hash, staged.reinstance_of.is_some(), staged.state.is_some());
    let outcome = match fits {
        Ok(()) => move_on(host, record, old.as_ref(), staged).map(drop),
        Err(cause) => Err(no_longer_fits(record, &staged, cause)),
    };
    drop(moving);
    if let Err(refusal) = outcome {
        report_refused(host, hash, is_reinstance, saved, refusal);
    }
}

/// An open slot moves on, on the reload thread.
fn move_on(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    staged: Staged,
) -> Result<Moved, Refusal> {
    let number = staged.generation.number();
    // Callers wait, from here on.
    let _ordinary = ForegroundPriority::this_thread();
    host.hooks.wake_all();
    let access = close(host, old, &staged.generation)
        .map_err(|cause| refusal(Some(record), Some(number), &staged.path, Step::Migrate, cause))?;
    let member = Member {
        record: record.clone(),
        old,
        access,
        staged,
    };
    one(hand_over(host, vec![member]))
}

/// A claimed slot moves on, on its owner's thread. `None` if the candidate was refused.
pub(crate) fn hand_over_to_claim(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    turn: OwnersTurn<'_>,
    staged: Staged,
) -> Option<Arc<Generation>> {
    let (hash, is_reinstance, saved) = (staged.hash, staged.reinstance_of.is_some(), staged.state.is_some());
    let (outdated, fits) = {
        let state = record.lock();
        // It may have been staged for an earlier owner, who called it by another interface.
        (is_outdated(&state, &staged), still_fits(&state, &staged))
    };
    if outdated {
        pass_over(host, record, staged);
        return None;
    }
    let member = Member {
        record: record.clone(),
        old,
        access: Access::of_owner(turn, after(host.drain_deadline)),
        staged,
    };
    let outcome = match fits {
        Ok(()) => one(hand_over(host, vec![member])),
        Err(cause) => Err(no_longer_fits(record, &member.staged, cause)),
    };
    match outcome {
        Ok(moved) => Some(moved.generation),
        Err(refusal) => {
            report_refused(host, hash, is_reinstance, saved, refusal);
            None
        }
    }
}

fn one(moved: Result<Vec<Moved>, Refusal>) -> Result<Moved, Refusal> {
    let mut moved = moved?;
    match moved.pop() {
        Some(moved) => Ok(moved),
        None => unreachable!("as many have moved as were to"),
    }
}

/// Whether it is once more what served, and something else serves by now: the slot may have gone back from it.
fn is_outdated(state: &SlotState, staged: &Staged) -> bool {
    let serving = state.current.as_ref().map(|current| current.generation.number());
    staged.reinstance_of.is_some_and(|of| serving != Some(of))
}

/// Nobody wants what served once more. What serves by now is looked at for itself.
fn pass_over(host: &Inner, record: &SlotRecord, staged: Staged) {
    report_superseded(host, record, Some(staged));
    host.look_at_given();
}

/// A caller may have asked for another interface meanwhile, and another version may have come to serve.
pub(super) fn still_fits(state: &SlotState, staged: &Staged) -> Result<(), Cause> {
    let manifest = &staged.generation.instance().image().manifest;
    // To compare all of it takes longer than the rest of an adoption.
    if staged.fits != Some(state.contracts_number()) {
        state.check(&manifest.interface).map_err(LintError::Interface)?;
    }
    match &state.current {
        Some(current) if !staged.prepared && staged.back.is_none() => {
            check_schemas(&current.generation.instance().image().manifest, manifest)
        }
        _ => Ok(()),
    }
}

pub(super) fn no_longer_fits(record: &SlotRecord, staged: &Staged, cause: Cause) -> Refusal {
    let number = staged.generation.number();
    refusal(Some(record), Some(number), &staged.path, Step::Swap, cause)
}

/// A candidate that had been staged was refused. One that was to start from a `saved` state is not tried again by itself: it would start
/// from nothing.
fn report_refused(host: &Inner, hash: ContentHash, is_reinstance: bool, saved: bool, refusal: Refusal) {
    if is_reinstance {
        given::report_refused(host, refusal);
        return;
    }
    if let Some(slot) = &refusal.slot {
        host.history.forget(slot, &hash);
        if !saved && given::falls_back(host, slot, &hash, &refusal) {
            // Without a reload thread the host is gone.
            let request = LoadRequest::of_slot(&refusal.path, slot);
            let _ = host.reload.send(ReloadMessage::Retry(request));
            return;
        }
        if !saved {
            given::refuse_inputs(host, slot, &refusal);
        }
    }
    host.look_at_given();
    if refusal.cause.scope().is_remembered() {
        host.slots.refusals.remember(hash, refusal.clone());
    }
    host.log.push(Event::Refused(refusal));
}
