//! What a surface is made of, and what helps to write one. A surface observes, asks or steers a host and is not part of it: the control socket,
//! the metrics and the configuration of this repository are surfaces, each a crate of its own that uses what is public here and nothing else.
//! So anybody can write another one.
//!
//! Begin with [`Surface`], which is attached with [`HostBuilder::attach`](crate::HostBuilder::attach). It is given a [`HostHandle`], through
//! which it asks ([`Asking`]) and steers ([`Steering`]). Events come from [`Asking::events`], or to functions that [`Setup`] is given.
//! The rest is what several surfaces need: a thread that does not get in the program's way, a file that is read as a whole, a watch on a
//! folder, words for what the system refuses.

pub use crate::{
    host::{Asking, Examination, HostEnded, HostHandle, Obstacle, Setup, Steering, Surface, SurfaceError, Unnoticed},
    inputs::{NotEncodable, PluginSettings, SettingsRefused},
    slot::ContentPlace,
    watch::{FileWatch, WatchOptions},
};
pub use reslot_process::{Process, background::spawn_background};
use reslot_report::StageError;
pub use reslot_report::remedies::{Reason, remedy, thread_remedy};
use std::path::Path;

/// Reads a file as a whole, following links: never one that somebody is writing, or that changes meanwhile.
///
/// # Errors
/// If it cannot be read, or is larger than `most` bytes. If [`StageError::is_transient`], try again soon.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, StageError> {
    Ok(reslot_stage::read_other(path, most)?.bytes.to_vec())
}
