//! A fault at each step, while the old build is current: damaged files, hooks that fail, panic or hang, a preflight that
//! aborts, a new build that panics on probation. Each must be refused or rolled back at its step, and nothing of it may
//! stay.

use crate::{
    actor::{Actor, Pace},
    artifact::damaged,
    failure::{Broken, Failure},
    leg::{Came, Leg, not_moved},
    look::compare,
    report::{Report, Survived, Tried},
    script::Builds,
};
use reslot::{
    Engine, EngineKind, Event, Hook, Preflight, PreflightError, RollbackState, Step, preflight,
    testing::{How, Injection, Injections},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Much longer than needed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(builds: &Builds<'_>, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    let under_load = actor.paces()[0];
    of_the_file(builds, under_load, actor, report)?;
    of_the_hooks(builds, under_load, &[How::Fail, How::Panic], actor, report)?;
    // Hanging hooks have their own part, because of the deadline.
    of_the_hooks(builds, under_load, &[How::Hang], actor, report)?;
    // If the state cannot be checked under load, it is checked here with the load paused, because the hooks could have
    // damaged it.
    for paused in &actor.paces()[1..] {
        of_the_hooks(builds, *paused, &[How::Fail], actor, report)?;
    }
    of_the_preflight(builds, under_load, actor, report)?;
    of_a_call(builds, under_load, actor, report)
}

/// A damaged file must be refused before any of its code runs.
fn of_the_file(builds: &Builds<'_>, pace: Pace, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    Leg::run("faults of the file", builds.host(), &builds.first(), actor, report, |leg| {
        for (name, bytes) in damaged(&builds.new_bytes) {
            leg.at(&name);
            let path = leg.file(&bytes)?;
            refused(leg, name, pace, &path, &[Step::Read, Step::Lint])?;
        }
        still_moves(leg, pace, builds)
    })
}

/// A build with a failing hook must be refused at this hook, and its image must be unmapped.
fn of_the_hooks(
    builds: &Builds<'_>,
    pace: Pace,
    hows: &[How],
    actor: &mut dyn Actor,
    report: &mut Report,
) -> Result<(), Failure> {
    let injections = Injections::new();
    let mut policy = builds.plan.policy.clone();
    policy.probation = Duration::ZERO;
    if hows.contains(&How::Hang) {
        policy.hook_deadline = builds.plan.hang;
    }
    policy.preflight = None;
    let host = builds.host_with(policy).inject(&injections);
    Leg::run("faults of hooks", host, &builds.first(), actor, report, |leg| {
        for how in hows {
            for (hook, step) in hooks(builds, *how) {
                let paused = if pace == Pace::Paused { ", with the load paused" } else { "" };
                let name = format!("`{}` that {}{paused}", name_of(hook), words(*how));
                leg.at(&name);
                let struck = injections.struck();
                injections.arm(Injection {
                    hook,
                    how: *how,
                    times: 1,
                });
                let came = refused(leg, name, pace, &builds.new, &[step]);
                injections.release();
                let candidate = came?;
                if injections.struck() == struck {
                    return Err(Broken::Fault(format!("`{}` did not run", name_of(hook))));
                }
                if let Some(candidate) = candidate {
                    leg.gone(candidate)?;
                }
            }
        }
        still_moves(leg, pace, builds)
    })
}

fn hooks(builds: &Builds<'_>, how: How) -> Vec<(Hook, Step)> {
    let mut hooks = vec![(Hook::Create, Step::Create)];
    if builds.has_state() {
        // The state is encoded on the owner's thread, which has no deadline.
        if how != How::Hang {
            hooks.push((Hook::Snapshot, Step::Snapshot));
        }
        let schema = |manifest: &reslot::artifact::Manifest| manifest.state.map(|state| state.schema);
        if schema(&builds.manifests.0) != schema(&builds.manifests.1) {
            hooks.push((Hook::Migrate, Step::Migrate));
        }
        hooks.push((Hook::Restore, Step::Migrate));
    }
    hooks.extend([
        (Hook::Init, Step::Init),
        (Hook::Start, Step::Start),
        (Hook::Health, Step::Health),
    ]);
    hooks
}

fn name_of(hook: Hook) -> &'static str {
    match hook {
        Hook::Create => "Default::default",
        Hook::Snapshot => "Serialize",
        Hook::Restore => "Deserialize",
        Hook::Migrate => "migrate",
        Hook::Init => "init",
        Hook::Start => "start",
        Hook::Health => "health",
        _ => "stop",
    }
}

fn words(how: How) -> &'static str {
    match how {
        How::Fail => "fails",
        How::Panic => "panics",
        _ => "hangs",
    }
}

/// The child process aborts, and the build must be refused at the preflight. The program is reached through a link, which is
/// changed after the first load.
fn of_the_preflight(builds: &Builds<'_>, pace: Pace, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    let name = "a preflight whose process aborts";
    let program = match find_preflight(builds) {
        Ok(program) => program,
        Err(why) => {
            let fault = name.to_owned();
            report.faults.push(Tried {
                fault,
                outcome: Survived::Skipped { why },
            });
            return Ok(());
        }
    };
    let failed =
        |error: std::io::Error| Failure::new(name, Broken::Setup(format!("no link to the preflight's program: {error}")));
    let folder = tempfile::Builder::new().prefix("reslot-testkit-").tempdir().map_err(failed)?;
    let link = folder.path().join("reslot-preflight");
    symlink(program, &link).map_err(failed)?;
    let mut policy = builds.plan.policy.clone();
    policy.probation = Duration::ZERO;
    policy.preflight = Some(Preflight {
        program: Some(link.clone()),
        ..policy.preflight.unwrap_or_default()
    });
    Leg::run("preflight", builds.host_with(policy), &builds.first(), actor, report, |leg| {
        leg.load("up", pace, &builds.new)?;
        leg.load("down", pace, &builds.old)?;
        leg.at(name);
        let relinked = fs::remove_file(&link).and_then(|()| symlink("/bin/false", &link));
        relinked.map_err(|error| Broken::Setup(error.to_string()))?;
        refused(leg, name.to_owned(), pace, &builds.new, &[Step::Preflight]).map(drop)
    })
}

/// Finds the program: by the policy, the environment, or cargo's output.
fn find_preflight(builds: &Builds<'_>) -> Result<PathBuf, String> {
    let engine = builds.plan.engine.as_ref().map_or(EngineKind::Native, |engine| engine.kind());
    if engine != EngineKind::Native {
        return Err(format!("the {engine} engine has no preflight"));
    }
    let how = builds.plan.policy.preflight.clone().unwrap_or_default();
    match preflight(&builds.old, &how) {
        // The result for the artifact does not matter here; the moves test it.
        Ok(_) => {}
        Err(error @ PreflightError::Program { .. }) | Err(error @ PreflightError::OtherBuild { .. }) => {
            return Err(error.to_string());
        }
        Err(_) => {}
    }
    let named = how
        .program
        .or_else(|| std::env::var_os("RESLOT_PREFLIGHT").map(PathBuf::from));
    let beside = std::env::current_exe().ok();
    let folders = beside.iter().flat_map(|program| program.ancestors().skip(1).take(2));
    let mut found = named.into_iter().chain(folders.map(|folder| folder.join("reslot-preflight")));
    found
        .find(|path| path.is_file())
        .ok_or_else(|| "the program `reslot-preflight` was not found".to_owned())
}

/// The new build panics in a call on probation: the host must roll back, with the state.
fn of_a_call(builds: &Builds<'_>, pace: Pace, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    let name = "a call that panics on probation";
    if !actor.panics() {
        let why = "no call that panics was given: `.panics(…)`".to_owned();
        let fault = name.to_owned();
        report.faults.push(Tried {
            fault,
            outcome: Survived::Skipped { why },
        });
        return Ok(());
    }
    let host = builds.host_on_probation(RollbackState::KeepCurrent, 0);
    Leg::run(name, host, &builds.first(), actor, report, |leg| {
        leg.load("up", pace, &builds.new)?;
        leg.at("after the panic");
        leg.actor.panic(&leg.host)?;
        let slot = leg.slot().to_owned();
        let (played, came) = leg.play(pace, |host| {
            let (deadline, mut events) = (Instant::now() + PATIENCE, host.events());
            while let Some(record) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                if matches!(&record.event, Event::RolledBack(report) if *report.slot == *slot) {
                    return Ok(());
                }
            }
            Err(format!("the slot was not rolled back within {PATIENCE:?}"))
        })?;
        compare(&played.before, &played.after)?;
        // A shared slot may have been rolled back before the load continued.
        let from = match came {
            Some(Came::RolledBack(report)) => report,
            other => match leg.rolled_back() {
                Some(report) => report,
                None => return Err(not_moved(other, played.answer)),
            },
        };
        let why = from.reason.to_string();
        let fault = name.to_owned();
        leg.report().faults.push(Tried {
            fault,
            outcome: Survived::RolledBack { why },
        });
        leg.gone(from.from)
    })
}

/// The file must be refused at one of these steps, and the old build must keep serving with its state. Returns the
/// candidate's number, if it had one.
fn refused(leg: &mut Leg<'_>, name: String, pace: Pace, path: &Path, steps: &[Step]) -> Result<Option<u64>, Broken> {
    let serving = leg.serving();
    let (played, came) = leg.play(pace, |host| host.load(path).map(drop).map_err(|refusal| refusal.to_string()))?;
    compare(&played.before, &played.after)?;
    let refusal = match came {
        Some(Came::Refused(refusal)) => refusal,
        Some(Came::Swapped(report)) => {
            return Err(Broken::Fault(format!(
                "{name} was not refused: it is generation {}",
                report.generation
            )));
        }
        other => return Err(not_moved(other, played.answer)),
    };
    if !steps.contains(&refusal.step) {
        let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
        return Err(Broken::Fault(format!(
            "{name} should be refused at {}, but: {refusal}",
            steps.join(" or ")
        )));
    }
    let now = leg.serving();
    if now != serving {
        return Err(Broken::Fault(format!(
            "generation {serving} should keep serving, but {now} is current"
        )));
    }
    let cause = refusal.cause.to_string();
    let outcome = Survived::Refused {
        step: refusal.step.to_string(),
        why: cause.lines().next().unwrap_or_default().to_owned(),
    };
    leg.report().faults.push(Tried { fault: name, outcome });
    Ok(refusal.candidate)
}

/// After these faults the slot must still reload as before.
fn still_moves(leg: &mut Leg<'_>, pace: Pace, builds: &Builds<'_>) -> Result<(), Broken> {
    let from = leg.serving();
    leg.load("up, after faults", pace, &builds.new)?;
    leg.gone(from)
}
