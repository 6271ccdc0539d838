//! From a candidate to the generation that serves: migrate, start, swap. Three ways, by who calls the slot:
//!
//! - *claimed*: the candidate is staged, and the owner's `sync` does it, on the owner's thread;
//! - *open, with state, shared*: the old generation's gate is closed for the length of it; callers wait, none fails;
//! - *open otherwise*: nobody waits for anything.
//!
//! Until the swap the old generation is complete and serves; a failure before it changes nothing.

use super::{Clock, LoadOutcome, Phase, pipeline::refusal};
use crate::{
    error::{Cause, Hook, Refusal},
    event::{Event, ReloadReport, Step},
    host::{Inner, after},
    image::{compat::Difference, lint::LintError},
    slot::{Current, Generation, Mode, SlotRecord, Staged},
};
use std::{path::Path, sync::Arc};

/// Room for a state that nothing is known of yet: most fit, and a larger one doubles it as it grows.
const SNAPSHOT_HINT: usize = 4096;

/// Puts a candidate in its place, or before its owner.
pub(super) fn place(
    host: &Arc<Inner>,
    record: Arc<SlotRecord>,
    mut candidate: Generation,
    hash: blake3::Hash,
    path: &Path,
    mut clock: Clock,
) -> Result<LoadOutcome, Refusal> {
    // A candidate without state needs nothing of its predecessor, so it can be started before anybody waits for it.
    if !candidate.instance().has_state() {
        let number = candidate.number();
        init(&mut candidate)
            .and_then(|()| start(&mut candidate))
            .map_err(|cause| refusal(Some(&record), Some(number), path, Step::Start, cause))?;
        clock.lap(Step::Start);
    }
    let staged = Staged {
        generation: candidate,
        hash,
        path: path.to_owned(),
        noticed: clock.noticed,
        steps: clock.steps,
    };
    let mut state = record.lock_settled();
    if let Err(differences) = state.check(&staged.generation.instance().image().manifest.interface) {
        drop(state);
        return Err(no_longer_fits(&record, &staged, differences));
    }
    if state.mode == Mode::Claimed {
        let generation = staged.generation.number();
        let superseded = state.staged.replace(staged);
        record.stage(true);
        let event = Event::Staged {
            slot: record.name.clone(),
            generation,
        };
        // Under the lock, which the owner needs for adopting: nobody hears of the adoption before the staging.
        host.log.append(event.clone());
        drop(state);
        host.log.trace(&event);
        tell_superseded(host, &record, superseded);
        return Ok(LoadOutcome::Staged {
            slot: record.name.clone(),
            generation,
        });
    }
    let moving = record.moving(&mut state);
    // Left by a claim that was dropped, and older than what comes now.
    let superseded = state.staged.take();
    record.stage(false);
    let old = state.current.as_ref().map(|current| current.generation.clone());
    drop(state);
    tell_superseded(host, &record, superseded);
    // Plugin code runs here, so no lock is held; `moving` keeps claims out.
    let report = move_on(host, &record, old.as_ref(), staged);
    drop(moving);
    report.map(LoadOutcome::Swapped)
}

fn tell_superseded(host: &Inner, record: &SlotRecord, superseded: Option<Staged>) {
    if let Some(superseded) = superseded {
        host.log.push(Event::Superseded {
            slot: record.name.clone(),
            generation: superseded.generation.number(),
        });
    }
}

/// Adopts what was staged for a claim that was dropped.
pub(super) fn settle(host: &Arc<Inner>, record: &Arc<SlotRecord>) {
    let mut state = record.lock_settled();
    if state.mode == Mode::Claimed {
        return;
    }
    record.stage(false);
    let Some(staged) = state.staged.take() else { return };
    let satisfied = state.check(&staged.generation.instance().image().manifest.interface);
    let moving = record.moving(&mut state);
    let old = state.current.as_ref().map(|current| current.generation.clone());
    drop(state);
    let hash = staged.hash;
    let outcome = match satisfied {
        Ok(()) => move_on(host, record, old.as_ref(), staged).map(drop),
        Err(differences) => Err(no_longer_fits(record, &staged, differences)),
    };
    drop(moving);
    if let Err(refusal) = outcome {
        tell_refused(host, hash, refusal);
    }
}

/// An open slot moves on, on the reload thread.
fn move_on(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    staged: Staged,
) -> Result<ReloadReport, Refusal> {
    let (number, path) = (staged.generation.number(), staged.path.clone());
    let gated = old.filter(|old| old.instance().has_state() && staged.generation.instance().has_state());
    let Some(old) = gated else {
        return hand_over(host, record, old, staged, false).map(|(_, report)| report);
    };
    let deadline = after(host.drain_deadline);
    let answer = old.behind_closed_gate(deadline, || hand_over(host, record, Some(old), staged, false));
    match answer {
        Some(answer) => answer.map(|(_, report)| report),
        None => Err(refusal(
            Some(record),
            Some(number),
            &path,
            Step::Migrate,
            Cause::Busy(host.drain_deadline),
        )),
    }
}

/// A claimed slot moves on, on its owner's thread. `None` if the candidate was refused.
pub(crate) fn hand_over_to_claim(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    old: &Arc<Generation>,
    staged: Staged,
) -> Option<Arc<Generation>> {
    let hash = staged.hash;
    // It may have been staged for an earlier owner, who called it by another interface.
    let satisfied = record.lock().check(&staged.generation.instance().image().manifest.interface);
    let outcome = match satisfied {
        Ok(()) => hand_over(host, record, Some(old), staged, true),
        Err(differences) => Err(no_longer_fits(record, &staged, differences)),
    };
    match outcome {
        Ok((new, _)) => Some(new),
        Err(refusal) => {
            tell_refused(host, hash, refusal);
            None
        }
    }
}

fn no_longer_fits(record: &SlotRecord, staged: &Staged, differences: Vec<Difference>) -> Refusal {
    let number = staged.generation.number();
    let cause = LintError::Interface(differences);
    refusal(Some(record), Some(number), &staged.path, Step::Swap, cause)
}

fn tell_refused(host: &Inner, hash: blake3::Hash, refusal: Refusal) {
    if refusal.cause.is_of_the_bytes() {
        host.remember_refused(hash, refusal.clone());
    }
    host.log.push(Event::Refused(refusal));
}

/// The three steps, whoever's thread this is. Nobody calls `old` meanwhile if there is state to hand over.
fn hand_over(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    staged: Staged,
    claimed: bool,
) -> Result<(Arc<Generation>, ReloadReport), Refusal> {
    let Staged {
        mut generation,
        hash,
        path,
        noticed,
        steps,
    } = staged;
    let number = generation.number();
    let mut clock = Clock::resume(noticed, steps);
    let refuse = |step, cause| refusal(Some(record), Some(number), &path, step, cause);

    let state_bytes = migrate(old, &mut generation).map_err(|cause| refuse(Step::Migrate, cause))?;
    if generation.instance().has_state() {
        clock.lap(Step::Migrate);
        init(&mut generation)
            .and_then(|()| start(&mut generation))
            .map_err(|cause| refuse(Step::Start, cause))?;
        clock.lap(Step::Start);
    }

    let generation = Arc::new(generation);
    let current = Current {
        generation: generation.clone(),
        hash,
        path: path.clone(),
    };
    let replaced = swap(host, record, current, claimed);
    // At once, before anything else can go wrong: from here on the state is there, also for calls through old views.
    if let Some(old) = old.filter(|old| old.instance().has_state() && generation.instance().has_state()) {
        old.succeed(generation.clone());
    }
    clock.lap(Step::Swap);

    let report = ReloadReport {
        slot: record.name.clone(),
        generation: number,
        replaced: replaced.as_ref().map(|old| old.generation.number()),
        path,
        hash: hash.to_hex().to_string(),
        state_bytes,
        steps: clock.steps,
        total: noticed.elapsed(),
    };
    host.forget_refused_by_hooks(&record.name);
    host.log.push(Event::Swapped(report.clone()));
    if let Some(replaced) = replaced {
        host.watch_retired(record, &replaced.generation);
    }
    Ok((generation, report))
}

/// The candidate gets the state of its predecessor, if both have one.
fn migrate(old: Option<&Arc<Generation>>, candidate: &mut Generation) -> Result<Option<usize>, Cause> {
    let Some(old) = old.filter(|_| candidate.instance().has_state()) else {
        return Ok(None);
    };
    let snapshot = old
        .instance()
        .snapshot(SNAPSHOT_HINT)
        .map_err(|error| Cause::Hook(Hook::Snapshot, error))?;
    let Some(mut snapshot) = snapshot else { return Ok(None) };
    if let (Some(from), Some(to)) = (old.instance().schema(), candidate.instance().schema())
        && from.schema != to.schema
    {
        // The newer of the two plugins knows both schemas.
        let newer = if to.schema > from.schema {
            candidate.instance()
        } else {
            old.instance()
        };
        snapshot = newer
            .migrate(from.schema, to.schema, &snapshot)
            .map_err(|error| Cause::Hook(Hook::Migrate, error))?;
    }
    candidate
        .instance_mut()
        .restore(&snapshot)
        .map_err(|error| Cause::Hook(Hook::Restore, error))?;
    Ok(Some(snapshot.len()))
}

fn init(candidate: &mut Generation) -> Result<(), Cause> {
    candidate
        .instance_mut()
        .init()
        .map_err(|error| Cause::Hook(Hook::Init, error))
}

fn start(candidate: &mut Generation) -> Result<(), Cause> {
    candidate
        .instance_mut()
        .start()
        .map_err(|error| Cause::Hook(Hook::Start, error))
}

/// One pointer moves: the view's, or, for a claim, the owner's when this returns.
fn swap(host: &Inner, record: &SlotRecord, current: Current, claimed: bool) -> Option<Current> {
    let generation = current.generation.clone();
    let mut state = record.lock();
    if state.gone {
        // The host let go while the owner was adopting: the owner has it for himself.
        return None;
    }
    let replaced = state.current.replace(current);
    host.tally.serves(&generation);
    if !claimed {
        host.publish(record.index, record.id, Some(generation));
    }
    drop(state);
    if let Some(replaced) = &replaced {
        replaced.generation.retire();
        host.tally.enters(&record.name, replaced.generation.number(), Phase::Retired);
    }
    replaced
}
