//! Re-instantiation: a new instance of the current artifact is made, and handed over to like any candidate. There are three reasons.
//!
//! When a configuration, a resource or a current generation changes, every slot is checked, and the instances with outdated inputs are
//! replaced. So the order and the number of the changes do not matter. An image that differs from its artifact is replaced
//! (`damaged.rs`), and so is an instance that has ended, in a sandbox or in a process of its own.

use super::{
    artifact::{FIRST_WAIT, FailedLint, LONGEST_WAIT, LintedArtifact, lint, lint_archived, refusal_of},
    attempt::Target,
    clock::Clock,
    inputs::{report_input_problem, report_refused, report_unreadable},
    messages::{LoadOutcome, ReloadMessage},
    steps::{bring_into_service, make_candidate},
};
use crate::{
    history::Artifact,
    inputs::{InputStore, Read},
    instances::LoadRequest,
    runtime::Runtime,
    slot::{CandidateKind, Current, Generation, Renewal, SlotRecord},
};
use reslot_artifact::ContentHash;
use reslot_report::{Event, HistoryError, Refusal, Step};
use reslot_sync::Instant;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Resources that somebody was writing when the host tried to read them.
#[derive(Default)]
pub(super) struct UnreadResources(Vec<(Instant, Duration, String)>);

impl UnreadResources {
    /// When to try the next one again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(at, ..)| *at).min()
    }

    /// Reads a resource that has changed.
    pub(super) fn read(&mut self, host: &Arc<Runtime>, name: String, wait: Duration) {
        let waits_already = self.0.iter().any(|(.., known)| *known == name) || wait > FIRST_WAIT;
        self.0.retain(|(.., known)| *known != name);
        match host.inputs.read_again(&name) {
            None => {}
            Some(Read::Changed) => update_outdated(host),
            Some(Read::BeingWritten { name, file, why }) => {
                if !waits_already {
                    host.log.push(Event::Waiting { path: file, why });
                }
                self.0.push((Instant::now() + wait, wait, name));
            }
            Some(trouble) => report_input_problem(&host.log, &host.threads, None, trouble),
        }
    }

    /// Tries those again that are due.
    pub(super) fn read_due(&mut self, host: &Arc<Runtime>) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(|(at, ..)| *at <= now);
        self.0 = later;
        for (_, wait, name) in due {
            self.read(host, name, (wait * 2).min(LONGEST_WAIT));
        }
    }
}

/// Makes new instances wherever the inputs are outdated.
pub(super) fn update_outdated(host: &Arc<Runtime>) {
    for record in host.slots.all().iter() {
        if let Some(serving) = find_outdated(&host.inputs, record) {
            reinstantiate(host, record, &serving);
        }
    }
    for request in host.inputs.to_try_again() {
        host.threads.send_to_reload(ReloadMessage::Retry(request));
    }
}

/// A current generation that is to be replaced by another instance of its artifact.
pub(super) struct OutdatedGeneration {
    pub(super) generation: Arc<Generation>,
    pub(super) hash: ContentHash,
    pub(super) path: PathBuf,
}

impl OutdatedGeneration {
    pub(super) fn of(current: &Current) -> Self {
        Self {
            generation: current.generation.clone(),
            hash: current.hash,
            path: current.path.clone(),
        }
    }
}

fn find_outdated(inputs: &InputStore, record: &SlotRecord) -> Option<OutdatedGeneration> {
    let state = record.lock_replaceable();
    if state.is_gone() || state.staged_set.is_some() {
        // A set gets the newest inputs when it is adopted; the slot is checked again after that.
        return None;
    }
    let current = state.current()?;
    let has_outdated_inputs = |generation: &Generation| {
        let names = &generation.instance().manifest().resources;
        inputs.inputs(&record.name, names, Some(&current.hash)) != generation.inputs()
            && !inputs.is_put_off(&record.name, names)
    };
    match &state.staged {
        // A staged candidate gets the newest inputs when it is prepared; the slot is checked again after that.
        Some(staged) if !(staged.is_reinstance() && staged.is_started && has_outdated_inputs(&staged.generation)) => {
            return None;
        }
        _ => {}
    }
    has_outdated_inputs(&current.generation).then(|| OutdatedGeneration::of(current))
}

/// Makes another instance of the current artifact, for new inputs.
fn reinstantiate(host: &Arc<Runtime>, record: &Arc<SlotRecord>, serving: &OutdatedGeneration) {
    host.inputs.begin_trial(&record.name);
    match renew(host, record, serving, Renewal::Inputs) {
        Ok(_) => {}
        Err(NotRenewed::Unreadable(error)) => {
            let reason = format!("the host's copy of what serves cannot be read: {error}");
            report_unreadable(host, &record.name, reason);
        }
        Err(NotRenewed::Refused(refusal)) => report_refused(host, refusal),
    }
}

/// Makes another instance in place of one that has ended, if it still serves and nothing newer is about to.
pub(super) fn replace_ended(host: &Arc<Runtime>, record: &Arc<SlotRecord>, number: u64) {
    let state = record.lock_replaceable();
    let Some(current) = state.current().filter(|current| current.generation.number() == number) else {
        return;
    };
    let serving = OutdatedGeneration::of(current);
    let is_replaced = state.staged.is_some() || state.staged_set.is_some() || state.adopting().is_some();
    if state.is_gone() || is_replaced {
        return;
    }
    drop(state);
    match renew(host, record, &serving, Renewal::Ended) {
        Ok(_) => {}
        Err(NotRenewed::Refused(refusal)) => host.log.push(Event::Refused(refusal)),
        Err(NotRenewed::Unreadable(error)) => host.storage.report_history_error(&record.name, Err(error)),
    }
}

/// Why there is no other instance of the current artifact.
pub(super) enum NotRenewed {
    /// There are no intact bytes of the artifact.
    Unreadable(HistoryError),
    Refused(Refusal),
}

/// Makes another instance of the current artifact.
///
/// # Errors
/// If the bytes are nowhere intact, or the instance is refused.
pub(super) fn renew(
    host: &Arc<Runtime>,
    record: &Arc<SlotRecord>,
    serving: &OutdatedGeneration,
    why: Renewal,
) -> Result<LoadOutcome, NotRenewed> {
    let mut clock = Clock::begin();
    clock.lap(Step::Notice);
    let artifact = lint_again(host, record, &serving.generation, serving.hash, &serving.path);
    let artifact = artifact.map_err(NotRenewed::Unreadable)?;
    clock.lap(Step::Read);
    let kind = CandidateKind::Reinstance {
        of: serving.generation.number(),
        why,
    };
    artifact
        .map_err(|unfit| refusal_of(host, &LoadRequest::of_slot(&serving.path, &record.name), *unfit))
        .and_then(|artifact| make_candidate(host, Target::of(record), kind, &serving.path, artifact, clock))
        .and_then(|(candidate, _)| bring_into_service(host, record, candidate))
        .map_err(NotRenewed::Refused)
}

/// Reads and lints the artifact of a generation again. `hash` names its version, and `path` is the file that was published.
///
/// # Errors
/// If its bytes are nowhere intact.
pub(super) fn lint_again(
    host: &Runtime,
    record: &SlotRecord,
    generation: &Generation,
    hash: ContentHash,
    path: &Path,
) -> Result<Result<LintedArtifact, Box<FailedLint>>, HistoryError> {
    if let Some(source) = host.engines.linked_source(path) {
        return Ok(lint(host, source));
    }
    match intact_bytes(host, record, generation, hash, path) {
        Ok(intact) => Ok(lint_archived(host, hash, intact)),
        // The published file may still be the same one.
        Err(error) => match host.storage.read(path) {
            Ok(source) if source.hash == hash => Ok(lint(host, source)),
            _ => Err(error),
        },
    }
}

/// Reads the artifact of a generation from its private copy; or from the history, if a cleaner of temporary folders has removed the copy, or if
/// it is no longer what was linted. A history of this process has a link to the same file, so a bit that has flipped in the page cache is in both.
fn intact_bytes(
    host: &Runtime,
    record: &SlotRecord,
    generation: &Generation,
    version: ContentHash,
    path: &Path,
) -> Result<Artifact, HistoryError> {
    let image = generation.instance().image();
    let read = |copy: &Path, expected: ContentHash| {
        let bytes = std::fs::read(copy).map_err(HistoryError::io(copy, "read"))?;
        match ContentHash::of(&bytes) {
            found if found == expected => Ok(bytes),
            found => Err(HistoryError::Changed {
                slot: record.name.to_string(),
                file: copy.to_owned(),
                expected,
                found,
            }),
        }
    };
    let kept = || host.storage.history.read(&record.name, &version);
    let (Some(copy), Some(hash)) = (image.copy(), image.copy_hash()) else {
        return kept();
    };
    match read(copy, hash) {
        Ok(bytes) => Ok(Artifact {
            bytes,
            copy: hash,
            file: path.to_owned(),
            version: String::new(),
            schema: None,
        }),
        Err(error) => {
            let artifact = kept().map_err(|_| error)?;
            let file = path.to_owned();
            Ok(Artifact { file, ..artifact })
        }
    }
}

/// The same, if a try was put off until now.
pub(super) fn update_due(host: &Arc<Runtime>) {
    if host.inputs.is_due() {
        update_outdated(host);
    }
}
