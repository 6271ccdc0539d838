//! Makes private copies: it reads an artifact only when it is complete, and writes it under a new name.
//!
//! This crate reads paths that other processes write, manages the folder of private copies with its lock, and removes the
//! folders of dead processes. It does not interpret the bytes beyond the first four (the lint does that), and it does not
//! open libraries.

mod bytes;
mod folder;
mod memory;
mod source;
mod spares;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use bytes::Bytes;
pub use folder::{Identity, Restored, identity};
pub use folder::{StagedFile, StagingFolder};
pub use memory::PrivateCopies;
pub use memory::holding as memory_holding;
pub use source::read_other;
pub use source::{Source, StageLimits, read_patiently, read_source};
pub use spares::Spares;
use sweep::is_staging_name;
pub use sweep::sweep;

const PREFIX: &str = "reslot-";
/// The name of the folder for the history inside a private folder.
pub const HISTORY: &str = ".history";

/// Whether a path is that of a private copy, in any folder of this process.
pub fn is_private_copy(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(is_staging_name)
}
