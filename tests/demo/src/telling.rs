//! The host's events in words, a line or a few each. Events that only matter to a program that waits for them have none.

use crate::words::{bad, dim, duration, good};
use reslot::{Event, Outcome, Refusal, ReloadReport, RetireReport, UnloadReport};
use std::{path::Path, time::Duration};

/// What a person wants to read of an event; none if that is nothing.
pub fn in_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Waiting { path, why } => format!("{}: not taken yet: {why}", name(path)),
        Event::Unchanged { slot, path, generation } => format!(
            "{slot}: {} holds what serves already; generation {generation} serves on",
            name(path)
        ),
        Event::StillRefused { path, .. } => {
            format!("{}: still the content that was refused before; not tried again", name(path))
        }
        Event::Linted { slot, warnings } if !warnings.is_empty() => {
            let lines: Vec<String> = warnings.iter().map(|warning| format!("{slot}: note: {warning}")).collect();
            lines.join("\n")
        }
        Event::Superseded { slot, generation } => {
            format!("{slot}: generation {generation} was replaced by a newer build before it served")
        }
        Event::Swapped(report) => swapped(report),
        Event::Refused(refusal) => refused(refusal),
        Event::Straggling {
            slot,
            generation,
            holders,
        } => format!(
            "{slot}: generation {generation} was replaced, but is still held by {}; it goes when they let go",
            holders.join(", ")
        ),
        Event::Retired(report) => retired(report),
        Event::Released {
            slot,
            generation,
            report,
        } => format!(
            "{slot}: generation {generation} is gone after all: {} ({})",
            good("image proven unmapped"),
            unloaded(report)
        ),
        Event::CallFailed { error, .. } => format!("{} {error}", bad("call failed:")),
        Event::ThreadPanicked {
            slot,
            generation,
            message,
        } => format!("{slot}: a thread of generation {generation} panicked: {message}"),
        Event::FolderMissing { path } => format!(
            "the folder {} is not there; it is taken up as soon as it appears",
            path.display()
        ),
        Event::FolderBack { path } => format!("the folder {} is there; its plugins are taken up", path.display()),
        Event::Lagged { missed } => format!("({missed} events came too fast to be told)"),
        _ => return None,
    })
}

fn swapped(report: &ReloadReport) -> String {
    let ReloadReport {
        slot,
        generation,
        replaced,
        steps,
        total,
        ..
    } = report;
    let outcome = match replaced {
        Some(old) => format!("took over from {old}"),
        None => "is loaded".to_owned(),
    };
    let mut parts: Vec<String> = steps
        .iter()
        .map(|(step, took)| format!("{step} {}", took.as_micros()))
        .collect();
    // What no step accounts for is the wait for a claimed slot's owner, or for the calls into a shared one with state.
    let wait = total.saturating_sub(steps.iter().map(|(_, took)| *took).sum());
    if replaced.is_some() && wait > Duration::from_micros(20) {
        parts.push(format!("waiting {}", wait.as_micros()));
    }
    let state = report.state_bytes.map(|bytes| format!(", with {bytes} bytes of state"));
    format!(
        "{slot}: {} {outcome} in {}{} {}",
        good(format!("generation {generation}")),
        duration(*total),
        state.unwrap_or_default(),
        dim(format!("({}; in µs)", parts.join(", ")))
    )
}

fn refused(refusal: &Refusal) -> String {
    let (head, rest) = match refusal.to_string().split_once('\n') {
        Some((head, rest)) => (head.to_owned(), format!("\n{rest}")),
        None => (refusal.to_string(), String::new()),
    };
    format!("{} {head}{rest}", bad("refused:"))
}

fn retired(report: &RetireReport) -> String {
    let RetireReport { slot, generation, .. } = report;
    let who = match report.served {
        true => format!("{slot}: generation {generation}"),
        false => format!("{slot}: generation {generation}, which never served,"),
    };
    let mut text = match &report.outcome {
        Outcome::Unmapped(left) => format!(
            "{who} is gone: {} (held {}, {})",
            good("image proven unmapped"),
            duration(report.held),
            unloaded(left)
        ),
        Outcome::Quarantined(reason) => format!("{who} has ended, but {}: {reason}", bad("its image stays mapped")),
        other => format!("{who} has ended: {other:?}"),
    };
    for (hook, error) in [("stop", &report.stop_error), ("drop", &report.destroy_error)] {
        if let Some(error) = error {
            text.push_str(&format!("\n  its `{hook}` ended badly: {error}"));
        }
    }
    text
}

fn unloaded(report: &UnloadReport) -> String {
    let mut text = format!("unloaded in {}", duration(report.close + report.prove));
    if report.thread_locals_skipped > 0 {
        text.push_str(&format!(
            ", {} thread-local value(s) of threads that live on leaked",
            report.thread_locals_skipped
        ));
    }
    text
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}
