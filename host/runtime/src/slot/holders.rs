//! The holders of generations: all mapped generations of a slot, with their status and holders. It serves `Host::who_holds`,
//! and names for the reaper the holders of a generation that is held for too long.

use super::{
    acquisition::Acquisition,
    hold_records::HoldBy,
    images::{MappedImages, Phase},
    record::{Mode, SlotRecord},
    slots::Slots,
};
use reslot_engine::Resources;
use reslot_report::{GenerationHolders, GenerationStatus, Holder};
use reslot_sync::Instant;
use std::collections::BTreeMap;

/// All mapped generations of a slot, oldest first.
pub(crate) fn who_holds(slots: &Slots, images: &MappedImages, record: &SlotRecord) -> Vec<GenerationHolders> {
    let holders = holders_by_generation(slots, record);
    let (owner, current, staged, staged_bytes) = {
        let state = record.lock();
        let waiting = state.waiting(record.id);
        // After the end of the host a claim still has its generation, but the slot does not.
        let owner = state.owner.as_ref().filter(|_| state.gone && state.mode == Mode::Claimed);
        (
            owner.cloned(),
            state.current.as_ref().map(|current| current.generation.number()),
            waiting.map(|(number, _)| number),
            waiting.and_then(|(_, bytes)| bytes),
        )
    };
    let held = images.of_slot(&record.name).into_iter().map(|image| {
        let number = image.number;
        let (is_held, kept_by_hook) = (image.is_held(), image.kept_by_hook());
        let owner = owner.as_ref().filter(|_| is_held && matches!(image.phase, Phase::InUse));
        let condition = match image.phase {
            Phase::InUse if owner.is_some() => GenerationStatus::Serving,
            Phase::InUse if current == Some(number) => GenerationStatus::Serving,
            Phase::InUse if staged == Some(number) => GenerationStatus::Staged,
            Phase::InUse => GenerationStatus::Candidate,
            Phase::Shadow(_) => GenerationStatus::Shadow,
            Phase::Standby => GenerationStatus::Standby,
            Phase::Retired => GenerationStatus::Retired,
            Phase::Ending => GenerationStatus::Ending,
            Phase::Quarantined(reason) => GenerationStatus::Quarantined(reason),
        };
        let mut holders = holders.get(&number).cloned().unwrap_or_default();
        holders.extend(owner.map(|taken| Holder::Owner {
            thread: taken.thread.clone(),
            since: taken.since.elapsed(),
            at: taken.at,
        }));
        holders.extend(kept_by_hook.map(|hook| Holder::Hook { hook: hook.name() }));
        match condition {
            // The holder has no hold record.
            GenerationStatus::Retired if holders.is_empty() && is_held => holders.push(Holder::Unknown),
            _ => {}
        }
        // Listed for a generation that serves, too: its unloading will wait for them.
        holders.extend(own_threads(&*image.resources));
        let live_bytes = match condition {
            GenerationStatus::Staged => staged_bytes,
            _ => image.resources.live_bytes(),
        };
        let mut generation = GenerationHolders::new(number, condition, image.since.elapsed());
        (generation.live_bytes, generation.holders) = (live_bytes, holders);
        generation
    });
    held.collect()
}

/// The holders of one generation.
pub(crate) fn holders_of(slots: &Slots, images: &MappedImages, slot: &str, number: u64) -> Vec<Holder> {
    let record = slots.named(slot);
    let held = record.map(|record| who_holds(slots, images, &record)).unwrap_or_default();
    let held = held.into_iter().find(|held| held.generation == number);
    held.map(|held| held.holders).unwrap_or_default()
}

fn holders_by_generation(slots: &Slots, record: &SlotRecord) -> BTreeMap<u64, Vec<Holder>> {
    let now = Instant::now();
    let since = |taken: &Acquisition| now.saturating_duration_since(taken.since);
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    let mut holding = Vec::new();
    {
        let state = record.lock();
        if let Some(current) = &state.current {
            let of = holders.entry(current.generation.number()).or_default();
            of.push(Holder::Slot);
            if let (Mode::Claimed, Some(taken)) = (state.mode, &state.owner) {
                of.push(Holder::Owner {
                    thread: taken.thread.clone(),
                    since: since(taken),
                    at: taken.at,
                });
            }
        }
        if let Some(standby) = state.probation.as_ref().and_then(|probation| probation.standby.as_ref()) {
            let number = standby.current.generation.number();
            holders.entry(number).or_default().push(Holder::Slot);
        }
        if let Some((staged, _)) = state.waiting(record.id) {
            holders.entry(staged).or_default().push(Holder::Slot);
        }
    }
    for hold in slots.holds.living() {
        let Some((view, taken)) = hold.held() else { continue };
        let Some(generation) = view.held(record.index, record.id) else {
            continue;
        };
        let (thread, since, at) = (taken.thread.clone(), since(&taken), taken.at);
        let holder = match hold.by {
            HoldBy::Reader => Holder::Reader { thread, since, at },
            HoldBy::Load => Holder::Load { thread, since, at },
        };
        holders.entry(generation.number()).or_default().push(holder);
        holding.push((generation.number(), generation.keeps()));
    }
    for (generation, held) in holding {
        let predecessor = Holder::Predecessor { generation };
        for number in held {
            let of = holders.entry(number).or_default();
            if !of.contains(&predecessor) {
                of.push(predecessor.clone());
            }
        }
    }
    holders
}

fn own_threads(resources: &dyn Resources) -> Vec<Holder> {
    let threads = resources.running_threads().into_iter();
    let values = resources.threads_with_values().into_iter();
    threads
        .map(|thread| Holder::PluginThread { thread })
        .chain(values.map(|thread| Holder::ThreadLocals { thread }))
        .collect()
}
