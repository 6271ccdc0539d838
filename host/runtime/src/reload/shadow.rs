//! A shadow: a candidate that starts from the current state, is called beside the current generation, and is never published. It goes
//! through the same steps as every candidate up to `init`. `start` is left out, because the current generation holds what it would acquire.

use super::{
    artifact::{lint, lint_archived, read_patiently, refusal_of},
    attempt::Target,
    clock::Clock,
    snapshot::snapshot,
    steps::{make_candidate, prepare_shadow},
};
use crate::{
    deadline::LONGEST,
    instances::LoadRequest,
    runtime::{HookRunner, Runtime},
    shadow_name,
    slot::{Acquisition, CandidateKind, Generation, MappedImages, Phase, SlotRecord, TakenState},
};
use reslot_artifact::ContentHash;
use reslot_report::{Cause, Event, Refusal, Step};
use std::{path::PathBuf, sync::Arc};

/// The artifact of a shadow.
pub(crate) enum ShadowOf {
    /// A build, in any folder.
    File(PathBuf),
    /// A version of the history.
    Archived(ContentHash),
}

/// The current state, for the owner, who is on this thread and makes no call meanwhile.
pub(crate) fn state_for_owner(
    hooks: &HookRunner,
    record: &Arc<SlotRecord>,
    serving: Option<&Arc<Generation>>,
) -> Result<Option<TakenState>, Cause> {
    let Some(of) = serving.cloned() else { return Ok(None) };
    let taken = snapshot(hooks, record, &of, true)?;
    Ok(taken.map(|snapshot| TakenState { of, snapshot }))
}

/// Makes a shadow for a slot, and a record for it that no list of the host contains.
pub(crate) fn shadow(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    of: ShadowOf,
    state: Result<Option<TakenState>, Cause>,
    owner: Acquisition,
) -> Result<(Arc<SlotRecord>, Arc<Generation>), Refusal> {
    let apart = Arc::new(SlotRecord::new(
        &shadow_name::of_slot(&record.name),
        usize::MAX,
        record.interfaces.clone(),
    ));
    let (on_thread, slot, record) = (host.clone(), record.clone(), apart.clone());
    // Its static constructors must not run on a thread of the embedder's.
    let made = host.hooks.pool().run(LONGEST, move || {
        let target = Target {
            slot: &slot,
            record: &record,
        };
        let made = make(&on_thread, target, of, state, owner);
        made.inspect_err(|refusal| on_thread.log.push(Event::Refused(refusal.clone())))
    });
    match made {
        Ok(made) => made.map(|generation| (apart, generation)),
        Err(_) => Err(Refusal::of_a_bug(PathBuf::new())),
    }
}

/// The owner drops a shadow.
pub(crate) fn end_shadow(images: &MappedImages, generation: &Generation) {
    images.enters(generation.slot(), generation.number(), Phase::Retired);
}

fn make(
    host: &Arc<Runtime>,
    target: Target<'_>,
    of: ShadowOf,
    state: Result<Option<TakenState>, Cause>,
    owner: Acquisition,
) -> Result<Arc<Generation>, Refusal> {
    let path = match &of {
        ShadowOf::File(path) => path.clone(),
        ShadowOf::Archived(_) => PathBuf::new(),
    };
    let state = state.map_err(|cause| target.refusal(&path, None, Step::Snapshot, cause))?;
    let (path, artifact) = match of {
        ShadowOf::File(path) => {
            let source = read_patiently(host, &LoadRequest::file(&path), &mut Clock::begin());
            (path, lint(host, source.map_err(|refusal| of_target(target, refusal))?))
        }
        ShadowOf::Archived(hash) => {
            let archived = host.storage.history.read(&target.slot.name, &hash);
            let archived = archived.map_err(|error| target.refusal(&path, None, Step::Read, error))?;
            (archived.file.clone(), lint_archived(host, hash, archived))
        }
    };
    let artifact = artifact.map_err(|unfit| of_target(target, refusal_of(host, &LoadRequest::file(&path), *unfit)))?;
    let (candidate, _) = make_candidate(host, target, CandidateKind::Shadow { state }, &path, artifact, Clock::begin())?;
    let generation = Arc::new(prepare_shadow(host, target, candidate)?);
    host.images.serves(&generation);
    host.images.enters(target.name(), generation.number(), Phase::Shadow(owner));
    host.log.push(Event::Shadowed {
        slot: target.slot.name.clone(),
        shadow: generation.number(),
    });
    Ok(generation)
}

/// A refusal before it was known that it concerns a shadow.
fn of_target(target: Target<'_>, mut refused: Refusal) -> Refusal {
    let serving = target.slot.lock().serving_number();
    (refused.slot, refused.serving) = (Some(target.name().clone()), serving);
    refused
}
