//! What a candidate goes through before it is published: it gets the state (**migrate**), builds on it (**init**), acquires what it needs
//! (**start**), and is asked for its **health** once. All of that is plugin code, so it runs on a thread for hooks with the policy's
//! deadline. `steps.rs` says which of these hooks run, and in which order.

use super::{clock::Clock, starting_state::StartingState};
use crate::{
    inputs::PluginInputs,
    runtime::Runtime,
    slot::{Generation, MappedImages, Snapshot, is_failure, with_overlay},
    testing::Injections,
};
use parking_lot::Mutex;
use reslot_engine::ExclusiveInstance;
use reslot_plugin_api::Health;
use reslot_process::hooks::{TookTooLong, on_behalf_of, this_thread};
use reslot_report::{Cause, Hook, HookError, Lifecycle, RestoredState, Step};
use std::{sync::Arc, time::Duration};

/// A step that failed, and why.
pub(super) type Failed = (Step, Cause);

/// A candidate that may be published.
pub(super) struct Prepared {
    pub(super) generation: Generation,
    pub(super) state: RestoredState,
}

/// Takes a candidate through `steps`, on a thread for hooks. A plugin that it calls is looked up first in `beside`: the members of its set
/// that are prepared already. If it fails, its last holder sends it to the reaper.
pub(super) fn prepare(
    host: &Runtime,
    candidate: Generation,
    mut from: StartingState,
    inputs: PluginInputs,
    beside: Vec<Arc<Generation>>,
    clock: &mut Clock,
    steps: fn(&mut Preparation) -> Result<(), Failed>,
) -> Result<Prepared, Failed> {
    let most = host.hooks.deadline();
    let (slot, number) = (candidate.slot().clone(), candidate.number());
    // Keep the old generation only if its `migrate` is needed. Otherwise a candidate that hangs would keep the old image mapped.
    if !from.leads_down(&candidate) {
        from.old = None;
    }
    let watch = Watch::new(host.hooks.injections().clone());
    let mut preparation = Preparation {
        candidate,
        from,
        inputs: Some(inputs),
        images: host.images.clone(),
        watch: watch.clone(),
        clock: Clock::begin(),
        state: RestoredState::None,
    };
    let waiting = this_thread();
    let job = move || {
        // Measured on this thread.
        preparation.clock = Clock::begin();
        let done = on_behalf_of(waiting, || with_overlay(&beside, || steps(&mut preparation)));
        drop(beside);
        let Preparation {
            mut candidate,
            images,
            clock,
            state,
            ..
        } = preparation;
        match done {
            Ok(()) => {
                let generation = candidate;
                Ok((Prepared { generation, state }, clock.steps))
            }
            Err(failed) => {
                let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Failed);
                stop(&mut candidate, &images);
                Err(failed)
            }
        }
    };
    match host.hooks.run(job) {
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

/// A candidate that is being prepared, on a thread for hooks.
pub(super) struct Preparation {
    candidate: Generation,
    from: StartingState,
    /// None once the candidate has taken it.
    inputs: Option<PluginInputs>,
    images: Arc<MappedImages>,
    watch: Watch,
    clock: Clock,
    state: RestoredState,
}

impl Preparation {
    /// **migrate**: gives it the first of the states that fits, converted to its schema.
    pub(super) fn migrate(&mut self) -> Result<(), Failed> {
        let restored = restore_first_that_fits(&mut self.candidate, &self.from, &self.watch);
        self.state = restored.map_err(|cause| (Step::Migrate, cause))?;
        if self.state != RestoredState::None {
            self.clock.lap(Step::Migrate);
        }
        Ok(())
    }

    /// **init**: gives it its configuration and resources; it builds what it derives from those and from its state.
    pub(super) fn init(&mut self) -> Result<(), Failed> {
        if let Some(inputs) = self.inputs.take() {
            self.watch.give(&mut self.candidate.exclusive_instance(), &inputs)?;
            self.candidate.set_inputs(inputs);
        }
        self.watch.at(Step::Init, Hook::Init)?;
        let answer = self.candidate.exclusive_instance().init();
        answer.map_err(|error| (Step::Init, Cause::Hook(Hook::Init, error)))?;
        self.advance(Step::Init, Lifecycle::Initialized)?;
        self.clock.lap(Step::Init);
        Ok(())
    }

    /// **start**: it acquires what it needs.
    pub(super) fn start(&mut self) -> Result<(), Failed> {
        self.watch.at(Step::Start, Hook::Start)?;
        self.advance(Step::Start, Lifecycle::Starting)?;
        let answer = self.candidate.exclusive_instance().start();
        answer.map_err(|error| (Step::Start, Cause::Hook(Hook::Start, error)))?;
        self.advance(Step::Start, Lifecycle::Started)?;
        self.clock.lap(Step::Start);
        Ok(())
    }

    /// **health**: asks for its health before any caller depends on it.
    pub(super) fn health(&mut self) -> Result<(), Failed> {
        let health = match self.watch.at(Step::Health, Hook::Health) {
            Ok(()) => check(&self.candidate),
            Err((_, cause)) => Health::CheckFailed(cause.to_string()),
        };
        self.clock.lap(Step::Health);
        match is_failure(&health) {
            true => Err((Step::Health, Cause::Unhealthy(health))),
            false => Ok(()),
        }
    }

    fn advance(&self, step: Step, to: Lifecycle) -> Result<(), Failed> {
        let moved = self.images.advance(self.candidate.slot(), self.candidate.number(), to);
        moved.map_err(|illegal| (step, Cause::IllegalMove(illegal)))
    }
}

/// Stops a failed candidate, so that it releases what it has acquired before its predecessor acquires it again.
pub(super) fn stop(candidate: &mut Generation, images: &MappedImages) {
    if candidate.instance().is_started() {
        let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Stopping);
        let _ = candidate.exclusive_instance().stop();
        let _ = images.advance(candidate.slot(), candidate.number(), Lifecycle::Stopped);
    }
}

/// What the waiting thread and the hook thread share: which hook runs now, which the waiting thread reads on a timeout; and whether the
/// waiting thread has given up, which the hook thread reads before each hook.
#[derive(Clone)]
pub(super) struct Watch {
    watched: Arc<Mutex<Watched>>,
    injections: Injections,
}

struct Watched {
    at: (Step, Hook),
    /// The waiting thread has given up, after this time.
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

    /// The next hook is this one. A test may have asked for it to fail.
    ///
    /// # Errors
    /// If the waiting thread has given up: no further hook is called.
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
    /// If it refuses one of them, or the waiting thread has given up.
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

    /// The waiting thread gives up. Answers where the candidate hangs.
    pub(super) fn give_up(&self, after: Duration) -> (Step, Hook) {
        let mut watched = self.watched.lock();
        watched.given_up = Some(after);
        watched.at
    }
}

/// Gives a candidate the first of its states that fits.
fn restore_first_that_fits(candidate: &mut Generation, from: &StartingState, watch: &Watch) -> Result<RestoredState, Cause> {
    let mut why = from.why_earlier.clone();
    let old = from.old.as_deref();
    if let Some(state) = &from.current {
        match restore(candidate, state, old, watch) {
            Ok(()) => {
                let bytes = state.bytes.len();
                return Ok(RestoredState::Carried { bytes });
            }
            Err(cause) if from.earlier.is_none() => return Err(cause),
            Err(cause) => why = Some(cause.to_string()),
        }
    }
    let Some(earlier) = &from.earlier else {
        return Ok(RestoredState::None);
    };
    restore(candidate, earlier, old, watch)?;
    let bytes = earlier.bytes.len();
    Ok(RestoredState::Snapshot { bytes, why })
}

fn restore(candidate: &mut Generation, snapshot: &Snapshot, old: Option<&Generation>, watch: &Watch) -> Result<(), Cause> {
    let Some(schema) = candidate.instance().schema() else {
        return Ok(());
    };
    let (from, to) = (snapshot.schema, schema.schema);
    let migrated;
    let bytes = match from == to {
        true => &snapshot.bytes,
        false => {
            watch.at(Step::Migrate, Hook::Migrate).map_err(|(_, cause)| cause)?;
            // The plugin with the newer schema knows both schemas.
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

/// Asks for its health. A check that panics has failed.
pub(crate) fn check(generation: &Generation) -> Health {
    match generation.instance().health() {
        Ok(health) => health,
        Err(error) => Health::CheckFailed(error.to_string()),
    }
}
