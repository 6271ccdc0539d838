//! Going back to the generation that stands by: one pointer moves, and the state goes the way that the policy says. It happens on
//! the supervisor's thread, or, for what is claimed, on the owner's. Going back further, to an artifact that was kept, is a
//! reload like any other (`reload.rs`, `go_back`), and only reported here.

use super::{
    SupervisorMessage,
    exclusive::Stopped,
    prepare::{Snapshot, snapshot},
    probation::{Probation, RollbackReason, Standby, Verdict},
    revive::revive,
    tally::Phase,
};
use crate::{
    error::{Cause, Hook, Refusal},
    event::{Event, Step},
    hooks::TookTooLong,
    host::Inner,
    instance::HookError,
    policy::RollbackState,
    slot::{Access, Current, Generation, Mode, OwnersTurn, SlotRecord},
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// A slot went back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RollbackReport {
    /// The slot.
    pub slot: Arc<str>,
    /// The generation that it went back from.
    pub from: u64,
    /// The generation that serves from now on.
    pub to: u64,
    /// Why.
    pub reason: RollbackReason,
    /// What it started from.
    pub state: StateBack,
    /// From the decision to the swap.
    pub total: Duration,
}

/// What a generation that a slot went back to has for a state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateBack {
    /// There is none to be handed over.
    None,
    /// The newer one's, migrated if need be: nothing was lost.
    Carried {
        /// How large it was, encoded.
        bytes: usize,
    },
    /// What it was when the newer one took over: what was done since is lost.
    Snapshot {
        /// How large it was, encoded.
        bytes: usize,
        /// Why the newer one's could not be had, if the policy wanted that.
        why: Option<String>,
    },
}

impl StateBack {
    pub(crate) fn bytes(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Carried { bytes } | Self::Snapshot { bytes, .. } => Some(*bytes),
        }
    }
}

/// Why a candidate comes that has been there before.
#[derive(Clone)]
pub(crate) struct GoingBack {
    pub(crate) reason: RollbackReason,
    /// The state from before what it replaces.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) since: Instant,
}

/// An open slot goes back, if it (still) has to and can. On the supervisor's thread, or that of whoever asked for it.
pub(crate) fn of_open_slot(host: &Arc<Inner>, record: &Arc<SlotRecord>) -> Option<RollbackReport> {
    let since = Instant::now();
    let mut state = record.lock_settled();
    if state.gone || state.mode == Mode::Claimed {
        return None;
    }
    let Verdict::Faulty(reason) = state.verdict(&host.policy)? else {
        return None;
    };
    let current = state.current.as_ref()?;
    let (faulty, snapshot) = (current.generation.clone(), current.inherited.clone());
    let standby = state.probation.as_mut()?.standby.take()?;
    let moving = record.moving(&mut state);
    drop(state);
    let overdue = matches!(reason, RollbackReason::Overdue { .. });
    let access = match faulty.is_gated() {
        // Calls that do not come back are what it goes back from: their effects are lost in any case.
        true if !overdue => match faulty.close_gate(Instant::now() + host.policy.hook_deadline) {
            Some(closed) => Access::Closed(closed),
            None => Access::Open,
        },
        _ => Access::Open,
    };
    let back = GoingBack { reason, snapshot, since };
    let went = go_back(host, record, &faulty, standby, access, back);
    drop(moving);
    went.map(|(_, report)| report)
}

/// A claimed slot goes back, if it has to and can, on its owner's thread. Answers what serves from now on.
pub(crate) fn of_claim(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    faulty: &Arc<Generation>,
    turn: OwnersTurn<'_>,
) -> Option<Arc<Generation>> {
    let since = Instant::now();
    let mut state = record.lock();
    if state.gone {
        return None;
    }
    let Verdict::Faulty(reason) = state.verdict(&host.policy)? else {
        return None;
    };
    let snapshot = state.current.as_ref()?.inherited.clone();
    let standby = state.probation.as_mut()?.standby.take()?;
    // Whoever looks meanwhile would find a faulty generation and nothing to go back to.
    let moving = record.moving(&mut state);
    drop(state);
    let back = GoingBack { reason, snapshot, since };
    let went = go_back(host, record, faulty, standby, Access::Owner(turn), back);
    drop(moving);
    went.map(|(generation, _)| generation)
}

/// The way back. At worst the state is the one that was handed over at the swap. None if what stands by hangs in one of its hooks:
/// then it is lost, and the reload thread looks for an artifact that was kept.
fn go_back(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    faulty: &Arc<Generation>,
    standby: Standby,
    mut access: Access<'_>,
    back: GoingBack,
) -> Option<(Arc<Generation>, RollbackReport)> {
    let Standby { current, stopped } = standby;
    let (carried, why) = match carry(host, faulty, &current.generation, &access, &back) {
        Ok(carried) => (carried, None),
        Err(why) => (None, Some(why)),
    };
    // That it cannot be stopped is recorded; the way goes back in any case.
    let faulty_stopped = match stopped {
        true => Stopped::stop(host, faulty, &mut access),
        false => None,
    };
    let told = match revive(host, &current.generation, &mut access, carried, stopped, why, &back) {
        Ok(told) => told,
        Err(TookTooLong) => {
            if let Some(stopped) = faulty_stopped {
                stopped.start_again(host, record, faulty, &mut access);
            }
            if let Some(probation) = record.lock().probation.as_mut() {
                probation.hopeless = true;
            }
            current.generation.retire();
            host.go_back(record.clone(), back.reason);
            return None;
        }
    };
    let generation = Arc::new(current.generation.again());
    let mut state = record.lock();
    host.tally.serves(&generation);
    host.tally.enters(&record.name, generation.number(), Phase::Live);
    generation.standing().begin_probation();
    faulty.standing().end_probation();
    // Should it have to be left as well, then for something that starts from what it started from; or, if that is not known
    // because it had proved itself, from what it starts from now.
    let inherited = current.inherited.or(back.snapshot);
    let left = state.current.replace(Current {
        generation: generation.clone(),
        inherited,
        hash: current.hash,
        path: current.path,
    });
    state.probation = Some(Probation::new(None));
    if !access.is_owners() {
        host.publish(vec![(record.index, record.id, Some(generation.clone()))]);
    }
    drop(state);
    if faulty.is_gated() {
        faulty.succeed(generation.clone());
    }
    let total = back.since.elapsed();
    drop(access);
    let report = RollbackReport {
        slot: record.name.clone(),
        from: faulty.number(),
        to: generation.number(),
        reason: back.reason,
        state: told,
        total,
    };
    if let Some(left) = left {
        forget_faulty(host, record, left.hash, &left.path, &report);
        host.log.push(Event::RolledBack(report.clone()));
        host.retire(record, &left.generation);
    }
    host.supervise(SupervisorMessage::Look);
    Some((generation, report))
}

/// The state for what stands by, if the policy wants that of what is left.
fn carry(
    host: &Inner,
    faulty: &Arc<Generation>,
    standby: &Arc<Generation>,
    access: &Access<'_>,
    back: &GoingBack,
) -> Result<Option<Arc<Snapshot>>, String> {
    let (Some(schema), Some(_)) = (standby.instance().schema(), faulty.instance().schema()) else {
        return Ok(None);
    };
    if host.policy.rollback_state == RollbackState::Snapshot {
        return Ok(None);
    }
    let state = take(host, faulty, access, &back.reason)?;
    translate(host, faulty, standby, state, schema.schema).map(Some)
}

/// The state of what is left.
fn take(
    host: &Inner,
    faulty: &Arc<Generation>,
    access: &Access<'_>,
    reason: &RollbackReason,
) -> Result<Arc<Snapshot>, String> {
    if matches!(access, Access::Open) {
        return Err(match reason {
            RollbackReason::Overdue { .. } => "a call is still inside of it".to_owned(),
            _ => format!("calls did not come back within {:?}", host.policy.hook_deadline),
        });
    }
    let state = snapshot(host, faulty, access.is_owners()).map_err(|cause| cause.to_string())?;
    state.ok_or_else(|| "it has none".to_owned())
}

/// The state in the schema of what stands by. The one with the higher number knows both.
fn translate(
    host: &Inner,
    faulty: &Arc<Generation>,
    standby: &Arc<Generation>,
    state: Arc<Snapshot>,
    to: u32,
) -> Result<Arc<Snapshot>, String> {
    if state.schema == to {
        return Ok(state);
    }
    let knows_the_way = if to < state.schema { faulty } else { standby }.clone();
    let most = host.policy.hook_deadline;
    let migrate = move || knows_the_way.instance().migrate(state.schema, to, &state.bytes);
    let migrated = host.hooks.run(most, migrate).unwrap_or(Err(HookError::TookTooLong(most)));
    match migrated {
        Ok(bytes) => Ok(Arc::new(Snapshot { schema: to, bytes })),
        Err(error) => Err(Cause::Hook(Hook::Migrate, error).to_string()),
    }
}

/// What was left is not taken again by itself, in this process or a later one.
pub(super) fn forget_faulty(host: &Inner, record: &SlotRecord, hash: blake3::Hash, path: &Path, report: &RollbackReport) {
    let refusal = Refusal {
        slot: Some(record.name.clone()),
        candidate: Some(report.from),
        serving: Some(report.to),
        path: path.to_owned(),
        step: Step::Probation,
        cause: Arc::new(Cause::RolledBack(report.reason.clone())),
    };
    host.remember_refused(hash, refusal);
    host.supervise(SupervisorMessage::Bad {
        slot: record.name.clone(),
        hash,
        why: report.reason.to_string(),
    });
}
