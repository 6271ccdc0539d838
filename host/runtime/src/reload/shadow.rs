//! A shadow: a candidate that starts from what serves as in a reload, is called beside it, and never comes to serve. It takes the way of
//! every candidate up to `init`, and no step further: what `start` acquires is acquired by what serves.

use super::{
    Clock,
    pipeline::{self, refusal},
    prepare::{Origin, check_plugin, check_schemas, prepare, snapshot},
    try_out::{Serving, try_out_with},
};
use crate::{
    content::ContentHash,
    deadline::LONGEST,
    error::{Cause, Refusal},
    event::{Event, Step},
    history::Artifact,
    host::Inner,
    image::{
        lint::{Expectations, LintError, lint},
        stage::{Bytes, Source},
    },
    instances::LoadRequest,
    shadow_name,
    slot::{Generation, Phase, SlotRecord},
};
use std::{path::PathBuf, sync::Arc, time::Instant};

/// What is to be shadowed.
pub(crate) enum ShadowOf {
    /// A build, wherever it stands.
    File(PathBuf),
    /// A version that the history keeps.
    Archived(ContentHash),
}

/// What serves, for its owner, who is on this thread and calls nothing meanwhile.
pub(crate) fn state_for_owner(host: &Inner, serving: Option<&Arc<Generation>>) -> Result<Option<Serving>, Cause> {
    let Some(serving) = serving else { return Ok(None) };
    Ok(snapshot(host, serving, true)?.map(|state| (serving.clone(), state)))
}

/// Makes a shadow for a slot, and the record that it stands in, which no host lists.
pub(crate) fn shadow(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    of: ShadowOf,
    state: Result<Option<Serving>, Cause>,
) -> Result<(Arc<SlotRecord>, Arc<Generation>), Refusal> {
    let apart = Arc::new(SlotRecord::new(&shadow_name::of_slot(&record.name), usize::MAX));
    let path = match &of {
        ShadowOf::File(path) => path.clone(),
        ShadowOf::Archived(_) => PathBuf::new(),
    };
    let walk = Walk {
        host: host.clone(),
        record: record.clone(),
        apart: apart.clone(),
    };
    // Its static constructors are not to run on a thread that is somebody else's.
    let made = host.hooks.run(LONGEST, move || {
        let made = state
            .map_err(|cause| refusal(None, None, &path, Step::Snapshot, cause))
            .and_then(|state| walk.read(of, &path).and_then(|source| walk.make(source, state)));
        made.map_err(|refusal| walk.told(refusal))
    });
    match made {
        Ok(made) => made.map(|generation| (apart, generation)),
        Err(_) => Err(Refusal::of_a_bug(PathBuf::new())),
    }
}

/// The owner of a shadow lets go.
pub(crate) fn end_shadow(host: &Inner, generation: &Generation) {
    host.images.enters(generation.slot(), generation.number(), Phase::Retired);
}

struct Walk {
    host: Arc<Inner>,
    /// The slot whose state it has.
    record: Arc<SlotRecord>,
    apart: Arc<SlotRecord>,
}

impl Walk {
    /// The refusal with what is the same in each of them, once it was told of.
    fn told(&self, refused: Refusal) -> Refusal {
        let serving = self.record.lock().current.as_ref().map(|current| current.generation.number());
        let refused = Refusal {
            slot: Some(self.apart.name.clone()),
            serving,
            ..refused
        };
        self.host.log.push(Event::Refused(refused.clone()));
        refused
    }

    fn read(&self, of: ShadowOf, path: &std::path::Path) -> Result<Source, Refusal> {
        match of {
            ShadowOf::File(path) => super::read_patiently(&self.host, &LoadRequest::file(path), &mut Clock::begin()),
            ShadowOf::Archived(hash) => match self.host.history.read(&self.record.name, &hash) {
                Ok(Artifact { bytes, file, .. }) => Ok(Source {
                    path: file,
                    len: bytes.len() as u64,
                    bytes: Bytes::of(bytes),
                    hash,
                }),
                Err(error) => Err(refusal(None, None, path, Step::Read, error)),
            },
        }
    }

    fn make(&self, source: Source, state: Option<Serving>) -> Result<Arc<Generation>, Refusal> {
        let Self { host, record, apart } = self;
        let Source {
            path, mut bytes, hash, ..
        } = source;
        let refuse = |number, step, cause: Cause| refusal(None, number, &path, step, cause);
        let linted = lint(&mut bytes, &Expectations::of_this_build());
        let linted = linted.map_err(|error| refuse(None, Step::Lint, error.into()))?;
        let manifest = &linted.manifest;
        let serving = record.lock().current.as_ref().map(|current| current.generation.clone());
        if let Some(serving) = serving {
            check_plugin(&serving.instance().image().manifest, manifest).map_err(|cause| refuse(None, Step::Lint, cause))?;
        }
        let satisfied = record.lock().check(&manifest.interface);
        satisfied.map_err(|differences| refuse(None, Step::Lint, LintError::Interface(differences).into()))?;
        if let Some((old, _)) = &state {
            let fits = check_schemas(&old.instance().image().manifest, manifest);
            fits.map_err(|cause| refuse(None, Step::Lint, cause))?;
        }
        if let Some(full) = pipeline::quarantine_full(host, &apart.name) {
            return Err(refuse(None, Step::Open, full));
        }
        pipeline::report_resource_problems(host, record, &manifest.resources);
        let staged = host.write_private_copy(&apart.name, &bytes);
        let staged = staged.map_err(|error| refuse(None, Step::Open, error.into()))?;
        let numbered = record.lock().next_shadow();
        let number = Some(numbered);
        if let Some(how) = &host.policy.preflight {
            let tried = try_out_with(host, apart, numbered, staged.path(), manifest, how, state.clone());
            tried.map_err(|cause| refuse(number, Step::Preflight, cause))?;
        }
        let mut clock = Clock::resume(Instant::now(), Vec::new());
        let generation = pipeline::make(host, apart, numbered, staged, linted, &path, &mut clock)?;
        let (old, state) = state.unzip();
        let origin = Origin {
            state,
            old,
            artifact: Some(hash),
            shadow: true,
            ..Origin::default()
        };
        let prepared = prepare(host, generation, origin, Vec::new(), &mut clock);
        let prepared = prepared.map_err(|(step, cause)| refuse(number, step, cause))?;
        let generation = Arc::new(prepared.generation);
        host.images.serves(&generation);
        host.images.enters(&apart.name, numbered, Phase::Shadow);
        host.log.push(Event::Shadowed {
            slot: record.name.clone(),
            shadow: numbered,
        });
        Ok(generation)
    }
}
