//! How much memory an event holds, for the bound of the host's history.

use super::{Event, Record};
use std::fmt::{self, Display, Write};

/// About so much for what every event has: itself, its place, paths of usual length.
const ITSELF: usize = size_of::<Record>() + 256;

/// About how many bytes are held because of this event. What it shares with others (a panic's message with the error of the call, a
/// refusal with what is remembered of the file) counts for each of them, so this is no less than what is really held; but for the names of
/// functions in backtraces, which are looked up later.
pub fn weight(event: &Event) -> usize {
    let words = match event {
        // Many, and without words of a plugin's or a file's.
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
        // Its sentence leaves the refusal out.
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

/// How long something is as a text, of which nothing is kept.
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
