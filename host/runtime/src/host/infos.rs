//! What the host tells of itself, and does when asked, that its embedder and its surfaces have in common.

use super::SlotInfo;
use crate::{
    given::{PluginSettings, SettingsRefused},
    instances::LoadRequest,
    reload::{LoadOutcome, Outcomes, ReloadMessage, SavedState},
    runtime::Runtime,
    slot::{Phase, SlotRecord},
};
use reslot_process::{hooks::TookTooLong, safe_point};
use reslot_report::{Cause, HookError, Refusal};
use std::{
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How often an owner who waits looks whether something is wanted of him.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Runtime {
    /// Has the reload thread load a file, and waits for what becomes of it in each slot that it is for.
    pub(crate) fn ask_for(&self, request: LoadRequest, by_name: bool) -> Outcomes {
        let asked = request.path.clone();
        let outcomes = self.ask_reload_thread(asked, |answer| ReloadMessage::Load {
            request,
            by_name,
            state: None,
            answer,
        });
        outcomes.unwrap_or_else(|refusal| vec![Err(refusal)])
    }

    /// As [`Host::load_from`](crate::Host::load_from).
    pub(crate) fn load_from(&self, request: LoadRequest, state: SavedState) -> Result<LoadOutcome, Refusal> {
        let asked = request.path.clone();
        let mut outcomes = self.ask_reload_thread(asked, |answer| ReloadMessage::Load {
            request,
            by_name: true,
            state: Some(state),
            answer,
        })?;
        // A slot was named, so there is one.
        outcomes.remove(0)
    }

    /// As [`Host::load`](crate::Host::load).
    pub(crate) fn load(&self, request: LoadRequest) -> Result<LoadOutcome, Refusal> {
        let mut outcomes = self.ask_for(request, true);
        if outcomes.len() == 1 {
            return outcomes.remove(0);
        }
        let outcomes: Result<Vec<_>, _> = outcomes.into_iter().collect();
        outcomes.map(LoadOutcome::Instances)
    }

    /// Asks the reload thread, and waits; `about` is what a refusal names that comes from no file.
    pub(crate) fn ask_reload_thread<T, E: From<Refusal>>(
        &self,
        about: PathBuf,
        message: impl FnOnce(mpsc::Sender<Result<T, E>>) -> ReloadMessage,
    ) -> Result<T, E> {
        self.ask_reload_thread_and(about, message, None)
    }

    /// The same for an owner, of whom the reload thread may want something before it answers: again and again he does what he does at
    /// his safe point.
    pub(crate) fn ask_reload_thread_and<T, E: From<Refusal>>(
        &self,
        about: PathBuf,
        message: impl FnOnce(mpsc::Sender<Result<T, E>>) -> ReloadMessage,
        meanwhile: Option<&dyn Fn()>,
    ) -> Result<T, E> {
        if self.process.is_another() {
            return Err(Refusal::before_it_was_read(about, Cause::ForkedProcess).into());
        }
        safe_point();
        if self.reload_thread.get() == Some(&thread::current().id()) {
            return Err(Refusal::before_it_was_read(about, Cause::Reentrant).into());
        }
        let (answer, outcome) = mpsc::channel();
        let sent = self.reload.send(message(answer));
        let wait = || match meanwhile {
            None => outcome.recv().ok(),
            Some(meanwhile) => loop {
                meanwhile();
                match outcome.recv_timeout(LOOK_AGAIN) {
                    Err(RecvTimeoutError::Timeout) => {}
                    come => break come.ok(),
                }
            },
        };
        let outcome = sent.ok().and_then(|()| wait());
        outcome.unwrap_or_else(|| {
            let cause = if self.slots.is_ending() {
                Cause::HostEnded
            } else {
                Cause::Bug
            };
            Err(Refusal::before_it_was_read(about, cause).into())
        })
    }

    /// Every slot, with what serves in it.
    pub(crate) fn infos(&self) -> Vec<SlotInfo> {
        self.slots.all().iter().map(|record| self.info(record)).collect()
    }

    /// A slot at this moment.
    pub(crate) fn info(&self, record: &SlotRecord) -> SlotInfo {
        let images = self.images.of_slot(&record.name);
        let count = |is: fn(&Phase) -> bool| images.iter().filter(|image| is(&image.phase)).count();
        let mut state = record.lock();
        // The lock keeps the generation. It is the SDK that counts, in a loop over numbers: no plugin's code runs.
        let current = state.current();
        let live_bytes = current.and_then(|current| current.generation.instance().live_bytes());
        let manifest = current.map(|current| current.generation.instance().manifest());
        SlotInfo {
            name: record.name.to_string(),
            plugin: manifest.map(|manifest| manifest.name.clone()),
            interface: manifest.map(|manifest| manifest.interface.name.to_string()),
            version: manifest.map(|manifest| manifest.version.to_string()),
            hash: current.map(|current| current.hash),
            unloaded: state.unloaded().is_some(),
            unloaded_from: state.unloaded().map(|left| left.path.clone()),
            generation: current.map(|current| current.generation.number()),
            newest: (state.last_number > 0).then_some(state.last_number),
            path: current.map(|current| current.path.clone()),
            mapped: images.len(),
            retired: count(|phase| matches!(phase, Phase::Retired)),
            quarantined: count(|phase| matches!(phase, Phase::Quarantined(_))),
            staged: state.waiting(record.id).map(|(number, _)| number),
            standby: state.standby().map(|standby| standby.current.generation.number()),
            on_probation: state.probation.is_some(),
            health: state.health(),
            claimed: state.is_claimed(),
            live_bytes,
            calls: self.count_calls.then(|| record.counts.calls()),
            faults: record.counts.faults(),
            log_level: self.log_levels.own(&record.name),
        }
    }

    /// As [`Steering::check_settings`](super::Steering::check_settings).
    pub(super) fn check_settings(&self, settings: &PluginSettings) -> Result<(), SettingsRefused> {
        for record in self.slots.all().iter() {
            let serving = record.lock().serving().cloned();
            let Some(serving) = serving else { continue };
            let Some(table) = self.given.changed_table(&record.name, settings) else {
                continue;
            };
            let most = self.policy.hook_deadline;
            let check = move || serving.instance().check_config(&table);
            let checked = self.hooks.run(most, check);
            checked
                .unwrap_or_else(|TookTooLong| Err(HookError::TookTooLong(most)))
                .map_err(|error| SettingsRefused {
                    slot: record.name.clone(),
                    error,
                })?;
        }
        Ok(())
    }
}
