//! Settings from layers. They are validated, and then published as an immutable snapshot.
//!
//! A program can read and watch its own settings with [`Layers`] and [`Watched`], with or without a host. [`Configuration`]
//! is the [surface](reslot_runtime::surface) that gives settings to a host and its plugins.
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
//!
//! # Where to change what
//! `layers` reads and merges, `error` has the errors, `watched` decides when to read again, and `host` connects settings and
//! host.

#![forbid(unsafe_code)]

mod error;
mod host;
mod layers;
mod watched;

pub use error::{ConfigError, Origin};
pub use host::{Configuration, HostSettings, LiveConfiguration};
pub use layers::Layers;
pub use watched::{Watched, WatchedBuilder};
