//! What the middle of the screen shows.

use super::Detail;

/// What the middle of the screen shows.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) enum Page {
    /// All slots, and the last reloads.
    #[default]
    Slots,
    /// Everything about one slot.
    Inspect {
        /// Its name.
        slot: String,
        /// What was asked for because of that, once it is known.
        detail: Option<Box<Detail>>,
        /// Lines above what is shown.
        scroll: usize,
        /// As far as there is to scroll, as it was drawn last.
        end: usize,
    },
    /// What the keys do.
    Help,
    /// Whether a slot is to go back; what was there before is shown on.
    Asking {
        /// The slot's name.
        slot: String,
        /// Where the answer leads.
        back: Box<Page>,
    },
}

impl Page {
    /// What is drawn: a question stands in the line of messages, over what was there.
    pub(in super::super) fn shown(&self) -> &Self {
        match self {
            Self::Asking { back, .. } => back.shown(),
            page => page,
        }
    }
}
