//! What follows a comparison: events for what is new in it, and requests to replace what is damaged.

use crate::{
    policy::DamagedImage,
    reload::ReloadMessage,
    runtime::Runtime,
    slot::{MappedImage, SlotRecord},
};
use reslot_report::{Comparison, Event, ImageReport};
use reslot_sync::Instant;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How many fresh images a slot gets because of the same places. If the last one is damaged there as well, another image does not help.
const MAX_REPAIRS: usize = 3;

/// How long the host waits before it asks again for the replacement of the same image, because the first one was refused. The time is
/// doubled at each try, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Damage that comes later than this after the last one is another matter, though it is in the same place.
const SERIES_PAUSE: Duration = Duration::from_secs(3600);

/// An image, by its slot and generation.
type Name = (Arc<str>, u64);

/// What was answered so far.
#[derive(Default)]
pub(super) struct Answers {
    /// The mapped images of which something was reported.
    reported: BTreeMap<Name, Reported>,
    /// The mapped images whose replacement was requested.
    requested: BTreeMap<Name, Requested>,
    /// The last damage of each slot.
    series: BTreeMap<Arc<str>, Series>,
}

#[derive(Default)]
struct Reported {
    addresses: BTreeSet<u64>,
    /// How many differences there were, including those that are not listed.
    differences: usize,
    /// Why it could not be compared.
    failures: BTreeSet<String>,
}

struct Requested {
    /// When it may be requested again.
    next: Instant,
    pause: Duration,
}

/// Images of one slot that differed in the same places, one after the other.
struct Series {
    addresses: BTreeSet<u64>,
    generations: BTreeSet<u64>,
    /// When the last of them was counted.
    last: Instant,
}

impl Answers {
    /// Forgets what is not mapped any more.
    pub(super) fn forget_all_but(&mut self, mapped: &[MappedImage]) {
        let mapped: BTreeSet<Name> = mapped.iter().map(|image| (image.slot.clone(), image.number)).collect();
        self.reported.retain(|image, _| mapped.contains(image));
        self.requested.retain(|image, _| mapped.contains(image));
    }

    /// Reports what was not reported yet, and has the reload thread replace a damaged generation.
    pub(super) fn answer(&mut self, host: &Runtime, report: &ImageReport) {
        let image = (report.slot.clone(), report.generation);
        if let Comparison::Failed(why) = &report.comparison {
            let known = self.reported.entry(image).or_default();
            if known.failures.insert(why.clone()) {
                host.log.push(Event::ImageNotCompared {
                    slot: report.slot.clone(),
                    generation: report.generation,
                    reason: why.clone(),
                });
            }
        } else if report.is_damaged() {
            self.report_damage(host, report);
            self.repair(host, report);
        }
    }

    fn report_damage(&mut self, host: &Runtime, report: &ImageReport) {
        let known = self.reported.entry((report.slot.clone(), report.generation)).or_default();
        let listed = report.differences();
        let new: Vec<_> = listed.iter().filter(|it| known.addresses.insert(it.address)).collect();
        let before = std::mem::replace(&mut known.differences, report.difference_count());
        if let Some(first) = new.first() {
            let count = new.len().max(known.differences.saturating_sub(before));
            host.log.push(Event::ImageDamaged {
                slot: report.slot.clone(),
                generation: report.generation,
                difference: (*first).clone(),
                more: count - 1,
            });
        }
    }

    /// Requests another image in place of a damaged one, unless several fresh images differed in the same places.
    fn repair(&mut self, host: &Runtime, report: &ImageReport) {
        if host.options.policy.on_damaged_image == DamagedImage::Report {
            return;
        }
        // A shadow has no record: its owner decides.
        let Some(record) = host.slots.named(&report.slot) else {
            return;
        };
        let Some(first) = report.differences().first() else { return };
        if !is_in_use(&record, report.generation) {
            return;
        }
        match self.count_image(report) {
            RepairDecision::Replace if self.is_due(report) => host.threads.send_to_reload(ReloadMessage::Damaged {
                record,
                number: report.generation,
                difference: first.clone(),
            }),
            RepairDecision::Replace | RepairDecision::AlreadyGivenUp => {}
            RepairDecision::GiveUp => host.log.push(Event::RepairGivenUp {
                slot: report.slot.clone(),
                generation: report.generation,
                difference: first.clone(),
                fresh_images: MAX_REPAIRS,
            }),
        }
    }

    /// Counts the images that differ in the same places. An image is counted once, as often as it is compared.
    fn count_image(&mut self, report: &ImageReport) -> RepairDecision {
        let addresses: BTreeSet<u64> = report.differences().iter().map(|it| it.address).collect();
        let generation = report.generation;
        let series = self.series.entry(report.slot.clone()).or_insert_with(|| Series {
            addresses: addresses.clone(),
            generations: BTreeSet::new(),
            last: Instant::now(),
        });
        if series.generations.contains(&generation) {
            return match series.generations.len() > MAX_REPAIRS {
                true => RepairDecision::AlreadyGivenUp,
                false => RepairDecision::Replace,
            };
        }
        let now = Instant::now();
        let is_later = now.saturating_duration_since(series.last) > SERIES_PAUSE;
        if is_later || !addresses.is_subset(&series.addresses) {
            series.generations.clear();
        }
        series.last = now;
        series.addresses = addresses;
        let was_too_many = series.generations.len() > MAX_REPAIRS;
        series.generations.insert(generation);
        match series.generations.len() > MAX_REPAIRS {
            true if was_too_many => RepairDecision::AlreadyGivenUp,
            true => RepairDecision::GiveUp,
            false => RepairDecision::Replace,
        }
    }

    /// Whether a replacement is to be requested now. If it was before, that one was refused, or is still being made.
    fn is_due(&mut self, report: &ImageReport) -> bool {
        let now = Instant::now();
        let requested = self.requested.entry((report.slot.clone(), report.generation));
        let requested = requested.or_insert(Requested {
            next: now,
            pause: FIRST_PAUSE,
        });
        if now < requested.next {
            return false;
        }
        requested.next = now + requested.pause;
        requested.pause = (requested.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// What a damaged image is for its slot.
#[derive(Debug, PartialEq, Eq)]
enum RepairDecision {
    /// Another image may help.
    Replace,
    /// It is the last one of too many.
    GiveUp,
    /// The same, and that was reported.
    AlreadyGivenUp,
}

/// Whether a generation is staged, the standby, or current without a candidate that waits to replace it. Another one goes with its holders, or
/// with its owner's next `sync`.
fn is_in_use(record: &SlotRecord, number: u64) -> bool {
    let state = record.lock();
    let is_replaced = state.staged.is_some() || state.staged_set.is_some();
    let current = state.serving_number().filter(|_| !is_replaced);
    let staged = state.staged.as_ref().map(|staged| staged.generation.number());
    let standby = state.standby().map(|standby| standby.current.generation.number());
    [current, staged, standby].contains(&Some(number))
}

#[cfg(test)]
mod tests {
    use super::{Answers, ImageReport, RepairDecision, SERIES_PAUSE};
    use reslot_artifact::{ImageDifference, ImagePart};
    use reslot_report::{ComparedParts, Comparison, EngineKind};
    use std::time::Duration;

    fn report(generation: u64, addresses: &[u64]) -> ImageReport {
        let mut compared = ComparedParts::new(Duration::ZERO);
        let difference = |address: &u64| ImageDifference::new(ImagePart::Code, ".text", *address, *address, 1, Some(1));
        compared.differences = addresses.iter().map(difference).collect();
        ImageReport::new("slot".into(), generation, EngineKind::Native, Comparison::Compared(compared))
    }

    #[test]
    fn fresh_images_are_counted_and_not_comparisons() {
        let mut answers = Answers::default();
        let mut count = |generation, addresses: &[u64]| answers.count_image(&report(generation, addresses));
        for _ in 0..10 {
            assert_eq!(count(1, &[16, 32]), RepairDecision::Replace);
        }
        for generation in 2..=3 {
            assert_eq!(count(generation, &[16]), RepairDecision::Replace);
            assert_eq!(count(generation, &[16]), RepairDecision::Replace);
        }
        assert_eq!(count(4, &[16]), RepairDecision::GiveUp);
        assert_eq!(count(4, &[16]), RepairDecision::AlreadyGivenUp);
        assert_eq!(count(5, &[16]), RepairDecision::AlreadyGivenUp);
        // Damage in another place is another matter.
        assert_eq!(count(6, &[16, 64]), RepairDecision::Replace);
        for generation in 7..=8 {
            assert_eq!(count(generation, &[16]), RepairDecision::Replace);
        }
        assert_eq!(count(9, &[16]), RepairDecision::GiveUp);
        // So is damage that comes much later.
        answers.series.values_mut().next().unwrap().last -= SERIES_PAUSE + Duration::from_secs(1);
        assert_eq!(answers.count_image(&report(10, &[16])), RepairDecision::Replace);
    }

    #[test]
    fn refused_replacement_is_requested_again_after_a_pause() {
        let mut answers = Answers::default();
        assert!(answers.is_due(&report(1, &[16])));
        assert!(!answers.is_due(&report(1, &[16])));
        assert!(answers.is_due(&report(2, &[16])), "another image");
        let requested = answers.requested.values_mut().next().unwrap();
        requested.next = super::Instant::now();
        assert!(answers.is_due(&report(1, &[16])));
        assert_eq!(answers.requested.values().next().unwrap().pause, Duration::from_secs(4));
    }
}
