//! The engine for plugins that are linked into the program: it makes instances of them and calls their hooks. Their code is a part of the
//! program, so nothing is mapped when an image is opened, and nothing is unmapped when it is closed.
//!
//! What a linked plugin is, and how it differs from a loaded one, is explained in `linked.rs` of reslot-plugin-api.

mod attached;
mod image;
mod services;

pub use image::LinkedEngine;
