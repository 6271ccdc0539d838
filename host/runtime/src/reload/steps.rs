//! The path of one reload, from the notice to the proof, in the order in which it happens. Each step is one call, by the name that reports,
//! refusals and events give it ([`Step`]). What a step does is in the file that the table names, and that file contains only that step.
//!
//! | step | what happens | thread | file |
//! |---|---|---|---|
//! | notice | the watch sees a file, and waits until nobody writes to it | the watch's | `watch/` |
//! | read | the file is read and hashed | reload | `artifact.rs` |
//! | lint | the bytes are checked; then what the manifest says is compared with what the slot needs | reload | `artifact.rs`, `admission.rs` |
//! | preflight | a child process tries it out | reload | `preflight.rs` |
//! | open | a private copy is written and mapped | reload | `archive.rs`, `create.rs` |
//! | verify | the mapped image is checked | reload | `create.rs` |
//! | create | the instance is made | hooks | `create.rs` |
//! | | a claimed slot waits here for its owner's `sync`, and goes on there (`adopt.rs`). A candidate without state has been started before it waits | | `place.rs` |
//! | snapshot | the current generation encodes its state | hooks, or the owner's | `starting_state.rs` |
//! | migrate, init, start, health | the new instance gets the state and is started | hooks | `prepare.rs` |
//! | swap | the pointer moves | reload, or the owner's | `swap.rs` |
//! | probation | the supervisor watches the new generation for faults; the old one is the standby | supervisor, or the owner's | `supervisor.rs`, `rollback.rs` |
//! | retire | the last holder drops the old generation (`Drop` of `GatedInstance` in `slot/generation.rs` notifies the reaper); it is stopped and dropped | the last holder's, hooks | `reaper.rs` |
//! | unload | the reaper waits for the image's threads and thread-locals, and closes it | reaper | `reaper.rs` |
//! | prove | the reaper looks for the image in the loader's list and in the kernel's map | reaper | `native/src/unload.rs` |
//!
//! The loop in `thread.rs` calls [`reload`]. Until the swap no caller sees a change, and a failure costs only the candidate.

use super::{
    admission::{self, admit},
    after_refusal::{CandidateFacts, Next, remember},
    archive::{self, PendingArchive},
    artifact::{self, LintedArtifact},
    attempt::{Attempt, Target, refusal},
    clock::Clock,
    create::{create, open, verify},
    exclusive::Stopped,
    inputs,
    messages::{LoadOptions, LoadOutcome, SlotLoad},
    place::{Place, place},
    preflight::preflight,
    prepare::{Failed, Preparation, Prepared, prepare},
    snapshot::whose_fault,
    starting_state::StartingState,
    swap::{Member, Ready, Swapped, close, swap},
};
use crate::{
    deferred_notifications::defer_notifications,
    event::Log,
    instances::LoadRequest,
    runtime::Runtime,
    shadow_name,
    slot::{Candidate, CandidateKind, Generation, SlotRecord, Slots},
};
use reslot_artifact::{ContentHash, lint::Linted};
use reslot_engine::{LintedBytes, StagedArtifact};
use reslot_report::{Cause, Event, Refusal, RestoredState, Step};
use reslot_sync::Instant;
use reslot_system::background::ForegroundPriority;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

// --- From a file to the slots that it is for ------------------------------------------------------------------------------------

/// One reload of each slot that the file is for: from the file to the swap, or to the point where a claimed slot waits for its owner.
pub(super) fn reload(
    host: &Arc<Runtime>,
    request: &LoadRequest,
    noticed: Instant,
    options: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> Vec<SlotLoad> {
    let mut done = Vec::new();
    let mut clock = Clock::new(noticed);
    clock.lap(Step::Notice);

    let source = match artifact::read(host, request, &mut clock) {
        Ok(source) => source,
        Err(refusal) => return vec![SlotLoad::Refused(refusal)],
    };
    let hash = source.hash;
    let drop_known = |slots: &mut Vec<Arc<str>>, done: &mut Vec<SlotLoad>| {
        slots.retain(|slot| {
            let known = admission::known_outcome(host, request, slot, &hash, options);
            let is_new = known.is_none();
            done.extend(known);
            is_new
        });
    };
    let mut slots = slots_known_before_lint(&host.slots, request, &hash);
    if let Some(slots) = &mut slots {
        drop_known(slots, &mut done);
        if slots.is_empty() {
            return done;
        }
    }
    if let Some(refused) = admission::refused_everywhere(&host.slots, &host.log, request, &hash, options) {
        done.push(refused);
        return done;
    }

    let artifact = match artifact::lint(host, source) {
        Ok(artifact) => artifact,
        Err(unfit) => {
            let refusals = artifact::refusals_of(host, request, *unfit);
            done.extend(refusals.into_iter().map(|refusal| {
                remember(&host.slots, hash, &refusal);
                SlotLoad::Refused(refusal)
            }));
            return done;
        }
    };
    let slots = slots.unwrap_or_else(|| {
        let mut slots = host.slots.meant_by(request, &artifact.manifest().name);
        drop_known(&mut slots, &mut done);
        slots
    });

    // The steps up to here are common to all slots. From here on each slot has its own.
    let steps = clock.steps.clone();
    let mut clock = Some(clock);
    let mut artifact = Some(artifact);
    for (at, slot) in slots.iter().enumerate() {
        let clock = clock.take().unwrap_or_else(|| Clock::resume(noticed, steps.clone()));
        let is_last = at + 1 == slots.len();
        let own = match is_last {
            true => artifact.take(),
            false => artifact.as_ref().map(LintedArtifact::duplicate),
        };
        if let Some(own) = own {
            done.push(reload_slot(host, request, slot, own, clock, options, archive_later));
        }
    }
    done
}

/// The slots that a file is for, if the request names one, or if the hash says which plugin the file contains.
fn slots_known_before_lint(slots: &Slots, request: &LoadRequest, hash: &ContentHash) -> Option<Vec<Arc<str>>> {
    if let Some(slot) = &request.slot {
        return Some(vec![slot.clone()]);
    }
    let plugin = slots.plugin_with(hash)?;
    Some(slots.meant_by(request, &plugin))
}

/// One slot's part of a reload, and what follows if it is refused.
fn reload_slot(
    host: &Arc<Runtime>,
    request: &LoadRequest,
    slot: &Arc<str>,
    artifact: LintedArtifact,
    clock: Clock,
    options: LoadOptions<'_>,
    archive_later: &mut dyn FnMut(PendingArchive),
) -> SlotLoad {
    let path = &request.path;
    let (hash, noticed) = (artifact.source.hash, clock.noticed);
    let record = host.slots.named_or_new(slot);
    let file_before = record.lock().current().map(|current| current.path.clone());
    let kind = CandidateKind::Fresh {
        by_name: options.by_name,
        saved: options.saved.cloned(),
    };
    let mut facts = CandidateFacts::of_artifact(hash, options.saved.is_some());
    let made = make_candidate(host, Target::of(&record), kind, path, artifact, clock);
    let outcome = made.and_then(|(candidate, archive)| {
        facts.note_empty_uses(&host.slots, &candidate);
        let outcome = bring_into_service(host, &record, candidate)?;
        if let Some(archive) = archive {
            archive_later(archive);
        }
        Ok(outcome)
    });
    let refusal = match outcome {
        Ok(outcome) => {
            if let Some(other) = file_before.filter(|_| !options.by_name) {
                report_other_file(&host.log, slot, path, other);
            }
            return SlotLoad::Done(outcome);
        }
        Err(refusal) => refusal,
    };
    if let Next::LoadAgain = facts.after_refusal(host, slot, &refusal) {
        let only = LoadRequest::of_slot(path, slot);
        let again = reload(host, &only, noticed, options, archive_later).pop();
        return again.unwrap_or(SlotLoad::Refused(refusal));
    }
    SlotLoad::Refused(refusal)
}

/// Reports that two files of the watched folder contain the same plugin, so that each replaces the other in its slot.
fn report_other_file(log: &Log, slot: &Arc<str>, path: &Path, other: PathBuf) {
    if other != path && other.parent() == path.parent() && other.is_file() {
        log.push(Event::SameSlot {
            slot: slot.clone(),
            path: path.to_owned(),
            other,
        });
    }
}

// --- From an artifact to a candidate --------------------------------------------------------------------------------------------

/// Makes a candidate of an artifact that has passed the lint. It comes from a published file, from the history, or from the private copy of
/// the current generation (a re-instantiation). Runs on the reload thread; for a shadow, on a thread for hooks.
pub(super) fn make_candidate(
    host: &Arc<Runtime>,
    target: Target<'_>,
    kind: CandidateKind,
    path: &Path,
    artifact: LintedArtifact,
    clock: Clock,
) -> Result<(Candidate, Option<PendingArchive>), Refusal> {
    let mut attempt = Attempt {
        host,
        target,
        path,
        hash: artifact.source.hash,
        number: None,
        clock,
    };
    admit(&attempt, &kind, artifact.manifest())?;
    let engine = host.engines.for_slot(&target.slot.name, path, &artifact.source.bytes);
    let engine = engine.map_err(|cause| attempt.refusal(Step::Lint, cause))?;
    inputs::learn_resources(host, target.slot, &artifact.manifest().resources);
    attempt.clock.lap(Step::Lint);

    let keeps_version = match kind {
        CandidateKind::Fresh { .. } | CandidateKind::SetMember | CandidateKind::Rollback(_) => true,
        // The history has it already, or it is never published.
        CandidateKind::Reinstance { .. } | CandidateKind::Shadow { .. } => false,
    };
    let hash_of_bytes = artifact.hash_of_bytes();
    let LintedArtifact { source, mut linted, .. } = artifact;
    report_lint(&attempt, &kind, std::mem::take(&mut linted.warnings));

    let write_copy = || host.storage.write_private_copy(target.name(), &source.bytes);
    let bytes = LintedBytes {
        bytes: &source.bytes,
        hash: hash_of_bytes,
        file: &source.path,
    };
    let staged = engine.stage(bytes, &write_copy);
    let staged = staged.map_err(|error| attempt.refusal(Step::Open, error))?;
    let archive = match staged.copy() {
        Some(copy) if keeps_version => Some(archive::begin(&attempt, &linted.manifest, source.bytes, hash_of_bytes, copy)),
        // What is linked into the program is there as long as the program is.
        Some(_) | None => None,
    };
    let archive = archive.transpose().map_err(|error| attempt.refusal(Step::Open, error))?;
    attempt.number = Some(next_number(target, &kind));

    let generation = try_and_create(&mut attempt, &kind, staged, linted).inspect_err(|_| {
        if keeps_version {
            host.storage.history.forget(target.name(), &attempt.hash);
        }
    })?;
    let candidate = Candidate {
        generation,
        kind,
        hash: attempt.hash,
        path: path.to_owned(),
        noticed: attempt.clock.noticed,
        steps: attempt.clock.steps,
        is_started: false,
        fits_contracts: None,
    };
    Ok((candidate, archive))
}

/// In these steps code of the artifact runs for the first time.
fn try_and_create(
    attempt: &mut Attempt<'_>,
    kind: &CandidateKind,
    staged: Box<dyn StagedArtifact>,
    linted: Linted,
) -> Result<Generation, Refusal> {
    let Linted {
        manifest, manifest_text, ..
    } = linted;
    attempt.step_if(Step::Preflight, |attempt| preflight(attempt, kind, &*staged, &manifest))?;
    let opened = attempt.step(Step::Open, |attempt| open(attempt, staged, &manifest))?;
    let image = attempt.step(Step::Verify, |attempt| verify(attempt, opened, manifest, manifest_text))?;
    attempt.step(Step::Create, |attempt| create(attempt, image))
}

fn report_lint(attempt: &Attempt<'_>, kind: &CandidateKind, warnings: Vec<String>) {
    match kind {
        CandidateKind::Fresh { .. }
        | CandidateKind::SetMember
        | CandidateKind::Rollback(_)
        | CandidateKind::Reinstance { .. } => attempt.host.log.push(Event::Linted {
            slot: attempt.target.name().clone(),
            warnings,
        }),
        // The answer to a shadow's owner has no place for warnings, and no event names a shadow. `reslot inspect` shows them.
        CandidateKind::Shadow { .. } => {}
    }
}

fn next_number(target: Target<'_>, kind: &CandidateKind) -> u64 {
    let mut state = target.slot.lock();
    match kind {
        CandidateKind::Fresh { .. }
        | CandidateKind::SetMember
        | CandidateKind::Rollback(_)
        | CandidateKind::Reinstance { .. } => state.next_number(),
        // Shadows have a counter of their own, so the numbers of the slot's generations have no gaps.
        CandidateKind::Shadow { .. } => state.next_shadow(),
    }
}

// --- From a candidate to what serves --------------------------------------------------------------------------------------------

/// Stages a candidate for its owner, who goes on with it in his `sync`; or hands an open slot over to it.
pub(super) fn bring_into_service(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    candidate: Candidate,
) -> Result<LoadOutcome, Refusal> {
    // Subscribers are called afterwards: one may call the host, or wait for a thread that waits for the slot.
    let _deferred = defer_notifications();
    let candidate = start_early(host, record, candidate)?;
    let slot = record.name.clone();
    match place(host, record, candidate)? {
        Place::Staged { generation } => Ok(LoadOutcome::Staged { slot, generation }),
        Place::Outdated { serving: generation } => Ok(LoadOutcome::Unchanged { slot, generation }),
        Place::Open { candidate, old, moving } => {
            // Plugin code runs here, so no lock is held. `moving` makes claims wait.
            let moved = swap_open_slot(host, record, old.as_ref(), candidate);
            drop(moving);
            moved.map(|moved| LoadOutcome::Swapped(moved.report))
        }
    }
}

/// Starts a candidate without state before any caller has to wait, unless the current generation is exclusive.
fn start_early(host: &Runtime, record: &SlotRecord, candidate: Candidate) -> Result<Candidate, Refusal> {
    let serving_is_exclusive = {
        let state = record.lock();
        let serving = state.current();
        serving.is_some_and(|current| current.generation.instance().is_exclusive())
    };
    if candidate.is_started || candidate.generation.instance().has_state() || serving_is_exclusive {
        return Ok(candidate);
    }
    let Candidate { generation, steps, .. } = candidate;
    let number = generation.number();
    let mut clock = Clock::resume(candidate.noticed, steps);
    let inputs = inputs::inputs_for(&host.inputs, &generation, &candidate.hash);
    let from = StartingState::default();
    let prepared = prepare(host, generation, from, inputs, Vec::new(), &mut clock, run_preparation_hooks)
        .map_err(|(step, cause)| refusal(Some(record), Some(number), &candidate.path, step, cause))?;
    Ok(Candidate {
        generation: prepared.generation,
        steps: clock.steps,
        is_started: true,
        ..candidate
    })
}

/// Hands an open slot over to a candidate, on the reload thread.
pub(super) fn swap_open_slot(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    old: Option<&Arc<Generation>>,
    candidate: Candidate,
) -> Result<Swapped, Refusal> {
    let number = candidate.generation.number();
    // From here on callers may wait.
    let _foreground = ForegroundPriority::this_thread();
    host.hooks.wake_one();
    let access = close(host.options.drain_deadline, old, &candidate.generation)
        .map_err(|cause| refusal(Some(record), Some(number), &candidate.path, Step::Snapshot, cause))?;
    let member = Member {
        record: record.clone(),
        old,
        access,
        candidate,
    };
    swap_one(host, member)
}

/// Hands one slot over to its candidate.
pub(super) fn swap_one(host: &Arc<Runtime>, member: Member<'_>) -> Result<Swapped, Refusal> {
    let mut moved = swap_all(host, vec![member])?;
    match moved.pop() {
        Some(moved) => Ok(moved),
        None => unreachable!("swap_all answers one entry for each member"),
    }
}

/// Hands all of these slots over to their candidates, in this order, or none of them. Runs on the reload thread; if a claimed slot is among
/// them, on its owner's.
pub(super) fn swap_all(host: &Arc<Runtime>, members: Vec<Member<'_>>) -> Result<Vec<Swapped>, Refusal> {
    let mut ready: Vec<Ready<'_>> = Vec::with_capacity(members.len());
    for member in members {
        let prepared_members = ready.iter().map(|one| one.generation.clone()).collect();
        match prepare_member(host, member, prepared_members) {
            Ok(one) => ready.push(one),
            Err(refusal) => {
                // In reverse order. The candidates go to the reaper.
                while let Some(one) = ready.pop() {
                    one.give_up(host);
                }
                return Err(refusal);
            }
        }
    }
    // From here on nothing can fail. The supervisor ends the probation of the new generations; until then the old ones are the standbys, or
    // they are retired at once. The reaper unloads an old one when its last holder has dropped it, and proves that.
    Ok(swap(host, ready))
}

/// Takes the snapshot of the current generation, stops it if it is exclusive, and prepares the candidate with the state. If a step fails,
/// the current generation keeps running.
fn prepare_member<'a>(
    host: &Arc<Runtime>,
    member: Member<'a>,
    prepared_members: Vec<Arc<Generation>>,
) -> Result<Ready<'a>, Refusal> {
    let Member {
        record,
        old,
        mut access,
        candidate,
    } = member;
    let Candidate {
        generation,
        kind,
        hash,
        path,
        noticed,
        steps,
        is_started,
        fits_contracts: _,
    } = candidate;
    let number = generation.number();
    let refuse = |step, cause| refusal(Some(&record), Some(number), &path, step, cause);
    let mut clock = Clock::resume(noticed, steps);
    let hands_over = old.is_some_and(|old| old.is_gated());
    if hands_over && access.is_owners() && !access.keeps_callers_away() {
        return Err(refuse(Step::Snapshot, Cause::Busy(host.options.drain_deadline)));
    }

    let earlier = kind.rollback_plan().and_then(|plan| plan.earlier.clone());
    let mut from = StartingState::take(
        &host.hooks,
        &record,
        host.options.policy.rollback_state,
        old,
        &generation,
        &access,
        earlier.clone(),
    )
    .map_err(|cause| refuse(Step::Snapshot, cause))?;
    if from.current.is_some() {
        clock.lap(Step::Snapshot);
    }
    if let Some(error) = from.damaged.take() {
        let slot = record.name.clone();
        host.log.push(Event::SnapshotDamaged { slot, error });
    }
    if old.is_none() {
        let saved = kind.saved().map(|saved| saved.snapshot.clone());
        from.current = from.current.or(saved);
    }
    let taken = from.current.clone();
    // A version without state keeps the earlier state, so that a second rollback can restore it.
    let inherited = from.first().or(earlier);
    let stopped = old.and_then(|old| Stopped::stop(host, old, &mut access));
    let prepared = match is_started {
        true => Ok(Prepared {
            generation,
            state: RestoredState::None,
        }),
        false => {
            let inputs = inputs::inputs_for(&host.inputs, &generation, &hash);
            prepare(
                host,
                generation,
                from,
                inputs,
                prepared_members,
                &mut clock,
                run_preparation_hooks,
            )
        }
    };
    match prepared {
        Ok(Prepared { generation, state }) => Ok(Ready {
            record,
            old,
            access,
            generation: Arc::new(generation),
            kind,
            state,
            inherited,
            stopped,
            hash,
            path,
            clock,
            pause: Duration::ZERO,
        }),
        Err((step, cause)) => {
            if let (Some(stopped), Some(old)) = (stopped, old) {
                stopped.start_again(host, &record, old, &mut access);
            }
            let cause = match (old, &taken) {
                (Some(old), Some(state)) => whose_fault(&host.hooks, old, state, cause),
                _ => cause,
            };
            Err(refuse(step, cause))
        }
    }
}

/// The hooks that a candidate goes through before it is published. Runs on a thread for hooks.
fn run_preparation_hooks(candidate: &mut Preparation) -> Result<(), Failed> {
    candidate.migrate()?;
    candidate.init()?;
    candidate.start()?;
    candidate.health()
}

/// The hooks of a shadow, on a thread for hooks. `start` is left out, because the current generation holds what it would acquire.
fn run_shadow_hooks(candidate: &mut Preparation) -> Result<(), Failed> {
    candidate.migrate()?;
    candidate.init()
}

/// Prepares a shadow. It is never published.
pub(super) fn prepare_shadow(host: &Runtime, target: Target<'_>, shadow: Candidate) -> Result<Generation, Refusal> {
    let Candidate {
        generation,
        kind,
        hash,
        path,
        ..
    } = shadow;
    let number = generation.number();
    let state = match kind {
        CandidateKind::Shadow { state } => state,
        CandidateKind::Fresh { .. }
        | CandidateKind::SetMember
        | CandidateKind::Rollback(_)
        | CandidateKind::Reinstance { .. } => None,
    };
    let (old, current) = state.map(|state| (state.of, state.snapshot)).unzip();
    let from = StartingState {
        current,
        old,
        ..StartingState::default()
    };
    // A shadow gets the inputs that its slot's own plugin would get. Its refusal of them is not recorded for the slot.
    let names = &generation.instance().manifest().resources;
    let inputs = host
        .inputs
        .inputs(shadow_name::slot_of(generation.slot()), names, Some(&hash));
    let mut clock = Clock::begin();
    let prepared = prepare(host, generation, from, inputs, Vec::new(), &mut clock, run_shadow_hooks);
    let prepared = prepared.map_err(|(step, cause)| target.refusal(&path, Some(number), step, cause))?;
    Ok(prepared.generation)
}
