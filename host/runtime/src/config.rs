//! Settings from layers, validated before they are published, and published as an immutable snapshot. What lives here is of use without
//! a host: a program's own settings are read and watched in the same way. How files are read and merged is `layers`, what may be wrong
//! with them is `error`, when they are read again is `watched`; what a host makes of them is `host`.
//!
//! ```
//! use reslot::config::{ConfigError, Layers};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Settings {
//!     port: u16,
//! }
//!
//! let layers = Layers::new().defaults(&Settings { port: 80 })?.variables("DESK", [("DESK__PORT", "8080")]);
//! assert_eq!(layers.read::<Settings>()?.port, 8080);
//! # Ok::<(), ConfigError>(())
//! ```

mod error;
mod host;
mod layers;
mod watched;

pub use error::{ConfigError, Origin};
pub use host::HostSettings;
pub(crate) use host::{HostConfig, start};
pub use layers::Layers;
pub use watched::{Watched, WatchedBuilder};
