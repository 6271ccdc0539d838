//! Re-instantiation: when a configuration, a resource or a current generation changes, every slot is checked. If the current instance has
//! outdated inputs, a new instance of the same artifact is made and handed over to like any candidate. So the order and the number of the
//! changes do not matter.

use super::{
    artifact::{FIRST_WAIT, LONGEST_WAIT, lint, refusal_of},
    attempt::Target,
    clock::Clock,
    inputs::{report_input_problem, report_refused, report_unreadable},
    messages::ReloadMessage,
    steps::{bring_into_service, make_candidate},
};
use crate::{
    inputs::{InputStore, Read},
    instances::LoadRequest,
    runtime::Runtime,
    slot::{CandidateKind, Generation, SlotRecord},
};
use reslot_artifact::ContentHash;
use reslot_report::{Event, Step};
use reslot_stage::{Bytes, Source};
use reslot_sync::Instant;
use std::{path::PathBuf, sync::Arc, time::Duration};

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

/// A current generation with outdated inputs.
struct OutdatedGeneration {
    generation: Arc<Generation>,
    hash: ContentHash,
    path: PathBuf,
}

fn find_outdated(inputs: &InputStore, record: &SlotRecord) -> Option<OutdatedGeneration> {
    let state = record.lock_settled();
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
    has_outdated_inputs(&current.generation).then(|| OutdatedGeneration {
        generation: current.generation.clone(),
        hash: current.hash,
        path: current.path.clone(),
    })
}

/// Makes another instance of the current artifact.
fn reinstantiate(host: &Arc<Runtime>, record: &Arc<SlotRecord>, serving: &OutdatedGeneration) {
    host.inputs.begin_trial(&record.name);
    let mut clock = Clock::begin();
    clock.lap(Step::Notice);
    let source = match host.engines.linked_source(&serving.path) {
        Some(source) => Ok(source),
        None => read_copy(host, record, serving),
    };
    let source = match source {
        Ok(source) => source,
        Err(error) => {
            let reason = format!("the host's copy of what serves cannot be read: {error}");
            report_unreadable(host, &record.name, reason);
            return;
        }
    };
    clock.lap(Step::Read);
    let kind = CandidateKind::Reinstance {
        of: serving.generation.number(),
    };
    let outcome = lint(host, source)
        .map_err(|unfit| refusal_of(host, &LoadRequest::of_slot(&serving.path, &record.name), *unfit))
        .and_then(|artifact| make_candidate(host, Target::of(record), kind, &serving.path, artifact, clock))
        .and_then(|(candidate, _)| bring_into_service(host, record, candidate));
    if let Err(refusal) = outcome {
        report_refused(host, refusal);
    }
}

/// Reads the current artifact from its private copy, or from the history if a cleaner of temporary folders has removed the copy.
fn read_copy(host: &Runtime, record: &SlotRecord, serving: &OutdatedGeneration) -> std::io::Result<Source> {
    let copy = serving.generation.instance().image().copy();
    let copy = copy.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound));
    let kept = |_: &std::io::Error| host.storage.history.read(&record.name, &serving.hash).ok();
    let bytes = copy.and_then(std::fs::read);
    let bytes = bytes.or_else(|error| kept(&error).map(|artifact| artifact.bytes).ok_or(error))?;
    Ok(Source {
        path: serving.path.clone(),
        len: bytes.len() as u64,
        bytes: Bytes::of(bytes),
        hash: serving.hash,
    })
}

/// The same, if a try was put off until now.
pub(super) fn update_due(host: &Arc<Runtime>) {
    if host.inputs.is_due() {
        update_outdated(host);
    }
}
