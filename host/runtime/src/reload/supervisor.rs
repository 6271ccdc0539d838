//! The third of the host's threads: it asks current generations for their health, ends probations, and rolls slots back. It runs no plugin
//! code itself: checks and the hooks of a rollback run on threads for hooks. For a claimed slot it only sends a reminder: the owner
//! asks, judges and rolls back in his own `sync`.

use super::{messages::ReloadMessage, prepare::check, rollback, survive::survive};
use crate::{
    event::Log,
    policy::Policy,
    runtime::{Runtime, Storage, Threads},
    slot::{
        Change, CheckResult, Generation, InstanceId, Probation, ProbationGroup, SlotRecord, SlotState, Standby,
        SupervisorMessage, Verdict,
    },
};
use reslot_artifact::ContentHash;
use reslot_plugin_api::Health;
use reslot_report::{Event, RollbackReason};
use reslot_sync::{
    Instant, MutexGuard,
    mpsc::{Receiver, RecvTimeoutError},
};
use reslot_system::awake;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// The supervisor's thread.
pub(crate) fn run(host: &Arc<Runtime>, messages: &Receiver<SupervisorMessage>) {
    let mut next: Option<Instant> = None;
    loop {
        let message = match next {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => awake::watch(at, || messages.recv_timeout(at.saturating_duration_since(Instant::now()))),
        };
        match message {
            Ok(SupervisorMessage::End) | Err(RecvTimeoutError::Disconnected) => {
                // What an owner has recorded at the last moment is for the next process.
                for message in messages.try_iter() {
                    survive(|| note(&host.storage, message));
                }
                return;
            }
            // Faults and check results first.
            Ok(SupervisorMessage::Fault { slot, number }) => survive(|| fault(host, &slot, number)),
            Ok(SupervisorMessage::Checked { slot, instance, result }) => {
                survive(|| checked(host, &slot, instance, result));
            }
            Ok(message @ (SupervisorMessage::Good { .. } | SupervisorMessage::Bad { .. })) => {
                survive(|| note(&host.storage, message))
            }
            Ok(SupervisorMessage::Look) | Err(RecvTimeoutError::Timeout) => {}
        }
        survive(|| next = look_at_all(host));
    }
}

/// Writes a verdict on a version into the history.
fn note(storage: &Storage, message: SupervisorMessage) {
    match message {
        SupervisorMessage::Good { slot, hash } => storage.report_history_error(&slot, storage.history.confirm(&slot, &hash)),
        // Somebody may have asked for the version by name since.
        SupervisorMessage::Bad { slot, hash, why } if storage.history.known_bad(&slot, &hash).is_some() => {
            storage.report_history_error(&slot, storage.history.mark_bad(&slot, &hash, &why));
        }
        _ => {}
    }
}

fn look_at_all(host: &Arc<Runtime>) -> Option<Instant> {
    let records = host.slots.all();
    records.iter().filter_map(|record| look_at(host, record)).min()
}

fn fault(host: &Arc<Runtime>, slot: &str, number: u64) {
    let Some(record) = host.slots.named(slot) else { return };
    let concerned = record
        .lock()
        .current()
        .is_some_and(|current| current.generation.number() == number);
    if concerned {
        look_at(host, &record);
    }
}

fn checked(host: &Arc<Runtime>, slot: &str, instance: InstanceId, result: CheckResult) {
    let Some(record) = host.slots.named(slot) else { return };
    note_check(&host.options.policy, &host.log, &record, instance, result);
    // A verdict may have waited for this check only.
    look_at(host, &record);
}

/// The shortest time between two looks at a slot whose condition has not changed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// Does what is due for a slot, and answers when to check it again.
fn look_at(host: &Arc<Runtime>, record: &Arc<SlotRecord>) -> Option<Instant> {
    let now = Instant::now();
    let mut state = record.lock();
    if state.is_gone() || state.current().is_none() {
        return None;
    }
    if state.is_moving() || state.adopting().is_some() {
        state.remind_when_settled(host.threads.supervisor());
        return None;
    }
    let claimed = state.is_claimed();
    measure(&host.options.policy, &mut state, now);
    let check = due_check(&host.options.policy, record, &mut state, now);
    let verdict = state.verdict(&host.options.policy);
    let end = state.probation_end(&host.options.policy);
    let health_tracker = state.health_tracker();
    let next = [
        health_tracker.due(&host.options.policy, end),
        health_tracker.watch_again(&host.options.policy),
        health_tracker.measurement_due(&host.options.policy, end),
        verdict.as_ref().and_then(Verdict::next_check),
    ];
    // If the owner does not react, remind him at most every `health_every`.
    let least = if claimed {
        host.options.policy.health_every.max(SHORTEST_PAUSE)
    } else {
        SHORTEST_PAUSE
    };
    let next = next.into_iter().flatten();
    // Time has passed since `now`: what is due by this moment must not be looked at again at once.
    let (present, soonest) = (Instant::now(), now + least);
    let next = next.map(|at| if at <= present { soonest } else { at }).min();
    let stands_by = state.probation.as_ref().is_some_and(|probation| probation.standby.is_some());
    match verdict {
        Some(Verdict::Passed) => {
            let set = state.probation.as_ref().and_then(|probation| probation.set.clone());
            let number = state.serving().map_or(0, |generation| generation.number());
            drop(state);
            // The last member that passes confirms the whole set.
            let passed = set.is_none_or(|set| all_passed(&host.options.policy, &set));
            if !passed || !matches!(confirm(host, record, number), Confirmation::Confirmed) {
                check.carry_out(host, record);
                return Some(now + WAIT_FOR_OTHERS);
            }
        }
        Some(Verdict::Faulty(_)) if stands_by && claimed => record.signals.request_safe_point(),
        Some(Verdict::Faulty(_)) if stands_by => {
            drop(state);
            rollback::of_open_slot(host, record, None);
        }
        Some(Verdict::Faulty(reason)) => {
            no_standby(&host.threads, record, state, reason);
            // After that request: if there is nothing to go back to, an instance that has ended is replaced.
            let again = replace_ended(host, record, record.lock());
            check.carry_out(host, record);
            return next.into_iter().chain(again).min();
        }
        Some(Verdict::Open(_)) => drop(state),
        None => {
            let again = replace_ended(host, record, state);
            check.carry_out(host, record);
            return next.into_iter().chain(again).min();
        }
    }
    check.carry_out(host, record);
    next
}

/// Asks for another instance in place of one that has ended and cannot be rolled back. Returns when to look again.
fn replace_ended(host: &Runtime, record: &Arc<SlotRecord>, mut state: MutexGuard<'_, SlotState>) -> Option<Instant> {
    let generation = state.serving()?.clone();
    generation.call_stats().end()?;
    let (policy, now) = (&host.options.policy, Instant::now());
    let due = state.restarts.due(policy, now);
    if due > now {
        return Some(due);
    }
    let again = state.restarts.asked(policy, now);
    drop(state);
    host.threads.send_to_reload(ReloadMessage::InstanceEnded {
        record: record.clone(),
        number: generation.number(),
    });
    Some(again)
}

/// Measures the memory of a generation on probation, if no check has done so for long.
fn measure(policy: &Policy, state: &mut SlotState, now: Instant) {
    let end = state.probation_end(policy);
    let due = state.health_tracker().measurement_due(policy, end);
    if due.is_some_and(|due| due <= now)
        && let Some(current) = state.current()
    {
        let bytes = current.generation.instance().live_bytes();
        state.health_tracker().measure(policy, now, bytes);
    }
}

/// What is due about a slot's health.
#[allow(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
enum Check {
    Nothing,
    Begin(Arc<Generation>),
    Tell(Event),
}

fn due_check(policy: &Policy, record: &SlotRecord, state: &mut SlotState, now: Instant) -> Check {
    let Some(generation) = state.serving().cloned() else {
        return Check::Nothing;
    };
    let claimed = state.is_claimed();
    let end = state.probation_end(policy);
    let health_tracker = state.health_tracker();
    if health_tracker.due(policy, end).is_none_or(|due| due > now) {
        return Check::Nothing;
    }
    if health_tracker.under_way.is_some() {
        let (health, is_news) = health_tracker.hangs(policy);
        return match is_news {
            true => Check::Tell(health_event(record, generation.number(), health)),
            false => Check::Nothing,
        };
    }
    if claimed {
        record.signals.request_safe_point();
        return Check::Nothing;
    }
    if !generation.instance().is_shared() {
        // An unshared plugin in an open slot has no caller. It is not checked, because the check could run at the same time as the call of
        // a new owner.
        health_tracker.passes_over();
        return Check::Nothing;
    }
    health_tracker.begins();
    Check::Begin(generation)
}

impl Check {
    fn carry_out(self, host: &Arc<Runtime>, record: &Arc<SlotRecord>) {
        match self {
            Self::Nothing => {}
            Self::Tell(event) => host.log.push(event),
            Self::Begin(generation) => {
                let (slot, supervisor) = (record.name.clone(), host.threads.supervisor());
                host.hooks.pool().start(move || {
                    let result = checked_now(&generation);
                    let instance = generation.call_stats().id();
                    drop(generation);
                    // Without a supervisor the host has ended.
                    let _ = supervisor.send(SupervisorMessage::Checked { slot, instance, result });
                });
            }
        }
    }
}

/// What a claim's owner does at his safe point after a reminder: asks for the health of his instance, if that is due.
pub(crate) fn check_of_claim(policy: &Policy, log: &Log, record: &SlotRecord, generation: &Generation) {
    {
        let mut state = record.lock();
        let end = state.probation_end(policy);
        let health_tracker = state.health_tracker();
        let due = health_tracker.due(policy, end).is_some_and(|due| due <= Instant::now());
        if !due || health_tracker.under_way.is_some() {
            return;
        }
        health_tracker.begins();
    }
    note_check(policy, log, record, generation.call_stats().id(), checked_now(generation));
}

/// Asks for its health, on this thread.
fn checked_now(generation: &Generation) -> CheckResult {
    let begun = Instant::now();
    let health = check(generation);
    // A sandbox or a process may end between two calls.
    generation.look_for_end();
    CheckResult {
        health,
        ran: (begun, Instant::now()),
        bytes: generation.instance().live_bytes(),
    }
}

fn note_check(policy: &Policy, log: &Log, record: &SlotRecord, instance: InstanceId, result: CheckResult) {
    let mut state = record.lock();
    let current = state.serving();
    let Some(current) = current.filter(|current| current.call_stats().id() == instance) else {
        return;
    };
    let number = current.number();
    let (health, is_news) = state.health_tracker().record_check(policy, result);
    drop(state);
    if is_news {
        log.push(health_event(record, number, health));
    }
}

fn health_event(record: &SlotRecord, generation: u64, health: Health) -> Event {
    Event::Health {
        slot: record.name.clone(),
        generation,
        health,
    }
}

/// How often a member that has passed its probation checks whether the others have.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(50);

fn all_passed(policy: &Policy, set: &Arc<ProbationGroup>) -> bool {
    set.iter().filter_map(Weak::upgrade).all(|record| {
        let mut state = record.lock();
        let on_probation = state.probation.as_ref().is_some_and(|probation| probation.is_of(set));
        !on_probation || matches!(state.verdict(policy), Some(Verdict::Passed))
    })
}

/// The outcome of a confirmation.
pub(crate) enum Confirmation {
    /// The probation has ended.
    Confirmed,
    /// A rollback was requested, and its owner has yet to do it.
    RollbackRequested,
    /// This slot is being changed by another thread, for example rolled back.
    Moving(Arc<SlotRecord>),
    /// The slot has another generation, or the probation has ended already.
    NotServing,
}

/// Ends the probation of a slot's generation, which has passed it, and of the set with which it was published, all at once. Their standbys
/// are retired. If one member is about to be rolled back, no member is confirmed.
pub(crate) fn confirm(host: &Arc<Runtime>, record: &Arc<SlotRecord>, serving: u64) -> Confirmation {
    let set = record.lock().probation.as_ref().and_then(|probation| probation.set.clone());
    let mut members = match &set {
        Some(set) => set.iter().filter_map(Weak::upgrade).collect(),
        None => vec![record.clone()],
    };
    // Lock in the order of `SlotRecord::index`, as all code that locks several slots does.
    members.sort_by_key(|member| member.index);
    let mut states: Vec<_> = members.iter().map(|member| (member, member.lock())).collect();
    if let Some((moving, _)) = states.iter().find(|(_, state)| state.is_moving()) {
        return Confirmation::Moving(Arc::clone(moving));
    }
    let of_set = |probation: &Probation| match &set {
        Some(set) => probation.is_of(set),
        None => probation.set.is_none(),
    };
    states.retain(|(_, state)| state.current().is_some() && state.probation.as_ref().is_some_and(of_set));
    let serves = |state: &SlotState| state.serving().is_some_and(|generation| generation.number() == serving);
    if !states.iter().any(|(member, state)| member.id == record.id && serves(state)) {
        return Confirmation::NotServing;
    }
    let is_forced = |state: &SlotState| state.probation.as_ref().is_some_and(|probation| probation.forced.is_some());
    if states.iter().any(|(_, state)| is_forced(state)) {
        return Confirmation::RollbackRequested;
    }
    let confirmed: Vec<_> = states
        .iter_mut()
        .filter_map(|(member, state)| Confirmed::new(member, state))
        .collect();
    let rerouted = states
        .iter_mut()
        .zip(&confirmed)
        .filter(|(_, confirmed)| confirmed.is_rerouted);
    let changes = rerouted.map(|((member, state), _)| (&***member, &mut **state, Change::Rerouted));
    host.slots.publish_set(changes.collect());
    drop(states);
    for confirmed in confirmed {
        confirmed.report(host);
    }
    Confirmation::Confirmed
}

/// A generation whose probation has ended.
struct Confirmed {
    slot: Arc<str>,
    generation: Arc<Generation>,
    hash: ContentHash,
    standby: Option<Standby>,
    /// Its calls need not be counted any more, which the view has to show.
    is_rerouted: bool,
}

impl Confirmed {
    /// Ends the probation, under the slot's lock.
    fn new(record: &SlotRecord, state: &mut SlotState) -> Option<Self> {
        let standby = state.probation.take()?.standby;
        state.forget_inherited();
        let current = state.current()?;
        let (generation, hash) = (current.generation.clone(), current.hash);
        let was_watched = generation.call_stats().is_watched();
        generation.call_stats().end_probation();
        let is_rerouted = was_watched && !generation.call_stats().is_watched();
        if is_rerouted && state.is_claimed() {
            record.signals.request_safe_point();
        }
        Some(Self {
            slot: record.name.clone(),
            generation,
            hash,
            standby,
            is_rerouted: is_rerouted && !state.is_claimed(),
        })
    }

    /// Reports it, with no lock held.
    fn report(self, host: &Runtime) {
        // Write first, then report: a subscriber may rely on the disk.
        let written = host.storage.history.confirm(&self.slot, &self.hash);
        host.storage.report_history_error(&self.slot, written);
        host.log.push(Event::Confirmed {
            slot: self.slot,
            generation: self.generation.number(),
        });
        if let Some(standby) = self.standby {
            host.images.retire(&standby.current.generation);
        }
    }
}

/// The generation is faulty and has no standby: the reload thread is asked, once, to roll back to a version of the history.
fn no_standby(threads: &Threads, record: &Arc<SlotRecord>, mut state: MutexGuard<'_, SlotState>, reason: RollbackReason) {
    let Some(probation) = state.probation.as_mut() else { return };
    if std::mem::replace(&mut probation.history_asked, true) {
        return;
    }
    let Some(generation) = state.serving().cloned() else {
        return;
    };
    drop(state);
    // Its later calls change nothing any more.
    generation.call_stats().end_probation();
    threads.go_back(record.clone(), generation.number(), reason);
}
