//! The end of a generation: retire, unload, prove. All of it happens on one thread of the host's, the only one on which an
//! image is ever closed. What cannot be closed safely is quarantined and tried again when its reason goes away.

use crate::{
    event::{Event, Log, Outcome, RetireReport},
    image::{self, Image, QuarantineReason, Unloading},
    instance::HookError,
    slot::Parts,
};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
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
    Retired {
        slot: Arc<str>,
        number: u64,
        holders: Box<dyn Fn() -> Vec<String> + Send>,
    },
    /// The last thread of an image has ended.
    Quiet(u64),
    /// Come to an end as soon as nothing is held any more.
    End,
}

/// What the reaper and those who wait for it share.
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    changed: Condvar,
}

/// How many images there are, and in which condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Images mapped by this host just now: serving, staged, retiring and quarantined.
    pub mapped: usize,
    /// Of these, quarantined.
    pub quarantined: usize,
}

impl Tally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    pub(crate) fn opened(&self) {
        self.counts.lock().mapped += 1;
    }

    /// Waits until no more than `mapped` images are, quarantined ones aside.
    pub(crate) fn wait_for(&self, mapped: usize, deadline: Instant) -> bool {
        let mut counts = self.counts.lock();
        while counts.mapped - counts.quarantined > mapped {
            if self.changed.wait_until(&mut counts, deadline).timed_out() {
                return counts.mapped - counts.quarantined <= mapped;
            }
        }
        true
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
        self.changed.notify_all();
    }
}

/// The reaper's thread.
pub(crate) struct Reaper {
    pub(crate) log: Log,
    pub(crate) tally: Arc<Tally>,
    pub(crate) drain_deadline: Duration,
    pub(crate) thread_deadline: Duration,
    pub(crate) retired: Vec<Retired>,
    pub(crate) quarantine: Vec<Quarantined>,
}

/// A generation whose holders are waited for.
pub(crate) struct Retired {
    slot: Arc<str>,
    number: u64,
    holders: Box<dyn Fn() -> Vec<String> + Send>,
    deadline: Instant,
}

/// An image that stays for a while.
pub(crate) struct Quarantined {
    slot: Arc<str>,
    number: u64,
    image: Box<Image>,
}

impl Reaper {
    pub(crate) fn run(mut self, messages: &Receiver<ReaperMessage>) {
        let mut ending = false;
        loop {
            let next = self.retired.iter().map(|retired| retired.deadline).min();
            let message = match next {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(ReaperMessage::Reap(parts)) => {
                    self.reap(*parts);
                    self.try_all_again();
                }
                Ok(ReaperMessage::Unload { slot, number, image }) => {
                    let ending = Ending::of_image(slot, number);
                    self.unload(ending, image);
                    self.try_all_again();
                }
                Ok(ReaperMessage::Retired { slot, number, holders }) => {
                    let deadline = Instant::now() + self.drain_deadline;
                    self.retired.push(Retired {
                        slot,
                        number,
                        holders,
                        deadline,
                    });
                }
                Ok(ReaperMessage::Quiet(id)) => self.try_again(id),
                Ok(ReaperMessage::End) => ending = true,
                Err(RecvTimeoutError::Timeout) => self.name_stragglers(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let counts = self.tally.counts();
            if ending && counts.mapped == counts.quarantined {
                break;
            }
        }
        // A quarantined image is never forced: it outlives the host.
        for quarantined in self.quarantine {
            std::mem::forget(quarantined.image);
        }
        // Only now: the ends of generations whose holders outlived the host are told as well.
        self.log.close();
    }

    fn reap(&mut self, parts: Parts) {
        let Parts {
            slot,
            number,
            instance,
            retired,
        } = parts;
        self.retired
            .retain(|waiting| waiting.number != number || waiting.slot != slot);
        let begun = Instant::now();
        let (image, ended) = instance.end();
        let ending = Ending {
            slot,
            number,
            served: retired.is_some(),
            held: retired.map_or(Duration::ZERO, |at| begun.saturating_duration_since(at)),
            stop_error: ended.stop.err(),
            destroy_error: ended.destroy.err(),
            took: begun.elapsed(),
        };
        self.unload(ending, image);
    }

    fn unload(&mut self, ending: Ending, image: Box<Image>) {
        let deadline = Instant::now() + self.thread_deadline;
        let (slot, number) = (ending.slot.clone(), ending.number);
        match image::close(image, deadline) {
            Unloading::Unmapped(report) => {
                self.tally.change(|counts| counts.mapped -= 1);
                self.log.push(Event::Retired(ending.report(Outcome::Unmapped(report))));
            }
            Unloading::Stays(image, reason) => {
                self.tally.change(|counts| counts.quarantined += 1);
                self.log
                    .push(Event::Retired(ending.report(Outcome::Quarantined(reason.clone()))));
                let ended_meanwhile = matches!(reason, QuarantineReason::ThreadsRunning(_)) && image.is_quiet();
                let id = image.id();
                self.quarantine.push(Quarantined { slot, number, image });
                if ended_meanwhile {
                    self.try_again(id);
                }
            }
        }
    }

    fn try_again(&mut self, id: u64) {
        let Some(at) = self.quarantine.iter().position(|quarantined| quarantined.image.id() == id) else {
            return;
        };
        let Quarantined { slot, number, image } = self.quarantine.swap_remove(at);
        match image::close(image, Instant::now()) {
            Unloading::Unmapped(report) => {
                self.tally.change(|counts| {
                    counts.mapped -= 1;
                    counts.quarantined -= 1;
                });
                self.log.push(Event::Released {
                    slot,
                    generation: number,
                    report,
                });
            }
            Unloading::Stays(image, _) => self.quarantine.push(Quarantined { slot, number, image }),
        }
    }

    /// The reason of a quarantine may have gone with another image, or for a reason that nobody tells of.
    fn try_all_again(&mut self) {
        let ids: Vec<u64> = self.quarantine.iter().map(|quarantined| quarantined.image.id()).collect();
        ids.into_iter().for_each(|id| self.try_again(id));
    }

    fn name_stragglers(&mut self) {
        let now = Instant::now();
        let (late, waiting): (Vec<_>, Vec<_>) = self.retired.drain(..).partition(|retired| retired.deadline <= now);
        self.retired = waiting;
        for late in late {
            self.log.push(Event::Straggling {
                slot: late.slot,
                generation: late.number,
                holders: (late.holders)(),
            });
        }
    }
}

/// What is known of an ending generation before its image is closed.
struct Ending {
    slot: Arc<str>,
    number: u64,
    served: bool,
    held: Duration,
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
            stop_error: self.stop_error,
            destroy_error: self.destroy_error,
            ending: self.took,
        }
    }
}
