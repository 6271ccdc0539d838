//! The recent past that the control socket keeps: the last reloads, and for each slot the last refusal and the last
//! rollback. The host calls it for each event.

use crate::{
    event_message::milliseconds,
    protocol::{Reload, StepTook},
};
use parking_lot::Mutex;
use reslot_runtime::{Event, Record, Refusal};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The number of reloads that are kept.
const RELOADS: usize = 32;
/// The number of files that are kept without a known slot, or because they wait for their writers.
const FILES: usize = 32;
/// The number of names that are kept of slots that never had a generation. A refused file may have any name.
const NAMES: usize = 256;

/// The recent past.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Newest first.
    reloads: VecDeque<Reload>,
    slots: BTreeMap<Arc<str>, OfSlot>,
    /// The names that are known only from a refusal, oldest first.
    names: VecDeque<Arc<str>>,
    /// Oldest first.
    files: VecDeque<(PathBuf, News)>,
}

/// The recent past of a slot.
#[derive(Debug, Default, Clone)]
pub(super) struct OfSlot {
    /// The last refusal since the last swap.
    pub(super) refusal: Option<Refusal>,
    /// The reason of the last rollback since the last swap.
    pub(super) rolled_back: Option<String>,
    /// The generation whose image was found damaged last, and where.
    damaged: Option<(u64, String)>,
    /// The file of the current generation.
    file: Option<PathBuf>,
}

impl OfSlot {
    /// Where the image of this generation was found damaged.
    pub(super) fn damage_of(&self, generation: Option<u64>) -> Option<String> {
        let (damaged, place) = self.damaged.as_ref()?;
        (Some(*damaged) == generation).then(|| place.clone())
    }
}

/// The last event about a file.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// It is not loaded yet.
    Waiting(String),
    /// It was refused.
    Refused(Refusal),
}

impl Recent {
    /// Records an event, if requests ask for events of this kind.
    pub(crate) fn note(&self, record: &Record) {
        self.0.lock().note(record);
    }

    /// Newest first.
    pub(super) fn reloads(&self) -> Vec<Reload> {
        self.0.lock().reloads.iter().cloned().collect()
    }

    pub(super) fn of_slot(&self, slot: &str) -> OfSlot {
        self.0.lock().slots.get(slot).cloned().unwrap_or_default()
    }

    pub(super) fn of_file(&self, path: &Path) -> Option<News> {
        let remembered = self.0.lock();
        let mut newest_first = remembered.files.iter().rev();
        newest_first.find(|(known, _)| known == path).map(|(_, news)| news.clone())
    }
}

impl Remembered {
    fn note(&mut self, record: &Record) {
        match &record.event {
            Event::Swapped(report) => {
                let of = self.slots.entry(report.slot.clone()).or_default();
                (of.refusal, of.rolled_back) = (None, None);
                of.file = Some(report.path.clone());
                self.forget_file(&report.path);
                let steps = report.steps.iter().map(|(step, took)| StepTook {
                    step: step.to_string(),
                    us: micros(*took),
                });
                self.ended(Reload {
                    at_ms: milliseconds(record.at),
                    slot: report.slot.to_string(),
                    generation: Some(report.generation),
                    outcome: "swapped".to_owned(),
                    reason: None,
                    steps: steps.collect(),
                    total_us: micros(report.total),
                    pause_us: Some(micros(report.pause)),
                });
            }
            Event::RolledBack(report) => {
                let of = self.slots.entry(report.slot.clone()).or_default();
                let (from, reason) = (report.from, &report.reason);
                of.rolled_back = Some(format!("the slot was rolled back from generation {from}: {reason}"));
                self.ended(Reload {
                    at_ms: milliseconds(record.at),
                    slot: report.slot.to_string(),
                    generation: Some(report.to),
                    outcome: "rolled-back".to_owned(),
                    reason: Some(report.reason.to_string()),
                    steps: Vec::new(),
                    total_us: micros(report.total),
                    pause_us: None,
                });
            }
            Event::Refused(refusal) => {
                let named = refusal.slot.clone().or_else(|| self.slot_from(&refusal.path));
                let file = refusal.path.file_name().unwrap_or_default();
                let slot = match &named {
                    Some(slot) => slot.to_string(),
                    None => file.to_string_lossy().into_owned(),
                };
                if let Some(slot) = named {
                    self.make_room(&slot);
                    self.slots.entry(slot).or_default().refusal = Some(refusal.clone());
                }
                self.file(&refusal.path, News::Refused(refusal.clone()));
                self.ended(Reload {
                    at_ms: milliseconds(record.at),
                    slot,
                    generation: None,
                    outcome: "refused".to_owned(),
                    reason: Some(in_a_sentence(refusal)),
                    steps: Vec::new(),
                    total_us: 0.0,
                    pause_us: None,
                });
            }
            Event::ImageDamaged {
                slot,
                generation,
                difference,
                ..
            } => {
                // A shadow has no slot of its own.
                if let Some(of) = self.slots.get_mut(slot) {
                    let place =
                        format!("the image of generation {generation} differs in memory from its artifact at {difference}");
                    of.damaged = Some((*generation, place));
                }
            }
            Event::RepairGivenUp {
                slot,
                generation,
                difference,
                fresh_images,
            } => {
                if let Some(of) = self.slots.get_mut(slot) {
                    let place = format!(
                        "the image of generation {generation} differs in memory from its artifact at {difference}, as the last \
                         {fresh_images} fresh images did; it is not replaced any more, because something writes there"
                    );
                    of.damaged = Some((*generation, place));
                }
            }
            Event::Waiting { path, why } => self.file(path, News::Waiting(why.clone())),
            Event::Unchanged { path, .. } | Event::AlreadyStaged { path, .. } => self.forget_file(path),
            _ => {}
        }
    }

    /// Removes the oldest name that is known only from a refusal, if there are too many.
    fn make_room(&mut self, slot: &Arc<str>) {
        if self.slots.contains_key(slot) {
            return;
        }
        if self.names.len() == NAMES
            && let Some(oldest) = self.names.pop_front()
            && self
                .slots
                .get(&oldest)
                .is_some_and(|of| of.file.is_none() && of.rolled_back.is_none())
        {
            self.slots.remove(&oldest);
        }
        self.names.push_back(slot.clone());
    }

    fn ended(&mut self, reload: Reload) {
        self.reloads.truncate(RELOADS - 1);
        self.reloads.push_front(reload);
    }

    fn file(&mut self, path: &Path, news: News) {
        self.forget_file(path);
        if self.files.len() == FILES {
            self.files.pop_front();
        }
        self.files.push_back((path.to_owned(), news));
    }

    fn forget_file(&mut self, path: &Path) {
        self.files.retain(|(known, _)| known != path);
    }

    /// The slot whose current generation was loaded from a file.
    fn slot_from(&self, path: &Path) -> Option<Arc<str>> {
        let mut slots = self.slots.iter();
        slots
            .find(|(_, of)| of.file.as_deref() == Some(path))
            .map(|(slot, _)| slot.clone())
    }
}

/// A refusal in one sentence, without the file and the remedy.
pub(super) fn in_a_sentence(refusal: &Refusal) -> String {
    let subject = match refusal.candidate {
        Some(number) => format!("generation {number}"),
        None => "an artifact".to_owned(),
    };
    format!("{subject} was refused at {}: {}", refusal.step, refusal.cause)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
