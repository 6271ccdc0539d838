//! Compares the images in memory with their artifacts, on demand and, if the policy asks for it, again and again.
//!
//! There are two threads, which are started when they are first needed. The *scrub* thread is a background thread: it lists the images, reports
//! what is damaged, and asks the reload thread to replace it. The *idle* thread does the comparing, and runs only while a
//! processor has nothing else to do. It may be stopped at any instruction for as long as the machine is busy, so it takes no lock of the
//! host: it gets a list, compares, and sends the answers to the scrub thread. Only callers of `verify_images` wait for that thread.

use crate::{
    reload::ReloadMessage,
    runtime::{Runtime, ScrubMessage},
    slot::{MappedImage, SlotRecord},
};
use reslot_artifact::ImageDifference;
use reslot_engine::Resources;
use reslot_process::background::{self, Kind};
use reslot_report::{Event, ImageReport};
use reslot_sync::{
    Instant,
    atomic::{AtomicBool, Ordering},
    mpsc::{self, Receiver, RecvTimeoutError, Sender},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How often a slot gets a fresh image in place of one generation, or because of the same places.
const MOST_TRIES: u32 = 3;

/// An image on the idle thread's list.
struct Listed {
    slot: Arc<str>,
    number: u64,
    resources: Arc<dyn Resources>,
}

/// Starts the threads, if they do not run yet.
pub(crate) fn start(host: &Arc<Runtime>) {
    let working = host.clone();
    host.scrubber
        .start(move |answers, received, is_ending| Scrub::new(working, answers, is_ending).run(&received));
}

/// Compares all images, and waits for that. Empty if the host has ended, or on the scrub thread, which would wait for itself.
pub(crate) fn verify(host: &Arc<Runtime>) -> Vec<ImageReport> {
    start(host);
    host.scrubber.verify()
}

/// The scrub thread.
struct Scrub {
    host: Arc<Runtime>,
    answers: Sender<ScrubMessage>,
    is_ending: Arc<AtomicBool>,
    /// The idle thread; none before the first comparison.
    idle: Option<Sender<Vec<Listed>>>,
    /// Those who wait for the comparison that runs.
    waiting: Vec<Sender<Vec<ImageReport>>>,
    /// Those who have asked since it began.
    asked: Vec<Sender<Vec<ImageReport>>>,
    is_comparing: bool,
    /// When the next comparison is due.
    next: Option<Instant>,
    /// What was reported: the addresses by slot and generation.
    reported: BTreeMap<(Arc<str>, u64), BTreeSet<u64>>,
    /// What was answered with a fresh image, or another answer of the policy, in each slot.
    repairs: BTreeMap<Arc<str>, Repair>,
}

/// The last answer to damage in a slot.
struct Repair {
    generation: u64,
    tries: u32,
    addresses: BTreeSet<u64>,
}

impl Scrub {
    fn new(host: Arc<Runtime>, answers: Sender<ScrubMessage>, is_ending: Arc<AtomicBool>) -> Self {
        let next = host
            .options
            .policy
            .scrub_every
            .and_then(|every| Instant::now().checked_add(every));
        Self {
            host,
            answers,
            is_ending,
            idle: None,
            waiting: Vec::new(),
            asked: Vec::new(),
            is_comparing: false,
            next,
            reported: BTreeMap::new(),
            repairs: BTreeMap::new(),
        }
    }

    fn run(mut self, messages: &Receiver<ScrubMessage>) {
        loop {
            let message = match self.next.filter(|_| !self.is_comparing) {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(ScrubMessage::Verify(answer)) => self.asked.push(answer),
                Ok(ScrubMessage::Compared(reports)) => self.compared(reports),
                Ok(ScrubMessage::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.begin(),
            }
            if !self.asked.is_empty() && !self.is_comparing {
                self.begin();
            }
        }
    }

    /// Gives the idle thread a list of all images.
    fn begin(&mut self) {
        let every = self.host.options.policy.scrub_every;
        self.next = every.and_then(|every| Instant::now().checked_add(every));
        self.waiting.append(&mut self.asked);
        let images = self.host.images.with_shadows(None).into_iter();
        let list = images.map(|image| {
            let MappedImage {
                slot, number, resources, ..
            } = image;
            Listed { slot, number, resources }
        });
        let list: Vec<_> = list.collect();
        let mapped: BTreeSet<_> = list.iter().map(|image| (image.slot.clone(), image.number)).collect();
        self.reported.retain(|image, _| mapped.contains(image));
        if self.idle.is_none() {
            self.idle = start_idle(self.answers.clone(), self.is_ending.clone());
        }
        match self.idle.as_ref().map(|idle| idle.send(list)) {
            Some(Ok(())) => self.is_comparing = true,
            // The thread could not be started, or has panicked. Those who wait get an empty answer.
            None | Some(Err(_)) => {
                self.idle = None;
                self.waiting.clear();
            }
        }
    }

    fn compared(&mut self, mut reports: Vec<ImageReport>) {
        self.is_comparing = false;
        reports.sort_by(|one, other| (&one.slot, one.generation).cmp(&(&other.slot, other.generation)));
        // Of a slot's generations the standby comes before the current one, so that no rollback goes to a damaged one.
        for report in reports.iter().filter(|report| report.is_damaged()) {
            self.report(report);
            self.repair(report);
        }
        for waiting in self.waiting.drain(..) {
            // Somebody may have given up waiting.
            let _ = waiting.send(reports.clone());
        }
    }

    /// Reports what was not reported yet.
    fn report(&mut self, report: &ImageReport) {
        let known = self.reported.entry((report.slot.clone(), report.generation)).or_default();
        let is_new = |difference: &&ImageDifference| known.insert(difference.address);
        let new: Vec<_> = report.differences().iter().filter(is_new).collect();
        if let Some(first) = new.first() {
            self.host.log.push(Event::ImageDamaged {
                slot: report.slot.clone(),
                generation: report.generation,
                difference: (*first).clone(),
                more: new.len() - 1,
            });
        }
    }

    /// Has the reload thread replace the generation. Not if that was tried several times, or if several images differed in the same places: then
    /// the artifact, its reference, or a tool that writes into each image is the reason, and a fresh image does not help.
    fn repair(&mut self, report: &ImageReport) {
        // A shadow has no record: its owner decides.
        let Some(record) = self.host.slots.named(&report.slot) else {
            return;
        };
        let addresses: BTreeSet<u64> = report.differences().iter().map(|difference| difference.address).collect();
        let Some(first) = report.differences().first() else { return };
        if !has_role(&record, report.generation) {
            return;
        }
        let tries = match self.repairs.get(&report.slot) {
            Some(last) if last.generation == report.generation || addresses.is_subset(&last.addresses) => last.tries + 1,
            _ => 1,
        };
        if tries > MOST_TRIES {
            return;
        }
        let repair = Repair {
            generation: report.generation,
            tries,
            addresses,
        };
        self.repairs.insert(report.slot.clone(), repair);
        self.host.threads.send_to_reload(ReloadMessage::Damaged {
            record,
            number: report.generation,
            difference: first.clone(),
        });
    }
}

/// Whether a generation is staged, the standby, or current without a candidate that waits to replace it. Another one goes with its holders, or
/// with its owner's next `sync`.
fn has_role(record: &SlotRecord, number: u64) -> bool {
    let state = record.lock();
    let is_replaced = state.staged.is_some() || state.staged_set.is_some();
    let current = state.serving_number().filter(|_| !is_replaced);
    let staged = state.staged.as_ref().map(|staged| staged.generation.number());
    let standby = state.standby().map(|standby| standby.current.generation.number());
    [current, staged, standby].contains(&Some(number))
}

/// Starts the thread that compares. It ends when the sender is dropped.
fn start_idle(answers: Sender<ScrubMessage>, is_ending: Arc<AtomicBool>) -> Option<Sender<Vec<Listed>>> {
    let (lists, received) = mpsc::channel::<Vec<Listed>>();
    let body = move || {
        for list in received {
            let go_on = || !is_ending.load(Ordering::Relaxed);
            let compare = |image: &Listed| {
                let comparison = image.resources.compare(&go_on);
                ImageReport::new(image.slot.clone(), image.number, image.resources.engine(), comparison)
            };
            let reports = list.iter().map(compare).collect();
            // If the scrub thread has ended, nobody wants the answer.
            let _ = answers.send(ScrubMessage::Compared(reports));
        }
    };
    match background::spawn(Kind::Idle, "reslot-idle", body) {
        Ok(_) => Some(lists),
        Err(error) => {
            tracing::error!(%error, "no thread could be started that compares images with their artifacts");
            None
        }
    }
}
