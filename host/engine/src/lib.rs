//! The seam between the runtime and the code that it runs. An [`Engine`] makes an artifact's code runnable; what it makes is an [`Image`],
//! of which [`Instance`]s are made; in the end the engine closes the image, with a proof or with the reason why it stays.
//!
//! The runtime knows engines by these traits alone. What is the same for all of them is written here, once: an instance and the right to
//! change it (`instance`), the calls into a plugin's root table for engines that have it in this address space (`root`), the way to the
//! plugins beside one (`peers`), and what a panic has left behind (`panics`).
//!
//! It knows nothing of slots or callers: an image does not know whether it serves.

mod engine;
mod instance;
mod level;
mod neighbours;
pub mod panics;
pub mod peers;
mod preflight;
mod root;

pub use engine::{Engine, Holding, Image, ImageId, ImageOwner, Object, Opened, Resources, Unloading, next_image_id};
pub use instance::{ExclusiveInstance, Instance, SharedImage};
pub use level::{LogLevel, NoLogLevel};
pub use neighbours::Neighbours;
pub use preflight::{Preflight, PreflightCandidate};
pub use root::{RootAccess, RootObject};
