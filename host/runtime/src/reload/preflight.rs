//! The step **preflight**: a candidate is tried out in a child process, with the current state, before this process opens it. The engine
//! says how; here the state is taken while calls go on.

use super::{
    attempt::Attempt,
    snapshot::{cannot_read, snapshot},
    starting_state::migrated,
};
use crate::{
    deadline::after,
    runtime::HookRunner,
    slot::{CandidateKind, Generation, Mode, SlotRecord, SlotState, Snapshot, TakenState},
};
use reslot_artifact::manifest::Manifest;
use reslot_engine::{Preflight, PreflightCandidate, StagedArtifact, Trial, hooks::Migrator};
use reslot_report::{Cause, HookError, PreflightError, PreflightStep};
use reslot_sync::{
    Instant, MutexGuard,
    mpsc::{self, RecvTimeoutError},
};
use reslot_system::awake;
use std::sync::Arc;

/// **preflight**: tries the private copy out, if the policy asks for it. Answers whether it did.
pub(super) fn preflight(
    attempt: &Attempt<'_>,
    kind: &CandidateKind,
    staged: &dyn StagedArtifact,
    manifest: &Manifest,
) -> Result<bool, Cause> {
    let host = attempt.host;
    let (Some(how), Some(trial)) = (&host.options.policy.preflight, staged.trial()) else {
        return Ok(false);
    };
    match kind {
        CandidateKind::Fresh { saved: Some(saved), .. } => {
            let tried = run(attempt, trial, manifest, how, Some(saved.snapshot.clone()));
            tried.map_err(|error| Cause::Preflight(Arc::new(error)))?;
        }
        CandidateKind::Fresh { saved: None, .. } | CandidateKind::SetMember => {
            let state = current_state(&host.hooks, attempt.target.slot, how)?;
            try_out(attempt, trial, manifest, how, state)?;
        }
        CandidateKind::Shadow { state } => try_out(attempt, trial, manifest, how, state.clone())?,
        // It went through a preflight before it was published.
        CandidateKind::Rollback(_) | CandidateKind::Reinstance { .. } => return Ok(false),
    }
    Ok(true)
}

/// Tries it out with the current state.
fn try_out(
    attempt: &Attempt<'_>,
    trial: &dyn Trial,
    manifest: &Manifest,
    how: &Preflight,
    state: Option<TakenState>,
) -> Result<(), Cause> {
    let host = attempt.host;
    let snapshot = in_schema(&host.hooks, manifest, state.as_ref())?;
    run(attempt, trial, manifest, how, snapshot).map_err(|error| {
        let error = match &state {
            Some(state) => whose_fault(&host.hooks, state, error),
            None => error,
        };
        Cause::Preflight(Arc::new(error))
    })
}

fn run(
    attempt: &Attempt<'_>,
    trial: &dyn Trial,
    manifest: &Manifest,
    how: &Preflight,
    state: Option<Arc<Snapshot>>,
) -> Result<(), PreflightError> {
    let (slot, generation) = (attempt.target.name(), attempt.number());
    let candidate = PreflightCandidate {
        slot,
        generation,
        manifest,
    };
    let state = state.as_ref().map(|state| (state.schema, &state.bytes[..]));
    let report = trial.preflight(how, &candidate, state)?;
    tracing::info!(slot = &**slot, generation, %report, "preflight");
    Ok(())
}

/// Why a candidate refuses the state in its preflight; as `snapshot::whose_fault`.
fn whose_fault(hooks: &HookRunner, state: &TakenState, error: PreflightError) -> PreflightError {
    let step = match &error {
        PreflightError::State {
            step,
            error: HookError::NotCarried(_),
        } => *step,
        PreflightError::Refused {
            step: step @ (PreflightStep::Restore | PreflightStep::Migrate),
            ..
        } => *step,
        _ => return error,
    };
    match cannot_read(hooks, &state.of, &state.snapshot) {
        Some(words) => PreflightError::State {
            step,
            error: HookError::NotCarried(words),
        },
        None => error,
    }
}

/// The state, in a schema that the candidate can read or migrate itself.
fn in_schema(hooks: &HookRunner, manifest: &Manifest, state: Option<&TakenState>) -> Result<Option<Arc<Snapshot>>, Cause> {
    let (Some(to), Some(state)) = (manifest.state, state) else {
        return Ok(None);
    };
    let (writer, state) = (&state.of, state.snapshot.clone());
    match Migrator::of(state.schema, to.schema) {
        Migrator::Nobody | Migrator::Reader => Ok(Some(state)),
        Migrator::Writer => migrated(hooks, writer, state, to.schema).map(Some),
    }
}

fn current_state(hooks: &HookRunner, record: &Arc<SlotRecord>, how: &Preflight) -> Result<Option<TakenState>, Cause> {
    let deadline = after(how.timeout);
    loop {
        match ask_for_state(hooks, record, deadline) {
            Ok(OwnerAnswer::Retry) => {}
            Ok(OwnerAnswer::Answered(state)) => return Ok(state),
            Err(cause) => return Err(cause),
        }
    }
}

enum OwnerAnswer {
    Answered(Option<TakenState>),
    /// The claim was dropped, and the question with it.
    Retry,
}

fn ask_for_state(hooks: &HookRunner, record: &Arc<SlotRecord>, deadline: Instant) -> Result<OwnerAnswer, Cause> {
    let mut state = record.lock_replaceable();
    let Some(old) = state.serving().cloned() else {
        return Ok(OwnerAnswer::Answered(None));
    };
    if !old.instance().has_state() {
        return Ok(OwnerAnswer::Answered(None));
    }
    let taken = match state.mode() {
        Mode::Claimed => {
            let (answer, answered) = mpsc::channel();
            state.state_request = Some(answer);
            record.signals.request_safe_point();
            drop(state);
            // If the owner does not answer in time, the candidate is tried out without a state.
            let answer = awake::wait_until(deadline, |until| {
                match answered.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(taken) => Some(Some(taken)),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(None),
                }
            });
            record.lock().state_request = None;
            match answer {
                Some(Some(taken)) => taken,
                None => None,
                Some(None) => return Ok(OwnerAnswer::Retry),
            }
        }
        // A shared plugin is called during the snapshot; the state is good enough for a trial. An unshared one has no caller now, and
        // `moving` prevents a new claim.
        Mode::Open { .. } => take_of_open(hooks, record, state, &old)?,
    };
    Ok(OwnerAnswer::Answered(taken.map(|snapshot| TakenState { of: old, snapshot })))
}

fn take_of_open(
    hooks: &HookRunner,
    record: &Arc<SlotRecord>,
    mut state: MutexGuard<'_, SlotState>,
    old: &Arc<Generation>,
) -> Result<Option<Arc<Snapshot>>, Cause> {
    let moving = record.begin_moving(&mut state);
    drop(state);
    let taken = snapshot(hooks, record, old, false);
    drop(moving);
    taken
}

/// The current state of a slot that is not claimed. The caller checks that under the slot's lock, which it passes on.
pub(crate) fn state_of_open(
    hooks: &HookRunner,
    record: &Arc<SlotRecord>,
    state: MutexGuard<'_, SlotState>,
) -> Result<Option<TakenState>, Cause> {
    let Some(old) = state.serving().cloned() else {
        return Ok(None);
    };
    let taken = take_of_open(hooks, record, state, &old)?;
    Ok(taken.map(|snapshot| TakenState { of: old, snapshot }))
}

/// What a claim's owner does at his safe point, if a preflight asks for his state.
pub(crate) fn answer_for_claim(hooks: &HookRunner, record: &Arc<SlotRecord>, serving: &Arc<Generation>) {
    let request = record.lock().state_request.take();
    if let Some(request) = request {
        // The thread that asked may have given up.
        let _ = request.send(snapshot(hooks, record, serving, true).ok().flatten());
    }
}
