//! From candidates to the generations that serve: what was there gives up its state and what there can be only one of, the
//! candidates are prepared, and one pointer moves. For one slot or for several, which move all or not at all. Until the swap
//! the old generations are complete and serve; a failure before it changes nothing.
//!
//! Who calls this, on which thread, and who keeps callers away meanwhile, is `place`.

use super::{
    Clock,
    exclusive::Stopped,
    given,
    pipeline::refusal,
    prepare::{Origin, Prepared, prepare, snapshot, stop, whose_fault},
    rollback::{RestoredState, RollbackReport, forget_faulty},
};
use crate::{
    content::ContentHash,
    deadline::after,
    deferred_work::defer,
    error::{Cause, Refusal},
    event::{Event, ReloadReport, Step},
    host::Inner,
    policy::RollbackState,
    slot::{
        Access, Current, Generation, Phase, Probation, RollbackPlan, Set, SlotRecord, SlotState, Snapshot, Staged, Standby,
        SupervisorMessage,
    },
};
use parking_lot::MutexGuard;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A slot that is to move on.
pub(super) struct Member<'a> {
    pub(super) record: Arc<SlotRecord>,
    /// What serves in it.
    pub(super) old: Option<&'a Arc<Generation>>,
    /// Who keeps callers away from that.
    pub(super) access: Access<'a>,
    pub(super) staged: Staged,
}

/// A slot that has moved on.
pub(crate) struct Moved {
    pub(crate) generation: Arc<Generation>,
    pub(crate) report: ReloadReport,
}

/// A member that only waits for the swap.
struct Ready<'a> {
    record: Arc<SlotRecord>,
    old: Option<&'a Arc<Generation>>,
    access: Access<'a>,
    generation: Arc<Generation>,
    state: RestoredState,
    /// What it started from.
    inherited: Option<Arc<Snapshot>>,
    stopped: Option<Stopped>,
    hash: ContentHash,
    path: PathBuf,
    clock: Clock,
    /// How long calls could not be made.
    pause: Duration,
    back: Option<RollbackPlan>,
    /// The artifact that served, once more.
    is_reinstance: bool,
}

/// Closes the gate before what serves, if there is something to be handed over.
///
/// # Errors
/// If calls do not come back in time.
pub(super) fn close<'a>(
    host: &Inner,
    old: Option<&'a Arc<Generation>>,
    candidate: &Generation,
) -> Result<Access<'a>, Cause> {
    let handed_over = |old: &&Arc<Generation>| {
        old.instance().is_exclusive() || (old.instance().has_state() && candidate.instance().has_state())
    };
    let Some(old) = old.filter(handed_over) else {
        return Ok(Access::Open);
    };
    match old.close_gate(after(host.drain_deadline)) {
        Some(closed) => Ok(Access::Closed(closed)),
        None => Err(Cause::Busy(host.drain_deadline)),
    }
}

/// Moves all of them on, or none, in the order in which they are given.
pub(super) fn hand_over(host: &Arc<Inner>, members: Vec<Member<'_>>) -> Result<Vec<Moved>, Refusal> {
    let mut ready: Vec<Ready<'_>> = Vec::with_capacity(members.len());
    for member in members {
        let beside = ready.iter().map(|one| one.generation.clone()).collect();
        match make_ready(host, member, beside) {
            Ok(one) => ready.push(one),
            Err(refusal) => {
                // The last one first, as with everything that is undone. Their candidates go to the reaper.
                while let Some(one) = ready.pop() {
                    one.give_up(host);
                }
                return Err(refusal);
            }
        }
    }
    Ok(swap(host, ready))
}

fn make_ready<'a>(host: &Arc<Inner>, member: Member<'a>, beside: Vec<Arc<Generation>>) -> Result<Ready<'a>, Refusal> {
    let Member {
        record,
        old,
        mut access,
        staged,
    } = member;
    let Staged {
        generation: candidate,
        prepared,
        fits: _,
        hash,
        path,
        noticed,
        steps,
        state,
        back,
        reinstance_of,
    } = staged;
    let number = candidate.number();
    let refuse = |step, cause| refusal(Some(&record), Some(number), &path, step, cause);
    let mut clock = Clock::resume(noticed, steps);
    let hands_over = old.is_some_and(|old| old.is_gated());
    if hands_over && access.is_owners() && !access.keeps_callers_away() {
        return Err(refuse(Step::Migrate, Cause::Busy(host.drain_deadline)));
    }
    let origin = origin(host, old, &candidate, &access, back.as_ref()).map_err(|cause| refuse(Step::Migrate, cause))?;
    if origin.state.is_some() {
        clock.lap(Step::Snapshot);
    }
    let origin = Origin {
        artifact: Some(hash),
        state: origin.state.or(state.filter(|_| old.is_none())),
        ..origin
    };
    let (state, inherited) = (origin.state.clone(), origin.state.clone().or_else(|| origin.fallback.clone()));
    let stopped = old.and_then(|old| Stopped::stop(host, old, &mut access));
    let prepared = match prepared {
        true => Ok(Prepared {
            generation: candidate,
            state: RestoredState::None,
        }),
        false => prepare(host, candidate, origin, beside, &mut clock),
    };
    match prepared {
        Ok(Prepared { generation, state }) => Ok(Ready {
            record,
            old,
            access,
            generation: Arc::new(generation),
            state,
            inherited,
            stopped,
            hash,
            path,
            clock,
            pause: Duration::ZERO,
            back,
            is_reinstance: reinstance_of.is_some(),
        }),
        Err((step, cause)) => {
            if let (Some(stopped), Some(old)) = (stopped, old) {
                stopped.start_again(host, &record, old, &mut access);
            }
            let cause = match (old, &state) {
                (Some(old), Some(state)) => whose_fault(host, old, state, cause),
                _ => cause,
            };
            Err(refuse(step, cause))
        }
    }
}

/// What a candidate starts from.
fn origin(
    host: &Inner,
    old: Option<&Arc<Generation>>,
    candidate: &Generation,
    access: &Access<'_>,
    back: Option<&RollbackPlan>,
) -> Result<Origin, Cause> {
    let fallback = back.and_then(|back| back.snapshot.clone());
    // No snapshot is kept of what has proved itself. To forget everything instead is nobody's wish.
    let carries = fallback.is_none() || host.policy.rollback_state == RollbackState::KeepCurrent;
    let Some(old) = old.filter(|_| carries) else {
        return Ok(Origin {
            fallback,
            old: old.cloned(),
            ..Origin::default()
        });
    };
    if !candidate.instance().has_state() {
        return Ok(Origin::default());
    }
    let (state, why_fallback) = match snapshot(host, old, access.is_owners()) {
        Ok(state) => (state, None),
        Err(cause) if fallback.is_some() => (None, Some(cause.to_string())),
        Err(cause) => return Err(cause),
    };
    Ok(Origin {
        state,
        fallback,
        why_fallback,
        old: Some(old.clone()),
        ..Origin::default()
    })
}

impl Ready<'_> {
    /// Another one of the set failed: this one's predecessor goes on as if nothing had been.
    fn give_up(mut self, host: &Arc<Inner>) {
        let (mut candidate, images) = (self.generation, host.images.clone());
        let give_back = move || {
            if let Some(candidate) = Arc::get_mut(&mut candidate) {
                stop(candidate, &images);
            }
        };
        // If it does not come back in time, what serves will see for itself whether it gets what it needs.
        let _ = host.hooks.run(host.policy.hook_deadline, give_back);
        if let (Some(stopped), Some(old)) = (self.stopped, self.old) {
            stopped.start_again(host, &self.record, old, &mut self.access);
        }
    }

    /// Comes to be what serves, under the slot's lock. Answers what went because of that.
    fn arrive(&mut self, host: &Inner, state: &mut SlotState, set: Option<&Arc<Set>>) -> Gone {
        // A version is on probation, however often there is an instance of it.
        let on_probation = match self.is_reinstance {
            true => state.probation.is_some(),
            false => !host.policy.probation.is_zero(),
        };
        let current = Current {
            generation: self.generation.clone(),
            hash: self.hash,
            path: self.path.clone(),
            // It may be as large as the state itself, and is of use only to a slot that may go back.
            inherited: match (self.is_reinstance, &state.current) {
                // Of the version's own schema; what it would go back with is what it came with.
                (true, Some(before)) => before.inherited.clone(),
                _ => self.inherited.clone().filter(|_| on_probation),
            },
        };
        let replaced = state.serve(Some(current));
        host.images.serves(&self.generation);
        if self.is_reinstance {
            if on_probation {
                self.generation.call_stats().begin_probation();
            }
            if let Some(replaced) = &replaced {
                replaced.generation.call_stats().end_probation();
            }
            return Gone {
                replaced: replaced.as_ref().map(|old| old.generation.number()),
                faulty: None,
                retired: replaced.into_iter().collect(),
            };
        }
        let before = state.probation.take().and_then(|probation| probation.standby);
        let mut gone = Gone {
            replaced: replaced.as_ref().map(|old| old.generation.number()),
            faulty: None,
            retired: before.map(|standby| standby.current).into_iter().collect(),
        };
        if on_probation {
            self.generation.call_stats().begin_probation();
        }
        if let Some(replaced) = &replaced {
            replaced.generation.call_stats().end_probation();
        }
        let standby = match replaced {
            // A slot that went back does not keep what it went back from.
            Some(faulty) if self.back.is_some() => {
                gone.faulty = Some(faulty.hash);
                gone.retired.push(faulty);
                None
            }
            // Nothing may be called in it any more, now or later.
            Some(lost) if self.stopped.as_ref().is_some_and(Stopped::is_lost) => {
                gone.retired.push(lost);
                None
            }
            Some(old) if on_probation => {
                host.images.enters(&self.record.name, old.generation.number(), Phase::Standby);
                let stopped = self.stopped.is_some();
                Some(Standby { current: old, stopped })
            }
            Some(old) => {
                gone.retired.push(old);
                None
            }
            None => None,
        };
        state.probation = on_probation.then(|| Probation::new(standby, set.cloned()));
        gone
    }

    /// Tells of it, with no lock held.
    fn tell(self, host: &Arc<Inner>, gone: Gone) -> Moved {
        let report = ReloadReport {
            slot: self.record.name.clone(),
            generation: self.generation.number(),
            replaced: gone.replaced,
            path: self.path,
            hash: self.hash.to_string(),
            state_bytes: self.state.bytes(),
            total: self.clock.noticed.elapsed(),
            pause: self.pause,
            steps: self.clock.steps,
        };
        host.slots.refusals.forget_those_of_what_served(&self.record.name);
        // Somebody asked for it by name, or it fits now.
        host.slots.refusals.forget_content(&self.record.name, &self.hash);
        host.log.push(Event::Swapped(report.clone()));
        if let Some(back) = self.back.filter(|_| gone.replaced.is_some()) {
            let told = RollbackReport {
                slot: report.slot.clone(),
                from: gone.replaced.unwrap_or_default(),
                to: report.generation,
                reason: back.reason,
                state: self.state,
                total: back.since.elapsed(),
            };
            if let Some(hash) = gone.faulty {
                forget_faulty(host, &self.record, hash, &report.path, &told);
            }
            host.log.push(Event::RolledBack(told));
        }
        if self.is_reinstance {
            let (slot, generation) = (report.slot.clone(), report.generation);
            host.log.push(Event::ConfigApplied { slot, generation });
        } else if host.policy.probation.is_zero() {
            host.supervise(SupervisorMessage::Good {
                slot: report.slot.clone(),
                hash: self.hash,
            });
        } else {
            host.supervise(SupervisorMessage::Look);
        }
        if gone.replaced.is_none() {
            host.notify_slot_filled(&self.record.name);
        }
        for retired in &gone.retired {
            host.retire(&self.record, &retired.generation);
        }
        // The last to hold a generation has it ended, and a large state takes long to be freed.
        let inherited = self.inherited;
        defer(move || drop((gone.retired, inherited)));
        // What there is may have changed since this one was prepared.
        given::has_come(host, &self.generation, !self.is_reinstance);
        Moved {
            generation: self.generation,
            report,
        }
    }
}

/// What goes because something else has come.
struct Gone {
    replaced: Option<u64>,
    faulty: Option<ContentHash>,
    retired: Vec<Current>,
}

/// Moves the pointer: the views', and, for what is claimed, the owner's when this returns.
fn swap(host: &Arc<Inner>, mut ready: Vec<Ready<'_>>) -> Vec<Moved> {
    let set = (ready.len() > 1).then(|| Arc::new(ready.iter().map(|one| Arc::downgrade(&one.record)).collect::<Set>()));
    // In the order of their places, which is everybody's who locks more than one.
    ready.sort_by_key(|one| one.record.index);
    let records: Vec<_> = ready.iter().map(|one| one.record.clone()).collect();
    let mut gone = Vec::with_capacity(ready.len());
    let mut published = Vec::with_capacity(ready.len());
    {
        let mut states: Vec<MutexGuard<'_, SlotState>> = records.iter().map(|record| record.lock()).collect();
        for (one, state) in ready.iter_mut().zip(&mut states) {
            if state.gone {
                // The host let go while the owner was adopting: the owner has it for himself.
                gone.push(Gone {
                    replaced: one.old.map(|old| old.number()),
                    faulty: None,
                    retired: Vec::new(),
                });
                continue;
            }
            gone.push(one.arrive(host, state, set.as_ref()));
            if !one.access.is_owners() {
                published.push((one.record.index, one.record.id, Some(one.generation.clone())));
            }
        }
        host.slots.publish(published);
    }
    for one in &mut ready {
        // At once, before anything else can go wrong: from here on the state is there, also for calls through old views.
        let handed_over = !matches!(one.access, Access::Open);
        if let Some(old) = one.old.filter(|old| handed_over && old.is_gated()) {
            old.moves_to(&one.generation);
        }
        one.clock.lap(Step::Swap);
    }
    // The gates open here, before anybody is told.
    for one in &mut ready {
        one.pause = one.access.since().map_or(Duration::ZERO, |since| since.elapsed());
        one.access = Access::Open;
    }
    ready.into_iter().zip(gone).map(|(one, gone)| one.tell(host, gone)).collect()
}
