//! The host's events on a screen: which of them a person wants to read, and the few colours. The words are the events' own.

use crate::words::{bad, good};
use reslot::Event;

/// What a person wants to read of an event; none if that is nothing.
pub fn in_words(event: &Event) -> Option<String> {
    match event {
        Event::Linted { warnings, .. } if warnings.is_empty() => return None,
        Event::Noticed { .. } | Event::Opened { .. } | Event::Created { .. } | Event::Staged { .. } | Event::ShutDown => {
            return None;
        }
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
