//! The preflight of a candidate: what `preflight` does for any artifact, with the state of what serves. Getting hold of that state
//! without stopping anybody is what lives here.

use super::{
    pipeline::refusal,
    prepare::{cannot_read, snapshot},
};
use crate::{
    deadline::after,
    error::{Cause, Hook, Refusal},
    event::Step,
    host::Inner,
    image::manifest::Manifest,
    instance::HookError,
    preflight::{self, Candidate, Preflight, PreflightError, PreflightStep},
    slot::{Generation, Mode, SlotRecord, SlotState, Snapshot},
};
use parking_lot::MutexGuard;
use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Instant,
};

/// Tries a linted copy out, if the policy asks for it.
pub(super) fn try_out(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    number: u64,
    copy: &Path,
    manifest: &Manifest,
    path: &Path,
    saved: Option<Arc<Snapshot>>,
) -> Result<(), Refusal> {
    let Some(how) = &host.policy.preflight else { return Ok(()) };
    let refuse = |cause| refusal(Some(record), Some(number), path, Step::Preflight, cause);
    let tried = match saved {
        Some(saved) => {
            run(record, number, copy, manifest, how, Some(saved)).map_err(|error| Cause::Preflight(Arc::new(error)))
        }
        None => {
            current_state(host, record, how).and_then(|state| try_out_with(host, record, number, copy, manifest, how, state))
        }
    };
    tried.map_err(refuse)
}

/// Tries it out with this state.
pub(super) fn try_out_with(
    host: &Arc<Inner>,
    record: &SlotRecord,
    number: u64,
    copy: &Path,
    manifest: &Manifest,
    how: &Preflight,
    state: Option<Serving>,
) -> Result<(), Cause> {
    let serving = state.clone();
    let state = in_schema(host, manifest, state)?;
    run(record, number, copy, manifest, how, state).map_err(|error| {
        let error = match &serving {
            Some((serving, state)) => whose_fault(host, serving, state, error),
            None => error,
        };
        Cause::Preflight(Arc::new(error))
    })
}

fn run(
    record: &SlotRecord,
    number: u64,
    copy: &Path,
    manifest: &Manifest,
    how: &Preflight,
    state: Option<Arc<Snapshot>>,
) -> Result<(), PreflightError> {
    let candidate = Candidate {
        slot: &record.name,
        generation: number,
        copy,
        manifest,
    };
    let state = state.as_ref().map(|state| (state.schema, &state.bytes[..]));
    let report = preflight::run(how, &candidate, state)?;
    tracing::info!(slot = &*record.name, generation = number, %report, "preflight");
    Ok(())
}

/// Why a candidate refuses the state of what serves in its preflight; see the same of `prepare`.
fn whose_fault(host: &Inner, serving: &Arc<Generation>, state: &Arc<Snapshot>, error: PreflightError) -> PreflightError {
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
    match cannot_read(host, serving, state) {
        Some(words) => PreflightError::State {
            step,
            error: HookError::NotCarried(words),
        },
        None => error,
    }
}

/// The state, in a schema from which the candidate goes on by itself.
fn in_schema(host: &Inner, manifest: &Manifest, state: Option<Serving>) -> Result<Option<Arc<Snapshot>>, Cause> {
    let (Some(to), Some((old, state))) = (manifest.state, state) else {
        return Ok(None);
    };
    if state.schema <= to.schema {
        return Ok(Some(state));
    }
    // Only what serves knows the way down.
    let most = host.policy.hook_deadline;
    let migrate = move || old.instance().migrate(state.schema, to.schema, &state.bytes);
    let migrated = host.hooks.run(most, migrate).unwrap_or(Err(HookError::TookTooLong(most)));
    let bytes = migrated.map_err(|error| Cause::Hook(Hook::Migrate, error))?;
    let schema = to.schema;
    Ok(Some(Arc::new(Snapshot { schema, bytes })))
}

/// A state, and whose it is.
pub(crate) type Serving = (Arc<Generation>, Arc<Snapshot>);

fn current_state(host: &Arc<Inner>, record: &Arc<SlotRecord>, how: &Preflight) -> Result<Option<Serving>, Cause> {
    let deadline = after(how.timeout);
    loop {
        match ask_for_state(host, record, deadline) {
            Ok(OwnerAnswer::Retry) => {}
            Ok(OwnerAnswer::Answered(state)) => return Ok(state),
            Err(cause) => return Err(cause),
        }
    }
}

enum OwnerAnswer {
    Answered(Option<Serving>),
    /// The owner is gone, and with him what he was asked for.
    Retry,
}

fn ask_for_state(host: &Arc<Inner>, record: &Arc<SlotRecord>, deadline: Instant) -> Result<OwnerAnswer, Cause> {
    let mut state = record.lock_settled();
    let Some(old) = state.current.as_ref().map(|current| current.generation.clone()) else {
        return Ok(OwnerAnswer::Answered(None));
    };
    if !old.instance().has_state() {
        return Ok(OwnerAnswer::Answered(None));
    }
    let taken = match state.mode {
        Mode::Claimed => {
            let (answer, answered) = mpsc::channel();
            state.wanted = Some(answer);
            record.signals.request_safe_point();
            drop(state);
            // An owner who does not come cannot be made to: then it is tried out without a state.
            let answer = answered.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            record.lock().wanted = None;
            match answer {
                Ok(taken) => taken,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(OwnerAnswer::Retry),
            }
        }
        // Calls go on meanwhile, if it is one that many threads call: the state is good enough for a trial. If not, nobody
        // calls it, and `moving` keeps it so.
        Mode::Open { .. } => take_of_open(host, record, state, &old)?,
    };
    Ok(OwnerAnswer::Answered(taken.map(|taken| (old, taken))))
}

fn take_of_open(
    host: &Inner,
    record: &Arc<SlotRecord>,
    mut state: MutexGuard<'_, SlotState>,
    old: &Arc<Generation>,
) -> Result<Option<Arc<Snapshot>>, Cause> {
    let moving = record.moving(&mut state);
    drop(state);
    let taken = snapshot(host, old, false);
    drop(moving);
    taken
}

/// The state of what serves in a slot that nobody claims.
pub(crate) fn state_of_open(host: &Inner, record: &Arc<SlotRecord>) -> Result<Option<Serving>, Cause> {
    let state = record.lock_settled();
    let old = state.current.as_ref().map(|current| current.generation.clone());
    match old {
        Some(old) if state.mode != Mode::Claimed => Ok(take_of_open(host, record, state, &old)?.map(|taken| (old, taken))),
        _ => Ok(None),
    }
}

/// What a claim's owner does at his safe point, if the state of what he owns is wanted.
pub(crate) fn answer_for_claim(host: &Inner, record: &SlotRecord, serving: &Arc<Generation>) {
    let request = record.lock().wanted.take();
    if let Some(request) = request {
        // Whoever asked may have given up.
        let _ = request.send(snapshot(host, serving, true).ok().flatten());
    }
}
