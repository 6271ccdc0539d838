//! Gauges: what is so at one moment, looked up in the slots and among the images. Numbers are read under the locks, and told to the
//! recorder without any.

use super::{
    names::{
        CALLS, FAULTS, GENERATION, HEALTH, IMAGES_MAPPED, IMAGES_QUARANTINED, IMAGES_STANDBY, LATE_HOLDERS, LIVE_BYTES,
        ON_PROBATION, counted, gauge,
    },
    tell::of,
    with::Late,
    words,
};
use crate::{host::Inner, slot::SlotRecord};
use metrics::{Label, Recorder};
use parking_lot::Mutex;
use reslot_report::{Event, QuarantineReason};

/// All of them.
pub(super) fn whole(host: &Inner, late: &Mutex<Late>, to: &dyn Recorder) {
    images(host, to);
    for record in host.slots.all().iter() {
        slot(host, record, to);
        late_holders(record, late, to);
    }
}

/// Those that the event may have changed.
pub(super) fn concerned(host: &Inner, event: &Event, late: &Mutex<Late>, to: &dyn Recorder) {
    let name = match event {
        Event::Swapped(report) => &report.slot,
        Event::RolledBack(report) => &report.slot,
        Event::Retired(report) => &report.slot,
        Event::Confirmed { slot, .. }
        | Event::Health { slot, .. }
        | Event::SlotEmptied { slot, .. }
        | Event::Unloaded { slot, .. }
        | Event::NoFallback { slot, .. }
        | Event::Staged { slot, .. }
        | Event::DrainTimeout { slot, .. }
        | Event::Released { slot, .. }
        | Event::CallFailed { slot, .. } => slot,
        Event::Refused(_) => return images(host, to),
        Event::ShutDown => return whole(host, late, to),
        _ => return,
    };
    if !matches!(event, Event::CallFailed { .. }) {
        images(host, to);
    }
    let Some(record) = host.slots.named(name) else { return };
    slot(host, &record, to);
    if matches!(event, Event::DrainTimeout { .. } | Event::Retired(_)) {
        late_holders(&record, late, to);
    }
}

fn images(host: &Inner, to: &dyn Recorder) {
    let counts = host.images.counts();
    gauge(to, IMAGES_MAPPED, []).set(counts.mapped as f64);
    gauge(to, IMAGES_STANDBY, []).set(counts.standby as f64);
    let quarantined: Vec<_> = host.images.quarantined().iter().map(QuarantineReason::kind).collect();
    // Each, also those that are none: a gauge that is not set again stays what it was.
    for reason in QuarantineReason::KINDS {
        let images = quarantined.iter().filter(|of| **of == reason).count();
        gauge(to, IMAGES_QUARANTINED, [Label::from_static_parts("reason", reason)]).set(images as f64);
    }
}

fn slot(host: &Inner, record: &SlotRecord, to: &dyn Recorder) {
    let mut state = record.lock();
    if state.last_number == 0 {
        // Nothing has come to be mapped for it: a name that some refused file has said.
        return;
    }
    let current = state.current.as_ref().map(|current| &current.generation);
    let generation = current.map_or(0, |generation| generation.number());
    // The lock keeps the generation. It is the SDK that counts, in a loop over numbers: no plugin's code runs.
    let live_bytes = current.and_then(|generation| generation.instance().live_bytes());
    let (on_probation, health) = (state.probation.is_some(), state.health());
    drop(state);
    let of = || of(&record.name);
    gauge(to, GENERATION, [of()]).set(generation as f64);
    gauge(to, ON_PROBATION, [of()]).set(f64::from(u8::from(on_probation)));
    gauge(to, HEALTH, [of()]).set(words::health(health.as_ref()));
    gauge(to, LIVE_BYTES, [of()]).set(live_bytes.unwrap_or(0) as f64);
    if host.count_calls {
        counted(to, CALLS, [of()], record.counts.calls());
    }
    counted(to, FAULTS, [of()], record.counts.faults());
}

fn late_holders(record: &SlotRecord, late: &Mutex<Late>, to: &dyn Recorder) {
    let holders: usize = late
        .lock()
        .get(&record.name)
        .into_iter()
        .flat_map(|of_slot| of_slot.values())
        .sum();
    gauge(to, LATE_HOLDERS, [of(&record.name)]).set(holders as f64);
}
