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
        /// Its details, once they have arrived.
        detail: Option<Box<Detail>>,
        /// The number of lines above the visible part.
        scroll: usize,
        /// The end of the scroll range, from the last drawing.
        end: usize,
    },
    /// What the keys do.
    Help,
    /// The question whether to roll a slot back, over the previous page.
    Asking {
        /// The slot's name.
        slot: String,
        /// The previous page.
        back: Box<Page>,
    },
}

impl Page {
    /// The page that is drawn. A question is drawn in the line of messages over the previous page.
    pub(in super::super) fn shown(&self) -> &Self {
        match self {
            Self::Asking { back, .. } => back.shown(),
            page => page,
        }
    }
}
