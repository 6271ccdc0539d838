//! The seam between the runtime and the code that it runs. An [`Engine`] makes an artifact's code runnable; what it makes is an [`Image`],
//! of which [`Instance`]s are made; in the end the engine closes the image, with a proof or with the reason why it stays.
//!
//! The runtime knows engines only by these traits. Code that is the same for all engines is here, too: an instance and the right to change
//! it (`instance`), the order of its hooks (`hooks`), the calls of a plugin's root table for engines that have it in this address space (`root`), the calls of peers
//! (`peers`), and the reports of panics (`panics`).
//!
//! This crate knows nothing of slots or callers: an image does not know whether it is current.

mod checkpoint;
mod engine;
pub mod failures;
pub mod hooks;
mod instance;
mod level;
pub mod panics;
mod peer_table;
pub mod peers;
mod preflight;
mod root;

pub use checkpoint::{Checkpoint, SavedState, changing_methods};
pub use engine::{
    Engine, Holding, Image, ImageId, ImageOwner, LintedBytes, Object, Opened, Resources, StagedArtifact, Trial, Unloading,
    next_image_id,
};
pub use instance::{ExclusiveInstance, Instance, SharedImage};
pub use level::{LogLevel, NoLogLevel};
pub use peer_table::PeerTable;
pub use preflight::{Preflight, PreflightCandidate};
pub use root::{RootAccess, RootObject};
