//! The end of a generation: retire, unload, prove. All of it happens on one thread of the host's, the only one that closes images. It never
//! waits for one image alone: it checks an image whose threads still run, or whose thread-locals wait for safe points, again when one of
//! these is gone. An image that cannot be closed safely is quarantined, and tried again when the reason is gone.

use super::survive::survive;
use crate::{
    event::Log,
    runtime::{Retries, Runtime},
    safe_points,
    slot::{EndedGeneration, Ending, MappedImages, Phase, ReaperMessage, Slots, holders_of},
};
use reslot_engine::{Holding, Image, Instance, SharedImage, Unloading};
use reslot_report::{EngineKind, Event, Holder, HookError, Lifecycle, Outcome, QuarantineReason, UnloadReport};
use reslot_sync::{
    Instant,
    mpsc::{Receiver, RecvTimeoutError, Sender},
};
use reslot_system::{
    awake::{self, Limit},
    hooks::Hooks,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How often to check images again whose reason can end without a message, such as a signal handler.
const QUARANTINE_RETRY: Duration = Duration::from_millis(500);

/// The reaper's thread.
pub(crate) struct Reaper {
    retries: Weak<Retries>,
    slots: Weak<Slots>,
    log: Log,
    images: Arc<MappedImages>,
    limits: Deadlines,
    hooks: Hooks,
    /// The threads for hooks send instances back through this.
    own: Sender<ReaperMessage>,
    running_hooks: Vec<RunningHook>,
    retired: Vec<Retired>,
    stopping: Vec<Stopping>,
    /// The ends of instances after which another instance of the same image was left. They are reported with the last one.
    earlier: Vec<Ending>,
    shared: Vec<StillShared>,
    pending: Vec<PendingUnload>,
}

/// Closes the streams of events when the reaper ends.
struct CloseLog(Log);

impl Drop for CloseLog {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How long the reaper waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// For the holders of a retired generation, before they are named.
    pub(crate) drain: Duration,
    /// For the threads of a stopped plugin, before its image is quarantined.
    pub(crate) threads: Duration,
    /// For threads that live on to come to a safe point, before their thread-locals are skipped.
    pub(crate) thread_locals: Duration,
    /// For a plugin's `stop`, and for its drop, before its image is quarantined.
    pub(crate) hooks: Duration,
}

/// A generation whose holders have not dropped it yet.
struct Retired {
    slot: Arc<str>,
    number: u64,
    limit: Limit,
    named: Vec<Holder>,
}

/// An instance that is being stopped or dropped, on a thread for hooks.
struct RunningHook {
    ending: Ending,
    hook: &'static str,
    /// None once it has passed.
    limit: Option<Limit>,
}

/// A stopped instance whose threads of `Context::spawn` still run.
struct Stopping {
    ending: Ending,
    instance: Instance,
    begun: Instant,
}

/// An image whose last instance is gone, while the drop of an earlier one still runs.
struct StillShared {
    ending: Ending,
    image: SharedImage,
    begun: Instant,
}

/// An image whose instance is gone.
struct PendingUnload {
    ending: Ending,
    image: Box<dyn Image>,
    /// Since when the reaper waits for its threads.
    begun: Instant,
    /// What kept it at the last check.
    kept_by: Holding,
    /// Since when the reaper waits for thread-locals of threads that go on.
    values_since: Option<Instant>,
    quarantined: Option<QuarantineReason>,
}

impl Reaper {
    pub(crate) fn new(host: &Arc<Runtime>, limits: Deadlines) -> Self {
        Self {
            hooks: host.hooks.pool().clone(),
            own: host.threads.reaper(),
            running_hooks: Vec::new(),
            retries: Arc::downgrade(&host.retries),
            slots: Arc::downgrade(&host.slots),
            log: host.log.clone(),
            images: host.images.clone(),
            limits,
            retired: Vec::new(),
            stopping: Vec::new(),
            earlier: Vec::new(),
            shared: Vec::new(),
            pending: Vec::new(),
        }
    }

    pub(crate) fn run(mut self, messages: &Receiver<ReaperMessage>) {
        // Closes the streams of events however this ends, and not before: generations whose holders outlive the host are reported as well.
        let _closed = CloseLog(self.log.clone());
        let mut ending = false;
        loop {
            let message = match self.next_look() {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => awake::watch(at, || messages.recv_timeout(at.saturating_duration_since(Instant::now()))),
            };
            match message {
                Ok(ReaperMessage::End) => ending = true,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => survive(|| self.look_at_all()),
                Ok(message) => survive(|| {
                    self.take(message);
                    self.look_at_all();
                }),
            }
            let counts = self.images.counts();
            if ending && counts.mapped == counts.quarantined {
                break;
            }
        }
        // A quarantined image is never forced: it outlives the host.
        for pending in self.pending {
            std::mem::forget(pending.image);
        }
        for shared in self.shared {
            std::mem::forget(shared.image);
        }
    }

    fn take(&mut self, message: ReaperMessage) {
        match message {
            ReaperMessage::Reap(parts) => self.stop(*parts),
            ReaperMessage::Stopped { ending, instance, begun } => {
                let to = if ending.stop_error.is_some() {
                    Lifecycle::Failed
                } else {
                    Lifecycle::Stopped
                };
                let ending = self.note_returned_hook(*ending);
                self.advance(&ending, to);
                let instance = *instance;
                self.stopping.push(Stopping { ending, instance, begun });
            }
            ReaperMessage::Destroyed { ending, image, begun } => {
                let ending = self.note_returned_hook(*ending);
                if ending.is_last {
                    self.shared.push(StillShared { ending, image, begun });
                } else if let Some(reported) = self.earlier.iter_mut().find(|earlier| earlier.is(&ending)) {
                    reported.destroy_error = reported.destroy_error.take().or(ending.destroy_error);
                }
            }
            ReaperMessage::Unload { slot, number, image } => {
                self.images.enters(&slot, number, Phase::Ending);
                self.begin_unload(Ending::of_image(slot, number), image, Instant::now());
            }
            ReaperMessage::Retired { slot, number } => self.retired.push(Retired {
                slot,
                number,
                limit: Limit::begin(self.limits.drain),
                named: Vec::new(),
            }),
            // Every image is checked after each message.
            ReaperMessage::Recheck | ReaperMessage::End => {}
        }
    }

    /// The next deadline.
    fn next_look(&self) -> Option<Instant> {
        let unnamed = self.retired.iter().filter(|retired| retired.named.is_empty());
        let drains = unnamed.map(|retired| retired.limit.next_look());
        let threads = |stopping: &Stopping| Limit::since(stopping.begun, self.limits.threads).next_look();
        let stopping = self.stopping.iter().map(threads);
        let pending = self.pending.iter().filter_map(|pending| self.due(pending));
        let running = self
            .running_hooks
            .iter()
            .filter_map(|running| Some(running.limit?.next_look()));
        drains.chain(stopping).chain(pending).chain(running).min()
    }

    fn due(&self, pending: &PendingUnload) -> Option<Instant> {
        match (pending.kept_by, &pending.quarantined) {
            (Holding::Values, _) => pending
                .values_since
                .map(|since| Limit::since(since, self.limits.thread_locals).next_look()),
            (Holding::Threads, None) => Some(Limit::since(pending.begun, self.limits.threads).next_look()),
            // The end of a thread comes as a message.
            (Holding::Threads, Some(_)) => None,
            (Holding::Nothing, _) => Some(Instant::now() + QUARANTINE_RETRY),
        }
    }

    /// Stops an instance whose last holder has dropped it. The rest of its end blocks no other generation. If another instance of its image
    /// is left, this end is reported together with that one's.
    fn stop(&mut self, parts: EndedGeneration) {
        let EndedGeneration {
            slot,
            number,
            mut instance,
            retired,
        } = parts;
        let begun = Instant::now();
        let mut ending = Ending {
            retired,
            is_last: instance.begin_ending(),
            ..Ending::of_image(slot, number)
        };
        if ending.is_last {
            let earlier = self.earlier.iter().filter(|earlier| earlier.is(&ending));
            ending.retired = earlier.map(|earlier| earlier.retired).fold(ending.retired, Option::max);
            let waited = self.retired.iter().position(|waiting| waiting.is(&ending.slot, number));
            ending.late_holders = waited.map_or_else(Vec::new, |at| self.retired.swap_remove(at).named);
            self.images.enters(&ending.slot, number, Phase::Ending);
            instance.image().resources().watch();
        } else {
            self.earlier.push(ending.clone());
        }
        ending.held = ending
            .retired
            .map_or(Duration::ZERO, |at| begun.saturating_duration_since(at));
        if !instance.is_started() {
            self.stopping.push(Stopping { ending, instance, begun });
            return;
        }
        self.advance(&ending, Lifecycle::Stopping);
        self.note_running_hook(&ending, "`stop`");
        let own = self.own.clone();
        self.hooks.start(move || {
            ending.stop_error = instance.exclusive_instance().stop().err();
            ending.took += begun.elapsed();
            let (ending, instance) = (Box::new(ending), Box::new(instance));
            give_back(&own, ReaperMessage::Stopped { ending, instance, begun });
        });
    }

    /// Moves a generation on in its lifecycle. It ends with its last instance.
    fn advance(&self, ending: &Ending, to: Lifecycle) {
        if ending.is_last {
            let _ = self.images.advance(&ending.slot, ending.number, to);
        }
    }

    fn note_running_hook(&mut self, ending: &Ending, hook: &'static str) {
        self.running_hooks.push(RunningHook {
            ending: ending.clone(),
            hook,
            limit: Some(Limit::begin(self.limits.hooks)),
        });
    }

    /// A hook has come back, with the instance that it ran on.
    fn note_returned_hook(&mut self, mut ending: Ending) -> Ending {
        let at = self
            .running_hooks
            .iter()
            .position(|running| running.ending.is(&ending) && running.ending.is_last == ending.is_last);
        let quarantined = at.and_then(|at| self.running_hooks.swap_remove(at).ending.quarantined);
        if quarantined.is_some() {
            self.images.enters(&ending.slot, ending.number, Phase::Ending);
        }
        ending.quarantined = ending.quarantined.or(quarantined);
        ending
    }

    /// An image whose hook has not come back in time stays mapped until it does.
    fn name_hanging(&mut self) {
        for running in &mut self.running_hooks {
            if running.limit.is_none_or(|limit| !limit.is_over()) {
                continue;
            }
            running.limit = None;
            let reason = QuarantineReason::HookRunning(running.hook);
            let (slot, number) = (&running.ending.slot, running.ending.number);
            if !running.ending.is_last {
                // Another instance of the image is left. The image is reported when that one ends.
                tracing::warn!(
                    slot = &**slot,
                    generation = number,
                    hook = running.hook,
                    "an instance that was replaced by another one does not end"
                );
                continue;
            }
            self.images.enters(slot, number, Phase::Quarantined(reason.clone()));
            let was_reported = running.ending.quarantined.replace(reason.clone()).is_some();
            if !was_reported {
                let report = running.ending.clone().report(Outcome::Quarantined(reason));
                self.log.push(Event::Retired(report));
            }
        }
    }

    /// The last instance is gone. If the drop of an earlier one still runs, wait for it.
    fn look_at_shared(&mut self, shared: StillShared) {
        let StillShared {
            mut ending,
            image,
            begun,
        } = shared;
        match image.alone() {
            Ok(image) => {
                if ending.quarantined.is_some() {
                    self.images.enters(&ending.slot, ending.number, Phase::Ending);
                }
                let of_it: Vec<_> = self.earlier.extract_if(.., |earlier| earlier.is(&ending)).collect();
                let errors = of_it.into_iter().map(|earlier| earlier.destroy_error);
                ending.destroy_error = errors.fold(ending.destroy_error, Option::or);
                self.begin_unload(ending, image, begun);
            }
            Err(image) => {
                let hangs = self
                    .running_hooks
                    .iter()
                    .find(|running| running.ending.is(&ending) && running.limit.is_none());
                if let (Some(hangs), None) = (hangs, &ending.quarantined) {
                    let reason = QuarantineReason::HookRunning(hangs.hook);
                    self.images
                        .enters(&ending.slot, ending.number, Phase::Quarantined(reason.clone()));
                    ending.quarantined = Some(reason.clone());
                    let report = ending.clone().report(Outcome::Quarantined(reason));
                    self.log.push(Event::Retired(report));
                }
                self.shared.push(StillShared { ending, image, begun });
            }
        }
    }

    fn look_at_all(&mut self) {
        for stopping in std::mem::take(&mut self.stopping) {
            self.look_at_workers(stopping);
        }
        self.name_hanging();
        for shared in std::mem::take(&mut self.shared) {
            self.look_at_shared(shared);
        }
        for pending in std::mem::take(&mut self.pending) {
            self.look_at(pending);
        }
        self.name_late_holders();
    }

    /// Drops a stopped instance, once its threads have ended or the deadline for them has passed.
    fn look_at_workers(&mut self, stopping: Stopping) {
        let workers = stopping.instance.end_workers(!stopping.ending.is_last);
        if !workers.is_empty() && !Limit::since(stopping.begun, self.limits.threads).is_over() {
            self.stopping.push(stopping);
            return;
        }
        let Stopping {
            mut ending,
            instance,
            begun,
        } = stopping;
        if !workers.is_empty() && ending.stop_error.is_none() {
            let patience = self.limits.threads;
            let words = format!("its thread(s) {workers} did not end within {patience:?} after they were asked to");
            ending.stop_error = Some(HookError::Refused(words));
        }
        self.advance(&ending, Lifecycle::Destroying);
        if let (false, Some(error)) = (ending.is_last, &ending.stop_error) {
            self.log.push(Event::StopFailed {
                slot: ending.slot.clone(),
                generation: ending.number,
                error: error.clone(),
            });
        }
        self.note_running_hook(&ending, "drop");
        let own = self.own.clone();
        self.hooks.start(move || {
            let dropping = Instant::now();
            let (image, destroyed) = instance.destroy();
            ending.destroy_error = destroyed.err();
            ending.took += dropping.elapsed();
            let ending = Box::new(ending);
            give_back(&own, ReaperMessage::Destroyed { ending, image, begun });
        });
    }

    /// The instance is gone, if there was one. From here on only the image's own threads and thread-locals keep it.
    fn begin_unload(&mut self, ending: Ending, image: Box<dyn Image>, begun: Instant) {
        image.resources().end();
        let pending = PendingUnload {
            quarantined: ending.quarantined.clone(),
            ending,
            image,
            begun,
            kept_by: Holding::Nothing,
            values_since: None,
        };
        self.look_at(pending);
    }

    fn look_at(&mut self, mut pending: PendingUnload) {
        let now = Instant::now();
        let before = std::mem::replace(&mut pending.kept_by, pending.image.holding());
        if pending.kept_by != before && pending.kept_by != Holding::Nothing {
            // Ask threads that go on to come to a safe point, also while the image's own threads still run.
            safe_points::request();
            // The host may be gone, so that nobody else wakes its waiters. Threads that wait for events, or for an unmapping, may hold
            // thread-locals of the image.
            self.log.wake();
            self.images.wake();
        }
        match pending.kept_by {
            Holding::Threads
                if pending.quarantined.is_none() && Limit::since(pending.begun, self.limits.threads).is_over() =>
            {
                let names = pending.image.resources().running_threads();
                self.quarantine(pending, QuarantineReason::ThreadsRunning(names));
            }
            Holding::Threads => self.pending.push(pending),
            Holding::Values
                if !Limit::since(*pending.values_since.get_or_insert(now), self.limits.thread_locals).is_over() =>
            {
                self.pending.push(pending);
            }
            Holding::Values | Holding::Nothing => self.close(pending),
        }
    }

    fn close(&mut self, pending: PendingUnload) {
        let (settled, engine) = (pending.begun.elapsed(), pending.image.engine());
        let was_quarantined = pending.quarantined.is_some();
        match pending.image.close() {
            Unloading::Unmapped(mut report) => {
                report.settle = settled;
                self.report_gone(pending.ending, engine, was_quarantined, Outcome::Unmapped(report));
            }
            Unloading::Linked => self.report_gone(pending.ending, engine, was_quarantined, Outcome::Linked),
            Unloading::ProcessEnded { pid } => {
                self.report_gone(pending.ending, engine, was_quarantined, Outcome::ProcessEnded { pid });
            }
            Unloading::SandboxFreed => self.report_gone(pending.ending, engine, was_quarantined, Outcome::SandboxFreed),
            Unloading::Stays(image, reason) => self.quarantine(PendingUnload { image, ..pending }, reason),
            Unloading::Busy(image) => self.pending.push(PendingUnload {
                image,
                kept_by: Holding::Threads,
                ..pending
            }),
        }
    }

    /// Nothing of it is left, or what is left is the program's.
    fn report_gone(&self, ending: Ending, engine: EngineKind, was_quarantined: bool, outcome: Outcome) {
        let (slot, generation) = (ending.slot.clone(), ending.number);
        self.images.remove(&slot, generation);
        self.log.push(match was_quarantined {
            false => Event::Retired(ending.report(outcome)),
            true => {
                let report = match outcome {
                    Outcome::Unmapped(report) => report,
                    _ => UnloadReport::default(),
                };
                let slot = slot.clone();
                Event::Released {
                    slot,
                    generation,
                    engine,
                    report,
                }
            }
        });
        if let Some(retries) = self.retries.upgrade() {
            retries.quarantine_room_freed(&slot);
        }
    }

    fn quarantine(&mut self, mut pending: PendingUnload, reason: QuarantineReason) {
        let (slot, number) = (&pending.ending.slot, pending.ending.number);
        if pending.quarantined.as_ref() != Some(&reason) {
            self.images.enters(slot, number, Phase::Quarantined(reason.clone()));
        }
        if pending.quarantined.replace(reason.clone()).is_none() {
            let report = pending.ending.clone().report(Outcome::Quarantined(reason));
            self.log.push(Event::Retired(report));
        }
        self.pending.push(pending);
    }

    fn name_late_holders(&mut self) {
        let late = |retired: &&mut Retired| retired.named.is_empty() && retired.limit.is_over();
        for late in self.retired.iter_mut().filter(late) {
            late.named = match self.slots.upgrade() {
                Some(slots) => holders_of(&slots, &self.images, &late.slot, late.number),
                None => vec![Holder::Unknown],
            };
            if late.named.is_empty() {
                // Its last holder has dropped it just now; the message is on its way.
                late.limit = Limit::begin(self.limits.drain);
                continue;
            }
            self.images.note_held_past_deadline(&late.slot, late.number);
            self.log.push(Event::DrainTimeout {
                slot: late.slot.clone(),
                generation: late.number,
                holders: late.named.clone(),
            });
        }
    }
}

/// Without a reaper the process is ending, and the instance is leaked.
fn give_back(reaper: &Sender<ReaperMessage>, message: ReaperMessage) {
    if let Err(unsent) = reaper.send(message) {
        std::mem::forget(unsent);
    }
}

impl Retired {
    fn is(&self, slot: &str, number: u64) -> bool {
        self.number == number && &*self.slot == slot
    }
}
