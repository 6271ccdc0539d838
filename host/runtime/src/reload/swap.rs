//! The step **swap**: one pointer moves. For one slot or for several, which move all or not at all. Until then the old generations are
//! complete and current. And what follows from it at once: the old generation becomes the standby, or is retired.
//!
//! # What may be touched here, and when
//! From here on nothing can fail: `steps.rs` has done before what can. [`swap`] keeps these rules, in this order. They hold as well where
//! a slot's current generation changes otherwise: in a rollback (`rollback.rs`), in an unload (`unload.rs`), when it is lost (`exclusive.rs`).
//!
//! 1. All slots are locked first, in the order of their `index`, as in all code that locks several slots. Otherwise two threads could
//!    wait for each other.
//! 2. Under these locks one call of `publish_set` (`slot/publish.rs`) changes each slot's record and publishes one view for all of them. So a
//!    caller who reads the view and a thread that locks a record see the same generation, and no caller sees half of a set.
//! 3. Under these locks nothing waits and nothing can fail, and no foreign code runs: no plugin, no subscriber, no recorder. No file is
//!    touched. Short locks are taken inside, one after the other: of the view, of `Forward`, of the list of images, of the counters of calls.
//!    What is replaced is only moved, into `Displaced`: to drop the last `Arc` of a generation or of a state takes long.
//! 4. An old generation whose state was handed over is noted as moved ([`Generation::forward_to`]) when the slot has the new one, and before
//!    its gate opens. Earlier, a call would find no successor; later, it would change a state that nobody uses any more.
//! 5. The gates open before subscribers are called. Events, retiring and dropping come last, with no lock held and no gate closed.

use super::{clock::Clock, exclusive::Stopped, inputs, prepare::stop, rollback::forget_faulty};
use crate::{
    deadline::after,
    deferred_work::defer,
    policy::Policy,
    runtime::Runtime,
    slot::{
        Access, Candidate, CandidateKind, Change, Current, Generation, Phase, Probation, ProbationGroup, Renewal,
        SlotRecord, SlotState, Snapshot, Standby, SupervisorMessage,
    },
};
use reslot_artifact::ContentHash;
use reslot_plugin_api::{EndCause, InstanceEnd};
use reslot_report::{Cause, Event, ReloadReport, RestoredState, RollbackReport, Step};
use reslot_sync::MutexGuard;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A slot and the candidate that it is handed over to.
pub(super) struct Member<'a> {
    pub(super) record: Arc<SlotRecord>,
    /// The current generation.
    pub(super) old: Option<&'a Arc<Generation>>,
    /// The right to change it, while callers are kept away.
    pub(super) access: Access<'a>,
    pub(super) candidate: Candidate,
}

/// A slot that was handed over.
pub(crate) struct Swapped {
    pub(crate) generation: Arc<Generation>,
    pub(crate) report: ReloadReport,
}

/// A member whose candidate is prepared, and which waits for the swap.
pub(super) struct Ready<'a> {
    pub(super) record: Arc<SlotRecord>,
    pub(super) old: Option<&'a Arc<Generation>>,
    pub(super) access: Access<'a>,
    pub(super) generation: Arc<Generation>,
    pub(super) kind: CandidateKind,
    pub(super) state: RestoredState,
    /// The state that it took over, and that a rollback may need.
    pub(super) inherited: Option<Arc<Snapshot>>,
    pub(super) stopped: Option<Stopped>,
    pub(super) hash: ContentHash,
    pub(super) path: PathBuf,
    pub(super) clock: Clock,
    /// How long callers had to wait.
    pub(super) pause: Duration,
}

/// Closes the gate of the current generation, if it has state to hand over.
///
/// # Errors
/// If calls do not come back in time.
pub(super) fn close<'a>(
    drain_deadline: Duration,
    old: Option<&'a Arc<Generation>>,
    candidate: &Generation,
) -> Result<Access<'a>, Cause> {
    let handed_over = |old: &&Arc<Generation>| {
        old.instance().is_exclusive() || (old.instance().has_state() && candidate.instance().has_state())
    };
    let Some(old) = old.filter(handed_over) else {
        return Ok(Access::Open);
    };
    match old.close_gate(after(drain_deadline)) {
        Some(closed) => Ok(Access::Closed(closed)),
        None => Err(Cause::Busy(drain_deadline)),
    }
}

impl Ready<'_> {
    /// Another member of the set failed. Stops this candidate, and starts its predecessor again if it was stopped.
    pub(super) fn give_up(mut self, host: &Arc<Runtime>) {
        let (mut candidate, images) = (self.generation, host.images.clone());
        let give_back = move || {
            if let Some(candidate) = Arc::get_mut(&mut candidate) {
                stop(candidate, &images);
            }
        };
        // If the candidate does not come back from `stop` in time, its predecessor's `start` will show whether the resource is free.
        let _ = host.hooks.run(give_back);
        if let (Some(stopped), Some(old)) = (self.stopped, self.old) {
            stopped.start_again(host, &self.record, old, &mut self.access);
        }
    }

    /// Whether it is another instance of the same artifact.
    fn is_reinstance(&self) -> bool {
        self.kind.reinstance_of().is_some()
    }

    /// Whether it will be on probation. Probation belongs to the version: a re-instantiation continues one that is running, and begins
    /// none.
    fn on_probation(&self, policy: &Policy, state: &SlotState) -> bool {
        match self.is_reinstance() {
            true => state.probation.is_some(),
            false => !policy.probation.is_zero(),
        }
    }

    /// The entry in the slot's record, made under its lock. If calls are to be counted, they are counted from the first one on.
    fn current_entry(&self, host: &Runtime, state: &SlotState) -> Current {
        let on_probation = self.on_probation(&host.options.policy, state);
        host.images.serves(&self.generation);
        if on_probation {
            self.generation.call_stats().begin_probation();
        }
        Current {
            generation: self.generation.clone(),
            hash: self.hash,
            path: self.path.clone(),
            // The earlier state may be as large as the state itself, and only a slot that may be rolled back needs it.
            inherited: match (self.is_reinstance(), state.current()) {
                // A re-instantiation keeps the earlier state of its predecessor: its own snapshot has this version's schema, and is of no
                // use for a rollback.
                (true, Some(before)) => before.inherited.clone(),
                _ => self.inherited.clone().filter(|_| on_probation),
            },
        }
    }

    /// Makes the candidate the slot's current generation, while the slot's lock is held. Answers the generations that it displaced.
    fn install(
        &self,
        host: &Runtime,
        state: &mut SlotState,
        replaced: Option<Current>,
        set: Option<&Arc<ProbationGroup>>,
    ) -> Displaced {
        let on_probation = self.on_probation(&host.options.policy, state);
        if let Some(replaced) = &replaced {
            replaced.generation.call_stats().end_probation();
        }
        if self.is_reinstance() {
            return Displaced {
                replaced: replaced.as_ref().map(|old| old.generation.number()),
                faulty: None,
                retired: replaced.into_iter().collect(),
            };
        }
        let before = state.probation.take().and_then(|probation| probation.standby);
        let mut gone = Displaced {
            replaced: replaced.as_ref().map(|old| old.generation.number()),
            faulty: None,
            retired: before.map(|standby| standby.current).into_iter().collect(),
        };
        let standby = match replaced {
            // After a rollback, the generation that was rolled back from is not kept.
            Some(faulty) if self.kind.rollback_plan().is_some() => {
                gone.faulty = Some(faulty.hash);
                gone.retired.push(faulty);
                None
            }
            // One of its hooks hangs, so it must not be called any more.
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

    /// Reports the swap, with no lock held.
    fn report(self, host: &Arc<Runtime>, gone: Displaced) -> Swapped {
        let is_reinstance = self.is_reinstance();
        let slot = self.record.name.clone();
        let mut report = ReloadReport::new(slot, self.generation.number(), self.path, self.hash);
        report.replaced = gone.replaced;
        report.state_bytes = self.state.bytes();
        report.total = self.clock.noticed.elapsed();
        report.pause = self.pause;
        report.steps = self.clock.steps;
        host.slots.refusals.forget_those_caused_by_old_generation(&self.record.name);
        // A caller asked for it by name, or the reason of its refusal is gone.
        host.slots.refusals.forget_content(&self.record.name, &self.hash);
        host.log.push(Event::Swapped(report.clone()));
        if let (Some(plan), Some(from)) = (self.kind.rollback_plan(), gone.replaced) {
            let (slot, total) = (report.slot.clone(), plan.since.elapsed());
            let rollback = RollbackReport::new(slot, from, report.generation, plan.reason.clone(), self.state, total);
            if let Some(hash) = gone.faulty {
                forget_faulty(host, &self.record, hash, &report.path, &rollback);
            }
            host.log.push(Event::RolledBack(rollback));
        }
        if !is_reinstance {
            host.retries.superseded(&self.record.name);
        }
        if let Some(why) = self.kind.renewal() {
            let (slot, generation) = (report.slot.clone(), report.generation);
            host.log.push(match (why, gone.replaced) {
                (Renewal::Damage, Some(damaged)) => Event::ImageRenewed {
                    slot,
                    generation,
                    damaged,
                },
                (Renewal::Ended, Some(ended)) => Event::InstanceReplaced {
                    slot,
                    generation,
                    ended,
                    end: gone.end_of(ended),
                },
                (Renewal::Damage | Renewal::Inputs | Renewal::Ended, _) => Event::ConfigApplied { slot, generation },
            });
        } else if host.options.policy.probation.is_zero() {
            host.threads.send_to_supervisor(SupervisorMessage::Good {
                slot: report.slot.clone(),
                hash: self.hash,
            });
        } else {
            host.threads.send_to_supervisor(SupervisorMessage::Look);
        }
        if gone.replaced.is_none() {
            // A state that an unload has left there may be large.
            let left = self.record.lock().unloaded.take();
            defer(move || drop(left));
            host.retries.slot_filled(&self.record.name);
        }
        for retired in &gone.retired {
            host.images.retire(&retired.generation);
        }
        if let Some(kept) = self
            .inherited
            .clone()
            .filter(|_| !is_reinstance && !host.options.policy.probation.is_zero())
        {
            // No caller waits here for the hash of what may be a large state.
            defer(move || kept.seal());
        }
        // The last holder of a generation ends it, and a large state takes long to be freed.
        let (inherited, kind) = (self.inherited, self.kind);
        defer(move || drop((gone.retired, inherited, kind)));
        // The inputs may have changed while this generation was prepared.
        inputs::note_inputs_in_use(&host.inputs, &host.threads, &self.generation, !is_reinstance);
        Swapped {
            generation: self.generation,
            report,
        }
    }
}

/// What a swap displaced. It is dropped when no lock is held.
struct Displaced {
    replaced: Option<u64>,
    faulty: Option<ContentHash>,
    retired: Vec<Current>,
}

impl Displaced {
    /// How the instance of the generation with this number has ended.
    fn end_of(&self, number: u64) -> InstanceEnd {
        let retired = self.retired.iter().map(|retired| &retired.generation);
        let ended = retired.filter(|generation| generation.number() == number);
        ended
            .filter_map(|generation| generation.call_stats().end())
            .next()
            .unwrap_or_else(|| {
                let what = "the host found it so".to_owned();
                InstanceEnd::new(EndCause::Other { what }, 0)
            })
    }
}

/// **swap**: publishes the new generations in the view. A claimed slot is not in the view: its owner changes the pointer in his claim after
/// this returns.
pub(super) fn swap(host: &Arc<Runtime>, mut ready: Vec<Ready<'_>>) -> Vec<Swapped> {
    let set = (ready.len() > 1).then(|| {
        Arc::new(
            ready
                .iter()
                .map(|one| Arc::downgrade(&one.record))
                .collect::<ProbationGroup>(),
        )
    });
    // In the order of `SlotRecord::index`, as all code that locks several slots does, so that no two threads wait for each other.
    ready.sort_by_key(|one| one.record.index);
    let records: Vec<_> = ready.iter().map(|one| one.record.clone()).collect();
    let gone = {
        let mut states: Vec<MutexGuard<'_, SlotState>> = records.iter().map(|record| record.lock()).collect();
        move_pointer(host, &ready, &mut states, set.as_ref())
    };
    for one in &mut ready {
        // Now, before anything else can go wrong: from here on the state is in the new generation, also for calls through old views.
        let handed_over = !matches!(one.access, Access::Open);
        if let Some(old) = one.old.filter(|old| handed_over && old.is_gated()) {
            old.forward_to(&one.generation);
        }
        one.clock.lap(Step::Swap);
    }
    // The gates open here, before any subscriber is called.
    for one in &mut ready {
        one.pause = one.access.since().map_or(Duration::ZERO, |since| since.elapsed());
        one.access = Access::Open;
    }
    ready
        .into_iter()
        .zip(gone)
        .map(|(one, gone)| one.report(host, gone))
        .collect()
}

/// Publishes members whose slots are locked. Answers, for each of them, what it displaced.
fn move_pointer(
    host: &Runtime,
    ready: &[Ready<'_>],
    states: &mut [MutexGuard<'_, SlotState>],
    set: Option<&Arc<ProbationGroup>>,
) -> Vec<Displaced> {
    let changes = ready.iter().zip(&mut *states).filter(|(_, state)| !state.is_gone());
    let changes = changes.map(|(one, state)| {
        let current = one.current_entry(host, state);
        (&*one.record, &mut **state, Change::Serves(current))
    });
    let mut replaced = host.slots.publish_set(changes.collect()).into_iter();
    let replace = |(one, state): (&Ready<'_>, &mut MutexGuard<'_, SlotState>)| match state.is_gone() {
        false => one.install(host, state, replaced.next().flatten(), set),
        // The host ended while the owner was adopting: the owner keeps the generation for himself.
        true => Displaced {
            replaced: one.old.map(|old| old.number()),
            faulty: None,
            retired: Vec::new(),
        },
    };
    ready.iter().zip(states).map(replace).collect()
}
