//! The state in a rollback: taken from the faulty generation, converted if need be, and given to the standby, which is stopped before and
//! started after it. All hooks run on threads for hooks with their deadline, except the snapshot of a claimed generation, which runs on its
//! owner's thread.

use super::Rollback;
use crate::{
    inputs::PluginInputs,
    policy::RollbackState,
    reload::{
        prepare::{Failed, Watch},
        snapshot::snapshot,
        starting_state::{EarlierState, StateSource, migrated},
    },
    runtime::{HookRunner, Runtime},
    slot::{Access, Generation, MappedImages, SlotRecord, Snapshot},
    testing::Injections,
};
use reslot_engine::{
    ExclusiveInstance,
    hooks::{self, AroundHook, Migrator},
};
use reslot_report::{Cause, Event, Hook, HookError, Lifecycle, RestoredState, RollbackReason};
use reslot_sync::Instant;
use reslot_system::hooks::{TookTooLong, on_behalf_of, this_thread};
use std::sync::Arc;

/// The faulty generation's state, converted for the standby, if the policy is to carry it back.
pub(super) fn carry(
    hooks: &HookRunner,
    policy: RollbackState,
    leaving: &Rollback<'_>,
) -> Result<Option<Arc<Snapshot>>, String> {
    let Rollback {
        record,
        faulty,
        standby,
        access,
        back,
    } = leaving;
    let standby = &standby.current.generation;
    let has_state = |generation: &Generation| generation.instance().has_state();
    let source = StateSource::decide(policy, has_state(faulty), has_state(standby), EarlierState::InStandby);
    match (source, standby.instance().schema()) {
        (StateSource::Current { .. }, Some(schema)) => {
            let state = take(hooks, record, faulty, access, &back.reason)?;
            let migrator = match Migrator::of(state.schema, schema.schema) {
                Migrator::Nobody => return Ok(Some(state)),
                Migrator::Writer => faulty,
                Migrator::Reader => standby,
            };
            let migrated = migrated(hooks, migrator, state, schema.schema);
            migrated.map(Some).map_err(|cause| cause.to_string())
        }
        (StateSource::Current { .. } | StateSource::Nothing | StateSource::Earlier, _) => Ok(None),
    }
}

/// The state of the faulty generation.
fn take(
    hooks: &HookRunner,
    record: &Arc<SlotRecord>,
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
    let state = snapshot(hooks, record, faulty, access.is_owners()).map_err(|cause| cause.to_string())?;
    state.ok_or_else(|| "it has none".to_owned())
}

/// The generation that is current after the rollback, and where its state comes from.
pub(super) struct Revived {
    pub(super) generation: Generation,
    pub(super) state: RestoredState,
}

/// Prepares the standby: with the state, if there is one, and started. If the standby refuses the state, it keeps the one that it had when
/// it was replaced.
///
/// There are two ways.
///
/// 1. If nobody can hold a borrow from the standby's instance, the instance's value is replaced by the state. What `start` acquired is part of
///    that value, so the instance is stopped first, and started afterwards. If it cannot be started, it is current without those resources, and an
///    event says so, because no other generation is left.
/// 2. Otherwise the standby's instance stays as it is, and a second instance in the same image gets the state and is started. If the second
///    one refuses that, the first one is current as it was when it was replaced.
///
/// The inputs of an instance lie in its value, too. So with a state it gets the newest inputs or, if it refuses those, the ones that it
/// had.
pub(super) fn prepare_standby_instance(
    host: &Arc<Runtime>,
    leaving: &mut Rollback<'_>,
    state: Option<Arc<Snapshot>>,
    why: Option<String>,
) -> Result<Revived, TookTooLong> {
    let Rollback {
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
    // Two instances of an exclusive plugin cannot both hold its resource.
    let may_have_second = !standby.instance().is_exclusive() && standby.instance().may_have_second();
    let patience = (!may_have_second).then(|| Instant::now() + most);
    let (at, waiting) = (restored.at.clone(), this_thread());
    let replaced = {
        let (before, given, restored) = (back.earlier.clone(), state.clone(), restored.clone());
        access.with_exclusive_standby(standby, patience, |exclusive_instance| {
            // Clone the `Arc` only here: the call above counts holders, and would count an earlier clone.
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
            let hook = at.give_up(most);
            host.images.hangs(standby.slot(), standby.number(), hook);
            return Err(TookTooLong);
        }
        (None, Some(state)) if may_have_second => {
            let (generation, state) = match make_second(host, standby, restored, state) {
                Ok(second) => {
                    // It has no further use, and goes when its last holder drops it.
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

/// Makes a second instance in the standby's image, gives it the state, and starts it. The standby's own instance is not touched.
///
/// # Errors
/// Why it cannot be published, as a text. The reaper ends it, as every instance, when its hook comes back.
fn make_second(
    host: &Runtime,
    standby: &Arc<Generation>,
    restored: RestoredInstance,
    state: &Arc<Snapshot>,
) -> Result<Generation, String> {
    let most = host.hooks.deadline();
    let (at, waiting, given) = (restored.at.clone(), this_thread(), state.clone());
    // A hook of the second instance keeps the first one while it runs, and with it their image.
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
            let at = at.give_up(most);
            host.images.second_hangs(standby.slot(), standby.number(), at, hook);
            Err(Cause::Hook(at, HookError::TookTooLong(most)).to_string())
        }
    }
}

/// The preparation of the standby's instance, or of a second one instead, on a thread for hooks.
#[derive(Clone)]
struct RestoredInstance {
    images: Arc<MappedImages>,
    slot: Arc<str>,
    number: u64,
    /// The inputs that it gets with a state: the first of these that it accepts.
    inputs: Vec<PluginInputs>,
    /// Which hook runs now.
    at: Watch,
}

struct Replaced {
    /// Whether it has accepted the state.
    given: Result<(), String>,
    stop_failed: Option<HookError>,
    start_failed: Option<HookError>,
    /// The inputs that it has accepted, if it was given any.
    inputs: Option<PluginInputs>,
}

impl RestoredInstance {
    fn run(
        mut self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: Option<&Snapshot>,
        before: Option<&Snapshot>,
    ) -> Replaced {
        let mut replaced = Replaced {
            given: Ok(()),
            stop_failed: None,
            start_failed: None,
            inputs: None,
        };
        // An early return means that the waiting thread has given up. The result is not used then.
        let _ = self.replace(exclusive_instance, state, before, &mut replaced);
        replaced
    }

    fn replace(
        &mut self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: Option<&Snapshot>,
        before: Option<&Snapshot>,
        replaced: &mut Replaced,
    ) -> Result<(), Failed> {
        if let Some(state) = state {
            if exclusive_instance.is_started() {
                self.at.begin(Hook::Stop)?;
                self.advance(Lifecycle::Stopping);
                replaced.stop_failed = exclusive_instance.stop().err();
                self.advance(Lifecycle::Stopped);
            }
            let restored = self.restore(exclusive_instance, state, &mut replaced.inputs);
            replaced.given = restored.map_err(|(_, cause)| cause.to_string());
            if let (Err(why), Some(before)) = (&replaced.given, before) {
                match before.intact() {
                    Ok(_) => drop(self.restore(exclusive_instance, before, &mut replaced.inputs)),
                    Err(damaged) => replaced.given = Err(format!("{why}; {damaged}")),
                }
            }
        }
        if !exclusive_instance.is_started() {
            self.at.begin(Hook::Start)?;
            self.advance(Lifecycle::Starting);
            replaced.start_failed = exclusive_instance.start().err();
            self.advance(match replaced.start_failed {
                None => Lifecycle::Started,
                Some(_) => Lifecycle::Failed,
            });
        }
        Ok(())
    }

    /// Decodes the state, which has the instance's schema, and gives the first inputs that the instance accepts.
    fn restore(
        &mut self,
        exclusive_instance: &mut ExclusiveInstance<'_>,
        state: &Snapshot,
        given: &mut Option<PluginInputs>,
    ) -> Result<(), Failed> {
        let mut taken = Ok(());
        for inputs in &self.inputs {
            hooks::restore(exclusive_instance, (state.schema, &state.bytes), None, &mut self.at)?;
            *given = Some(inputs.clone());
            taken = hooks::init(exclusive_instance, inputs.config.as_deref(), inputs.resources(), &mut self.at);
            if taken.is_ok() {
                break;
            }
        }
        taken
    }

    /// Makes a second instance with this state, and starts it. If it refuses, or the waiting thread has given up, it is dropped and goes to the
    /// reaper, which stops it if it was started.
    fn make(mut self, former: &Generation, state: &Snapshot) -> Result<Generation, Failed> {
        let mut second = self.at.around(Hook::Create, || former.make_second_instance())?;
        let mut inputs = None;
        self.restore(&mut second.exclusive_instance(), state, &mut inputs)?;
        if let Some(inputs) = inputs {
            second.set_inputs(inputs);
        }
        self.at.around(Hook::Start, || second.exclusive_instance().start())?;
        Ok(second)
    }

    fn advance(&self, to: Lifecycle) {
        let _ = self.images.advance(&self.slot, self.number, to);
    }
}
