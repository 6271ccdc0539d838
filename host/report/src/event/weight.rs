//! How much memory an event holds, for the bound of the host's history.

use super::{Event, Record};
use std::fmt::{self, Display, Write};

/// An estimate for what every event has: the record itself and paths of usual length.
const ITSELF: usize = size_of::<Record>() + 256;

/// An estimate of the bytes that this event keeps allocated. Shared data (the message of a panic, which the caller's error
/// has, too) counts for each event, so the estimate is never too low. The function names in backtraces are not included,
/// because they are looked up later.
pub fn weight(event: &Event) -> usize {
    let words = match event {
        // Frequent events, without text from a plugin or a file.
        Event::Noticed { .. }
        | Event::Unchanged { .. }
        | Event::Lifecycle { .. }
        | Event::Staged { .. }
        | Event::Shadowed { .. }
        | Event::Superseded { .. }
        | Event::Swapped(_)
        | Event::Confirmed { .. }
        | Event::ConfigApplied { .. }
        | Event::SlotEmptied { .. }
        | Event::Lagged { .. }
        | Event::ShutDown => 0,
        // `Display` does not print the refusal.
        Event::StillRefused { refusal, .. } => length(refusal),
        Event::Retired(report) => {
            let errors = [&report.stop_error, &report.destroy_error].into_iter().flatten();
            length(event) + errors.map(length).sum::<usize>()
        }
        _ => length(event),
    };
    let stack = event.backtrace().map_or(0, |backtrace| size_of_val(backtrace.addresses()));
    ITSELF + words + stack
}

/// The length of a value's text, without building the text.
fn length(of: &impl Display) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let _ = write!(counter, "{of}");
    counter.0
}
