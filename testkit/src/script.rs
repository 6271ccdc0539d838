//! The order of a run: the moves, the rollbacks, and then the faults.

use crate::{
    actor::{Actor, Pace},
    artifact::{Artifact, twin},
    failure::{Broken, Failure},
    faults,
    leg::Leg,
    look::compare,
    process::Process,
    report::Report,
};
use reslot::{
    Engine, Host, HostBuilder, Policy, RestoredState, RollbackState,
    artifact::{Inspection, Manifest, inspect},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A probation longer than any run, so that no build passes it by itself.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The options of a run.
pub(crate) struct Plan {
    pub(crate) old: Artifact,
    /// If none, a copy of the old one with another hash is used.
    pub(crate) new: Option<Artifact>,
    pub(crate) beside: Vec<Artifact>,
    pub(crate) policy: Policy,
    pub(crate) engine: Option<Arc<dyn Engine>>,
    pub(crate) drain: Duration,
    pub(crate) hang: Duration,
    pub(crate) faults: bool,
    pub(crate) strict: bool,
}

/// The two builds, in files for the legs.
pub(crate) struct Builds<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
    pub(crate) new_bytes: Vec<u8>,
    pub(crate) manifests: (Manifest, Manifest),
}

impl Builds<'_> {
    /// The artifacts that are loaded before the actor enters.
    pub(crate) fn first(&self) -> Vec<&Path> {
        let beside = self.plan.beside.iter().map(Artifact::path);
        beside.chain([&*self.old]).collect()
    }

    /// A host that retires a replaced generation at once.
    pub(crate) fn host(&self) -> HostBuilder {
        let mut policy = self.plan.policy.clone();
        policy.probation = Duration::ZERO;
        self.host_with(policy)
    }

    /// A host that keeps a replaced generation as the standby, and leaves all decisions to the run.
    pub(crate) fn host_on_probation(&self, state: RollbackState, max_panics: u32) -> HostBuilder {
        let mut policy = self.plan.policy.clone();
        policy.probation = LONG;
        policy.max_panics = max_panics;
        policy.health_failures = u32::MAX;
        policy.call_deadline = None;
        policy.max_live_bytes_growth = None;
        policy.rollback_state = state;
        self.host_with(policy)
    }

    pub(crate) fn host_with(&self, policy: Policy) -> HostBuilder {
        let builder = Host::builder().policy(policy).drain_deadline(self.plan.drain);
        match &self.plan.engine {
            Some(engine) => builder.engine(&self.manifests.0.name, engine.clone()),
            None => builder,
        }
    }

    /// Whether the plugin has state.
    pub(crate) fn has_state(&self) -> bool {
        self.manifests.0.state.is_some() && self.manifests.1.state.is_some()
    }
}

/// Runs everything.
pub(crate) fn run(plan: &Plan, actor: &mut dyn Actor) -> Result<Report, Failure> {
    let at = "before the first move";
    let folder = tempfile::Builder::new().prefix("reslot-testkit-").tempdir();
    let folder = folder.map_err(|error| Failure::new(at, Broken::Setup(error.to_string())))?;
    let builds = prepare(plan, folder.path()).map_err(|broken| Failure::new(at, broken))?;
    let name = builds.manifests.0.name.clone();
    if builds.has_state() && !actor.looks() {
        let words = format!(
            "plugin {name:?} has state, and no check would detect its loss: add `.same(…)` with a value that must be equal \
                 before and after each move"
        );
        return Err(Failure::new(at, Broken::Usage(words)));
    }
    let mut report = Report {
        slot: name,
        ..Report::default()
    };
    let before = plan
        .strict
        .then(Process::now)
        .transpose()
        .map_err(|broken| Failure::new(at, broken))?;
    for pace in actor.paces() {
        moves(&builds, *pace, actor, &mut report)?;
        ways_back(&builds, *pace, actor, &mut report)?;
    }
    snapshot_back(&builds, actor, &mut report)?;
    if plan.faults {
        faults::run(&builds, actor, &mut report)?;
    }
    if let Some(before) = before {
        before.must_be_back().map_err(|broken| Failure::new("at the end", broken))?;
    }
    Ok(report)
}

fn prepare<'a>(plan: &'a Plan, folder: &Path) -> Result<Builds<'a>, Broken> {
    let old_bytes = plan.old.bytes()?;
    let new_bytes = match &plan.new {
        Some(new) => new.bytes()?,
        None => twin(&old_bytes),
    };
    if old_bytes == new_bytes {
        return Err(Broken::Usage(
            "old and new are the same file, to the byte, which a host does not reload: `UpDownUp::same_build` makes two of one".to_owned(),
        ));
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let written = fs::write(&path, bytes);
        written.map_err(|error| Broken::Setup(format!("{} could not be written: {error}", path.display())))?;
        Ok::<_, Broken>(path)
    };
    // The files have new names, so that a refused file is never one that is being watched.
    let (old, new) = (write("old.so", &old_bytes)?, write("new.so", &new_bytes)?);
    let manifests = (
        manifest(plan, &plan.old, &old_bytes)?,
        manifest(plan, plan.new.as_ref().unwrap_or(&plan.old), &new_bytes)?,
    );
    let (of_old, of_new) = (&manifests.0.name, &manifests.1.name);
    if of_old != of_new {
        return Err(Broken::Usage(format!(
            "old is of plugin {of_old:?} and new of plugin {of_new:?}: they would be two slots"
        )));
    }
    Ok(Builds {
        plan,
        old,
        new,
        new_bytes,
        manifests,
    })
}

fn manifest(plan: &Plan, of: &Artifact, bytes: &[u8]) -> Result<Manifest, Broken> {
    let refused = |words: &str| Broken::Usage(format!("{} is not an artifact for this host: {words}", of.path().display()));
    if let Some(engine) = &plan.engine {
        let linted = engine.lint(&mut bytes.to_vec());
        let linted = linted.map_err(|error| refused(&format!("{error}; {}", error.remedy())))?;
        return Ok(linted.manifest);
    }
    match inspect(bytes) {
        Inspection {
            manifest: Some(manifest),
            findings,
            ..
        } if findings.is_empty() => Ok(manifest),
        Inspection { findings, .. } => {
            let words: Vec<_> = findings
                .iter()
                .map(|finding| format!("{finding}; {}", finding.remedy()))
                .collect();
            Err(refused(&words.join("; ")))
        }
    }
}

/// Up, down, up: each generation is gone before the next one is loaded.
fn moves(builds: &Builds<'_>, pace: Pace, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    Leg::run("up, down, up", builds.host(), &builds.first(), actor, report, |leg| {
        for (what, path) in [("up", &builds.new), ("down", &builds.old), ("up again", &builds.new)] {
            let from = leg.serving();
            leg.load(what, pace, path)?;
            leg.gone(from)?;
        }
        Ok(())
    })
}

/// Rolls back to the standby, with the newer generation's state: nothing is lost.
fn ways_back(builds: &Builds<'_>, pace: Pace, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    let host = builds.host_on_probation(RollbackState::KeepCurrent, u32::MAX);
    Leg::run("rollback, carried", host, &builds.first(), actor, report, |leg| {
        for what in ["up", "up again"] {
            leg.load(what, pace, &builds.new)?;
            let (_, report) = leg.rollback(pace, true)?;
            match report.state {
                RestoredState::Snapshot { why: Some(why), .. } => {
                    return Err(Broken::NotMoved(format!(
                        "the slot was rolled back, but the newer state could not be carried over, so changes since the \
                             swap are lost: {why}"
                    )));
                }
                RestoredState::None if builds.has_state() => {
                    return Err(Broken::NotMoved("the slot was rolled back without the state".to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    })
}

/// Rolls back to the snapshot of the swap, and checks that the state equals it.
fn snapshot_back(builds: &Builds<'_>, actor: &mut dyn Actor, report: &mut Report) -> Result<(), Failure> {
    // An intended loss does not add up, so this needs an actor with `same` and without `adds_up`.
    let Some(pace) = actor.paces().last().filter(|_| builds.has_state() && !actor.sums()) else {
        return Ok(());
    };
    let host = builds.host_on_probation(RollbackState::Snapshot, u32::MAX);
    Leg::run("rollback to the snapshot", host, &builds.first(), actor, report, |leg| {
        let at_swap = leg.load("up", *pace, &builds.new)?;
        let (after, _) = leg.rollback(*pace, false)?;
        compare(&at_swap, &after)
    })
}
