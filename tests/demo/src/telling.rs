//! The host's events on a screen: which of them a person wants to read, and the few colours. The words are the events' own.

use crate::words::{bad, dim, good};
use reslot::Event;
use std::{collections::BTreeSet, sync::Arc};

/// What a person wants to read of an event; none if that is nothing.
pub fn in_words(event: &Event) -> Option<String> {
    match event {
        Event::Linted { warnings, .. } if warnings.is_empty() => return None,
        Event::Noticed { .. } | Event::Lifecycle { .. } | Event::Staged { .. } | Event::ShutDown => return None,
        _ => {}
    }
    let mut text = event.to_string();
    for (words, painted) in [
        ("image proven unmapped", good("image proven unmapped").to_string()),
        ("its image stays mapped", bad("its image stays mapped").to_string()),
        ("refused: ", format!("{} ", bad("refused:"))),
        ("call failed: ", format!("{} ", bad("call failed:"))),
    ] {
        text = text.replacen(words, &painted, 1);
    }
    Some(text)
}

/// The backtraces that were shown: the first of each generation. Those that follow tell the same, a thousand times a second if the
/// plugin fails in a loop.
#[derive(Default)]
pub struct Backtraces(BTreeSet<(Arc<str>, u64)>);

impl Backtraces {
    /// What to show under the event's words; none if that is nothing.
    pub fn under(&mut self, event: &Event) -> Option<String> {
        let backtrace = event.backtrace()?;
        let (slot, generation) = match event {
            Event::CallFailed { slot, generation, .. } | Event::ThreadPanicked { slot, generation, .. } => {
                (slot, *generation)
            }
            Event::Refused(refusal) => (refusal.slot.as_ref()?, refusal.candidate?),
            Event::Retired(report) => (&report.slot, report.generation),
            _ => return None,
        };
        let is_first = self.0.insert((slot.clone(), generation));
        is_first.then(|| dim(backtrace).to_string())
    }
}
