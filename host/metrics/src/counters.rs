//! Maps events to counters. Each event is reported once, so the counts are exact.

use crate::{
    names::{
        IMAGES_DAMAGED, IMAGES_NOT_COMPARED, INSTANCES_ENDED, LEFT_BYTES, PANICS, REFUSALS, RELOAD_SECONDS, RELOADS,
        REPAIRS_GIVEN_UP, ROLLBACK_SECONDS, ROLLBACKS, begin, count, gauge, seconds,
    },
    words::{self, no_slot as none, slot as of},
};
use metrics::{Label, Recorder};
use reslot_runtime::{Cause, Event, Fault, HookError, Outcome, Refusal, ReloadReport, RetireReport, UnloadReport};
use std::sync::Arc;

/// Creates a slot's counters for alerts with 0, because `increase` does not see the first value of a series.
pub(crate) fn from_zero(slot: &Arc<str>, to: &dyn Recorder) {
    beginnings(&of(slot.clone()), &words::OUTCOMES, &words::PLACES, to);
}

/// The same for files without a known slot.
pub(crate) fn none_from_zero(to: &dyn Recorder) {
    beginnings(&none(), &[words::REFUSED], &[words::THREAD, words::HOOK], to);
}

fn beginnings(slot: &Label, outcomes: &[&'static str], places: &[&'static str], to: &dyn Recorder) {
    for outcome in outcomes {
        begin(to, RELOADS, [slot.clone(), Label::from_static_parts("outcome", outcome)]);
    }
    for place in places {
        begin(to, PANICS, [slot.clone(), Label::from_static_parts("where", place)]);
    }
    for name in [IMAGES_DAMAGED, IMAGES_NOT_COMPARED, INSTANCES_ENDED, REPAIRS_GIVEN_UP] {
        begin(to, name, [slot.clone()]);
    }
    let full = Label::from_static_parts("cause", words::QUARANTINE_FULL);
    begin(to, REFUSALS, [slot.clone(), full]);
}

/// Whether a slot of this name exists. A refused file may have any name, which must not become a label.
type Known<'a> = &'a dyn Fn(&str) -> bool;

pub(crate) fn event(known: Known<'_>, event: &Event, to: &dyn Recorder) {
    let known = |slot: &Arc<str>| if known(slot) { of(slot.clone()) } else { none() };
    match event {
        Event::Swapped(report) => swapped(report, to),
        Event::Unchanged { slot, .. } | Event::AlreadyStaged { slot, .. } => reload(to, of(slot.clone()), words::UNCHANGED),
        Event::Superseded { slot, .. } => reload(to, of(slot.clone()), words::SUPERSEDED),
        Event::Refused(refusal) => refused(refusal.slot.as_ref().map_or_else(none, known), refusal, to),
        Event::RolledBack(report) => {
            let reason = Label::from_static_parts("reason", report.reason.kind());
            reload(to, of(report.slot.clone()), words::rollback_outcome(&report.reason));
            count(to, ROLLBACKS, [of(report.slot.clone()), reason]);
            seconds(to, ROLLBACK_SECONDS, [], report.total.as_secs_f64());
        }
        Event::ImageDamaged { slot, .. } => count(to, IMAGES_DAMAGED, [known(slot)]),
        Event::ImageNotCompared { slot, .. } => count(to, IMAGES_NOT_COMPARED, [known(slot)]),
        Event::RepairGivenUp { slot, .. } => count(to, REPAIRS_GIVEN_UP, [known(slot)]),
        Event::CallFailed { slot, error, .. } if matches!(error.fault(), Fault::Panicked { .. }) => {
            panicked(to, of(slot.clone()), words::CALL);
        }
        Event::InstanceEnded { slot, .. } => count(to, INSTANCES_ENDED, [known(slot)]),
        Event::ThreadPanicked { slot, .. } => panicked(to, known(slot), words::THREAD),
        Event::StopFailed { slot, error, .. } | Event::RestartFailed { slot, error, .. } => hook(to, known(slot), error),
        Event::Retired(report) => retired(known(&report.slot), report, to),
        Event::Released { slot, report, .. } => left(to, slot, report),
        _ => {}
    }
}

fn reload(to: &dyn Recorder, slot: Label, outcome: &'static str) {
    count(to, RELOADS, [slot, Label::from_static_parts("outcome", outcome)]);
}

fn panicked(to: &dyn Recorder, slot: Label, place: &'static str) {
    count(to, PANICS, [slot, Label::from_static_parts("where", place)]);
}

fn hook(to: &dyn Recorder, slot: Label, error: &HookError) {
    if let HookError::Panicked { .. } = error {
        panicked(to, slot, words::HOOK);
    }
}

fn swapped(report: &ReloadReport, to: &dyn Recorder) {
    reload(to, of(report.slot.clone()), words::SWAPPED);
    let label = |step| [Label::from_static_parts("step", step)];
    for (step, took) in &report.steps {
        seconds(to, RELOAD_SECONDS, label(step.name()), took.as_secs_f64());
    }
    seconds(to, RELOAD_SECONDS, label("total"), report.total.as_secs_f64());
    seconds(to, RELOAD_SECONDS, label("pause"), report.pause.as_secs_f64());
}

fn refused(slot: Label, refusal: &Refusal, to: &dyn Recorder) {
    reload(to, slot.clone(), words::REFUSED);
    let cause = Label::from_static_parts("cause", refusal.cause.kind());
    count(to, REFUSALS, [slot.clone(), cause]);
    if let Cause::Hook(_, error) = &*refusal.cause {
        hook(to, slot, error);
    }
}

fn retired(slot: Label, report: &RetireReport, to: &dyn Recorder) {
    for error in [&report.stop_error, &report.destroy_error].into_iter().flatten() {
        hook(to, slot.clone(), error);
    }
    if let Outcome::Unmapped(unmapped) = &report.outcome {
        left(to, &report.slot, unmapped);
    }
}

fn left(to: &dyn Recorder, slot: &Arc<str>, report: &UnloadReport) {
    let bytes = report.live_bytes_left.unwrap_or(0).saturating_sub(report.bytes_freed);
    gauge(to, LEFT_BYTES, [of(slot.clone())]).increment(bytes as f64);
}
