//! The steps of a host's end, both for a drop and for a shutdown with a report.

use super::{Host, after, after_all_hooks};
use crate::{
    reload::ReloadMessage,
    runtime::Runtime,
    slot::{Change, Generation, MappedImages, Phase, ReaperMessage, Slots, SupervisorMessage, holders_of, who_holds},
};
use reslot_report::{
    EngineKind, Event, GenerationHolders, GenerationStatus, Holder, ShutdownReport, StillMapped, Unfinished, UnmappedImage,
};
use reslot_sync::{
    Instant, Mutex,
    thread::{self, ThreadId},
};
use reslot_system::background::{self, Kind};
use std::{
    collections::BTreeMap,
    mem::forget,
    sync::{Arc, Weak},
    time::Duration,
};

/// The part of the timeout that is reserved for the steps after the last holder: ending threads and surfaces, and removing
/// files. So the host has ended when the call returns, even if a generation is still held. A short timeout reserves an
/// eighth.
const KEPT_FOR_THE_REST: Duration = Duration::from_millis(100);

impl Host {
    /// Ends the host and reports which images were proven unmapped, and what keeps the others mapped.
    ///
    /// The steps are those of dropping the host, with two differences. First, the call returns within `timeout`: unfinished
    /// steps continue in the background, and [`ShutdownReport::unfinished`] names them. Second, the timeout replaces the
    /// drain deadline, and applies to owners of [claims](crate::Claim) and [shadows](crate::Shadow) as well as to readers;
    /// [`ShutdownReport::still_mapped`] names each holder that remains, and a holder can keep calling its generation. The
    /// call does not wait for quarantined images. With a timeout of zero the host begins to end, and the report lists the
    /// images that are mapped at that moment.
    ///
    /// Later events report the rest: [`Event::Retired`](crate::Event::Retired) for each generation. The stream ends after
    /// the last one.
    ///
    /// On one of the host's own threads, as in a subscriber's callback, it does not wait, because it would wait for itself
    /// ([`Unfinished::Reentrant`]); the host ends after the callback has returned. In a forked child it does nothing
    /// ([`Unfinished::ForkedProcess`]).
    ///
    /// A thread of a surface that calls this waits until the timeout if its surface ends only with that thread: the host does not know the
    /// threads of surfaces. The same is true of functions that the host calls on threads of the configuration or the watch. Give
    /// the host to another thread there.
    ///
    /// The calling thread is at a [safe point](crate::safe_point) while it waits: there the destructors of a plugin's thread-local
    /// values run that this thread has. They are the only code of plugins that runs on it. If one of them hangs, the call does not return in
    /// time; call it on a thread that has not called plugins where that matters.
    #[must_use = "the report names the images that are still mapped; without it, drop the host"]
    pub fn shutdown(self, timeout: Duration) -> ShutdownReport {
        let begun = Instant::now();
        if self.inner.process.is_another() {
            drop(self);
            return ShutdownReport::new(Some(Unfinished::ForkedProcess), begun.elapsed());
        }
        let own_thread = self.is_own_thread();
        let (images, slots) = (self.inner.images.clone(), self.inner.slots.clone());
        let progress = Arc::new(Progress::new(&images));
        let kept = (timeout / 8).min(KEPT_FOR_THE_REST);
        let (deadline, holders_until) = (after(timeout), after(timeout - kept));
        // Each step may wait for a plugin or for the embedder's own code, so another thread runs them all.
        let place = Arc::new(Mutex::new(Some(self)));
        let ending = {
            let (place, progress) = (place.clone(), progress.clone());
            background::spawn(Kind::Background, "reslot-shutdown", move || {
                let _over = Over(progress.clone());
                let host = place.lock().take();
                if let Some(mut host) = host {
                    host.end(Patience::Until(holders_until), &progress);
                }
            })
        };
        if ending.is_err() {
            forget(place.lock().take());
            progress.set_step(Some(Unfinished::NoThread));
        } else if own_thread {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            return progress.report(&slots, Some(Unfinished::Reentrant { thread }), begun);
        } else {
            images.wait_until(deadline, |_| progress.is_over());
        }
        progress.report(&slots, None, begun)
    }

    /// Whether the end of the host waits for the calling thread.
    fn is_own_thread(&self) -> bool {
        let this = thread::current().id();
        let is_this = |id: ThreadId| id == this;
        let threads = [&self.reload, &self.reaper, &self.supervisor].into_iter().flatten();
        threads
            .map(|thread| thread.thread().id())
            .chain(self.inner.scrubber.thread())
            .any(is_this)
            || self.inner.hooks.pool().is_own_thread()
    }

    /// Ends everything. The drop of the host calls it again, which has no effect.
    pub(super) fn end(&mut self, patience: Patience, progress: &Progress) {
        if self.reload.is_none() {
            return;
        }
        // From here on surfaces cannot send commands.
        self.inner.slots.end();
        progress.set_step(Some(Unfinished::Watch));
        self.watch = None;
        self.inner.inputs.end();
        self.inner.scrubber.end();
        progress.set_step(Some(Unfinished::Reload));
        self.inner.threads.send_to_reload(ReloadMessage::End);
        if let Some(reload) = self.reload.take() {
            let _ = reload.join();
        }
        // Deferred work sends messages to the supervisor, and a surface's rollback runs on the surface's thread: both must
        // finish before the supervisor ends.
        progress.set_step(Some(Unfinished::Rollback));
        self.inner
            .deferred_work
            .wait(after(after_all_hooks(&self.inner.options.policy)));
        let _ = self.inner.threads.supervisor().send(SupervisorMessage::End);
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
        progress.note_images();
        progress.set_step(Some(Unfinished::Generations));
        let let_go = let_go(&self.inner);
        match patience {
            Patience::DrainDeadline => {
                let deadline = after(self.inner.options.drain_deadline);
                self.inner.images.wait_for(self.inner.slots.claimed(), deadline);
            }
            Patience::Until(deadline) => {
                self.inner
                    .images
                    .wait_until(deadline, |counts| counts.mapped == counts.quarantined);
            }
        }
        name_holders(&self.inner, &let_go);
        let _ = self.inner.threads.reaper().send(ReaperMessage::End);
        // If claims or views remain, the reaper keeps running until the last of them is dropped.
        let counts = self.inner.images.counts();
        if let Some(reaper) = self.reaper.take()
            && counts.mapped == counts.quarantined
        {
            let _ = reaper.join();
        }
        self.inner.hooks.pool().end();
        // Surfaces end last, so that they can report the end, but before the host is freed, so that none of their threads
        // still uses it.
        progress.set_step(Some(Unfinished::Surfaces));
        self.surfaces.end();
    }
}

/// Releases all generations that the host holds. Returns them, except those of claimed slots.
fn let_go(host: &Runtime) -> Vec<Weak<Generation>> {
    host.log.push(Event::ShutDown);
    let mut let_go = Vec::new();
    for record in host.slots.all().iter() {
        let mut state = record.lock();
        let claimed = state.is_claimed();
        let current = host.slots.publish(record, &mut state, Change::HostEnded);
        let (staged, set) = (state.staged.take(), state.staged_set.take());
        let standby = state.probation.take().and_then(|probation| probation.standby);
        record.signal_staged(false);
        drop(state);
        match &current {
            // Its owner keeps using it.
            Some(current) if claimed => current.generation.retire(),
            Some(current) => {
                host.images.retire_unwatched(&current.generation);
                let_go.push(Arc::downgrade(&current.generation));
            }
            None => {}
        }
        if let Some(standby) = &standby {
            host.images.retire_unwatched(&standby.current.generation);
        }
        drop((current, staged, standby, set));
    }
    let_go
}

/// Reports the holders of the generations that the host has released.
fn name_holders(host: &Runtime, let_go: &[Weak<Generation>]) {
    for generation in let_go.iter().filter_map(Weak::upgrade) {
        host.log.push(Event::DrainTimeout {
            slot: generation.slot().clone(),
            generation: generation.number(),
            holders: holders_of(&host.slots, &host.images, generation.slot(), generation.number()),
        });
    }
}

/// How long the end of a host waits for the holders of its generations.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// Until the host's drain deadline, and not for claims and shadows.
    DrainDeadline,
    /// Until this time, for all holders.
    Until(Instant),
}

/// The progress of a host's end.
pub(super) struct Progress {
    images: Arc<MappedImages>,
    state: Mutex<State>,
}

struct State {
    /// None once the host has ended, or `Panicked`.
    step: Option<Unfinished>,
    /// The images that there were.
    known: BTreeMap<(Arc<str>, u64), EngineKind>,
}

/// Dropping this marks the host as ended, and if the end panicked, as that.
struct Over(Arc<Progress>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set_step(thread::panicking().then_some(Unfinished::Panicked));
    }
}

impl Progress {
    pub(super) fn new(images: &Arc<MappedImages>) -> Self {
        let state = State {
            step: Some(Unfinished::Watch),
            known: BTreeMap::new(),
        };
        let new = Self {
            images: images.clone(),
            state: Mutex::new(state),
        };
        new.note_images();
        new
    }

    /// Adds the images that are mapped at this moment to the report.
    fn note_images(&self) {
        let images = self.images.with_shadows(None).into_iter();
        self.state
            .lock()
            .known
            .extend(images.map(|image| ((image.slot, image.number), image.resources.engine())));
    }

    fn set_step(&self, step: Option<Unfinished>) {
        self.state.lock().step = step;
        self.images.wake();
    }

    fn is_over(&self) -> bool {
        matches!(self.state.lock().step, None | Some(Unfinished::Panicked))
    }

    fn report(&self, slots: &Slots, instead: Option<Unfinished>, begun: Instant) -> ShutdownReport {
        let still_mapped = still_mapped(slots, &self.images);
        let mut report = ShutdownReport::new(None, begun.elapsed());
        let state = self.state.lock();
        let is_left = |slot: &str, generation| {
            still_mapped
                .iter()
                .any(|image| &*image.slot == slot && image.held.generation == generation)
        };
        for ((slot, number), engine) in state.known.iter().filter(|((slot, number), _)| !is_left(slot, *number)) {
            let ended = UnmappedImage::new(slot.clone(), *number);
            match engine {
                EngineKind::Linked => report.linked.push(ended),
                _ => report.unmapped.push(ended),
            }
        }
        // The threads may have ended while somebody still holds a generation: the reaper waits for him.
        let is_held = still_mapped.iter().any(|image| !image.is_quarantined());
        let step = match &state.step {
            None | Some(Unfinished::Surfaces) if is_held => Some(Unfinished::Generations),
            step => step.clone(),
        };
        report.unfinished = instead.or(step);
        report.still_mapped = still_mapped;
        report
    }
}

/// All mapped images, by slot and generation.
fn still_mapped(slots: &Slots, images: &MappedImages) -> Vec<StillMapped> {
    let mut by_slot: BTreeMap<Arc<str>, Vec<GenerationHolders>> = BTreeMap::new();
    let mapped = images.with_shadows(None).into_iter().map(|image| {
        let of_slot = by_slot.entry(image.slot.clone()).or_insert_with(|| {
            let record = slots.named(&image.slot);
            record.map(|record| who_holds(slots, images, &record)).unwrap_or_default()
        });
        let held = of_slot.iter().find(|held| held.generation == image.number).cloned();
        let held = held.unwrap_or_else(|| {
            let status = match &image.phase {
                Phase::Shadow(_) => GenerationStatus::Shadow,
                Phase::Retired => GenerationStatus::Retired,
                Phase::Quarantined(reason) => GenerationStatus::Quarantined(reason.clone()),
                Phase::Ending => GenerationStatus::Ending,
                Phase::InUse | Phase::Standby => GenerationStatus::Candidate,
            };
            let mut held = GenerationHolders::new(image.number, status, image.since.elapsed());
            // A shadow is in no slot, so nothing else says who holds it.
            if let Phase::Shadow(owner) = &image.phase {
                held.holders.push(Holder::ShadowOwner {
                    thread: owner.thread.clone(),
                    since: owner.since.elapsed(),
                    at: owner.at,
                });
            }
            held
        });
        StillMapped::new(image.slot, image.lifecycle, held)
    });
    let mut mapped: Vec<_> = mapped.collect();
    mapped.sort_by(|one, other| (&one.slot, one.held.generation).cmp(&(&other.slot, other.held.generation)));
    mapped
}
