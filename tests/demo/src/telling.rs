//! Prints the host's events: it selects those that matter to a person, and adds colours. The text is the events' own.

use crate::words::{bad, dim, good};
use reslot::Event;
use std::{collections::BTreeSet, sync::Arc};

/// The text of an event; none if it does not matter to a person.
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

/// The printed backtraces: only the first one of each generation, because a plugin that fails in a loop would print a
/// thousand a second.
#[derive(Default)]
pub struct Backtraces(BTreeSet<(Arc<str>, u64)>);

impl Backtraces {
    /// The backtrace to print under an event; none if there is none.
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
