//! All metrics of the host, with name, unit, and the description that Prometheus shows.

use metrics::{Gauge, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

pub(crate) const RELOADS: &str = "reslot_reload_total";
pub(crate) const RELOAD_SECONDS: &str = "reslot_reload_seconds";
pub(crate) const REFUSALS: &str = "reslot_refusals_total";
pub(crate) const ROLLBACKS: &str = "reslot_rollbacks_total";
pub(crate) const ROLLBACK_SECONDS: &str = "reslot_rollback_seconds";
pub(crate) const IMAGES_MAPPED: &str = "reslot_images_mapped";
pub(crate) const IMAGES_STANDBY: &str = "reslot_images_standby";
pub(crate) const IMAGES_QUARANTINED: &str = "reslot_images_quarantined";
pub(crate) const IMAGES_DAMAGED: &str = "reslot_images_damaged_total";
pub(crate) const IMAGES_NOT_COMPARED: &str = "reslot_images_not_compared_total";
pub(crate) const INSTANCES_ENDED: &str = "reslot_instances_ended_total";
pub(crate) const REPAIRS_GIVEN_UP: &str = "reslot_image_repairs_given_up_total";
pub(crate) const LIVE_BYTES: &str = "reslot_plugin_live_bytes";
pub(crate) const LEFT_BYTES: &str = "reslot_plugin_left_bytes";
pub(crate) const PANICS: &str = "reslot_plugin_panics_total";
pub(crate) const GENERATION: &str = "reslot_slot_generation";
pub(crate) const ON_PROBATION: &str = "reslot_slot_on_probation";
pub(crate) const HEALTH: &str = "reslot_slot_health";
pub(crate) const LATE_HOLDERS: &str = "reslot_slot_late_holders";
pub(crate) const CALLS: &str = "reslot_slot_calls_total";
pub(crate) const FAULTS: &str = "reslot_slot_faults_total";

const METADATA: Metadata<'static> = Metadata::new("reslot", Level::INFO, None);

pub(crate) fn describe(recorder: &dyn Recorder) {
    type How = fn(&dyn Recorder, KeyName, Unit, &'static str);
    let counter: How = |recorder, name, unit, words| recorder.describe_counter(name, Some(unit), words.into());
    let gauge: How = |recorder, name, unit, words| recorder.describe_gauge(name, Some(unit), words.into());
    let histogram: How = |recorder, name, unit, words| recorder.describe_histogram(name, Some(unit), words.into());
    let all = [
        (
            counter,
            RELOADS,
            Unit::Count,
            "Reloads by outcome: swapped, unchanged, superseded, refused; and rollbacks: rolled_back because of a fault, \
                 rolled_back_on_request if they were requested.",
        ),
        (
            histogram,
            RELOAD_SECONDS,
            Unit::Seconds,
            "The time of each step of a reload; step total is from the notice to the swap, including waiting; step pause \
                 is the time during which calls had to wait.",
        ),
        (counter, REFUSALS, Unit::Count, "Artifacts that were refused, by cause."),
        (
            counter,
            ROLLBACKS,
            Unit::Count,
            "Rollbacks of a slot to an earlier version, by reason.",
        ),
        (histogram, ROLLBACK_SECONDS, Unit::Seconds, "The time of a rollback."),
        (
            gauge,
            IMAGES_MAPPED,
            Unit::Count,
            "Mapped images of plugins: current, staged, standby, retired and quarantined.",
        ),
        (
            gauge,
            IMAGES_STANDBY,
            Unit::Count,
            "Mapped images that are the standby until their successors have passed their probation.",
        ),
        (
            gauge,
            IMAGES_QUARANTINED,
            Unit::Count,
            "Mapped images that cannot be unmapped, by reason.",
        ),
        (
            counter,
            IMAGES_DAMAGED,
            Unit::Count,
            "Reports that an image differs in memory from its artifact (scrub_every, verify_images).",
        ),
        (
            counter,
            IMAGES_NOT_COMPARED,
            Unit::Count,
            "Reports that an image could not be compared with its artifact.",
        ),
        (
            counter,
            INSTANCES_ENDED,
            Unit::Count,
            "Instances in sandboxes or processes of their own that have ended: at a deadline or a limit, by a trap, or by a crash.",
        ),
        (
            counter,
            REPAIRS_GIVEN_UP,
            Unit::Count,
            "Reports that a damaged image is not replaced any more, because fresh images differed in the same places.",
        ),
        (
            gauge,
            LIVE_BYTES,
            Unit::Bytes,
            "Bytes that the current generation has allocated; 0 if the slot is empty, or if the plugin does not count them.",
        ),
        (
            gauge,
            LEFT_BYTES,
            Unit::Bytes,
            "Bytes that unloaded generations have left allocated, since the host started.",
        ),
        (
            counter,
            PANICS,
            Unit::Count,
            "Panics of plugins, by where: in a call, on a thread, in a hook.",
        ),
        (
            gauge,
            GENERATION,
            Unit::Count,
            "The current generation; 0 if the slot is empty.",
        ),
        (
            gauge,
            ON_PROBATION,
            Unit::Count,
            "1 while the current generation is on probation.",
        ),
        (
            gauge,
            HEALTH,
            Unit::Count,
            "The result of the last health check: 3 healthy, 2 warning, 1 temporarily unavailable, 0 critical or check \
                 failed; -1 before the first check.",
        ),
        (
            gauge,
            LATE_HOLDERS,
            Unit::Count,
            "Holders of retired generations at the drain deadline, until each generation is gone; the number is not \
                 updated when holders release it.",
        ),
        (
            counter,
            CALLS,
            Unit::Count,
            "Calls of a plugin, if the host counts them (count_calls).",
        ),
        (counter, FAULTS, Unit::Count, "Calls that returned an error."),
    ];
    for (how, name, unit, words) in all {
        how(recorder, KeyName::from_const_str(name), unit, words);
    }
}

fn key<const N: usize>(name: &'static str, labels: [Label; N]) -> Key {
    Key::from_parts(name, labels.to_vec())
}

/// Creates a counter with 0; an existing one keeps its value.
pub(crate) fn begin<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) {
    recorder.register_counter(&key(name, labels), &METADATA).increment(0);
}

pub(crate) fn count<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) {
    recorder.register_counter(&key(name, labels), &METADATA).increment(1);
}

/// Sets a counter whose value is kept elsewhere.
pub(crate) fn counted<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N], value: u64) {
    recorder.register_counter(&key(name, labels), &METADATA).absolute(value);
}

pub(crate) fn gauge<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) -> Gauge {
    recorder.register_gauge(&key(name, labels), &METADATA)
}

pub(crate) fn seconds<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N], took: f64) {
    recorder.register_histogram(&key(name, labels), &METADATA).record(took);
}
