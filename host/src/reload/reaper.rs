//! The end of a generation: retire, unload, prove. All of it happens on one thread of the host's, the only one on which an
//! image is ever closed. It never waits for one image alone: an image whose threads still run, or whose thread-locals wait for
//! their threads' safe points, is looked at again when there is less that keeps it. What cannot be closed safely is quarantined
//! and tried again when its reason goes away.

use super::tally::Phase;
use crate::{
    event::{Event, Log, Outcome, RetireReport},
    host::{Holder, Inner},
    image::{self, Holding, Image, QuarantineReason, Unloading},
    instance::HookError,
    slot::Parts,
};
use std::{
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// What the reaper is told.
pub(crate) enum ReaperMessage {
    /// The last holder of a generation let go.
    Reap(Box<Parts>),
    /// An image whose instance was never made.
    Unload { slot: Arc<str>, number: u64, image: Box<Image> },
    /// A generation was replaced; if it is still held after the deadline, its holders are named.
    Retired { slot: Arc<str>, number: u64 },
    /// There is less that keeps an ending image.
    Less,
    /// Come to an end as soon as nothing is held any more.
    End,
}

/// Reasons that nobody tells the end of are looked at again in this interval.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The reaper's thread.
pub(crate) struct Reaper {
    host: Weak<Inner>,
    log: Log,
    tally: Arc<super::Tally>,
    limits: Deadlines,
    retired: Vec<Retired>,
    passing: Vec<Passing>,
}

/// How long the reaper waits for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// For the holders of a retired generation, before they are named.
    pub(crate) drain: Duration,
    /// For the threads of a stopped plugin, before its image is quarantined.
    pub(crate) threads: Duration,
    /// For threads that live on to come to a safe point, before their thread-locals are skipped.
    pub(crate) thread_locals: Duration,
}

/// A generation whose holders are waited for, or were named.
struct Retired {
    slot: Arc<str>,
    number: u64,
    deadline: Instant,
    named: Vec<Holder>,
}

/// An image whose instance is gone.
struct Passing {
    ending: Ending,
    image: Box<Image>,
    /// Since when its threads are waited for.
    begun: Instant,
    /// Since when nothing but thread-locals keeps it.
    values_since: Option<Instant>,
    quarantined: Option<QuarantineReason>,
}

impl Reaper {
    pub(crate) fn new(host: &Arc<Inner>, limits: Deadlines) -> Self {
        Self {
            host: Arc::downgrade(host),
            log: host.log.clone(),
            tally: host.tally.clone(),
            limits,
            retired: Vec::new(),
            passing: Vec::new(),
        }
    }

    pub(crate) fn run(mut self, messages: &Receiver<ReaperMessage>) {
        let mut ending = false;
        loop {
            let message = match self.next_look() {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(ReaperMessage::Reap(parts)) => self.reap(*parts),
                Ok(ReaperMessage::Unload { slot, number, image }) => {
                    self.let_pass(Ending::of_image(slot, number), image, Instant::now())
                }
                Ok(ReaperMessage::Retired { slot, number }) => self.retired.push(Retired {
                    slot,
                    number,
                    deadline: Instant::now() + self.limits.drain,
                    named: Vec::new(),
                }),
                // Whatever it is: everything that is passing is looked at below.
                Ok(ReaperMessage::Less) | Err(RecvTimeoutError::Timeout) => {}
                Ok(ReaperMessage::End) => ending = true,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look_at_all();
            self.name_stragglers();
            let counts = self.tally.counts();
            if ending && counts.mapped == counts.quarantined {
                break;
            }
        }
        // A quarantined image is never forced: it outlives the host.
        for passing in self.passing {
            std::mem::forget(passing.image);
        }
        // Only now: the ends of generations whose holders outlived the host are told as well.
        self.log.close();
    }

    /// When something is due although nobody tells of it.
    fn next_look(&self) -> Option<Instant> {
        let unnamed = self.retired.iter().filter(|retired| retired.named.is_empty());
        let stragglers = unnamed.map(|retired| retired.deadline);
        let passing = self.passing.iter().filter_map(|passing| match &passing.quarantined {
            None => Some(match passing.values_since {
                Some(since) => since + self.limits.thread_locals,
                None => passing.begun + self.limits.threads,
            }),
            // The end of a thread is told.
            Some(QuarantineReason::ThreadsRunning(_)) => passing.values_since.map(|since| since + self.limits.thread_locals),
            Some(QuarantineReason::StaticConstructors(_)) => None,
            Some(_) => Some(Instant::now() + LOOK_AGAIN),
        });
        stragglers.chain(passing).min()
    }

    /// Stops and drops the instance.
    fn reap(&mut self, parts: Parts) {
        let Parts {
            slot,
            number,
            instance,
            retired,
        } = parts;
        let waited = self.retired.iter().position(|waiting| waiting.is(&slot, number));
        let late_holders = waited.map_or_else(Vec::new, |at| self.retired.swap_remove(at).named);
        let begun = Instant::now();
        let (image, ended) = instance.end(self.limits.threads);
        let ending = Ending {
            slot,
            number,
            served: retired.is_some(),
            held: retired.map_or(Duration::ZERO, |at| begun.saturating_duration_since(at)),
            late_holders,
            stop_error: ended.stop.err(),
            destroy_error: ended.destroy.err(),
            took: begun.elapsed(),
        };
        self.let_pass(ending, image, begun);
    }

    /// The instance is gone, if there was one: from here on only the image's own threads and thread-locals are waited for.
    fn let_pass(&mut self, ending: Ending, image: Box<Image>, begun: Instant) {
        self.tally.enters(&ending.slot, ending.number, Phase::Ending);
        image.ledger().end();
        if image::holding(&image) != Holding::Nothing {
            // Threads that live on are asked to come to a safe point, also if its own threads still run: later nobody would ask.
            if let Some(host) = self.host.upgrade() {
                host.call_attention();
            }
            self.log.wake();
            self.tally.wake();
        }
        self.passing.push(Passing {
            ending,
            image,
            begun,
            values_since: None,
            quarantined: None,
        });
    }

    fn look_at_all(&mut self) {
        for passing in std::mem::take(&mut self.passing) {
            self.look_at(passing);
        }
    }

    fn look_at(&mut self, mut passing: Passing) {
        let now = Instant::now();
        match image::holding(&passing.image) {
            Holding::Threads if passing.quarantined.is_none() && now >= passing.begun + self.limits.threads => {
                let names = passing.image.ledger().running_threads();
                self.quarantine(passing, QuarantineReason::ThreadsRunning(names));
            }
            Holding::Threads => {
                passing.values_since = None;
                self.passing.push(passing);
            }
            Holding::Values if now < *passing.values_since.get_or_insert(now) + self.limits.thread_locals => {
                self.passing.push(passing);
            }
            Holding::Values | Holding::Nothing => self.close(passing),
        }
    }

    fn close(&mut self, passing: Passing) {
        let settled = passing.begun.elapsed();
        match image::close(passing.image) {
            Unloading::Unmapped(mut report) => {
                report.settle = settled;
                let (slot, number) = (passing.ending.slot.clone(), passing.ending.number);
                self.tally.gone(&slot, number);
                self.log.push(match passing.quarantined {
                    None => Event::Retired(passing.ending.report(Outcome::Unmapped(report))),
                    Some(_) => Event::Released {
                        slot: slot.clone(),
                        generation: number,
                        report,
                    },
                });
                if let Some(host) = self.host.upgrade() {
                    host.take_deferred(&slot);
                }
            }
            Unloading::Stays(image, reason) => self.quarantine(Passing { image, ..passing }, reason),
            Unloading::Busy(image) => self.passing.push(Passing {
                image,
                values_since: None,
                ..passing
            }),
        }
    }

    fn quarantine(&mut self, mut passing: Passing, reason: QuarantineReason) {
        let (slot, number) = (&passing.ending.slot, passing.ending.number);
        if passing.quarantined.as_ref() != Some(&reason) {
            self.tally.enters(slot, number, Phase::Quarantined(reason.clone()));
        }
        if passing.quarantined.replace(reason.clone()).is_none() {
            let report = passing.ending.clone().report(Outcome::Quarantined(reason));
            self.log.push(Event::Retired(report));
        }
        self.passing.push(passing);
    }

    fn name_stragglers(&mut self) {
        let now = Instant::now();
        let late = |retired: &&mut Retired| retired.named.is_empty() && retired.deadline <= now;
        for late in self.retired.iter_mut().filter(late) {
            late.named = match self.host.upgrade() {
                Some(host) => host.holders_of(&late.slot, late.number),
                None => vec![Holder::Untold],
            };
            if late.named.is_empty() {
                // Its last holder has let go just now; the message is on its way.
                late.deadline = now + self.limits.drain;
                continue;
            }
            self.log.push(Event::Straggling {
                slot: late.slot.clone(),
                generation: late.number,
                holders: late.named.clone(),
            });
        }
    }
}

impl Retired {
    fn is(&self, slot: &str, number: u64) -> bool {
        self.number == number && &*self.slot == slot
    }
}

/// What is known of an ending generation before its image is closed.
#[derive(Clone)]
struct Ending {
    slot: Arc<str>,
    number: u64,
    served: bool,
    held: Duration,
    late_holders: Vec<Holder>,
    stop_error: Option<HookError>,
    destroy_error: Option<HookError>,
    took: Duration,
}

impl Ending {
    fn of_image(slot: Arc<str>, number: u64) -> Self {
        Self {
            slot,
            number,
            served: false,
            held: Duration::ZERO,
            late_holders: Vec::new(),
            stop_error: None,
            destroy_error: None,
            took: Duration::ZERO,
        }
    }

    fn report(self, outcome: Outcome) -> RetireReport {
        RetireReport {
            slot: self.slot,
            generation: self.number,
            served: self.served,
            outcome,
            held: self.held,
            late_holders: self.late_holders,
            stop_error: self.stop_error,
            destroy_error: self.destroy_error,
            ending: self.took,
        }
    }
}
