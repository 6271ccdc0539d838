//! Updates gauges from the slots and images. The numbers are read under the locks, and the recorder is called without a
//! lock.

use crate::{
    names::{
        CALLS, FAULTS, GENERATION, HEALTH, IMAGES_MAPPED, IMAGES_QUARANTINED, IMAGES_STANDBY, LATE_HOLDERS, LIVE_BYTES,
        ON_PROBATION, counted, gauge,
    },
    words,
};
use metrics::{Label, Recorder};
use parking_lot::Mutex;
use reslot_runtime::{Event, QuarantineReason, SlotInfo, surface::Asking};
use std::{collections::BTreeMap, sync::Arc};

/// The retired generations of each slot that are held too long, with the numbers of their known holders.
pub(crate) type LateHolders = BTreeMap<Arc<str>, BTreeMap<u64, usize>>;

/// Updates all gauges.
pub(crate) fn all(host: &Asking<'_>, late: &Mutex<LateHolders>, to: &dyn Recorder) {
    images(host, to);
    for info in host.slots() {
        slot(&info, to);
        late_holders(&info.name, late, to);
    }
}

/// Updates the gauges that the event may have changed.
pub(crate) fn concerned(host: &Asking<'_>, event: &Event, late: &Mutex<LateHolders>, to: &dyn Recorder) {
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
        | Event::InstanceEnded { slot, .. }
        | Event::CallFailed { slot, .. } => slot,
        Event::Refused(_) => return images(host, to),
        Event::ShutDown => return all(host, late, to),
        _ => return,
    };
    if !matches!(event, Event::CallFailed { .. } | Event::InstanceEnded { .. }) {
        images(host, to);
    }
    let Some(info) = host.find_slot(name) else { return };
    slot(&info, to);
    if matches!(event, Event::DrainTimeout { .. } | Event::Retired(_)) {
        late_holders(name, late, to);
    }
}

fn images(host: &Asking<'_>, to: &dyn Recorder) {
    let counts = host.images();
    gauge(to, IMAGES_MAPPED, []).set(counts.mapped as f64);
    gauge(to, IMAGES_STANDBY, []).set(counts.standby as f64);
    let quarantined: Vec<_> = host.quarantined().iter().map(QuarantineReason::kind).collect();
    // All reasons are set, also to 0, because a gauge keeps its last value.
    for reason in QuarantineReason::KINDS {
        let images = quarantined.iter().filter(|of| **of == reason).count();
        gauge(to, IMAGES_QUARANTINED, [Label::from_static_parts("reason", reason)]).set(images as f64);
    }
}

fn slot(slot: &SlotInfo, to: &dyn Recorder) {
    if slot.newest.is_none() {
        // No image was ever mapped for this name: it is only the name in a refused file.
        return;
    }
    let of = || words::slot(slot.name.clone());
    gauge(to, GENERATION, [of()]).set(slot.generation.unwrap_or(0) as f64);
    gauge(to, ON_PROBATION, [of()]).set(f64::from(u8::from(slot.on_probation)));
    gauge(to, HEALTH, [of()]).set(words::health(slot.health.as_ref()));
    gauge(to, LIVE_BYTES, [of()]).set(slot.live_bytes.unwrap_or(0) as f64);
    if let Some(calls) = slot.calls {
        counted(to, CALLS, [of()], calls);
    }
    counted(to, FAULTS, [of()], slot.faults);
}

fn late_holders(slot: &str, late: &Mutex<LateHolders>, to: &dyn Recorder) {
    let holders: usize = late.lock().get(slot).into_iter().flat_map(|of_slot| of_slot.values()).sum();
    gauge(to, LATE_HOLDERS, [words::slot(slot.to_owned())]).set(holders as f64);
}
