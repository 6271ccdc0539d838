//! Rolling back to the standby: one pointer moves, and the policy decides about the state. It happens on the supervisor's thread, on that
//! of a caller of `Host::rollback`, or, for a claimed slot, on its owner's. A rollback to a version of the history is a reload
//! (`go_back.rs`), and is only reported here.

mod state;

use super::{
    exclusive::Stopped,
    supersede::{discard_staged, report_superseded, supersede_set},
};
use crate::{
    deferred_notifications::defer_notifications,
    deferred_work::defer,
    runtime::{HookRunner, Runtime, Threads},
    slot::{
        Access, Change, Current, Generation, MappedImages, Moving, OwnersTurn, Phase, Probation, ProbationGroup,
        RollbackPlan, SlotRecord, SlotState, Standby, SupervisorMessage, Verdict,
    },
};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Event, Refusal, RestoredState, RollbackReason, RollbackReport, Step};
use reslot_sync::{Instant, MutexGuard};
use reslot_system::hooks::TookTooLong;
use state::{Revived, carry, prepare_standby_instance};
use std::{
    path::Path,
    sync::{Arc, Weak},
};

/// An open slot that was reserved for a rollback: no other thread moves it meanwhile.
struct ReservedSlot {
    record: Arc<SlotRecord>,
    faulty: Arc<Generation>,
    standby: Standby,
    back: RollbackPlan,
    _moving: Moving,
}

/// A slot that is being rolled back.
struct Rollback<'a> {
    record: &'a Arc<SlotRecord>,
    faulty: &'a Arc<Generation>,
    standby: Standby,
    access: Access<'a>,
    back: RollbackPlan,
}

/// A requested rollback. The slot may change between the request and the rollback, so the request names both generations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ManualRollback {
    /// The current generation.
    pub(crate) from: u64,
    /// The standby.
    pub(crate) to: u64,
}

/// Rolls back an open slot that has a standby, and with it the slots of the set with which its generation was published. With a requested
/// rollback, the slot is rolled back only if it still has these two generations; with none, only if its verdict is `Faulty`. Runs on the
/// supervisor's thread, or on the thread that asks for the rollback.
pub(crate) fn of_open_slot(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    asked: Option<ManualRollback>,
) -> Option<RollbackReport> {
    let _deferred = defer_notifications();
    let since = Instant::now();
    let (number, reason, set) = {
        let mut state = record.lock_replaceable();
        if state.is_gone() || state.is_claimed() {
            return None;
        }
        let number = state.current()?.generation.number();
        let standby = state.standby()?.current.generation.number();
        let now = ManualRollback {
            from: number,
            to: standby,
        };
        let reason = match asked {
            Some(asked) if asked != now => return None,
            Some(_) => RollbackReason::Manual,
            None => match state.verdict(&host.options.policy)? {
                Verdict::Faulty(reason) => reason,
                Verdict::Open(_) | Verdict::Passed => return None,
            },
        };
        let set = state.probation.as_ref().and_then(|probation| probation.set.clone());
        (number, reason, set)
    };
    host.hooks.wake_one();
    let members = members(record, set.as_ref());
    // In the order of `SlotRecord::index`, as all code that locks several slots does.
    let mut by_index: Vec<_> = members.iter().collect();
    by_index.sort_by_key(|member| member.index);
    let why = |member: &SlotRecord| match member.id == record.id {
        true => reason.clone(),
        false => of_group_member(&reason, record),
    };
    let mut reserved: Vec<_> = by_index
        .into_iter()
        .filter_map(|member| {
            // Another generation may have been published since this one was judged.
            let judged = (member.id == record.id).then_some(number);
            reserve_open(host, member, judged, set.as_ref(), why(member), since)
        })
        .collect();
    let place = |id| members.iter().position(|member| member.id == id);
    // Close the gates of callers before those of the plugins that they call, so that calls in progress can still get through.
    reserved.sort_by_key(|one| std::cmp::Reverse(place(one.record.id)));
    let parts: Vec<_> = reserved
        .into_iter()
        .map(|one| ((one.record, one.faulty, one._moving), (one.standby, one.back)))
        .collect();
    let (slots, plans): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut leaving: Vec<_> = slots
        .iter()
        .zip(plans)
        .map(|((record, faulty, _), (standby, back))| Rollback {
            access: close(&host.hooks, faulty, &back.reason),
            record,
            faulty,
            standby,
            back,
        })
        .collect();
    leaving.reverse();
    let reports = go_back(host, leaving).into_iter().map(|(_, report)| report);
    let report = reports.filter(|report| report.slot == record.name).last();
    drop(slots);
    report
}

/// Why the other members of a set are rolled back with this slot.
fn of_group_member(reason: &RollbackReason, record: &SlotRecord) -> RollbackReason {
    match reason {
        // No version of the set is at fault.
        RollbackReason::Damaged { .. } => reason.clone(),
        _ => RollbackReason::GroupMember {
            slot: record.name.clone(),
        },
    }
}

/// The members of the set with which a slot's generation was published, in start order, including the slot itself.
fn members(record: &Arc<SlotRecord>, set: Option<&Arc<ProbationGroup>>) -> Vec<Arc<SlotRecord>> {
    match set {
        None => vec![record.clone()],
        Some(set) => set.iter().filter_map(Weak::upgrade).collect(),
    }
}

/// Takes an open slot. If it is claimed, its owner is asked to roll back.
fn reserve_open(
    host: &Runtime,
    record: &Arc<SlotRecord>,
    judged: Option<u64>,
    set: Option<&Arc<ProbationGroup>>,
    reason: RollbackReason,
    since: Instant,
) -> Option<ReservedSlot> {
    let mut state = record.lock_replaceable();
    let (claimed, gone) = (state.is_claimed(), state.is_gone());
    let number = state.serving_number();
    let probation = state.probation.as_mut()?;
    if gone || set.is_some_and(|set| !probation.is_of(set)) || judged.is_some_and(|judged| number != Some(judged)) {
        return None;
    }
    if claimed {
        probation.forced.get_or_insert(reason);
        record.signals.request_safe_point();
        return None;
    }
    let standby = fitting_standby(&host.images, &host.threads, record, &mut state)?;
    let current = state.current()?;
    let (faulty, earlier) = (current.generation.clone(), current.inherited.clone());
    Some(ReservedSlot {
        record: record.clone(),
        faulty,
        standby,
        back: RollbackPlan { reason, earlier, since },
        _moving: record.begin_moving(&mut state),
    })
}

/// Takes the standby, if it has every interface by which the slot is called now. If not, it is retired, and the rollback uses the history.
fn fitting_standby(images: &MappedImages, threads: &Threads, record: &SlotRecord, state: &mut SlotState) -> Option<Standby> {
    let standby = state.probation.as_mut()?.standby.take()?;
    let generation = &standby.current.generation;
    let has_table = !state.has_contracts() || record.interfaces.bind(generation);
    match state.check(&generation.instance().manifest().interface) {
        Ok(()) if has_table => Some(standby),
        _ => {
            images.retire(&standby.current.generation);
            // The reaper must hear first that it is retired.
            defer(move || drop(standby));
            threads.send_to_supervisor(SupervisorMessage::Look);
            None
        }
    }
}

/// Closes the gate of the faulty generation. Not after a `CallTimeout`: the call that hangs would block this thread, and its effects are
/// lost in any case.
fn close<'a>(hooks: &HookRunner, faulty: &'a Arc<Generation>, reason: &RollbackReason) -> Access<'a> {
    let overdue = matches!(reason, RollbackReason::CallTimeout { .. });
    if overdue || !faulty.is_gated() {
        return Access::Open;
    }
    match faulty.close_gate(Instant::now() + hooks.deadline()) {
        Some(closed) => Access::Closed(closed),
        None => Access::Open,
    }
}

/// Rolls back a claimed slot on its owner's thread, if its verdict is `Faulty` and it has a standby. Then asks the other members of its set
/// to roll back. Answers the generation that is current from now on.
pub(crate) fn of_claim(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    faulty: &Arc<Generation>,
    turn: OwnersTurn<'_>,
) -> Option<Arc<Generation>> {
    let since = Instant::now();
    let mut state = record.lock();
    if state.is_gone() {
        return None;
    }
    let Verdict::Faulty(reason) = state.verdict(&host.options.policy)? else {
        return None;
    };
    host.hooks.wake_one();
    let set = state.probation.as_ref()?.set.clone();
    let for_others = of_group_member(&reason, record);
    let earlier = state.current()?.inherited.clone();
    let Some(standby) = fitting_standby(&host.images, &host.threads, record, &mut state) else {
        drop(state);
        if reason == RollbackReason::Manual {
            discard_staged(&host.storage.history, &host.log, record);
        }
        return None;
    };
    // The standby is reserved now. `moving` keeps other threads from seeing a faulty generation without one.
    let moving = record.begin_moving(&mut state);
    drop(state);
    let leaving = Rollback {
        record,
        faulty,
        standby,
        access: Access::of_owner(turn, Instant::now() + host.hooks.deadline()),
        back: RollbackPlan { reason, earlier, since },
    };
    let back = go_back(host, vec![leaving]).pop();
    drop(moving);
    let (generation, _) = back?;
    if let Some(set) = set {
        call_others(record, &set, &for_others);
        host.threads.send_to_supervisor(SupervisorMessage::Look);
    }
    Some(generation)
}

/// The other members of a set roll back: an open one on the supervisor's thread, a claimed one on its owner's.
fn call_others(record: &Arc<SlotRecord>, set: &Arc<ProbationGroup>, reason: &RollbackReason) {
    for member in set.iter().filter_map(Weak::upgrade).filter(|member| member.id != record.id) {
        let mut state = member.lock();
        let Some(probation) = state.probation.as_mut().filter(|probation| probation.is_of(set)) else {
            continue;
        };
        probation.forced.get_or_insert_with(|| reason.clone());
        member.signals.request_safe_point();
    }
}

/// Rolls back all of these slots, in this order. If the state cannot be carried back, the standby keeps the state that it had at the swap.
/// If a hook of a standby hangs, that standby is given up, and the reload thread tries the history.
fn go_back(host: &Arc<Runtime>, leaving: Vec<Rollback<'_>>) -> Vec<(Arc<Generation>, RollbackReport)> {
    let mut ready: Vec<_> = leaving.into_iter().filter_map(|one| prepare_standby(host, one)).collect();
    ready.sort_by_key(|(one, ..)| one.record.index);
    let (mut outdated, mut outdated_sets) = (Vec::new(), Vec::new());
    let left: Vec<_> = {
        let mut states: Vec<_> = ready.iter().map(|(one, ..)| one.record.lock()).collect();
        let changes = ready.iter().zip(&mut states).filter_map(|((one, generation, _), state)| {
            let current = one.to_serve(&host.images, generation);
            // If the host ended meanwhile, the owner keeps the generation for himself.
            (!state.is_gone()).then(|| (&**one.record, &mut **state, Change::Serves(current)))
        });
        let mut left = host.slots.publish_set(changes.collect()).into_iter();
        let leave = |((one, ..), state): (&(Rollback<'_>, _, _), &mut MutexGuard<'_, SlotState>)| {
            if state.is_gone() {
                return None;
            }
            state.probation = Some(Probation::new(None, None));
            // Discard a staged re-instantiation of the faulty version. After a manual rollback discard every staged candidate, and the set
            // that one of them belongs to.
            let asked = matches!(one.back.reason, RollbackReason::Manual);
            if let Some(staged) = state.staged.take_if(|staged| asked || staged.is_reinstance()) {
                one.record.note_staged(state);
                outdated.push((one.record.clone(), staged));
            }
            if let Some(set) = state.staged_set.take_if(|_| asked) {
                one.record.note_staged(state);
                outdated_sets.push(set);
            }
            left.next().flatten()
        };
        ready.iter().zip(&mut states).map(leave).collect()
    };
    for (one, generation, _) in &ready {
        one.faulty.forward_to(generation);
        // The standby may have been replaced without a hand-over, and so not be marked as moved.
        one.standby.current.generation.forward_to(generation);
    }
    let members = ready.into_iter().zip(left);
    let reports: Vec<_> = members
        .map(|((one, generation, state), left)| one.report(host, generation, state, left))
        .collect();
    for (record, staged) in outdated {
        report_superseded(&host.storage.history, &host.log, &record, Some(staged));
    }
    for set in outdated_sets {
        supersede_set(&host.storage.history, &host.log, Some(set));
    }
    host.threads.send_to_supervisor(SupervisorMessage::Look);
    reports
}

/// Prepares the standby.
fn prepare_standby<'a>(
    host: &Arc<Runtime>,
    mut one: Rollback<'a>,
) -> Option<(Rollback<'a>, Arc<Generation>, RestoredState)> {
    let (carried, why) = match carry(&host.hooks, host.options.policy.rollback_state, &one) {
        Ok(carried) => (carried, None),
        Err(why) => (None, Some(why)),
    };
    // A failed `stop` is reported, and the rollback goes on.
    let faulty_stopped = match one.standby.stopped {
        true => Stopped::stop(host, one.faulty, &mut one.access),
        false => None,
    };
    match prepare_standby_instance(host, &mut one, carried, why) {
        Ok(Revived { generation, state }) => Some((one, Arc::new(generation), state)),
        Err(TookTooLong) => {
            if let Some(stopped) = faulty_stopped {
                stopped.start_again(host, one.record, one.faulty, &mut one.access);
            }
            if let Some(probation) = one.record.lock().probation.as_mut() {
                probation.history_asked = true;
            }
            one.standby.current.generation.retire();
            if one.back.reason == RollbackReason::Manual {
                // As after a rollback that is done: nothing newer is adopted while the history is searched.
                discard_staged(&host.storage.history, &host.log, one.record);
            }
            host.threads.go_back(one.record.clone(), one.faulty.number(), one.back.reason);
            None
        }
    }
}

impl Rollback<'_> {
    /// The entry in the slot's record, made under its lock.
    fn to_serve(&self, images: &MappedImages, generation: &Arc<Generation>) -> Current {
        generation.call_stats().begin_probation();
        self.faulty.call_stats().end_probation();
        images.serves(generation);
        images.enters(&self.record.name, generation.number(), Phase::InUse);
        let standby = &self.standby.current;
        Current {
            generation: generation.clone(),
            hash: standby.hash,
            path: standby.path.clone(),
            // If this generation is rolled back too, the version before it starts from the state that this one took over originally. If
            // that was dropped when this one was confirmed, it starts from the state that this one starts from now.
            inherited: standby.inherited.clone().or_else(|| self.back.earlier.clone()),
        }
    }

    /// Reports the rollback, with the gate open and no lock held.
    fn report(
        self,
        host: &Runtime,
        generation: Arc<Generation>,
        state: RestoredState,
        left: Option<Current>,
    ) -> (Arc<Generation>, RollbackReport) {
        let Self {
            record,
            faulty,
            access,
            back,
            standby,
        } = self;
        let total = back.since.elapsed();
        let is_owners = access.is_owners();
        drop(access);
        // This may be the last holder of the standby's instance, if a second instance is current instead.
        defer(move || drop(standby));
        let (slot, from, to) = (record.name.clone(), faulty.number(), generation.number());
        let report = RollbackReport::new(slot, from, to, back.reason, state, total);
        if left.is_none() && !is_owners {
            // The host ended meanwhile, and nobody else will mark the generation as retired.
            generation.retire();
        }
        if let Some(left) = left {
            forget_faulty(host, record, left.hash, &left.path, &report);
            host.log.push(Event::RolledBack(report.clone()));
            host.images.retire(&left.generation);
            // Its inputs may be out of date.
            super::inputs::note_inputs_in_use(&host.inputs, &host.threads, &generation, true);
        }
        (generation, report)
    }
}

/// The faulty version is not loaded again by itself, in this process or a later one. A version whose image was damaged in memory is not at fault.
pub(super) fn forget_faulty(host: &Runtime, record: &SlotRecord, hash: ContentHash, path: &Path, report: &RollbackReport) {
    if let RollbackReason::Damaged { .. } = report.reason {
        // If it had not passed its probation, the next host need not take it for the version that failed.
        let (storage, slot) = (host.storage.clone(), record.name.clone());
        return defer(move || storage.history.forget(&slot, &hash));
    }
    let cause = Arc::new(Cause::RolledBack(report.reason.clone()));
    let mut refusal = Refusal::new(path.to_owned(), Step::Probation, cause);
    refusal.slot = Some(record.name.clone());
    refusal.candidate = Some(report.from);
    refusal.serving = Some(report.to);
    host.slots.refusals.remember(hash, refusal);
    let why = report.reason.to_string();
    // Mark it in memory now, for those who ask. The supervisor writes it to the disk, because this may be an owner's thread.
    host.storage.history.mark_bad_in_memory(&record.name, &hash, &why);
    host.threads.send_to_supervisor(SupervisorMessage::Bad {
        slot: record.name.clone(),
        hash,
        why,
    });
}
