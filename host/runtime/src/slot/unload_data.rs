//! Unloading as data: what a slot was asked for, and what it keeps after it was emptied.

use super::saved_state::SavedState;
use crate::watch::Listing;
use reslot_report::UnloadReason;
use std::{path::PathBuf, sync::Arc};

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct UnloadRequest {
    pub(crate) reason: UnloadReason,
    /// Also if others use it, and if its state cannot be had.
    pub(crate) force: bool,
}

/// What is known of a slot that was unloaded, as long as nothing serves in it again.
pub(crate) struct UnloadedSlot {
    /// The name of the plugin.
    pub(crate) plugin: Arc<str>,
    /// The file that it was loaded from.
    pub(crate) path: PathBuf,
    pub(crate) state: Option<SavedState>,
    /// What lay in the watched folder then. What is still there as it was is not loaded by itself.
    pub(crate) files: Listing,
}
