//! What a candidate goes through before it is published: it gets the state (**migrate**), builds on it (**init**), acquires what it needs
//! (**start**), and is asked for its **health** once. All of that is plugin code, so it runs on a thread for hooks with the policy's
//! deadline. `steps.rs` says which of these steps run, and in which order; `engine/src/hooks.rs` says which hooks a step calls.

use super::{clock::Clock, starting_state::StartingState};
use crate::{
    inputs::PluginInputs,
    runtime::Runtime,
    slot::{Generation, MappedImages, Snapshot, is_failure, with_overlay},
    testing::Injections,
};
use reslot_engine::hooks::{self, AroundHook};
use reslot_plugin_api::Health;
use reslot_report::{Cause, Hook, HookError, Lifecycle, RestoredState, Step};
use reslot_sync::Mutex;
use reslot_system::hooks::{TookTooLong, on_behalf_of, this_thread};
use std::{sync::Arc, time::Duration};

/// A step that failed, and why.
pub(super) type Failed = (Step, Cause);

fn failed(hook: Hook, error: HookError) -> Failed {
    (hook.step(), Cause::Hook(hook, error))
}

/// A candidate that may be published.
pub(super) struct Prepared {
    pub(super) generation: Generation,
    pub(super) state: RestoredState,
}

/// Takes a candidate through `steps`, on a thread for hooks. A plugin that it calls is looked up first in `prepared_members`: the members of its set
/// that are prepared already. If it fails, its last holder sends it to the reaper.
pub(super) fn prepare(
    host: &Runtime,
    candidate: Generation,
    mut from: StartingState,
    inputs: PluginInputs,
    prepared_members: Vec<Arc<Generation>>,
    clock: &mut Clock,
    steps: fn(&mut Preparation) -> Result<(), Failed>,
) -> Result<Prepared, Failed> {
    let most = host.hooks.deadline();
    let (slot, number) = (candidate.slot().clone(), candidate.number());
    // Keep the old generation only if its `migrate` is needed. Otherwise a candidate that hangs would keep the old image mapped.
    if !from.needs_writer(&candidate) {
        from.old = None;
    }
    let watch = Watch::new(host.hooks.injections().clone());
    let mut preparation = Preparation {
        candidate,
        from,
        inputs,
        images: host.images.clone(),
        watch: watch.clone(),
        clock: Clock::begin(),
        state: RestoredState::None,
    };
    let waiting = this_thread();
    let job = move || {
        // Measured on this thread.
        preparation.clock = Clock::begin();
        let done = on_behalf_of(waiting, || with_overlay(&prepared_members, || steps(&mut preparation)));
        drop(prepared_members);
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
            let hook = watch.give_up(most);
            host.images.hangs(&slot, number, hook);
            Err((hook.step(), Cause::Hook(hook, HookError::TookTooLong(most))))
        }
    }
}

/// A candidate that is being prepared, on a thread for hooks.
pub(super) struct Preparation {
    candidate: Generation,
    from: StartingState,
    /// None of them once the candidate has taken them.
    inputs: PluginInputs,
    images: Arc<MappedImages>,
    watch: Watch,
    clock: Clock,
    state: RestoredState,
}

impl Preparation {
    /// **migrate**: gives it the first of the states that fits, converted to its schema.
    pub(super) fn migrate(&mut self) -> Result<(), Failed> {
        let restored = restore_first_that_fits(&mut self.candidate, &self.from, &mut self.watch);
        self.state = restored?;
        if self.state != RestoredState::None {
            self.clock.lap(Step::Migrate);
        }
        Ok(())
    }

    /// **init**: gives it its configuration and resources; it builds what it derives from those and from its state.
    pub(super) fn init(&mut self) -> Result<(), Failed> {
        let inputs = &self.inputs;
        hooks::init(
            &mut self.candidate.exclusive_instance(),
            inputs.config.as_deref(),
            inputs.resources(),
            &mut self.watch,
        )?;
        self.candidate.set_inputs(std::mem::take(&mut self.inputs));
        self.advance(Step::Init, Lifecycle::Initialized)?;
        self.clock.lap(Step::Init);
        Ok(())
    }

    /// **start**: it acquires what it needs.
    pub(super) fn start(&mut self) -> Result<(), Failed> {
        self.watch.begin(Hook::Start)?;
        self.advance(Step::Start, Lifecycle::Starting)?;
        let answer = self.candidate.exclusive_instance().start();
        answer.map_err(|error| failed(Hook::Start, error))?;
        self.advance(Step::Start, Lifecycle::Started)?;
        self.clock.lap(Step::Start);
        Ok(())
    }

    /// **health**: asks for its health before any caller depends on it.
    pub(super) fn health(&mut self) -> Result<(), Failed> {
        let health = match self.watch.begin(Hook::Health) {
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
    at: Hook,
    /// The waiting thread has given up, after this time.
    given_up: Option<Duration>,
}

impl Watch {
    pub(super) fn new(injections: Injections) -> Self {
        let watched = Watched {
            at: Hook::Restore,
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
    pub(super) fn begin(&self, hook: Hook) -> Result<(), Failed> {
        {
            let mut watched = self.watched.lock();
            if let Some(after) = watched.given_up {
                return Err(failed(hook, HookError::TookTooLong(after)));
            }
            watched.at = hook;
        }
        self.injections.trigger(hook).map_err(|error| failed(hook, error))
    }

    /// The waiting thread gives up. Answers in which hook the candidate hangs.
    pub(super) fn give_up(&self, after: Duration) -> Hook {
        let mut watched = self.watched.lock();
        watched.given_up = Some(after);
        watched.at
    }
}

impl AroundHook for Watch {
    type Failed = Failed;

    fn around<T>(&mut self, hook: Hook, call: impl FnOnce() -> Result<T, HookError>) -> Result<T, Failed> {
        self.begin(hook)?;
        call().map_err(|error| failed(hook, error))
    }
}

/// Gives a candidate the first of its states that fits.
fn restore_first_that_fits(
    candidate: &mut Generation,
    from: &StartingState,
    watch: &mut Watch,
) -> Result<RestoredState, Failed> {
    let mut why = from.why_earlier.clone();
    let old = from.old.as_deref();
    if let Some(state) = &from.current {
        match restore(candidate, state, old, watch) {
            Ok(()) => {
                let bytes = state.bytes.len();
                return Ok(RestoredState::Carried { bytes });
            }
            Err(failed) if from.earlier.is_none() => return Err(failed),
            Err((_, cause)) => why = Some(cause.to_string()),
        }
    }
    let Some(earlier) = &from.earlier else {
        return Ok(RestoredState::None);
    };
    restore(candidate, earlier, old, watch)?;
    let bytes = earlier.bytes.len();
    Ok(RestoredState::Snapshot { bytes, why })
}

fn restore(candidate: &mut Generation, state: &Snapshot, old: Option<&Generation>, watch: &mut Watch) -> Result<(), Failed> {
    let bytes = state.intact().map_err(|damaged| (Step::Migrate, damaged.into()))?;
    let writer = old.map(|old| old.instance());
    hooks::restore(&mut candidate.exclusive_instance(), (state.schema, bytes), writer, watch)
}

/// Asks for its health. A check that panics has failed.
pub(crate) fn check(generation: &Generation) -> Health {
    match generation.instance().health() {
        Ok(health) => health,
        Err(error) => Health::CheckFailed(error.to_string()),
    }
}
