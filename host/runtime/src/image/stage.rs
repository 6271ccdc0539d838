//! Making the private copy: reading an artifact only when it is whole, and writing it under a name that no loader has seen.
//!
//! What lives here is the safe way from a path that others write to a file that only this process knows, and the folder that
//! these files stand in, from its lock to the sweeping of those that dead processes left. What does not live here: any look
//! into the bytes beyond the first four (lint does that), and anything that opens a library.

mod bytes;
mod folder;
mod memory;
mod source;
mod spares;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(crate) use bytes::Bytes;
pub(crate) use folder::{Identity, Restored, identity};
pub use folder::{StagedFile, StagingFolder};
pub use memory::PrivateCopies;
pub(crate) use memory::holding as memory_holding;
pub(crate) use source::read_other;
pub use source::{Source, StageLimits, read_patiently, read_source};
pub(crate) use spares::Spares;
use sweep::is_staging_name;
pub use sweep::sweep;

const PREFIX: &str = "reslot-";
/// The one folder that a private folder may have in it.
pub(crate) const HISTORY: &str = ".history";

/// Whether a path is that of a private copy, of whichever folder in this process.
pub(crate) fn is_private_copy(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(is_staging_name)
}
