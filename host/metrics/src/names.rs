//! Every metric of the host: its name, its unit, and what it says, in the words that a person reads in Prometheus.

use metrics::{Gauge, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

pub(crate) const RELOADS: &str = "reslot_reload_total";
pub(crate) const RELOAD_SECONDS: &str = "reslot_reload_seconds";
pub(crate) const REFUSALS: &str = "reslot_refusals_total";
pub(crate) const ROLLBACKS: &str = "reslot_rollbacks_total";
pub(crate) const ROLLBACK_SECONDS: &str = "reslot_rollback_seconds";
pub(crate) const IMAGES_MAPPED: &str = "reslot_images_mapped";
pub(crate) const IMAGES_STANDBY: &str = "reslot_images_standby";
pub(crate) const IMAGES_QUARANTINED: &str = "reslot_images_quarantined";
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
            "Artifacts that were taken up, by what became of them: swapped, unchanged, superseded, refused; and rollbacks: rolled_back because of a fault, rolled_back_on_request because somebody asked.",
        ),
        (
            histogram,
            RELOAD_SECONDS,
            Unit::Seconds,
            "How long each step of a reload took; step total is from the notice to the swap, waiting included; step pause is how long calls could not be made because of it.",
        ),
        (counter, REFUSALS, Unit::Count, "Artifacts that were refused, by cause."),
        (
            counter,
            ROLLBACKS,
            Unit::Count,
            "Times a slot went back to an earlier version, by reason.",
        ),
        (histogram, ROLLBACK_SECONDS, Unit::Seconds, "How long going back took."),
        (
            gauge,
            IMAGES_MAPPED,
            Unit::Count,
            "Images of plugins that are mapped: serving, staged, standing by, retiring and quarantined.",
        ),
        (
            gauge,
            IMAGES_STANDBY,
            Unit::Count,
            "Of the mapped images, those that stand by until their successors have proved themselves.",
        ),
        (
            gauge,
            IMAGES_QUARANTINED,
            Unit::Count,
            "Of the mapped images, those that cannot be unmapped, by what keeps them.",
        ),
        (
            gauge,
            LIVE_BYTES,
            Unit::Bytes,
            "What the generation that serves has allocated; 0 if none does, or its plugin counts none.",
        ),
        (
            gauge,
            LEFT_BYTES,
            Unit::Bytes,
            "What generations that are gone have left allocated, since the host began.",
        ),
        (
            counter,
            PANICS,
            Unit::Count,
            "Panics of plugins, by where: in a call, on a thread, in a hook.",
        ),
        (gauge, GENERATION, Unit::Count, "The generation that serves; 0 if none does."),
        (
            gauge,
            ON_PROBATION,
            Unit::Count,
            "1 while what serves has yet to prove itself.",
        ),
        (
            gauge,
            HEALTH,
            Unit::Count,
            "What it answered last when asked for its health: 3 healthy, 2 warning, 1 temporarily unavailable, 0 critical or check failed; -1 if it was not asked yet.",
        ),
        (
            gauge,
            LATE_HOLDERS,
            Unit::Count,
            "Who held retired generations when the drain deadline was over, until each is gone: the number is not looked up again as they let go.",
        ),
        (
            counter,
            CALLS,
            Unit::Count,
            "Calls that came to a plugin, if the host counts them (count_calls).",
        ),
        (counter, FAULTS, Unit::Count, "Calls that answered an error."),
    ];
    for (how, name, unit, words) in all {
        how(recorder, KeyName::from_const_str(name), unit, words);
    }
}

fn key<const N: usize>(name: &'static str, labels: [Label; N]) -> Key {
    Key::from_parts(name, labels.to_vec())
}

/// A counter that has counted nothing yet, or goes on from where it is.
pub(crate) fn begin<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) {
    recorder.register_counter(&key(name, labels), &METADATA).increment(0);
}

pub(crate) fn count<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) {
    recorder.register_counter(&key(name, labels), &METADATA).increment(1);
}

/// What is counted elsewhere.
pub(crate) fn counted<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N], value: u64) {
    recorder.register_counter(&key(name, labels), &METADATA).absolute(value);
}

pub(crate) fn gauge<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N]) -> Gauge {
    recorder.register_gauge(&key(name, labels), &METADATA)
}

pub(crate) fn seconds<const N: usize>(recorder: &dyn Recorder, name: &'static str, labels: [Label; N], took: f64) {
    recorder.register_histogram(&key(name, labels), &METADATA).record(took);
}
