//! Floor 1: from bytes to mapped code and back: stage, lint, open, verify, close, prove. Nothing here knows of slots or
//! callers; an image does not know whether it serves.

pub mod stage;

pub(crate) mod loaded;
mod logs;
pub(crate) mod neighbours;
mod open;
mod panics;
mod remains;
mod resources;
mod services;
mod symbols;
mod unload;

pub use loaded::mapped_copies;
pub(crate) use logs::LogForwarder;
pub(crate) use open::{Image, Opened};
pub use panics::PanicReport;
pub(crate) use panics::take_panic;
pub(crate) use reslot_artifact::{compat, lint, manifest};
pub use resources::safe_point;
pub(crate) use resources::{Holding, ImageResources, ended_epoch};
pub(crate) use unload::{Unloading, close, holding};
