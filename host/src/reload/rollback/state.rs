//! The state on the way back: taken from what is left, translated if need be, given to what stands by, which is stopped before
//! and started after it. All of it is plugin code, and runs on threads for hooks with their deadline, but for the snapshot of what
//! an owner leaves.

use super::{Leaving, StateBack};
use crate::{
    error::{Cause, Hook},
    event::{Event, Step},
    given::Package,
    hooks::{TookTooLong, on_behalf_of, this_thread},
    host::Inner,
    instance::{HookError, Quiet},
    lifecycle::Lifecycle,
    policy::RollbackState,
    reload::{
        Snapshot, Tally,
        prepare::{Watch, snapshot},
        probation::RollbackReason,
    },
    slot::{Access, Generation},
    testing::Injections,
};
use std::{sync::Arc, time::Instant};

/// The state for what stands by, if the policy wants that of what is left.
pub(super) fn carry(host: &Inner, leaving: &Leaving<'_>) -> Result<Option<Arc<Snapshot>>, String> {
    let Leaving {
        faulty,
        standby,
        access,
        back,
        ..
    } = leaving;
    let standby = &standby.current.generation;
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
    if !access.keeps_callers_away() {
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

/// Has what stands by ready to serve: with the state that it is given, if there is one, and started. If it refuses that state, it has
/// again what it had when it was replaced. Answers what its state is.
///
/// What it acquired lies in fields that a state replaces, so it is stopped before it gets one, and started after it. If it cannot be
/// started it serves without, and an event says so: there is nothing else left. What it was given lies in such fields, too, so with a
/// state it is given what there is now, or, if it does not take that, what it had.
pub(super) fn revive(
    host: &Arc<Inner>,
    leaving: &mut Leaving<'_>,
    state: Option<Arc<Snapshot>>,
    why: Option<String>,
) -> Result<StateBack, TookTooLong> {
    let Leaving {
        standby, access, back, ..
    } = leaving;
    let (artifact, stopped) = (standby.current.hash, standby.stopped);
    let standby = &standby.current.generation;
    let had = |why| match (standby.instance().has_state(), &back.snapshot) {
        (true, Some(before)) => StateBack::Snapshot {
            bytes: before.bytes.len(),
            why,
        },
        _ => StateBack::None,
    };
    if state.is_none() && !stopped {
        return Ok(had(why));
    }
    let most = host.policy.hook_deadline;
    let deadline = Instant::now() + most;
    let has = standby.given();
    let names = &standby.instance().image().manifest.resources;
    let now = host.given.package(standby.slot(), names, Some(&artifact));
    let packages = match now == has {
        true => vec![has],
        false => vec![now, has],
    };
    let (before, given, waiting) = (back.snapshot.clone(), state.clone(), this_thread());
    let at = Watch::new(Injections::default());
    let (hooks, revival) = (
        &host.hooks,
        Revival {
            tally: host.tally.clone(),
            slot: standby.slot().clone(),
            number: standby.number(),
            packages,
            at: at.clone(),
        },
    );
    let revived = access.with_quiet_standby(standby, deadline, move |quiet| {
        // Not held before: whether anybody else holds it is being asked.
        quiet.elsewhere(hooks, most, standby.clone(), move |quiet| {
            on_behalf_of(waiting, || revival.run(quiet, given.as_deref(), before.as_deref()))
        })
    });
    let Revived {
        given,
        stop_failed,
        start_failed,
        package,
    } = match revived {
        Some(Ok(revived)) => revived,
        Some(Err(TookTooLong)) => {
            standby.standing().die();
            let (_, hook) = at.give_up(most);
            host.tally.hangs(standby.slot(), standby.number(), hook);
            return Err(TookTooLong);
        }
        None => Revived {
            given: Err("callers may still hold what its methods have answered by reference".to_owned()),
            stop_failed: None,
            start_failed: stopped.then(|| HookError::Refused("it could not be reached".to_owned())),
            package: None,
        },
    };
    if let Some(package) = package {
        standby.was_given(package);
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
    Ok(match (state, given) {
        (Some(state), Ok(())) => StateBack::Carried {
            bytes: state.bytes.len(),
        },
        (Some(_), Err(why)) => had(Some(why)),
        (None, _) => had(why),
    })
}

/// What is done to what stands by, on a thread for hooks.
struct Revival {
    tally: Arc<Tally>,
    slot: Arc<str>,
    number: u64,
    /// What it is given with a state: the first of these that it takes.
    packages: Vec<Package>,
    /// At which hook it is.
    at: Watch,
}

struct Revived {
    /// Whether it has the state that it was given.
    given: Result<(), String>,
    stop_failed: Option<HookError>,
    start_failed: Option<HookError>,
    /// What it has been given, if that was anything.
    package: Option<Package>,
}

impl Revival {
    fn run(self, quiet: &mut Quiet<'_>, state: Option<&Snapshot>, before: Option<&Snapshot>) -> Revived {
        let mut revived = Revived {
            given: Ok(()),
            stop_failed: None,
            start_failed: None,
            package: None,
        };
        // What ends it early is that nobody waits for it any more, nor for what it answers.
        let _ = self.walk(quiet, state, before, &mut revived);
        revived
    }

    fn walk(
        &self,
        quiet: &mut Quiet<'_>,
        state: Option<&Snapshot>,
        before: Option<&Snapshot>,
        revived: &mut Revived,
    ) -> Result<(), (Step, Cause)> {
        if let Some(state) = state {
            if quiet.is_started() {
                self.at.at(Step::Migrate, Hook::Stop)?;
                self.advance(Lifecycle::Stopping);
                revived.stop_failed = quiet.stop().err();
                self.advance(Lifecycle::Stopped);
            }
            revived.given = self.restore(quiet, &state.bytes, &mut revived.package)?;
            if let (Err(_), Some(before)) = (&revived.given, before) {
                let _ = self.restore(quiet, &before.bytes, &mut revived.package)?;
            }
        }
        if !quiet.is_started() {
            self.at.at(Step::Start, Hook::Start)?;
            self.advance(Lifecycle::Starting);
            revived.start_failed = quiet.start().err();
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
        quiet: &mut Quiet<'_>,
        state: &[u8],
        given: &mut Option<Package>,
    ) -> Result<Result<(), String>, (Step, Cause)> {
        let mut taken = Ok(());
        for package in &self.packages {
            self.at.at(Step::Migrate, Hook::Restore)?;
            if let Err(error) = quiet.restore(state) {
                return Ok(Err(Cause::Hook(Hook::Restore, error).to_string()));
            }
            *given = Some(package.clone());
            taken = self.at.give(quiet, package).and_then(|()| {
                self.at.at(Step::Init, Hook::Init)?;
                quiet.init().map_err(|error| (Step::Init, Cause::Hook(Hook::Init, error)))
            });
            if taken.is_ok() {
                break;
            }
        }
        Ok(taken.map_err(|(_, cause)| cause.to_string()))
    }

    fn advance(&self, to: Lifecycle) {
        let _ = self.tally.advance(&self.slot, self.number, to);
    }
}
