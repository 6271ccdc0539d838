//! The table of this host's mapped images, with their phases. The reload thread adds an image when it opens it, the reaper
//! updates it while it ends, and other modules read the table to count images, to wait, or to find holders.

use super::{
    acquisition::Acquisition,
    generation::{GatedInstance, Generation},
    messages::ReaperMessage,
};
use crate::{deferred_work::defer, event::Log, shadow_name};
use reslot_engine::{Holding, Resources};
use reslot_report::{Event, Hook, IllegalMove, Lifecycle, QuarantineReason};
use reslot_sync::{
    Condvar, Instant, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc::Sender,
};
use reslot_system::{ended_epoch, safe_point};
use std::sync::{Arc, Weak};

/// The images that one host has mapped.
pub(crate) struct MappedImages {
    images: Mutex<Vec<MappedImage>>,
    changed: Condvar,
    /// How many quarantined images a slot may have before its reloads are refused.
    quarantine_cap: AtomicUsize,
    reaper: Sender<ReaperMessage>,
    log: Log,
}

/// An image of this host.
#[derive(Clone)]
pub(crate) struct MappedImage {
    pub(crate) slot: Arc<str>,
    pub(crate) number: u64,
    pub(crate) resources: Arc<dyn Resources>,
    /// Its instance, once it served; two of them after some rollbacks.
    instances: Vec<Weak<GatedInstance>>,
    /// A hanging hook of a second instance. The `Weak` is dead once the hook has come back.
    hanging_second: Option<(Hook, Weak<()>)>,
    /// It was replaced, and is held for longer than the drain deadline.
    held_past_deadline: bool,
    /// Which of its instance's hooks have run.
    pub(crate) lifecycle: Lifecycle,
    /// Who needs it, or what keeps it.
    pub(crate) phase: Phase,
    /// When it came into its phase.
    pub(crate) since: Instant,
}

/// How far an image has come. Which generation is current, and which is staged, the slots know.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// A candidate, staged, or current.
    InUse,
    /// Run beside the current generation, by the owner who made it.
    Shadow(Acquisition),
    /// Replaced, and kept as the standby until its successor has passed its probation.
    Standby,
    /// Replaced; it may still have holders.
    Retired,
    /// It has no holder; the reaper waits for its threads and thread-locals.
    Ending,
    /// It cannot be unloaded, for this reason.
    Quarantined(QuarantineReason),
}

/// How many images there are, and in which condition.
///
/// ```
/// # use reslot::{Host, Policy};
/// # let plugins = example_plugins::folder();
/// # let policy = Policy::development().probation(std::time::Duration::from_secs(3600));
/// let host = Host::builder().watch(&plugins).policy(policy).build()?;
/// # let new_build = plugins.new_build("pricer");
/// host.load(new_build)?;
/// let images = host.images();
/// assert_eq!((images.mapped, images.standby, images.quarantined), (4, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Images mapped by this host just now: serving, staged, standing by, retiring and quarantined. Generations of linked plugins are counted,
    /// although nothing of them is mapped.
    pub mapped: usize,
    /// Of these, standbys: replaced generations whose successors are on probation.
    pub standby: usize,
    /// Of these, [shadows](crate::Shadow).
    pub shadows: usize,
    /// Of these, quarantined.
    pub quarantined: usize,
    /// Of these, retired for longer than the host's drain deadline and still held, for example by an idle reader, by a
    /// [`SlotGuard`](crate::SlotGuard), or by another plugin's call. [`Host::who_holds`](crate::Host::who_holds) names the
    /// holders. They count against the [quarantine cap](crate::HostBuilder::quarantine_cap).
    pub held_past_deadline: usize,
}

impl MappedImages {
    pub(crate) fn new(quarantine_cap: usize, reaper: Sender<ReaperMessage>, log: Log) -> Arc<Self> {
        Arc::new(Self {
            images: Mutex::default(),
            changed: Condvar::new(),
            quarantine_cap: AtomicUsize::new(quarantine_cap),
            reaper,
            log,
        })
    }

    /// How many quarantined images a slot may have before its reloads are refused.
    pub(crate) fn quarantine_cap(&self) -> usize {
        self.quarantine_cap.load(Ordering::Relaxed)
    }

    pub(crate) fn set_quarantine_cap(&self, images: usize) {
        self.quarantine_cap.store(images, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        counts(&self.images.lock())
    }

    /// What keeps each of the quarantined ones.
    pub(crate) fn quarantined(&self) -> Vec<QuarantineReason> {
        let images = self.images.lock();
        let reasons = images.iter().filter_map(|image| match &image.phase {
            Phase::Quarantined(reason) => Some(reason.clone()),
            _ => None,
        });
        reasons.collect()
    }

    pub(crate) fn opened(&self, slot: &Arc<str>, number: u64, resources: Arc<dyn Resources>) {
        self.images.lock().push(MappedImage {
            slot: slot.clone(),
            number,
            resources,
            instances: Vec::new(),
            hanging_second: None,
            held_past_deadline: false,
            lifecycle: Lifecycle::Loading,
            phase: Phase::InUse,
            since: Instant::now(),
        });
    }

    /// Moves a generation on in its life, and reports it.
    ///
    /// # Errors
    /// If there is no such move; it stays where it is.
    pub(crate) fn advance(&self, slot: &Arc<str>, number: u64, to: Lifecycle) -> Result<(), IllegalMove> {
        let mut refused = None;
        self.change(slot, number, |image| {
            let from = image.lifecycle;
            if let Err(illegal) = from.may_become(to) {
                refused = Some(illegal);
                return;
            }
            image.lifecycle = to;
            // Under the lock, so that the events of a hook's thread and of the thread that gave it up keep their order. To the streams only:
            // gates may be closed here, and an embedder's subscriber may call plugins.
            self.log.append(Event::Lifecycle {
                slot: slot.clone(),
                generation: number,
                from,
                to,
            });
        });
        refused.map_or(Ok(()), Err)
    }

    /// A hook of it did not come back in time. What it works on goes to the reaper when it does.
    pub(crate) fn hangs(&self, slot: &Arc<str>, number: u64, hook: Hook) {
        let _ = self.advance(slot, number, Lifecycle::Failed);
        self.enters(slot, number, Phase::Quarantined(QuarantineReason::HookRunning(hook.name())));
    }

    /// A hook of an instance that was to serve beside another one did not come back in time. As long as `running` is there it keeps the other one.
    pub(crate) fn second_hangs(&self, slot: &Arc<str>, number: u64, hook: Hook, running: Weak<()>) {
        self.change(slot, number, |image| image.hanging_second = Some((hook, running)));
    }

    /// It was replaced, and is held for longer than it should be.
    pub(crate) fn note_held_past_deadline(&self, slot: &Arc<str>, number: u64) {
        self.change(slot, number, |image| {
            image.held_past_deadline = matches!(image.phase, Phase::Retired)
        });
    }

    /// The numbers of those of a slot's generations that were replaced and are held for longer than they should be.
    pub(crate) fn held_past_deadline(&self, slot: &str) -> Vec<u64> {
        let images = self.of_slot(slot).into_iter();
        images
            .filter(|image| image.held_past_deadline)
            .map(|image| image.number)
            .collect()
    }

    pub(crate) fn serves(&self, generation: &Arc<Generation>) {
        self.change(generation.slot(), generation.number(), |image| {
            let instance = generation.weak_instance();
            image
                .instances
                .retain(|known| known.strong_count() > 0 && !known.ptr_eq(&instance));
            image.instances.push(instance);
        });
    }

    pub(crate) fn enters(&self, slot: &str, number: u64, phase: Phase) {
        self.change(slot, number, |image| {
            // An image that is quarantined because a hook hangs stays so, also when it is retired or the standby.
            if matches!(
                (&image.phase, &phase),
                (Phase::Quarantined(_), Phase::Retired | Phase::Standby)
            ) {
                return;
            }
            image.phase = phase;
            image.held_past_deadline = false;
            image.since = Instant::now();
        });
    }

    /// A generation is neither current nor the standby any more: it goes when its last holder does. If it is held for too long, the reaper names its
    /// holders.
    pub(crate) fn retire(&self, generation: &Generation) {
        self.retire_unwatched(generation);
        let (reaper, slot, number) = (self.reaper.clone(), generation.slot().clone(), generation.number());
        // Without a reaper the process is ending.
        defer(move || drop(reaper.send(ReaperMessage::Retired { slot, number })));
    }

    /// The same, and nobody names its holders.
    pub(crate) fn retire_unwatched(&self, generation: &Generation) {
        generation.retire();
        self.enters(generation.slot(), generation.number(), Phase::Retired);
    }

    /// It is proven gone.
    pub(crate) fn remove(&self, slot: &Arc<str>, number: u64) {
        let _ = self.advance(slot, number, Lifecycle::Unloaded);
        self.images.lock().retain(|image| !image.is(slot, number));
        self.changed.notify_all();
    }

    /// The images of a slot, oldest first.
    pub(crate) fn of_slot(&self, slot: &str) -> Vec<MappedImage> {
        let images = self.images.lock();
        let mut images: Vec<_> = images.iter().filter(|image| &*image.slot == slot).cloned().collect();
        images.sort_by_key(|image| image.number);
        images
    }

    /// All of them, shadows too: of one slot, or of every one.
    pub(crate) fn with_shadows(&self, slot: Option<&str>) -> Vec<MappedImage> {
        let images = self.images.lock();
        let meant = |image: &&MappedImage| slot.is_none_or(|slot| shadow_name::slot_of(&image.slot) == slot);
        images.iter().filter(meant).cloned().collect()
    }

    /// The numbers of those of a slot's images that nobody calls and that cannot go yet, each with its reason: the quarantined
    /// ones, and those that are on the way there.
    pub(crate) fn kept(&self, slot: &str) -> Vec<(u64, QuarantineReason)> {
        let images = self.of_slot(slot).into_iter();
        let reasons = images.filter_map(|image| {
            let reason = match image.phase {
                Phase::Quarantined(reason) => reason,
                Phase::Ending if image.resources.holding() == Holding::Threads => {
                    QuarantineReason::ThreadsRunning(image.resources.running_threads())
                }
                _ => return None,
            };
            Some((image.number, reason))
        });
        reasons.collect()
    }

    /// Waits until at most `mapped` images are left, not counting quarantined ones, shadows and those that stand by.
    pub(crate) fn wait_for(&self, mapped: usize, deadline: Instant) -> bool {
        self.wait_until(deadline, |counts| {
            counts.mapped - counts.quarantined - counts.standby - counts.shadows <= mapped
        })
    }

    /// Waits until `enough` is true, which is asked at each change and when somebody [wakes](Self::wake) those who wait. False if that takes
    /// too long. The caller's thread-locals may be what is waited for, so it comes to a safe point whenever there is reason to.
    pub(crate) fn wait_until(&self, deadline: Instant, enough: impl Fn(Counts) -> bool) -> bool {
        loop {
            let epoch = ended_epoch();
            safe_point();
            let mut images = self.images.lock();
            if enough(counts(&images)) {
                return true;
            }
            if ended_epoch() == epoch && self.changed.wait_until(&mut images, deadline).timed_out() {
                return enough(counts(&images));
            }
        }
    }

    /// Waits until an image is proven gone; not for one that is quarantined. The caller is at safe points, as above.
    pub(crate) fn wait_until_gone(&self, slot: &str, number: u64, deadline: Instant) -> bool {
        loop {
            let epoch = ended_epoch();
            safe_point();
            let mut images = self.images.lock();
            match images.iter().find(|image| image.is(slot, number)) {
                None => return true,
                Some(image) if matches!(image.phase, Phase::Quarantined(_)) => return false,
                Some(_) => {}
            }
            if ended_epoch() == epoch && self.changed.wait_until(&mut images, deadline).timed_out() {
                return !images.iter().any(|image| image.is(slot, number));
            }
        }
    }

    /// Has those who wait look again whether there is something for them to do.
    pub(crate) fn wake(&self) {
        drop(self.images.lock());
        self.changed.notify_all();
    }

    fn change(&self, slot: &str, number: u64, change: impl FnOnce(&mut MappedImage)) {
        let mut images = self.images.lock();
        // Mostly it is one of the last, however many slots there are.
        if let Some(image) = images.iter_mut().rfind(|image| image.is(slot, number)) {
            change(image);
        }
        drop(images);
        self.changed.notify_all();
    }
}

impl MappedImage {
    /// Whether anybody holds an instance of it.
    pub(crate) fn is_held(&self) -> bool {
        self.instances.iter().any(|instance| instance.strong_count() > 0)
    }

    /// The hook that keeps it, of an instance that was to serve beside another one.
    pub(crate) fn kept_by_hook(&self) -> Option<Hook> {
        let (hook, running) = self.hanging_second.as_ref()?;
        (running.strong_count() > 0).then_some(*hook)
    }

    fn is(&self, slot: &str, number: u64) -> bool {
        self.number == number && &*self.slot == slot
    }
}

fn counts(images: &[MappedImage]) -> Counts {
    let quarantined = images.iter().filter(|image| matches!(image.phase, Phase::Quarantined(_)));
    let standby = images.iter().filter(|image| matches!(image.phase, Phase::Standby));
    let shadows = images.iter().filter(|image| matches!(image.phase, Phase::Shadow(_)));
    Counts {
        mapped: images.len(),
        shadows: shadows.count(),
        standby: standby.count(),
        quarantined: quarantined.count(),
        held_past_deadline: images.iter().filter(|image| image.held_past_deadline).count(),
    }
}
