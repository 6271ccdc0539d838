//! The ways to the host's three threads: how to send a message to each, or a question, and what it means if it does not answer.

use crate::{
    deferred_work::defer,
    inputs::InputStore,
    reload::ReloadMessage,
    slot::{ReaperMessage, SlotRecord, Slots, SupervisorMessage},
};
use reslot_report::{Cause, Refusal, RollbackReason};
use reslot_sync::{
    mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, ThreadId},
};
use reslot_system::safe_point;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The interval in which an owner who waits looks for requests.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The ways to the reload thread, the supervisor and the reaper.
///
/// A message that cannot be sent is dropped: its receiver has ended, because the host ends.
pub(crate) struct Threads {
    slots: Arc<Slots>,
    reload: Sender<ReloadMessage>,
    supervisor: Sender<SupervisorMessage>,
    reaper: Sender<ReaperMessage>,
    /// It must not wait for itself.
    reload_thread: OnceLock<ThreadId>,
}

impl Threads {
    pub(crate) fn new(
        slots: Arc<Slots>,
        reload: Sender<ReloadMessage>,
        supervisor: Sender<SupervisorMessage>,
        reaper: Sender<ReaperMessage>,
    ) -> Arc<Self> {
        Arc::new(Self {
            slots,
            reload,
            supervisor,
            reaper,
            reload_thread: OnceLock::new(),
        })
    }

    /// The reload thread has started.
    pub(crate) fn set_reload_thread(&self, thread: ThreadId) {
        let _ = self.reload_thread.set(thread);
    }

    /// Sends the reload thread a message.
    pub(crate) fn send_to_reload(&self, message: ReloadMessage) {
        let _ = self.reload.send(message);
    }

    /// The same after the owner's `sync`, if this is an owner's thread.
    pub(crate) fn send_to_reload_later(&self, message: ReloadMessage) {
        let reload = self.reload.clone();
        defer(move || drop(reload.send(message)));
    }

    /// Sends the supervisor a message, after the owner's `sync`, if this is an owner's thread.
    pub(crate) fn send_to_supervisor(&self, message: SupervisorMessage) {
        let supervisor = self.supervisor.clone();
        defer(move || drop(supervisor.send(message)));
    }

    /// For who sends the supervisor messages without the host.
    pub(crate) fn supervisor(&self) -> Sender<SupervisorMessage> {
        self.supervisor.clone()
    }

    /// For who sends the reaper messages without the host.
    pub(crate) fn reaper(&self) -> Sender<ReaperMessage> {
        self.reaper.clone()
    }

    /// Has the reload thread look for an older artifact than this generation's, if that one still serves then.
    pub(crate) fn go_back(&self, record: Arc<SlotRecord>, from: u64, reason: RollbackReason) {
        self.send_to_reload(ReloadMessage::GoBack {
            record,
            from: Some(from),
            to: None,
            reason,
            answer: None,
        });
    }

    /// Has the reload thread look whether everything that serves was given what there is now. Most hosts give nothing, and do not pay for it.
    pub(crate) fn recheck_inputs(&self, inputs: &InputStore) {
        if inputs.is_asked() {
            self.send_to_reload_later(ReloadMessage::InputsChanged);
        }
    }

    /// Asks the reload thread, and waits. `about` is the path in a refusal that is made here: the host has ended, the process is a forked child, or the
    /// caller is the reload thread.
    pub(crate) fn ask_reload<T, E: From<Refusal>>(
        &self,
        about: PathBuf,
        message: impl FnOnce(Sender<Result<T, E>>) -> ReloadMessage,
    ) -> Result<T, E> {
        self.ask_reload_and(about, message, None)
    }

    /// The same for the owner of a claim: `meanwhile` is called each millisecond, because the reload thread may ask the owner for his state.
    pub(crate) fn ask_reload_and<T, E: From<Refusal>>(
        &self,
        about: PathBuf,
        message: impl FnOnce(Sender<Result<T, E>>) -> ReloadMessage,
        meanwhile: Option<&dyn Fn()>,
    ) -> Result<T, E> {
        if self.slots.process.is_another() {
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
            let cause = match self.slots.is_ending() {
                true => Cause::HostEnded,
                false => Cause::Bug,
            };
            Err(Refusal::before_it_was_read(about, cause).into())
        })
    }
}
