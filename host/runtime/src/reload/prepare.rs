//! What a candidate goes through before it may serve: it gets the state (migrate), builds on it (init), acquires what it needs
//! (start), and is asked for its health once. All of it is plugin code, so all of it runs on a thread for hooks and has the
//! policy's deadline. Nothing here moves a pointer.

use super::{Clock, rollback::RestoredState};
use crate::{
    content::ContentHash,
    error::{Cause, Hook, SavedStateError, SchemaGap},
    event::Step,
    given::PluginInputs,
    hooks::{TookTooLong, on_behalf_of, this_thread},
    host::Inner,
    image::manifest::Manifest,
    instance::{ExclusiveInstance, HookError},
    lifecycle::Lifecycle,
    shadow_name,
    slot::{Generation, MappedImages, SavedState, Snapshot, is_failure, with_overlay},
    testing::Injections,
};
use parking_lot::Mutex;
use reslot_plugin_api::Health;
use std::{sync::Arc, time::Duration};

/// Refuses another plugin than the one that serves: it must not be given that one's state.
pub(crate) fn check_plugin(serving: &Manifest, candidate: &Manifest) -> Result<(), Cause> {
    match serving.name == candidate.name {
        true => Ok(()),
        false => Err(Cause::OtherPlugin {
            serving: serving.name.clone(),
            candidate: candidate.name.clone(),
        }),
    }
}

/// Refuses what cannot start from a state that was saved.
pub(crate) fn check_saved(state: &SavedState, candidate: &Manifest) -> Result<(), SavedStateError> {
    if *candidate.name != *state.plugin() {
        return Err(SavedStateError::OtherPlugin {
            saved: state.plugin().to_owned(),
            candidate: candidate.name.clone(),
        });
    }
    let (saved, takes) = (state.schema(), candidate.state);
    match takes {
        Some(takes) if (takes.oldest..=takes.schema).contains(&saved) => Ok(()),
        _ => Err(SavedStateError::Schema { saved, takes }),
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
    host.injections.trigger(Hook::Snapshot).map_err(failed)?;
    let room = host.snapshot_size(old.slot());
    let bytes = match here {
        true => old.instance().snapshot(room),
        false => {
            let old = old.clone();
            let (most, waiting) = (host.policy.hook_deadline, this_thread());
            // What it logs, say, may come back to the gate that this thread has closed.
            let encode = move || on_behalf_of(waiting, || old.instance().snapshot(room));
            match host.hooks.run(most, encode) {
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

/// Why a candidate refuses the state of what serves. If that cannot read it itself, it is not the candidate that has to be mended.
pub(super) fn whose_fault(host: &Inner, serving: &Arc<Generation>, state: &Arc<Snapshot>, cause: Cause) -> Cause {
    let (hook, words) = match &cause {
        Cause::Hook(hook @ (Hook::Restore | Hook::Migrate), HookError::Refused(_) | HookError::NotCarried(_)) => {
            (*hook, cannot_read(host, serving, state))
        }
        _ => return cause,
    };
    match words {
        Some(words) => Cause::Hook(hook, HookError::NotCarried(words)),
        None => cause,
    }
}

/// Why what has written a state cannot read it, if that is so.
pub(super) fn cannot_read(host: &Inner, serving: &Arc<Generation>, state: &Arc<Snapshot>) -> Option<String> {
    let (serving, state, waiting) = (serving.clone(), state.clone(), this_thread());
    let read = move || on_behalf_of(waiting, || serving.instance().cannot_read(&state.bytes));
    let words = host.hooks.run(host.policy.hook_deadline, read).ok().flatten()?;
    Some(format!(
        "{words}; the version that serves has written it and cannot read it either, so no build can take it over as it is"
    ))
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
    /// The candidate's artifact.
    pub(super) artifact: Option<ContentHash>,
    /// It is not going to serve, and so is not started.
    pub(super) shadow: bool,
}

impl Origin {
    /// Whether one of the states has a newer schema than the candidate.
    fn leads_down(&self, candidate: &Generation) -> bool {
        let own = candidate.instance().schema().map(|known| known.schema);
        let states = [&self.state, &self.fallback];
        states.into_iter().flatten().any(|state| own < Some(state.schema))
    }
}

/// A candidate that may serve.
pub(super) struct Prepared {
    pub(super) generation: Generation,
    pub(super) state: RestoredState,
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
    let mut origin = origin;
    // What serves is only kept along if its code is needed: a candidate that hangs is not to hold it.
    if !origin.leads_down(&candidate) {
        origin.old = None;
    }
    let resources = &candidate.instance().image().manifest.resources;
    let inputs = match origin.shadow {
        // What its slot's plugin would be given; what becomes of that is not the slot's affair.
        true => host
            .given
            .inputs(shadow_name::slot_of(&slot), resources, origin.artifact.as_ref()),
        false => host.given.try_on(&slot, resources, origin.artifact.as_ref()),
    };
    let images = host.images.clone();
    let watch = Watch::new(host.injections.clone());
    let (at, waiting) = (watch.clone(), this_thread());
    let job = move || {
        let mut candidate = candidate;
        let mut clock = Clock::begin();
        let walked = on_behalf_of(waiting, || {
            with_overlay(&beside, || walk(&mut candidate, &origin, inputs, &images, &at, &mut clock))
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
                let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Failed);
                stop(&mut candidate, &images);
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
            let (step, hook) = watch.give_up(most);
            host.images.hangs(&slot, number, hook);
            Err((step, Cause::Hook(hook, HookError::TookTooLong(most))))
        }
    }
}

/// A candidate that does not come to serve gives back what it has acquired, before what serves acquires it again.
pub(super) fn stop(candidate: &mut Generation, images: &MappedImages) {
    if candidate.instance().is_started() {
        let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Stopping);
        let _ = candidate.exclusive_instance().stop();
        let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Stopped);
    }
}

/// At which hook an instance is, for whoever has waited too long for it; and that he does not wait any more, for whoever is there.
#[derive(Clone)]
pub(super) struct Watch {
    watched: Arc<Mutex<Watched>>,
    injections: Injections,
}

struct Watched {
    at: (Step, Hook),
    /// Nobody waits any more, after this time.
    given_up: Option<Duration>,
}

impl Watch {
    pub(super) fn new(injections: Injections) -> Self {
        let watched = Watched {
            at: (Step::Migrate, Hook::Restore),
            given_up: None,
        };
        Self {
            watched: Arc::new(Mutex::new(watched)),
            injections,
        }
    }

    /// The next hook is this one; a test may have asked for its failure.
    ///
    /// # Errors
    /// If nobody waits any more: no further hook is called.
    pub(super) fn at(&self, step: Step, hook: Hook) -> Result<(), (Step, Cause)> {
        let failed = |error| (step, Cause::Hook(hook, error));
        {
            let mut watched = self.watched.lock();
            if let Some(after) = watched.given_up {
                return Err(failed(HookError::TookTooLong(after)));
            }
            watched.at = (step, hook);
        }
        self.injections.trigger(hook).map_err(failed)
    }

    /// Gives an instance its configuration and its resources.
    ///
    /// # Errors
    /// If it refuses one of them, or nobody waits any more.
    pub(super) fn give(
        &self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        inputs: &PluginInputs,
    ) -> Result<(), (Step, Cause)> {
        let refused = |hook, error| (Step::Init, Cause::Hook(hook, error));
        if let Some(config) = &inputs.config {
            self.at(Step::Init, Hook::OnConfig)?;
            exclusive_instance
                .configure(config)
                .map_err(|error| refused(Hook::OnConfig, error))?;
        }
        for (name, content) in &inputs.resources {
            self.at(Step::Init, Hook::OnResource)?;
            let answer = exclusive_instance.resource(name, &content.bytes);
            answer.map_err(|error| refused(Hook::OnResource, error.about(name)))?;
        }
        Ok(())
    }

    /// Nobody waits any more. Answers where it hangs.
    pub(super) fn give_up(&self, after: Duration) -> (Step, Hook) {
        let mut watched = self.watched.lock();
        watched.given_up = Some(after);
        watched.at
    }
}

fn walk(
    candidate: &mut Generation,
    origin: &Origin,
    inputs: PluginInputs,
    images: &MappedImages,
    watch: &Watch,
    clock: &mut Clock,
) -> Result<RestoredState, (Step, Cause)> {
    let (slot, number) = (candidate.slot().clone(), candidate.number());
    let hook = |step, hook, answer: Result<(), HookError>| answer.map_err(|error| (step, Cause::Hook(hook, error)));
    let advance = |step, to| {
        let moved = images.advance(&slot, number, to);
        moved.map_err(|illegal| (step, Cause::IllegalMove(illegal)))
    };
    let given = give(candidate, origin, watch).map_err(|cause| (Step::Migrate, cause))?;
    if given != RestoredState::None {
        clock.lap(Step::Migrate);
    }
    watch.give(&mut candidate.exclusive_instance(), &inputs)?;
    candidate.set_inputs(inputs);
    watch.at(Step::Init, Hook::Init)?;
    hook(Step::Init, Hook::Init, candidate.exclusive_instance().init())?;
    advance(Step::Init, Lifecycle::Initialized)?;
    clock.lap(Step::Init);
    if origin.shadow {
        return Ok(given);
    }
    watch.at(Step::Start, Hook::Start)?;
    advance(Step::Start, Lifecycle::Starting)?;
    hook(Step::Start, Hook::Start, candidate.exclusive_instance().start())?;
    advance(Step::Start, Lifecycle::Started)?;
    clock.lap(Step::Start);
    let health = match watch.at(Step::Health, Hook::Health) {
        Ok(()) => check(candidate),
        Err((_, cause)) => Health::CheckFailed(cause.to_string()),
    };
    clock.lap(Step::Health);
    if is_failure(&health) {
        return Err((Step::Health, Cause::Unhealthy(health)));
    }
    Ok(given)
}

/// Gives a candidate the first of its origins that fits.
fn give(candidate: &mut Generation, origin: &Origin, watch: &Watch) -> Result<RestoredState, Cause> {
    let mut why = origin.why_fallback.clone();
    let old = origin.old.as_deref();
    if let Some(state) = &origin.state {
        match give_state(candidate, state, old, watch) {
            Ok(()) => {
                let bytes = state.bytes.len();
                return Ok(RestoredState::Carried { bytes });
            }
            Err(cause) if origin.fallback.is_none() => return Err(cause),
            Err(cause) => why = Some(cause.to_string()),
        }
    }
    let Some(fallback) = &origin.fallback else {
        return Ok(RestoredState::None);
    };
    give_state(candidate, fallback, old, watch)?;
    let bytes = fallback.bytes.len();
    Ok(RestoredState::Snapshot { bytes, why })
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
            watch.at(Step::Migrate, Hook::Migrate).map_err(|(_, cause)| cause)?;
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
    watch.at(Step::Migrate, Hook::Restore).map_err(|(_, cause)| cause)?;
    let restored = candidate.exclusive_instance().restore(bytes);
    restored.map_err(|error| Cause::Hook(Hook::Restore, error))
}

/// Asks for its health; a check that panics has failed.
pub(crate) fn check(generation: &Generation) -> Health {
    match generation.instance().health() {
        Ok(health) => health,
        Err(error) => Health::CheckFailed(error.to_string()),
    }
}
