//! From an event to what it counts. Each event is told once, so each count is as exact as the stream.

use super::{
    names::{
        LEFT_BYTES, NO_SLOT, PANICS, REFUSALS, RELOAD_SECONDS, RELOADS, ROLLBACK_SECONDS, ROLLBACKS, count, gauge, seconds,
    },
    words,
};
use crate::{
    error::{Cause, Refusal},
    event::{Event, Outcome, ReloadReport, RetireReport},
    host::Inner,
    image::UnloadReport,
    instance::HookError,
};
use metrics::{Label, Recorder};
use std::sync::Arc;

pub(super) fn event(host: Option<&Inner>, event: &Event, to: &dyn Recorder) {
    match event {
        Event::Swapped(report) => swapped(report, to),
        Event::Unchanged { slot, .. } => reload(to, of(slot), "unchanged"),
        Event::Superseded { slot, .. } => reload(to, of(slot), "superseded"),
        Event::Refused(refusal) => refused(host, refusal, to),
        Event::RolledBack(report) => {
            let reason = Label::from_static_parts("reason", words::rollback(&report.reason));
            count(to, ROLLBACKS, [of(&report.slot), reason]);
            seconds(to, ROLLBACK_SECONDS, [], report.total.as_secs_f64());
        }
        Event::CallFailed { slot, .. } => panicked(to, of(slot), "call"),
        Event::ThreadPanicked { slot, .. } => panicked(to, of(slot), "thread"),
        Event::StopFailed { slot, error, .. } | Event::RestartFailed { slot, error, .. } => hook(to, of(slot), error),
        Event::Retired(report) => retired(report, to),
        Event::Released { slot, report, .. } => left(to, slot, report),
        _ => {}
    }
}

/// The label that names a slot.
pub(super) fn of(slot: &Arc<str>) -> Label {
    Label::new("slot", slot.clone())
}

fn reload(to: &dyn Recorder, slot: Label, outcome: &'static str) {
    count(to, RELOADS, [slot, Label::from_static_parts("outcome", outcome)]);
}

fn panicked(to: &dyn Recorder, slot: Label, place: &'static str) {
    count(to, PANICS, [slot, Label::from_static_parts("where", place)]);
}

fn hook(to: &dyn Recorder, slot: Label, error: &HookError) {
    if let HookError::Panicked { .. } = error {
        panicked(to, slot, "hook");
    }
}

fn swapped(report: &ReloadReport, to: &dyn Recorder) {
    reload(to, of(&report.slot), "swapped");
    let label = |step| [Label::from_static_parts("step", step)];
    for (step, took) in &report.steps {
        seconds(to, RELOAD_SECONDS, label(words::step(*step)), took.as_secs_f64());
    }
    seconds(to, RELOAD_SECONDS, label("total"), report.total.as_secs_f64());
}

/// A refused file may say any name of itself; only those of slots that there are become labels.
fn refused(host: Option<&Inner>, refusal: &Refusal, to: &dyn Recorder) {
    let known = refusal
        .slot
        .as_ref()
        .filter(|slot| host.is_some_and(|host| serves_or_served(host, slot)));
    let slot = || known.map_or(Label::from_static_parts("slot", NO_SLOT), of);
    reload(to, slot(), "refused");
    count(
        to,
        REFUSALS,
        [slot(), Label::from_static_parts("cause", words::cause(&refusal.cause))],
    );
    if let Cause::Hook(_, error) = &*refusal.cause {
        hook(to, slot(), error);
    }
}

/// Whether anything has come to be mapped for the slot.
pub(super) fn serves_or_served(host: &Inner, slot: &str) -> bool {
    host.slot_named(slot).is_some_and(|record| record.lock().last_number > 0)
}

fn retired(report: &RetireReport, to: &dyn Recorder) {
    for error in [&report.stop_error, &report.destroy_error].into_iter().flatten() {
        hook(to, of(&report.slot), error);
    }
    if let Outcome::Unmapped(unmapped) = &report.outcome {
        left(to, &report.slot, unmapped);
    }
}

fn left(to: &dyn Recorder, slot: &Arc<str>, report: &UnloadReport) {
    let bytes = report.live_bytes_left.unwrap_or(0).saturating_sub(report.bytes_freed);
    gauge(to, LEFT_BYTES, [of(slot)]).increment(bytes as f64);
}
