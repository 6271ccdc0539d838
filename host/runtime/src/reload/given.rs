//! Keeping what serves up with what there is to be given: whenever a configuration, a resource or what serves has changed, all slots
//! are looked at, and where an instance was given something else than there is now, another one is made of the same artifact and
//! comes to serve as any candidate does. So it does not matter in which order things change, nor how often.

use super::{Clock, FIRST_WAIT, LONGEST_WAIT, ReloadMessage, go_back, pipeline::CandidateSpec, place};
use crate::{
    content::ContentHash,
    error::{Cause, Hook, Refusal},
    event::{Event, Step},
    given::Read,
    host::Inner,
    image::stage::{Bytes, Source},
    instance::HookError,
    slot::{Generation, SlotRecord},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Resources that somebody was writing when they were to be read.
#[derive(Default)]
pub(super) struct UnreadResources(Vec<(Instant, Duration, String)>);

impl UnreadResources {
    /// When the next one is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(at, ..)| *at).min()
    }

    /// Reads a resource to which something has happened.
    pub(super) fn read(&mut self, host: &Arc<Inner>, name: String, wait: Duration) {
        let waits_already = self.0.iter().any(|(.., known)| *known == name) || wait > FIRST_WAIT;
        self.0.retain(|(.., known)| *known != name);
        match host.given.read_again(&name) {
            None => {}
            Some(Read::Changed) => settle(host),
            Some(Read::BeingWritten { name, file, why }) => {
                if !waits_already {
                    host.log.push(Event::Waiting { path: file, why });
                }
                self.0.push((Instant::now() + wait, wait, name));
            }
            Some(trouble) => report_input_problem(host, None, trouble),
        }
    }

    /// Tries those again whose time has come.
    pub(super) fn read_due(&mut self, host: &Arc<Inner>) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(|(at, ..)| *at <= now);
        self.0 = later;
        for (_, wait, name) in due {
            self.read(host, name, (wait * 2).min(LONGEST_WAIT));
        }
    }
}

/// A resource cannot be had.
pub(super) fn report_input_problem(host: &Inner, slot: Option<&Arc<str>>, trouble: Read) {
    match trouble {
        Read::Changed => {}
        Read::BeingWritten { name, .. } => {
            // It is looked at again, in its turn.
            let _ = host.reload.send(ReloadMessage::Resource(name));
        }
        Read::Failed { file, error } => host.log.push(Event::ConfigRefused {
            file: Some(file),
            slot: slot.cloned(),
            reason: error,
        }),
    }
}

/// Brings all slots up with what there is.
pub(super) fn settle(host: &Arc<Inner>) {
    for record in host.slots.all().iter() {
        if let Some(serving) = behind(host, record) {
            renew(host, record, &serving);
        }
    }
    for request in host.given.to_try_again() {
        // Without a reload thread the host is gone.
        let _ = host.reload.send(ReloadMessage::Retry(request));
    }
}

/// An artifact that serves, and was given something else than there is.
struct Behind {
    generation: Arc<Generation>,
    hash: ContentHash,
    path: PathBuf,
}

fn behind(host: &Inner, record: &SlotRecord) -> Option<Behind> {
    let state = record.lock_settled();
    if state.gone || state.together.is_some() {
        // A set is prepared when it is adopted, with what there is then; the slot is looked at again after that.
        return None;
    }
    let current = state.current.as_ref()?;
    let is_behind = |generation: &Generation| {
        let names = &generation.instance().image().manifest.resources;
        host.given.inputs(&record.name, names, Some(&current.hash)) != generation.given()
            && !host.given.is_put_off(&record.name, names)
    };
    match &state.staged {
        // It gets what there is when it is prepared, and the slot is looked at after that.
        Some(staged) if !(staged.reinstance_of.is_some() && staged.prepared && is_behind(&staged.generation)) => {
            return None;
        }
        _ => {}
    }
    is_behind(&current.generation).then(|| Behind {
        generation: current.generation.clone(),
        hash: current.hash,
        path: current.path.clone(),
    })
}

/// Makes another instance of what serves.
fn renew(host: &Arc<Inner>, record: &Arc<SlotRecord>, serving: &Behind) {
    host.given.begin_trial(&record.name);
    let mut clock = Clock::begin();
    clock.lap(Step::Notice);
    let copy = serving.generation.instance().image().copy();
    // A cleaner of temporary folders may have removed the copy; the history has the same artifact.
    let kept = |_: &std::io::Error| host.history.read(&record.name, &serving.hash).ok();
    let bytes = std::fs::read(copy).or_else(|error| kept(&error).map(|artifact| artifact.bytes).ok_or(error));
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let reason = format!("the host's copy of what serves cannot be read: {error}");
            keep(host, &record.name, Failure::MayPass(u32::MAX), reason);
            return;
        }
    };
    clock.lap(Step::Read);
    let source = Source {
        path: serving.path.clone(),
        len: bytes.len() as u64,
        bytes: Bytes::of(bytes),
        hash: serving.hash,
    };
    let coming = CandidateSpec {
        path: &serving.path,
        by_name: true,
        state: None,
        back: None,
        kept_as: None,
        together: false,
        reinstance_of: Some(serving.generation.number()),
    };
    let outcome =
        go_back::made(host, record, coming, source, clock).and_then(|(candidate, _)| place::place(host, candidate));
    if let Err(refusal) = outcome {
        report_refused(host, refusal);
    }
}

/// How another instance of what serves failed.
enum Failure {
    /// The plugin does not take what there is.
    Refused,
    /// Not for that reason; it is tried so often.
    MayPass(u32),
}

impl Failure {
    fn of(cause: &Cause) -> Self {
        match cause {
            // Each costs an image that stays as long as the hook runs.
            Cause::Hook(_, HookError::TookTooLong(_)) => Self::MayPass(3),
            Cause::Hook(Hook::OnConfig | Hook::OnResource | Hook::Init, _) => Self::Refused,
            // Each runs the plugin, and has callers wait.
            Cause::Hook(..) | Cause::Unhealthy(_) | Cause::Busy(_) => Self::MayPass(8),
            _ => Self::MayPass(u32::MAX),
        }
    }
}

/// Another instance of what serves did not come to serve.
pub(super) fn report_refused(host: &Inner, refusal: Refusal) {
    let Some(slot) = &refusal.slot else { return };
    keep(host, slot, Failure::of(&refusal.cause), refusal.cause.to_string());
}

/// What serves in a slot goes on with what it has, until there is something else again, or it is time to try once more.
fn keep(host: &Inner, slot: &Arc<str>, failure: Failure, reason: String) {
    let serving = host.slots.named(slot).and_then(|record| {
        let state = record.lock();
        let current = state.current.as_ref()?;
        Some((current.generation.clone(), current.hash))
    });
    let mut first = true;
    if let Some((serving, hash)) = serving {
        let names = &serving.instance().image().manifest.resources;
        let tries = match failure {
            Failure::Refused => None,
            Failure::MayPass(most) => Some(host.given.put_off(slot, names)).filter(|tries| *tries < most),
        };
        match tries {
            None => host.given.refuse(slot, names, hash, serving.given()),
            // Told once.
            Some(tries) => {
                first = tries == 1;
                // Perhaps from an owner's thread: the reload thread is to know how long it may sleep.
                host.look_at_given();
            }
        }
    }
    if first {
        host.log.push(Event::ConfigRefused {
            file: None,
            slot: Some(slot.clone()),
            reason,
        });
    }
}

/// Tries those again whose time has come.
pub(super) fn settle_due(host: &Arc<Inner>) {
    if host.given.is_due() {
        settle(host);
    }
}

/// Something has come to serve, with what it was given when it was prepared; what there is may be something else by now.
pub(super) fn has_come(host: &Inner, generation: &Generation, other_artifact: bool) {
    if !host.given.is_asked() {
        return;
    }
    host.given.serves_with(generation.slot(), &generation.given());
    if other_artifact {
        host.given.forget_vetoed(generation.slot());
        host.given.look_at_settings();
    }
    host.look_at_given();
}

/// Whether a new artifact that was refused is tried once more, with what the one that serves has instead of what both have refused.
pub(super) fn falls_back(host: &Inner, slot: &Arc<str>, hash: &ContentHash, refusal: &Refusal) -> bool {
    let refused = matches!(Failure::of(&refusal.cause), Failure::Refused);
    let falls_back = refused && host.given.falls_back(slot, hash);
    if falls_back {
        host.log.push(Event::ConfigRefused {
            file: None,
            slot: Some(slot.clone()),
            reason: refusal.cause.to_string(),
        });
    }
    falls_back
}

/// An artifact that was refused because of what it was given is tried again when that is something else.
pub(super) fn refuse_inputs(host: &Inner, slot: &Arc<str>, refusal: &Refusal) {
    let of_resource = match &*refusal.cause {
        Cause::Hook(Hook::OnConfig, _) => false,
        Cause::Hook(Hook::OnResource, _) => true,
        _ => return,
    };
    host.given.refuse_inputs(slot, refusal.path.clone(), of_resource);
}
