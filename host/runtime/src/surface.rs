//! The parts of a surface, and helpers to write one. A surface observes, queries or controls a host from outside of its
//! core. The control socket, the metrics and the configuration of this repository are surfaces; each is a separate crate
//! that uses only the public items of this module, so you can write another one.
//!
//! Begin with [`Surface`], which is attached with [`HostBuilder::attach`](crate::HostBuilder::attach). The host passes it a
//! [`HostHandle`], which it uses for queries ([`Asking`]) and commands ([`Steering`]). It reads events from
//! [`Asking::events`], or registers functions in [`Setup`]. The rest helps several surfaces: a thread that does not disturb
//! the program, reading a complete file, watching a folder, and messages for errors of the system.

pub use crate::{
    host::{Asking, Examination, HostEnded, HostHandle, Obstacle, Setup, Steering, Surface, SurfaceError, Unnoticed},
    inputs::{NotEncodable, PluginSettings, SettingsRefused},
    slot::ContentPlace,
    watch::{FileWatch, WatchOptions},
};
use reslot_report::StageError;
pub use reslot_report::remedies::{Reason, remedy, thread_remedy};
pub use reslot_system::{Process, background::spawn_background};
use std::path::Path;

/// Reads a complete file, following links. It fails if the file is open for writing, or changes meanwhile.
///
/// # Errors
/// If the file cannot be read, or is larger than `most` bytes. If [`StageError::is_transient`] is true, try again soon.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, StageError> {
    Ok(reslot_stage::read_other(path, most)?.bytes.to_vec())
}
