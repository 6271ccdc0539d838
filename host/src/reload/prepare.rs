//! What a candidate goes through before it may serve: it gets the state (migrate), builds on it (init), acquires what it needs
//! (start), and is asked for its health once. All of it is plugin code, so all of it runs on a thread for hooks and has the
//! policy's deadline. Nothing here moves a pointer.

use super::{Clock, Tally, rollback::StateBack};
use crate::{
    error::{Cause, Hook, SchemaGap},
    event::Step,
    hooks::TookTooLong,
    host::Inner,
    image::manifest::Manifest,
    instance::HookError,
    lifecycle::Lifecycle,
    slot::{Generation, on_behalf_of, this_thread, with_overlay},
};
use reslot_plugin_api::Health;
use std::sync::Arc;

/// A state as it was handed over at a swap.
pub(crate) struct Snapshot {
    pub(crate) schema: u32,
    pub(crate) bytes: Vec<u8>,
}

/// From this size on a state that is not needed any more is not freed by whoever finds that out: giving so much memory back to the
/// system takes longer than all else that is done while an owner waits.
const LARGE: usize = 1 << 20;

/// Lets go of a state.
pub(super) fn discard(host: &Inner, snapshot: Option<Arc<Snapshot>>) {
    if let Some(large) = snapshot.filter(|snapshot| snapshot.bytes.len() >= LARGE) {
        host.hooks.start(move || drop(large));
    }
}

/// Refuses, before anything of a candidate has run, what no chain of migrations can bridge.
pub(crate) fn check_schemas(serving: &Manifest, candidate: &Manifest) -> Result<(), Cause> {
    let (Some(old), Some(new)) = (serving.state, candidate.state) else {
        return Ok(());
    };
    let reaches = match old.schema <= new.schema {
        true => old.schema >= new.oldest,
        // The newer one knows the way down, and that is the one that serves.
        false => new.schema >= old.oldest,
    };
    match reaches {
        true => Ok(()),
        false => Err(Cause::Schema(SchemaGap {
            serving: old,
            candidate: new,
        })),
    }
}

/// The state of what serves, if it has one. Nobody changes it meanwhile: its gate is closed, or this is its owner's thread
/// (`owner`), which no deadline can guard: it runs code of what serves, as each of the owner's calls does.
pub(crate) fn snapshot(host: &Inner, old: &Arc<Generation>, owner: bool) -> Result<Option<Arc<Snapshot>>, Cause> {
    let Some(schema) = old.instance().schema() else {
        return Ok(None);
    };
    // A snapshot that is not waited for any more must not run beside calls, unless the type is `Sync`.
    let here = owner || !old.instance().is_shared();
    let failed = |error| Cause::Hook(Hook::Snapshot, error);
    let room = host.snapshot_size(old.slot());
    let bytes = match here {
        true => old.instance().snapshot(room),
        false => {
            let old = old.clone();
            let most = host.policy.hook_deadline;
            match host.hooks.run(most, move || old.instance().snapshot(room)) {
                Ok(answer) => answer,
                Err(_) => Err(HookError::TookTooLong(most)),
            }
        }
    };
    let bytes = bytes.map_err(failed)?;
    Ok(bytes.map(|bytes| {
        host.note_snapshot_size(old.slot(), bytes.len());
        let schema = schema.schema;
        Arc::new(Snapshot { schema, bytes })
    }))
}

/// What a candidate starts from.
#[derive(Clone, Default)]
pub(super) struct Origin {
    /// The state of what serves.
    pub(super) state: Option<Arc<Snapshot>>,
    /// A slot that goes back has an older one besides, in case that one cannot be had or does not fit.
    pub(super) fallback: Option<Arc<Snapshot>>,
    /// Why `state` cannot be had, if that is so.
    pub(super) why_fallback: Option<String>,
    /// Whose code leads down from a newer schema.
    pub(super) old: Option<Arc<Generation>>,
}

/// A candidate that may serve.
pub(super) struct Prepared {
    pub(super) generation: Generation,
    pub(super) state: StateBack,
}

/// Takes a candidate through everything before the swap. Plugins that it calls are found among `beside` first: those that will
/// come to serve together with it, and have been prepared before. If it fails the candidate goes to the reaper, from wherever it is.
pub(super) fn prepare(
    host: &Inner,
    candidate: Generation,
    origin: Origin,
    beside: Vec<Arc<Generation>>,
    clock: &mut Clock,
) -> Result<Prepared, (Step, Cause)> {
    let most = host.policy.hook_deadline;
    let (slot, number) = (candidate.slot().clone(), candidate.number());
    let (tally, checks) = (host.tally.clone(), !host.policy.health_every.is_zero());
    let watch = Watch::default();
    let (at, waiting) = (watch.clone(), this_thread());
    let job = move || {
        let mut candidate = candidate;
        let mut clock = Clock::begin();
        let walked = on_behalf_of(waiting, || {
            with_overlay(&beside, || walk(&mut candidate, &origin, &tally, checks, &at, &mut clock))
        });
        drop(beside);
        match walked {
            Ok(state) => Ok((
                Prepared {
                    generation: candidate,
                    state,
                },
                clock.steps,
            )),
            Err(failed) => {
                let _ = tally.advance(candidate.slot(), candidate.number(), Lifecycle::Failed);
                Err(failed)
            }
        }
    };
    match host.hooks.run(most, job) {
        Ok(Ok((prepared, steps))) => {
            clock.took(steps);
            Ok(prepared)
        }
        Ok(Err(failed)) => Err(failed),
        Err(TookTooLong) => {
            let (step, hook) = watch.get();
            host.tally.hangs(&slot, number, hook);
            Err((step, Cause::Hook(hook, HookError::TookTooLong(most))))
        }
    }
}

/// At which hook a candidate is, for whoever has waited too long for it.
#[derive(Clone)]
struct Watch(Arc<parking_lot::Mutex<(Step, Hook)>>);

impl Default for Watch {
    fn default() -> Self {
        Self(Arc::new(parking_lot::Mutex::new((Step::Migrate, Hook::Restore))))
    }
}

impl Watch {
    fn at(&self, step: Step, hook: Hook) {
        *self.0.lock() = (step, hook);
    }

    fn get(&self) -> (Step, Hook) {
        *self.0.lock()
    }
}

fn walk(
    candidate: &mut Generation,
    origin: &Origin,
    tally: &Tally,
    checks: bool,
    watch: &Watch,
    clock: &mut Clock,
) -> Result<StateBack, (Step, Cause)> {
    let (slot, number) = (candidate.slot().clone(), candidate.number());
    let hook = |step, hook, answer: Result<(), HookError>| answer.map_err(|error| (step, Cause::Hook(hook, error)));
    let advance = |step, to| {
        let moved = tally.advance(&slot, number, to);
        moved.map_err(|illegal| (step, Cause::IllegalMove(illegal)))
    };
    let given = give(candidate, origin, watch).map_err(|cause| (Step::Migrate, cause))?;
    if given != StateBack::None {
        clock.lap(Step::Migrate);
    }
    watch.at(Step::Init, Hook::Init);
    hook(Step::Init, Hook::Init, candidate.quiet().init())?;
    advance(Step::Init, Lifecycle::Initialized)?;
    clock.lap(Step::Init);
    watch.at(Step::Start, Hook::Start);
    advance(Step::Start, Lifecycle::Starting)?;
    hook(Step::Start, Hook::Start, candidate.quiet().start())?;
    advance(Step::Start, Lifecycle::Started)?;
    clock.lap(Step::Start);
    if checks {
        watch.at(Step::Health, Hook::Health);
        let health = check(candidate);
        clock.lap(Step::Health);
        if is_failure(&health) {
            return Err((Step::Health, Cause::Unhealthy(health)));
        }
    }
    Ok(given)
}

/// Gives a candidate the first of its origins that fits.
fn give(candidate: &mut Generation, origin: &Origin, watch: &Watch) -> Result<StateBack, Cause> {
    let mut why = origin.why_fallback.clone();
    let old = origin.old.as_deref();
    if let Some(state) = &origin.state {
        match give_state(candidate, state, old, watch) {
            Ok(()) => {
                let bytes = state.bytes.len();
                return Ok(StateBack::Carried { bytes });
            }
            Err(cause) if origin.fallback.is_none() => return Err(cause),
            Err(cause) => why = Some(cause.to_string()),
        }
    }
    let Some(fallback) = &origin.fallback else {
        return Ok(StateBack::None);
    };
    give_state(candidate, fallback, old, watch)?;
    let bytes = fallback.bytes.len();
    Ok(StateBack::Snapshot { bytes, why })
}

fn give_state(
    candidate: &mut Generation,
    snapshot: &Snapshot,
    old: Option<&Generation>,
    watch: &Watch,
) -> Result<(), Cause> {
    let Some(schema) = candidate.instance().schema() else {
        return Ok(());
    };
    let (from, to) = (snapshot.schema, schema.schema);
    let migrated;
    let bytes = match from == to {
        true => &snapshot.bytes,
        false => {
            watch.at(Step::Migrate, Hook::Migrate);
            // The one with the higher number knows both.
            let knows_the_way = match old.filter(|_| to < from) {
                Some(old) => old.instance(),
                None => candidate.instance(),
            };
            let answer = knows_the_way.migrate(from, to, &snapshot.bytes);
            migrated = answer.map_err(|error| Cause::Hook(Hook::Migrate, error))?;
            &migrated
        }
    };
    watch.at(Step::Migrate, Hook::Restore);
    let restored = candidate.quiet().restore(bytes);
    restored.map_err(|error| Cause::Hook(Hook::Restore, error))
}

/// Asks for its health; a check that panics has failed.
pub(crate) fn check(generation: &Generation) -> Health {
    match generation.instance().health() {
        Ok(health) => health,
        Err(error) => Health::CheckFailed(error.to_string()),
    }
}

/// Whether this is one of the results that count as failures.
pub(crate) fn is_failure(health: &Health) -> bool {
    matches!(health, Health::Critical(_) | Health::CheckFailed(_))
}
