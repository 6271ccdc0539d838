//! From a file to a candidate: stage, lint, open, verify, create. Nothing here touches what serves; whatever fails, the
//! candidate's image goes back to the reaper and the slot never knew.

use super::{
    Clock,
    prepare::{check_plugin, check_saved, check_schemas},
    try_out::try_out,
    uses,
};
use crate::{
    content::ContentHash,
    error::{Cause, Hook, Refusal},
    event::{Event, Step},
    history::{Content, NewEntry},
    hooks::TookTooLong,
    host::Inner,
    image::{
        Image, ImageResources, LogForwarder, OpenError, Opened, QuarantineReason,
        lint::{Expectations, LintError, Linted, inspect, lint},
        stage::{Bytes, PrivateCopies, Source, StagedFile, read_source},
    },
    instance::{HookError, Instance},
    instances::LoadRequest,
    lifecycle::Lifecycle,
    slot::{
        Candidate, Generation, Holder, PeerTable, Phase, ReaperMessage, RollbackPlan, SavedState, SlotRecord, Staged,
        Watching, holders_of,
    },
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering, mpsc::Sender},
};

/// The bytes of a candidate, which the history puts away when this is dropped: by then it has its place, and its owner has had a moment to
/// come.
pub(super) struct PendingArchive {
    host: Arc<Inner>,
    slot: Arc<str>,
    hash: ContentHash,
    /// Of the bytes, which may have been changed since they were read.
    copy: ContentHash,
    bytes: Bytes,
    file: Option<PathBuf>,
    /// The history does not have them yet.
    later: bool,
}

impl PendingArchive {
    fn content(&self) -> Content<'_> {
        Content {
            bytes: &self.bytes,
            hash: self.copy,
            file: self.file.as_deref(),
        }
    }
}

impl Drop for PendingArchive {
    fn drop(&mut self) {
        if self.later {
            let kept = self.host.history.keep(&self.slot, &self.hash, self.content());
            self.host.report_history_error(&self.slot, kept);
        }
    }
}

/// Where a candidate comes from, and what for.
pub(super) struct CandidateSpec<'a> {
    pub(super) path: &'a Path,
    /// Somebody asked for this very content.
    pub(super) by_name: bool,
    /// What it is to start from, in a slot in which nothing serves.
    pub(super) state: Option<&'a SavedState>,
    /// The slot goes back to it.
    pub(super) back: Option<RollbackPlan>,
    /// The hash of its bytes, if they come from the history: they may have been changed before they were kept.
    pub(super) kept_as: Option<ContentHash>,
    /// It comes with others. Who calls whom is then looked at when all of them are known: what serves may go with it.
    pub(super) together: bool,
    /// It is what serves already, once more, made of this generation: it has been through all that is about artifacts.
    pub(super) reinstance_of: Option<u64>,
}

/// Reads and hashes the file.
pub(super) fn read(host: &Inner, request: &LoadRequest, clock: &mut Clock) -> Result<Source, Refusal> {
    let path = &request.path;
    let source = read_source(path, &host.limits).map_err(|error| {
        let record = match &request.slot {
            Some(slot) => host.slots.named(slot),
            None => host.slots.served_from(path).into_iter().next(),
        };
        let refusal = refusal(record.as_deref(), None, path, Step::Read, error);
        Refusal {
            slot: refusal.slot.or_else(|| request.slot.clone()),
            ..refusal
        }
    })?;
    clock.lap(Step::Read);
    Ok(source)
}

/// An artifact whose bytes have passed the lint.
pub(super) struct LintedArtifact {
    pub(super) source: Source,
    linted: Linted,
}

impl LintedArtifact {
    /// The name that its plugin has.
    pub(super) fn plugin(&self) -> &str {
        &self.linted.manifest.name
    }

    /// The same artifact for another slot.
    pub(super) fn duplicate(&self) -> Self {
        let source = Source {
            path: self.source.path.clone(),
            bytes: self.source.bytes.duplicate(),
            hash: self.source.hash,
            len: self.source.len,
        };
        let linted = self.linted.clone();
        Self { source, linted }
    }
}

/// An artifact whose bytes have not passed the lint.
pub(super) struct FailedLint {
    source: Source,
    error: LintError,
}

/// Looks at the bytes.
pub(super) fn examine(mut source: Source) -> Result<LintedArtifact, Box<FailedLint>> {
    match lint(&mut source.bytes, &Expectations::of_this_build()) {
        Ok(linted) => Ok(LintedArtifact { source, linted }),
        Err(error) => Err(Box::new(FailedLint { source, error })),
    }
}

/// A refusal for each of the slots for which a file was: those that its manifest names, if it can be read, or those that the file served
/// until now. What a file says that is not taken makes no slot: there are as many names as there are files.
pub(super) fn refusals_of(host: &Inner, request: &LoadRequest, unfit: FailedLint) -> Vec<Refusal> {
    let path = &request.path;
    let manifest = inspect(&unfit.source.bytes, &Expectations::of_this_build()).manifest;
    let slots = match (&request.slot, manifest) {
        (Some(slot), _) => vec![slot.clone()],
        (None, Some(manifest)) => host.slots.meant_by(request, &manifest.name, &host.instances),
        (None, None) => host
            .slots
            .served_from(path)
            .iter()
            .map(|record| record.name.clone())
            .collect(),
    };
    let cause = Arc::new(Cause::from(unfit.error));
    let of = |slot: Option<Arc<str>>| {
        let record = slot.as_deref().and_then(|slot| host.slots.named(slot));
        let serving = record.and_then(|record| record.lock().current.as_ref().map(|current| current.generation.number()));
        Refusal {
            slot,
            candidate: None,
            serving,
            path: path.clone(),
            step: Step::Lint,
            cause: cause.clone(),
        }
    };
    match slots.is_empty() {
        true => vec![of(None)],
        false => slots.into_iter().map(Some).map(of).collect(),
    }
}

/// Makes a candidate for a slot of an artifact's bytes.
pub(super) fn candidate(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    coming: CandidateSpec<'_>,
    examined: LintedArtifact,
    mut clock: Clock,
) -> Result<(Candidate, PendingArchive), Refusal> {
    let CandidateSpec {
        path,
        by_name,
        state,
        back,
        kept_as,
        together,
        reinstance_of: made_of,
    } = coming;
    let is_reinstance = made_of.is_some();
    let LintedArtifact { source, mut linted } = examined;
    let (bytes, hash) = (source.bytes, source.hash);
    let refuse = |number, step, cause: Cause| refusal(Some(record), number, path, step, cause);
    // Looked at again before it comes to serve: a caller may ask for another interface meanwhile.
    let satisfied = record.lock().check(&linted.manifest.interface);
    satisfied.map_err(|differences| refuse(None, Step::Lint, LintError::Interface(differences).into()))?;
    let serving = record.lock().current.as_ref().map(|current| current.generation.clone());
    if let Some(serving) = &serving {
        check_plugin(&serving.instance().image().manifest, &linted.manifest)
            .map_err(|cause| refuse(None, Step::Lint, cause))?;
    }
    // One that the slot goes back to has another state besides, and has been through a preflight.
    if let Some(serving) = serving.filter(|_| back.is_none()) {
        let fits = check_schemas(&serving.instance().image().manifest, &linted.manifest);
        fits.map_err(|cause| refuse(None, Step::Lint, cause))?;
    }
    if let Some(state) = state {
        check_saved(state, &linted.manifest).map_err(|error| refuse(None, Step::Lint, error.into()))?;
    }
    // Whoever calls nobody is in no circle; to know who calls whom takes a look at every slot.
    let calls = !linted.manifest.uses.is_empty();
    if !together
        && calls
        && let Some(cycle) = uses::cycle(&host.slots.uses_of_serving(), &record.name, &linted.manifest.uses)
    {
        return Err(refuse(None, Step::Lint, Cause::DependencyCycle(cycle)));
    }
    match host.history.known_bad(&record.name, &hash) {
        _ if is_reinstance => {}
        Some(why) if !by_name => return Err(refuse(None, Step::Lint, Cause::KnownBad(why))),
        Some(_) => host.report_history_error(&record.name, host.history.unblock(&record.name, &hash)),
        None => {}
    }
    if let Some(full) = quarantine_full(host, &record.name) {
        if !is_reinstance {
            host.defer(&record.name, path);
        }
        // One of them may have gone before it could know that somebody waits for that.
        if quarantine_full(host, &record.name).is_none() {
            host.retry_deferred(&record.name);
        }
        return Err(refuse(None, Step::Open, full));
    }
    // What waited for room is older than this.
    if !is_reinstance {
        host.take_deferred(&record.name);
    }
    report_resource_problems(host, record, &linted.manifest.resources);
    clock.lap(Step::Lint);
    host.log.push(Event::Linted {
        slot: record.name.clone(),
        warnings: std::mem::take(&mut linted.warnings),
    });

    let staged = host
        .write_private_copy(&record.name, &bytes)
        .map_err(|error| refuse(None, Step::Open, error.into()))?;
    let new = NewEntry {
        slot: &record.name,
        hash,
        version: &linted.manifest.version,
        schema: linted.manifest.state.map(|state| state.schema),
        file: path,
    };
    // What stands in the folder is otherwise a link to memory.
    let file = (host.private.copies() == PrivateCopies::Files).then(|| staged.path().to_owned());
    let pending_archive = PendingArchive {
        // Another name for the copy takes no space, and so will hardly fail when nobody can be refused any more.
        // Who is asked for his state by a preflight must not be the one who waits for them.
        later: file.is_some() && host.history.archives_in_background() && host.policy.preflight.is_none() && !is_reinstance,
        host: host.clone(),
        slot: record.name.clone(),
        hash,
        copy: match linted.changed() {
            true => ContentHash::of(&bytes),
            false => kept_as.unwrap_or(hash),
        },
        bytes,
        file,
    };
    // Written down before it can serve: what cannot be undone after the host has ended is not begun.
    if !is_reinstance {
        let begun = host.history.begins(&new, pending_archive.content(), pending_archive.later);
        begun.map_err(|error| refuse(None, Step::Open, error.into()))?;
    }
    let number = record.lock().next_number();
    let refused = |refusal| {
        if !is_reinstance {
            host.history.forget(&record.name, &hash);
        }
        refusal
    };
    if host.policy.preflight.is_some() && back.is_none() && !is_reinstance {
        let state = state.map(|state| state.snapshot.clone());
        try_out(host, record, number, staged.path(), &linted.manifest, path, state).map_err(refused)?;
        clock.lap(Step::Preflight);
    }
    let generation = make(host, record, number, staged, linted, path, &mut clock).map_err(refused)?;
    let staged = Staged {
        generation,
        hash,
        path: path.to_owned(),
        noticed: clock.noticed,
        steps: clock.steps,
        fits: None,
        prepared: false,
        state: state.map(|state| state.snapshot.clone()),
        back,
        reinstance_of: made_of,
    };
    let record = record.clone();
    Ok((Candidate { record, staged }, pending_archive))
}

/// Why there is no room for another image of this name, if there is none.
pub(super) fn quarantine_full(host: &Inner, name: &str) -> Option<Cause> {
    let (quarantined, cap) = (host.images.kept(name), host.quarantine_cap.load(Ordering::Relaxed));
    let straggling = host.images.straggling(name);
    let all = quarantined.len() + straggling.len();
    if all == 0 || all < cap {
        return None;
    }
    // Its own threads and thread-locals go when it ends, and so are not what keeps it.
    let keeps = |holder: &Holder| !matches!(holder, Holder::PluginThread { .. } | Holder::ThreadLocals { .. });
    let holders = |number| {
        holders_of(&host.slots, &host.images, name, number)
            .into_iter()
            .filter(keeps)
            .collect()
    };
    let held = straggling.into_iter().map(|number| (number, holders(number))).collect();
    Some(Cause::QuarantineFull { quarantined, held, cap })
}

/// Reads what the plugin will be given of its resources, here, where nobody waits, and not on an owner's thread.
pub(super) fn report_resource_problems(host: &Inner, record: &SlotRecord, names: &[String]) {
    for trouble in host.given.learn(names) {
        super::given::report_input_problem(host, Some(&record.name), trouble);
    }
}

/// Opens, verifies, creates.
pub(super) fn make(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    number: u64,
    staged: StagedFile,
    linted: Linted,
    path: &Path,
    clock: &mut Clock,
) -> Result<Generation, Refusal> {
    let refuse = |step, cause: Cause| refusal(Some(record), Some(number), path, step, cause);
    let opened = Opened::open(staged).map_err(|error| refuse(Step::Open, error.into()))?;
    clock.lap(Step::Open);

    let Linted {
        manifest, manifest_text, ..
    } = linted;
    let resources = resources(host, &record.name, number);
    host.images.opened(&record.name, number, resources.clone());
    let (levels, slot) = (host.log_levels.clone(), record.name.clone());
    resources.set_log_forwarder(LogForwarder::new(record.name.clone(), number, move || levels.of(&slot)));
    resources.set_peers(Box::new(PeerTable::new(
        &host.slots,
        record.name.clone(),
        &manifest,
        host.drain_deadline,
    )));
    let image = opened.verify(manifest, Some(manifest_text), resources).map_err(|error| {
        // Its static constructors have run, so it stays mapped.
        let reason = match error {
            OpenError::EarlyRegistrations(count) => QuarantineReason::StaticConstructors(count),
            _ => QuarantineReason::NotVerified,
        };
        let _ = host.images.advance(&record.name, number, Lifecycle::Failed);
        host.images.enters(&record.name, number, Phase::Quarantined(reason));
        refuse(Step::Verify, error.into())
    })?;
    clock.lap(Step::Verify);
    let _ = host.images.advance(&record.name, number, Lifecycle::Loaded);
    let _ = host.images.advance(&record.name, number, Lifecycle::Initializing);

    let watching = Watching {
        supervisor: host.supervisor(),
        count: host.policy.probation_calls > 0,
        count_all: host.count_calls,
        call_deadline: host.policy.call_deadline,
    };
    let (links, reaper, log, images) = (record.links(), host.reaper(), host.log.clone(), host.images.clone());
    let injections = host.injections.clone();
    let instance = move |image, name| match injections.trigger(Hook::Create) {
        Ok(()) => Instance::create(image, name, number),
        Err(error) => Err((image, error)),
    };
    let create = move || match instance(Box::new(image), links.name.clone()) {
        Ok(instance) => Ok(Generation::new(links, number, instance, watching, reaper, log)),
        Err((image, error)) => {
            // Before the reaper has it, who may be done with it before anybody here goes on.
            let _ = images.advance(&links.name, number, Lifecycle::Failed);
            give_back(&reaper, &links.name, number, image);
            Err(error)
        }
    };
    let most = host.policy.hook_deadline;
    let created = host.hooks.run(most, create).unwrap_or_else(|TookTooLong| {
        host.images.hangs(&record.name, number, Hook::Create);
        Err(HookError::TookTooLong(most))
    });
    let generation = created.map_err(|error| refuse(Step::Create, Cause::Hook(Hook::Create, error)))?;
    clock.lap(Step::Create);
    Ok(generation)
}

fn resources(host: &Arc<Inner>, slot: &Arc<str>, generation: u64) -> Arc<ImageResources> {
    let (reaper, log, slot) = (host.reaper(), host.log.clone(), slot.clone());
    ImageResources::new(
        format!("plugin {slot:?}, generation {generation},"),
        move || {
            // Without a reaper the process is ending.
            let _ = reaper.send(ReaperMessage::Recheck);
        },
        move |report| {
            report.backtrace.keep();
            log.push(Event::ThreadPanicked {
                slot: slot.clone(),
                generation,
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            });
        },
    )
}

/// Hands an image without instance to the reaper.
fn give_back(reaper: &Sender<ReaperMessage>, slot: &Arc<str>, number: u64, image: Box<Image>) {
    let slot = slot.clone();
    if let Err(unsent) = reaper.send(ReaperMessage::Unload { slot, number, image }) {
        std::mem::forget(unsent);
    }
}

pub(super) fn refusal(
    record: Option<&SlotRecord>,
    candidate: Option<u64>,
    path: &Path,
    step: Step,
    cause: impl Into<Cause>,
) -> Refusal {
    let serving = record.and_then(|record| record.lock().current.as_ref().map(|current| current.generation.number()));
    Refusal {
        slot: record.map(|record| record.name.clone()),
        candidate,
        serving,
        path: path.to_owned(),
        step,
        cause: Arc::new(cause.into()),
    }
}
