//! The state on the way back: taken from what is left, translated if need be, given to what stands by, which is stopped before
//! and started after it. All of it is plugin code, and runs on threads for hooks with their deadline, but for the snapshot of what
//! an owner leaves.

use super::Leaving;
use crate::{
    inputs::PluginInputs,
    policy::RollbackState,
    reload::{
        prepare::Watch,
        snapshot::snapshot,
        starting_state::{EarlierState, StateSource},
    },
    runtime::{HookRunner, Runtime},
    slot::{Access, Generation, MappedImages, Snapshot},
    testing::Injections,
};
use reslot_engine::ExclusiveInstance;
use reslot_process::hooks::{TookTooLong, on_behalf_of, this_thread};
use reslot_report::{Cause, Event, Hook, HookError, Lifecycle, RestoredState, RollbackReason, Step};
use std::{sync::Arc, time::Instant};

/// The state for what stands by, if the policy wants that of what is left.
pub(super) fn carry(
    hooks: &HookRunner,
    policy: RollbackState,
    leaving: &Leaving<'_>,
) -> Result<Option<Arc<Snapshot>>, String> {
    let Leaving {
        faulty,
        standby,
        access,
        back,
        ..
    } = leaving;
    let standby = &standby.current.generation;
    let has_state = |generation: &Generation| generation.instance().has_state();
    let source = StateSource::decide(policy, has_state(faulty), has_state(standby), EarlierState::InStandby);
    match (source, standby.instance().schema()) {
        (StateSource::Current { .. }, Some(schema)) => {
            let state = take(hooks, faulty, access, &back.reason)?;
            translate(hooks, faulty, standby, state, schema.schema).map(Some)
        }
        (StateSource::Current { .. } | StateSource::Nothing | StateSource::Earlier, _) => Ok(None),
    }
}

/// The state of what is left.
fn take(
    hooks: &HookRunner,
    faulty: &Arc<Generation>,
    access: &Access<'_>,
    reason: &RollbackReason,
) -> Result<Arc<Snapshot>, String> {
    if !access.keeps_callers_away() {
        return Err(match reason {
            RollbackReason::CallTimeout { .. } => "a call is still inside of it".to_owned(),
            _ => format!("calls did not come back within {:?}", hooks.deadline()),
        });
    }
    let state = snapshot(hooks, faulty, access.is_owners()).map_err(|cause| cause.to_string())?;
    state.ok_or_else(|| "it has none".to_owned())
}

/// The state in the schema of what stands by. The one with the higher number knows both.
fn translate(
    hooks: &HookRunner,
    faulty: &Arc<Generation>,
    standby: &Arc<Generation>,
    state: Arc<Snapshot>,
    to: u32,
) -> Result<Arc<Snapshot>, String> {
    if state.schema == to {
        return Ok(state);
    }
    let knows_the_way = if to < state.schema { faulty } else { standby }.clone();
    let migrate = move || knows_the_way.instance().migrate(state.schema, to, &state.bytes);
    let migrated = hooks.run_hook(migrate);
    match migrated {
        Ok(bytes) => Ok(Arc::new(Snapshot { schema: to, bytes })),
        Err(error) => Err(Cause::Hook(Hook::Migrate, error).to_string()),
    }
}

/// What serves after the rollback, and what its state is.
pub(super) struct Revived {
    pub(super) generation: Generation,
    pub(super) state: RestoredState,
}

/// Has what stands by ready to serve: with the state that it is given, if there is one, and started. If it refuses that state, it has
/// again what it had when it was replaced.
///
/// There are two ways. If nobody can hold a borrow from the standby instance, its value is replaced. What it acquired lies in fields that a state
/// replaces, so it is stopped before it gets one, and started after it. If it cannot be started it serves without, and an event says so: there is
/// nothing else left. Otherwise the standby instance is left as it is, and a second instance in the same image gets the state and is started. If
/// the second one refuses any of it, the first one serves as it was when it was replaced. What an instance was given lies in such fields,
/// too, so with a state it is given what there is now, or, if it does not take that, what it had.
pub(super) fn revive(
    host: &Arc<Runtime>,
    leaving: &mut Leaving<'_>,
    state: Option<Arc<Snapshot>>,
    why: Option<String>,
) -> Result<Revived, TookTooLong> {
    let Leaving {
        standby, access, back, ..
    } = leaving;
    let (artifact, stopped) = (standby.current.hash, standby.stopped);
    let standby = &standby.current.generation;
    let had = |why| match (standby.instance().has_state(), &back.earlier) {
        (true, Some(before)) => RestoredState::Snapshot {
            bytes: before.bytes.len(),
            why,
        },
        _ => RestoredState::None,
    };
    if state.is_none() && !stopped {
        let (generation, state) = (standby.duplicate(), had(why));
        return Ok(Revived { generation, state });
    }
    let most = host.hooks.deadline();
    let has = standby.inputs();
    let names = &standby.instance().manifest().resources;
    let now = host.inputs.inputs(standby.slot(), names, Some(&artifact));
    let inputs = match now == has {
        true => vec![has],
        false => vec![now, has],
    };
    let restored = RestoredInstance {
        images: host.images.clone(),
        slot: standby.slot().clone(),
        number: standby.number(),
        inputs,
        at: Watch::new(Injections::default()),
    };
    // Two instances of an exclusive plugin cannot both have what it holds.
    let may_have_second = !standby.instance().is_exclusive() && standby.instance().may_have_second();
    let patience = (!may_have_second).then(|| Instant::now() + most);
    let (at, waiting) = (restored.at.clone(), this_thread());
    let replaced = {
        let (before, given, restored) = (back.earlier.clone(), state.clone(), restored.clone());
        access.with_exclusive_standby(standby, patience, |exclusive_instance| {
            // Not held before: whether anybody else holds it is being asked.
            exclusive_instance.on_hook_thread(host.hooks.pool(), most, standby.clone(), move |exclusive_instance| {
                on_behalf_of(waiting, || {
                    restored.run(exclusive_instance, given.as_deref(), before.as_deref())
                })
            })
        })
    };
    let replaced = match (replaced, &state) {
        (Some(Ok(replaced)), _) => replaced,
        (Some(Err(TookTooLong)), _) => {
            standby.call_stats().die();
            let (_, hook) = at.give_up(most);
            host.images.hangs(standby.slot(), standby.number(), hook);
            return Err(TookTooLong);
        }
        (None, Some(state)) if may_have_second => {
            let (generation, state) = match make_second(host, standby, restored, state) {
                Ok(second) => {
                    // It is of no use any more, and goes when its last holder lets go.
                    standby.retire();
                    let bytes = state.bytes.len();
                    (second, RestoredState::Carried { bytes })
                }
                Err(why) => (standby.duplicate(), had(Some(why))),
            };
            return Ok(Revived { generation, state });
        }
        (None, _) => Replaced {
            given: Err(match standby.instance().answers_references() {
                true => "callers may hold a borrow from it, and it was built with a version of reslot-plugin-api that allows no second \
                         instance"
                    .to_owned(),
                false => format!("a call or a check was inside of it for longer than {most:?}"),
            }),
            stop_failed: None,
            start_failed: stopped.then(|| HookError::Refused("it could not be reached".to_owned())),
            inputs: None,
        },
    };
    let Replaced {
        given,
        stop_failed,
        start_failed,
        inputs,
    } = replaced;
    if let Some(inputs) = inputs {
        standby.set_inputs(inputs);
    }
    let (slot, generation) = (standby.slot(), standby.number());
    if let Some(error) = stop_failed {
        let slot = slot.clone();
        host.log.push(Event::StopFailed { slot, generation, error });
    }
    if let Some(error) = start_failed {
        let slot = slot.clone();
        host.log.push(Event::RestartFailed { slot, generation, error });
    }
    let state = match (state, given) {
        (Some(state), Ok(())) => RestoredState::Carried {
            bytes: state.bytes.len(),
        },
        (Some(_), Err(why)) => had(Some(why)),
        (None, _) => had(why),
    };
    let generation = standby.duplicate();
    Ok(Revived { generation, state })
}

/// Makes a second instance in the standby's image, with the state, and starts it. The standby's own instance is not touched.
///
/// # Errors
/// Why it cannot serve, in words. The reaper ends it, as every instance, when its hook comes back.
fn make_second(
    host: &Runtime,
    standby: &Arc<Generation>,
    restored: RestoredInstance,
    state: &Arc<Snapshot>,
) -> Result<Generation, String> {
    let most = host.hooks.deadline();
    let (at, waiting, given) = (restored.at.clone(), this_thread(), state.clone());
    // As long as a hook of the second one runs, it keeps the first one, and with it their image.
    let (former, running) = (standby.clone(), Arc::new(()));
    let hook = Arc::downgrade(&running);
    let job = move || {
        let _running = running;
        let made = on_behalf_of(waiting, || restored.make(&former, &given));
        drop(former);
        made
    };
    match host.hooks.run(job) {
        Ok(made) => made.map_err(|(_, cause)| cause.to_string()),
        Err(TookTooLong) => {
            let (_, at) = at.give_up(most);
            host.images.second_hangs(standby.slot(), standby.number(), at, hook);
            Err(Cause::Hook(at, HookError::TookTooLong(most)).to_string())
        }
    }
}

/// What is done to the standby's instance, or to a second one in its stead, on a thread for hooks.
#[derive(Clone)]
struct RestoredInstance {
    images: Arc<MappedImages>,
    slot: Arc<str>,
    number: u64,
    /// What is given with a state: the first of these that is taken.
    inputs: Vec<PluginInputs>,
    /// At which hook it is.
    at: Watch,
}

struct Replaced {
    /// Whether it has the state that it was given.
    given: Result<(), String>,
    stop_failed: Option<HookError>,
    start_failed: Option<HookError>,
    /// What it has been given, if that was anything.
    inputs: Option<PluginInputs>,
}

impl RestoredInstance {
    fn run(
        self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: Option<&Snapshot>,
        before: Option<&Snapshot>,
    ) -> Replaced {
        let mut revived = Replaced {
            given: Ok(()),
            stop_failed: None,
            start_failed: None,
            inputs: None,
        };
        // What ends it early is that nobody waits for it any more, nor for what it answers.
        let _ = self.walk(exclusive_instance, state, before, &mut revived);
        revived
    }

    fn walk(
        &self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: Option<&Snapshot>,
        before: Option<&Snapshot>,
        revived: &mut Replaced,
    ) -> Result<(), (Step, Cause)> {
        if let Some(state) = state {
            if exclusive_instance.is_started() {
                self.at.at(Step::Migrate, Hook::Stop)?;
                self.advance(Lifecycle::Stopping);
                revived.stop_failed = exclusive_instance.stop().err();
                self.advance(Lifecycle::Stopped);
            }
            let restored = self.restore(exclusive_instance, &state.bytes, &mut revived.inputs)?;
            revived.given = restored.map_err(|(_, cause)| cause.to_string());
            if let (Err(_), Some(before)) = (&revived.given, before) {
                let _ = self.restore(exclusive_instance, &before.bytes, &mut revived.inputs)?;
            }
        }
        if !exclusive_instance.is_started() {
            self.at.at(Step::Start, Hook::Start)?;
            self.advance(Lifecycle::Starting);
            revived.start_failed = exclusive_instance.start().err();
            self.advance(match revived.start_failed {
                None => Lifecycle::Started,
                Some(_) => Lifecycle::Failed,
            });
        }
        Ok(())
    }

    /// Answers whether it took the state, with the first of what there is to be given that it takes as well.
    fn restore(
        &self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: &[u8],
        given: &mut Option<PluginInputs>,
    ) -> Result<Result<(), (Step, Cause)>, (Step, Cause)> {
        let mut taken = Ok(());
        for inputs in &self.inputs {
            self.at.at(Step::Migrate, Hook::Restore)?;
            if let Err(error) = exclusive_instance.restore(state) {
                return Ok(Err((Step::Migrate, Cause::Hook(Hook::Restore, error))));
            }
            *given = Some(inputs.clone());
            taken = self.at.give(exclusive_instance, inputs).and_then(|()| {
                self.at.at(Step::Init, Hook::Init)?;
                exclusive_instance
                    .init()
                    .map_err(|error| (Step::Init, Cause::Hook(Hook::Init, error)))
            });
            if taken.is_ok() {
                break;
            }
        }
        Ok(taken)
    }

    /// Makes a second instance, which has this state and is started.
    fn make(&self, former: &Generation, state: &Snapshot) -> Result<Generation, (Step, Cause)> {
        let failed = |step, hook| move |error| (step, Cause::Hook(hook, error));
        self.at.at(Step::Create, Hook::Create)?;
        let mut second = former.make_second_instance().map_err(failed(Step::Create, Hook::Create))?;
        // If it refuses, or nobody waits any more, it is dropped: it goes to the reaper, and is stopped there if it was started.
        let mut inputs = None;
        self.restore(&mut second.exclusive_instance(), &state.bytes, &mut inputs)??;
        if let Some(inputs) = inputs {
            second.set_inputs(inputs);
        }
        self.at.at(Step::Start, Hook::Start)?;
        second
            .exclusive_instance()
            .start()
            .map_err(failed(Step::Start, Hook::Start))?;
        Ok(second)
    }

    fn advance(&self, to: Lifecycle) {
        let _ = self.images.advance(&self.slot, self.number, to);
    }
}
