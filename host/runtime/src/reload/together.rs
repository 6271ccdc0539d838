//! Several slots that are handed over together, or not at all. Candidates are made, get their state, are started and checked, those that
//! are called before those that call them; then one view publishes all of them. If any of that fails, nothing has changed.
//!
//! A set with claimed slots waits for their owner, who adopts it for all of them at once.

use super::{
    adopt::Adoption,
    archive::PendingArchive,
    artifact::{lint, read_patiently, refusal_of},
    attempt::{Target, refusal},
    clock::Clock,
    messages::LoadOutcome,
    place::{no_longer_fits, still_fits},
    steps::{make_candidate, swap_all},
    supersede::{report_superseded, supersede_set},
    swap::{Member, Swapped, close},
    uses,
};
use crate::{
    deadline::after,
    deferred_notifications::defer_notifications,
    event::Log,
    instances::LoadRequest,
    runtime::{Runtime, Storage},
    slot::{Access, CandidateKind, CandidateSet, ContentPlace, Generation, OwnersTurn, SlotCandidate, SlotRecord},
};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Event, Refusal, Step};
use reslot_system::background::ForegroundPriority;
use std::{collections::BTreeMap, sync::Arc};

/// Loads all of the files, or none.
pub(super) fn load(host: &Arc<Runtime>, request: Vec<LoadRequest>) -> Result<Vec<LoadOutcome>, Refusal> {
    let mut outcomes = Vec::new();
    let mut members: Vec<SlotCandidate> = Vec::new();
    for request in request {
        if let Err(refusal) = make(host, &request, &mut members, &mut outcomes) {
            return Err(give_up(host, members, refusal));
        }
    }
    let members = in_order(host, members)?;
    if members.iter().any(|member| member.record.lock().is_claimed()) {
        outcomes.extend(stage(&host.storage, &host.log, members));
        return Ok(outcomes);
    }
    let moved = move_on(host, members, BTreeMap::new())?;
    outcomes.extend(moved.into_iter().map(|moved| LoadOutcome::Swapped(moved.report)));
    Ok(outcomes)
}

/// Makes a candidate for each slot that a file is for, unless the slot has that content already.
fn make(
    host: &Arc<Runtime>,
    request: &LoadRequest,
    members: &mut Vec<SlotCandidate>,
    outcomes: &mut Vec<LoadOutcome>,
) -> Result<(), Refusal> {
    let mut clock = Clock::begin();
    clock.lap(Step::Notice);
    let source = read_patiently(host, request, &mut clock)?;
    let hash = source.hash;
    let artifact = lint(host, source).map_err(|unfit| refusal_of(host, request, *unfit))?;
    let steps = clock.steps.clone();
    for slot in host.slots.meant_by(request, &artifact.manifest().name) {
        if let Some(ContentPlace::Serves(generation)) = host.slots.content_place(&slot, &hash) {
            host.log.push(Event::Unchanged {
                slot: slot.clone(),
                path: request.path.clone(),
                generation,
            });
            outcomes.push(LoadOutcome::Unchanged { slot, generation });
            continue;
        }
        let record = host.slots.named_or_new(&slot);
        if let Some(same) = members.iter().find(|member| Arc::ptr_eq(&member.record, &record)) {
            let cause = Cause::DuplicateSlot(same.candidate.path.clone());
            return Err(refusal(Some(&record), None, &request.path, Step::Lint, cause));
        }
        let clock = Clock::resume(clock.noticed, steps.clone());
        let (target, kind) = (Target::of(&record), CandidateKind::SetMember);
        let made = make_candidate(host, target, kind, &request.path, artifact.duplicate(), clock)?;
        let (candidate, archive): (_, Option<PendingArchive>) = made;
        // Written at once: a set has no single owner who would adopt at one moment.
        drop(archive);
        members.push(SlotCandidate { record, candidate });
    }
    Ok(())
}

/// Callees first, then their callers.
fn in_order(host: &Arc<Runtime>, members: Vec<SlotCandidate>) -> Result<Vec<SlotCandidate>, Refusal> {
    let mut all = host.slots.uses_of_serving();
    for member in &members {
        all.insert(member.record.name.clone(), member.uses().to_owned());
    }
    let in_circle = members
        .iter()
        .find_map(|member| Some((member, uses::cycle(&all, &member.record.name, member.uses())?)));
    if let Some((member, cycle)) = in_circle {
        let number = member.candidate.generation.number();
        let cause = Cause::DependencyCycle(cycle);
        let refusal = refusal(
            Some(&member.record),
            Some(number),
            &member.candidate.path,
            Step::Create,
            cause,
        );
        return Err(give_up(host, members, refusal));
    }
    Ok(uses::sort(members, |member| &member.record.name, SlotCandidate::uses))
}

/// Refuses a set of which no member has been handed its state yet.
fn give_up(host: &Runtime, members: Vec<SlotCandidate>, refusal: Refusal) -> Refusal {
    let refusal = report_refused(host, &slots_and_hashes(&members), refusal);
    drop(members);
    refusal
}

fn slots_and_hashes(members: &[SlotCandidate]) -> Vec<(Arc<SlotRecord>, ContentHash)> {
    let known = members.iter().map(|member| (member.record.clone(), member.candidate.hash));
    known.collect()
}

/// Reports that a set was refused. None of its members is published.
fn report_refused(host: &Runtime, members: &[(Arc<SlotRecord>, ContentHash)], refusal: Refusal) -> Refusal {
    for (record, hash) in members {
        host.storage.history.forget(&record.name, hash);
    }
    host.log.push(Event::Refused(refusal.clone()));
    // While the set waited, the inputs of its slots were not checked.
    host.threads.recheck_inputs(&host.inputs);
    refusal
}

/// Stages a set for its owners.
fn stage(storage: &Storage, log: &Log, members: Vec<SlotCandidate>) -> Vec<LoadOutcome> {
    let _deferred = defer_notifications();
    let staged: Vec<_> = members
        .iter()
        .map(|member| (member.record.clone(), member.candidate.generation.number()))
        .collect();
    let set = Arc::new(CandidateSet::new(members));
    let mut outcomes = Vec::new();
    for (record, generation) in staged {
        let slot = record.name.clone();
        let mut state = record.lock_replaceable();
        let superseded = (state.staged_set.replace(set.clone()), state.staged.take());
        record.signal_staged(true);
        let event = Event::Staged {
            slot: slot.clone(),
            generation,
        };
        // As for a single candidate: nobody hears of the adoption before the staging, and the embedder's recorder runs without the lock.
        log.append(event.clone());
        drop(state);
        log.trace(&event);
        supersede_set(&storage.history, log, superseded.0);
        report_superseded(&storage.history, log, &record, superseded.1);
        outcomes.push(LoadOutcome::Staged { slot, generation });
    }
    outcomes
}

/// Adopts a set on its owner's thread, with the turns of all claimed slots in it, by slot. `None` if the set was refused; an empty list if
/// it was superseded meanwhile.
pub(crate) fn adopt(
    host: &Arc<Runtime>,
    set: &Arc<CandidateSet>,
    turns: BTreeMap<u64, OwnersTurn<'_>>,
) -> Option<Vec<(u64, Arc<Generation>)>> {
    // A rollback of a claimed member that is requested from here on waits until the set is adopted, which would drop the request.
    let claimed: Vec<_> = set
        .claimed()
        .into_iter()
        .filter(|record| turns.contains_key(&record.id))
        .collect();
    let begin = |record| Adoption::begin(host, record, |_| ()).map(|(adoption, ())| adoption);
    let adopting: Option<Vec<_>> = claimed.iter().map(begin).collect();
    let Some(_adopting) = adopting else {
        // A rollback was requested before. It comes first.
        return Some(Vec::new());
    };
    let members = set.take();
    for member in &members {
        let mut state = member.record.lock();
        state.staged_set.take_if(|waiting| Arc::ptr_eq(waiting, set));
        member.record.note_staged(&state);
    }
    if members.is_empty() {
        return Some(Vec::new());
    }
    let ids: BTreeMap<_, _> = members
        .iter()
        .map(|member| (member.record.name.clone(), member.record.id))
        .collect();
    let moved = move_on(host, members, turns).ok()?;
    let of = |moved: Swapped| (ids[moved.generation.slot()], moved.generation);
    Some(moved.into_iter().map(of).collect())
}

/// A claim was dropped. If the set waits for no other claim, it is adopted now.
pub(super) fn adopt_unclaimed(host: &Arc<Runtime>, set: &Arc<CandidateSet>) {
    if set.claimed().is_empty() {
        // Events say what became of it.
        let _ = adopt(host, set, BTreeMap::new());
    }
}

fn move_on(
    host: &Arc<Runtime>,
    members: Vec<SlotCandidate>,
    mut turns: BTreeMap<u64, OwnersTurn<'_>>,
) -> Result<Vec<Swapped>, Refusal> {
    let _deferred = defer_notifications();
    // From here on callers may wait.
    let _foreground = ForegroundPriority::this_thread();
    // In the order of `SlotRecord::index`, as all code that locks several slots does.
    let mut by_index: Vec<_> = members.iter().map(|member| member.record.clone()).collect();
    by_index.sort_by_key(|record| record.index);
    let mut moving = Vec::new();
    for record in by_index.iter().filter(|record| !turns.contains_key(&record.id)) {
        let mut state = record.lock_replaceable();
        moving.push(record.begin_moving(&mut state));
    }
    let unfit = members.iter().find_map(|SlotCandidate { record, candidate }| {
        let state = record.lock();
        let claimed_meanwhile = state.is_claimed() && !turns.contains_key(&record.id);
        match claimed_meanwhile {
            true => Some((record, candidate, Cause::Busy(host.options.drain_deadline))),
            false => still_fits(&host.slots, &state, candidate)
                .err()
                .map(|cause| (record, candidate, cause)),
        }
    });
    if let Some((record, candidate, cause)) = unfit {
        let refusal = no_longer_fits(record, candidate, cause);
        return Err(give_up(host, members, refusal));
    }
    let olds: Vec<_> = members.iter().map(|member| member.record.lock().serving().cloned()).collect();
    let known = slots_and_hashes(&members);
    let mut ready = Vec::new();
    // Close the gates of callers before those of the plugins that they call, so that calls in progress can still get through.
    for (SlotCandidate { record, candidate }, old) in members.into_iter().zip(&olds).rev() {
        let access = match turns.remove(&record.id) {
            Some(turn) => Ok(Access::of_owner(turn, after(host.options.drain_deadline))),
            None => close(host.options.drain_deadline, old.as_ref(), &candidate.generation),
        };
        match access {
            Ok(access) => ready.push(Member {
                record,
                old: old.as_ref(),
                access,
                candidate,
            }),
            Err(cause) => {
                let number = candidate.generation.number();
                let refusal = refusal(Some(&record), Some(number), &candidate.path, Step::Snapshot, cause);
                drop(ready);
                return Err(report_refused(host, &known, refusal));
            }
        }
    }
    ready.reverse();
    swap_all(host, ready).map_err(|refusal| report_refused(host, &known, refusal))
}
